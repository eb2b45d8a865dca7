#include "api/admission/webhook/configurations.h"

#include <chrono>

#include "api/registry/lookup.h"
#include "api/registry/registry.h"
#include "reactor/loop.h"

namespace kedge::api::webhook {
namespace {

constexpr auto restart_pause = std::chrono::milliseconds(100);  // between a lost watch and a new start

hook_list read_all(const store::object_ref& o, bool mutating) {
  hook_list out;
  if (auto v = read_object(o))
    for (auto& h : read_hooks(*v, mutating)) out.push_back(std::make_shared<const hook>(std::move(h)));
  return out;
}

}  // namespace

configurations::configurations(store::store& s, bool mutating) : store_(s), mutating_(mutating) {
  auto plural = mutating ? "mutatingwebhookconfigurations" : "validatingwebhookconfigurations";
  prefix_ = builtin_registry().find("admissionregistration.k8s.io", "v1", plural)->key_prefix;
  refresh();
}

void configurations::refresh() {
  std::map<std::string, known> seen;
  store_.current().scan(prefix_, {}, [&](const store::object_ref& o) {
    auto before = known_.find(std::string(o->key()));
    const bool same = before != known_.end() && before->second.source->mod() == o->mod();
    seen.emplace(o->key(), same ? before->second : known{o, read_all(o, mutating_)});
    return true;
  });
  known_ = std::move(seen);
  auto all = std::make_shared<hook_list>();
  for (auto& [key, one] : known_) all->insert(all->end(), one.hooks.begin(), one.hooks.end());
  now_ = std::move(all);
}

task<void> configurations::keep() {
  for (;;) {
    auto source = store_.watch({.prefix = prefix_}, store_.current().at());
    if (source) {
      refresh();
      while (co_await (*source)->next()) refresh();
    }
    co_await reactor::sleep_for(restart_pause);
  }
}

}  // namespace kedge::api::webhook
