#include "api/aggregation/observer.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/aggregation/limits.h"
#include "base/log.h"
#include "base/strings.h"
#include "json/parse.h"
#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::api::aggregation {
namespace {

const resource_id api_services{"apiregistration.k8s.io", "v1", "apiservices"};
const resource_id core_services{"", "v1", "services"};
const resource_id endpoint_slices{"discovery.k8s.io", "v1", "endpointslices"};

// Who asks a server whether it is there and what it serves: one that may read everything.
const user_ref& checking_user() {
  static const user_ref one(user_info{.name = "system:kube-aggregator", .groups = {"system:masters"}});
  return one;
}

// Who reads how it describes itself.
const user_ref& reading_user() {
  static const user_ref one(user_info{.name = "system:aggregator"});
  return one;
}

std::string address_text(const endpoint_address& at) { return reactor::endpoint{at.address, at.port}.text(); }

// As Go's client says it, so that the condition reads as elsewhere.
std::string told_by_go(const error& e, std::string_view url, const endpoint_address& at) {
  auto what = e.message;
  if (e.code == errc::timeout) what = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
  if (e.code == errc::refused) what = fmt::format("dial tcp {}: connect: connection refused", address_text(at));
  if (e.code == errc::unauthenticated) {
    const bool unknown = what.find("issuer certificate") != what.npos || what.find("self-signed") != what.npos;
    what = "tls: failed to verify certificate: " + (unknown ? "x509: certificate signed by unknown authority" : what);
  }
  return fmt::format("failing or missing response from {}: Get {}: {}", url, quote(url), what);
}

}  // namespace

std::shared_ptr<const documents> observer::now() {
  if (!shown_) shown_ = std::make_shared<const documents>(fetched_);
  return shown_;
}

task<void> observer::run() {
  running_.spawn(follow(client_.prefix(core_services), false));
  running_.spawn(follow(client_.prefix(endpoint_slices), true));
  for (;;) {
    take_table();
    co_await table_.changed();
  }
}

void observer::take_table() {
  const auto table = table_.current();
  for (auto& [name, w] : watched_)
    if (auto now = table->find_name(name); now != w->service) {
      w->service = std::move(now);
      w->look.set();
    }
  for (auto& s : table->all()) {
    auto& w = watched_[s->name];
    if (w) continue;
    w = std::make_shared<watched>();
    w->service = s;
    running_.spawn(look_after(s->name));
  }
}

// What changed of a service, or of its slices, is looked at again.
task<void> observer::follow(std::string prefix, bool slices) {
  auto& all = client_.objects_store();
  for (;;) {
    auto source = all.watch(prefix, all.current().at());
    for (auto& [name, w] : watched_) w->look.set();
    while (source) {
      auto events = co_await (*source)->next();
      if (!events) break;
      for (auto& e : *events) {
        auto place = e->object->key().substr(prefix.size());
        for (auto& [name, w] : watched_) {
          auto& s = w->service;
          if (!s || !place.starts_with(s->service_namespace + "/")) continue;
          if (slices ? e->object->labels_text().find("\"kubernetes.io/service-name\":" + quote(s->service_name)) !=
                           std::string_view::npos
                     : place.substr(s->service_namespace.size() + 1) == s->service_name) {
            w->look.set();
            w->changed = true;
          }
        }
      }
    }
    co_await reactor::sleep_for(restart_pause);
  }
}

task<void> observer::look_after(std::string name) {
  const auto mine = watched_.at(name);
  auto& gauge = measures_.gauge("aggregator_unavailable_apiservice",
                                "Gauge of APIServices which are marked as unavailable broken down by APIService name.",
                                fmt::format("name=\"{}\"", name));
  duration pause = check_retry_first;
  api_service_ref last;
  while (auto s = mine->service) {
    mine->look.reset();
    if (last && !last->leads_as(*s)) mine->changed = true;
    last = s;
    auto a = co_await judge(s);
    if (!mine->service) break;
    const bool good = a.status == "True";
    gauge.set(good ? 0 : 1);
    const bool was_good = good && s->available;
    co_await tell(s, std::move(a));
    const auto now = reactor::loop::current().now();
    if (!good) {
      auto before = fetched_.find(name);
      if (before == fetched_.end() || before->second->fresh) keep(name, std::make_shared<const service_documents>());
      mine->changed = true;
    } else if (mine->changed || !was_good || now - mine->fetched >= documents_interval) {
      mine->changed = false;
      co_await fetch(s);
      mine->fetched = now;
    }
    if (!mine->service) break;
    const auto wait =
        good ? duration(check_interval) : std::exchange(pause, std::min<duration>(2 * pause, check_retry_most));
    if (co_await mine->look.wait_until(reactor::loop::current().now() + wait)) {
      pause = check_retry_first;
      co_await reactor::sleep_for(gather_time);
    }
    if (good) pause = check_retry_first;
  }
  gauge.set(0);
  fetched_.erase(name);
  shown_ = nullptr;
  watched_.erase(name);
  // It may have come back while the last look at it went on.
  take_table();
}

task<result<void>> observer::attempt(api_service_ref s) {
  auto at = ways_.resolve(*s);
  if (!at) co_return fail(std::move(at).error());
  const auto url = "https://" + address_text(*at) + s->path();
  auto answer = co_await reactor::with_deadline(ways_.get(s, *at, s->path(), {}, checking_user(), discovery_max_bytes),
                                                reactor::loop::current().now() + check_time);
  if (!answer) co_return fail(answer.error().code, told_by_go(answer.error(), url, *at));
  if (answer->status < 200 || answer->status >= 300)
    co_return fail(errc::unavailable,
                   fmt::format("failing or missing response from {0}: bad status from {0}: {1}", url, answer->status));
  co_return result<void>();
}

