// token_cleaner.cc: removes bootstrap tokens whose time has passed.
#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {
const api::resource_id secrets{"", "v1", "secrets"};
}

task<void> run_token_cleaner(context& c) {
  auto prefix = c.objects.prefix(secrets, "kube-system");
  work_queue queue;
  reactor::scope tasks;
  tasks.spawn(follow(c.objects.objects_store(), prefix, [&](const store::event& e) {
    auto name = name_under(prefix, e.object->key());
    if (e.type != store::event_type::deleted && name.starts_with("bootstrap-token-")) queue.add(std::string(name));
  }));
  co_await work("tokencleaner", queue, 1, [&](std::string name) -> task<api::api_result<void>> {
    auto secret = c.objects.get(secrets, "kube-system", name);
    if (!secret || (*secret)["type"].as_string() != "bootstrap.kubernetes.io/token") co_return api::api_result<void>();
    auto text = unbase64((*secret)["data"]["expiration"].as_string());
    auto end = text && !text->empty() ? parse_rfc3339(*text) : result<wall_time>(fail(errc::invalid, "none"));
    if (!end) co_return api::api_result<void>();  // it never ends
    auto left = *end - reactor::loop::current().wall_now();
    if (left > duration(0)) {
      queue.add_after(name, left);
      co_return api::api_result<void>();
    }
    log::info("removing bootstrap token {}: it has expired", name);
    co_return co_await c.objects.remove(secrets, "kube-system", name, {.uid = std::string((*secret)["metadata"]["uid"].as_string())});
  });
}

}  // namespace kedge::control