task<availability> observer::judge(api_service_ref s) {
  json::value service;
  if (auto found = client_.get(core_services, s->service_namespace, s->service_name)) service = *std::move(found);
  std::vector<json::value> slices;
  client_.each(endpoint_slices, s->service_namespace, slices_of(s->service_name), [&](const json::value& slice) {
    slices.push_back(slice);
    return slices.size() < slices_max;
  });
  if (auto told = judge_objects(*s, service, slices)) co_return *std::move(told);
  auto first = co_await attempt(s);
  if (first) co_return passed();
  std::size_t passes = 0;
  std::string last = first.error().message;
  reactor::scope more;
  for (std::size_t i = 1; i < check_attempts; ++i)
    more.spawn([](observer& o, api_service_ref service, std::size_t& good, std::string& why) -> task<void> {
      auto done = co_await o.attempt(std::move(service));
      if (done)
        ++good;
      else
        why = done.error().message;
    }(*this, s, passes, last));
  co_await more.join();
  co_return passes > 0 ? passed() : failed_discovery(std::move(last));
}

task<void> observer::tell(api_service_ref s, availability a) {
  bool changed = false;
  auto told = co_await client_.modify(
      api_services, "", s->name,
      [&](json::value& o) {
        // It may point elsewhere by now, and is looked at again then.
        auto now = parse_api_service(o);
        return changed = now && now->leads_as(*s) && set_available(o, a, reactor::loop::current().wall_now());
      },
      "status");
  if (!changed) co_return;
  if (!told) {
    if (told.error().code != 404) log::debug("API service {}: {}", s->name, told.error().message);
    co_return;
  }
  log::info("API service {} is {}: {}: {}", s->name, a.status == "True" ? "available" : "unavailable", a.reason,
            a.message);
  if (a.status != "True")
    measures_
        .counter("aggregator_unavailable_apiservice_total",
                 "Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
                 fmt::format("name=\"{}\",reason=\"{}\"", s->name, a.reason))
        .add();
}

void observer::keep(const std::string& name, std::shared_ptr<const service_documents> d) {
  fetched_[name] = std::move(d);
  shown_ = nullptr;
}

task<result<std::string>> observer::fetch_text(api_service_ref s, std::string path, std::string accept, user_ref as,
                                               std::size_t most, duration time) {
  KEDGE_CO_TRY(auto at, ways_.resolve(*s));
  net::http::headers headers;
  headers.add("Accept", std::move(accept));
  KEDGE_CO_TRY(auto answer,
               co_await reactor::with_deadline(ways_.get(s, at, path, std::move(headers), std::move(as), most),
                                               reactor::loop::current().now() + time));
  if (answer.status != 200) co_return fail(errc::unavailable, fmt::format("{}: {}", path, answer.status));
  co_return std::move(answer.body);
}

task<result<json::value>> observer::fetch_discovery(api_service_ref s, std::string path, std::string accept) {
  KEDGE_CO_TRY(auto text,
               co_await fetch_text(s, path, std::move(accept), checking_user(), discovery_max_bytes, discovery_time));
  KEDGE_CO_TRY(auto value, co_await reactor::offload([read = std::move(text)] { return json::parse(read); }));
  if (!value) co_return fail(errc::protocol, path + ": " + value.error().message);
  co_return *std::move(value);
}

task<result<json::array>> observer::fetch_resources(api_service_ref s) {
  auto all =
      co_await fetch_discovery(s, "/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
  if (all && (*all)["kind"].as_string() == "APIGroupDiscoveryList")
    co_return resources_in(*all, s->group, s->version).value_or(json::array());
  KEDGE_CO_TRY(auto list, co_await fetch_discovery(s, s->path(), "application/json"));
  co_return resources_of_list(list);
}

// What clients are told of how the version is described. Made on the pool: a document may have megabytes.
task<void> observer::fetch_openapi(api_service_ref s, std::shared_ptr<service_documents> into) {
  const auto& as = reading_user();
  auto index = co_await fetch_text(s, "/openapi/v3", "application/json", as, openapi_max_bytes, openapi_time);
  auto swagger = co_await fetch_text(s, "/openapi/v2", "application/json", as, openapi_max_bytes, openapi_time);
  (void)co_await reactor::offload([into, s, index = std::move(index), swagger = std::move(swagger)] {
    if (index)
      if (auto v = json::parse(*index)) into->openapi_v3 = openapi_v3_part(*v, s->group, s->version);
    if (swagger)
      if (auto v = json::parse(*swagger)) take_openapi_v2(*into, *v, s->path());
    return true;
  });
}

task<void> observer::fetch(api_service_ref s) {
  auto made = std::make_shared<service_documents>();
  auto resources = co_await fetch_resources(s);
  if (resources) {
    made->fresh = true;
    if (!cut_resources(*resources))
      log::warning("API service {} tells of more resources than {} bytes hold: the others are not told of", s->name,
                   resources_max_bytes);
    made->resources = *std::move(resources);
  } else {
    log::debug("API service {}: discovery: {}", s->name, resources.error().message);
  }
  // Told of at once: clients wait for it. What explains it comes after.
  auto first = std::make_shared<service_documents>(*made);
  if (auto before = fetched_.find(s->name); before != fetched_.end()) {
    first->openapi_v3 = before->second->openapi_v3;
    first->v2_paths = before->second->v2_paths;
    first->v2_definitions = before->second->v2_definitions;
    first->v2_digest = before->second->v2_digest;
  }
  keep(s->name, std::move(first));
  co_await fetch_openapi(s, made);
  if (auto w = watched_.find(s->name); w != watched_.end() && w->second->service) keep(s->name, std::move(made));
}

}  // namespace kedge::api::aggregation
