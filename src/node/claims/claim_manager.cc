#include "node/claims/claim_manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "node/claims/messages.h"
#include "node/runtime/pod_runtime.h"
#include "pod/amounts.h"
#include "reactor/loop.h"
#include "reactor/scope.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::string_view services[] = {"v1.DRAPlugin", "v1beta1.DRAPlugin"};
constexpr std::string_view claims_path = "/apis/resource.k8s.io/v1/namespaces/{}/resourceclaims/{}";

// The plugin's first that is known here.
result<std::string> service_of(const plugin_info& plugin) {
  auto wrong = [&](std::string why) {
    return fail(errc::unsupported,
                fmt::format("invalid supported gRPC versions of DRA driver plugin {} at endpoint {}: {}", plugin.name,
                            plugin.endpoint, why));
  };
  if (plugin.versions.empty()) return wrong("empty list of supported gRPC services (aka supported versions)");
  for (auto& v : plugin.versions)
    if (std::ranges::find(services, v) != std::end(services)) return v;
  std::vector<std::string> theirs;
  for (auto& v : plugin.versions) theirs.push_back(quote(v));
  return wrong(fmt::format("none of services supported by the plugin ([{}]) are supported by the kubelet ([\"{}\"])",
                           fmt::join(theirs, " "), fmt::join(services, "\" \"")));
}

// The name of the claim that one of spec.resourceClaims means; nullopt: none is needed.
result<std::optional<std::string>> claim_name(const value& pod, const value& source) {
  if (source["resourceClaimName"].is_string())
    return std::optional<std::string>(source["resourceClaimName"].as_string());
  auto& made = pod["status"]["resourceClaimStatuses"];
  for (std::size_t i = 0; i < made.size(); ++i) {
    if (made[i]["name"].as_string() != source["name"].as_string()) continue;
    auto& name = made[i]["resourceClaimName"];
    return name.is_string() ? std::optional<std::string>(name.as_string()) : std::nullopt;
  }
  return fail(errc::not_found,
              fmt::format("pod \"{}/{}\": ResourceClaim not created yet", pod["metadata"]["namespace"].as_string(),
                          pod["metadata"]["name"].as_string()));
}

// Those of the spec, and the one that the scheduler made for its extended resources.
json::array sources_of(const value& pod) {
  json::array out;
  if (auto* list = pod["spec"]["resourceClaims"].array()) out = *list;
  if (auto& made = pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"]; made.is_string())
    out.push_back(json::object{{"resourceClaimName", made}});
  return out;
}

// A use of a claim by a container: of its devices for a request, or of all.
struct claim_use {
  std::string claim, request;
};

result<std::vector<claim_use>> uses_of(const value& pod, const value& container) {
  std::vector<claim_use> out;
  auto &wanted = container["resources"]["claims"], &sources = pod["spec"]["resourceClaims"];
  for (std::size_t i = 0; i < sources.size(); ++i)
    for (std::size_t j = 0; j < wanted.size(); ++j) {
      if (wanted[j]["name"].as_string() != sources[i]["name"].as_string()) continue;
      KEDGE_TRY(auto name, claim_name(pod, sources[i]));
      if (name) out.push_back({*std::move(name), std::string(wanted[j]["request"].as_string())});
    }
  auto& made = pod["status"]["extendedResourceClaimStatus"];
  auto& mappings = made["requestMappings"];
  for (std::size_t i = 0; i < mappings.size(); ++i) {
    auto& m = mappings[i];
    if (m["containerName"].as_string() == container["name"].as_string() &&
        !pod::amount_of(container["resources"]["requests"][m["resourceName"].as_string()]).is_zero())
      out.push_back({std::string(made["resourceClaimName"].as_string()), std::string(m["requestName"].as_string())});
  }
  return out;
}

result<void> may_use(const value& pod, const value& claim, bool made_for_it) {
  auto &p = pod["metadata"], &c = claim["metadata"];
  auto uid = p["uid"].as_string();
  bool owned = !made_for_it, reserved = false;
  for (std::size_t i = 0; i < c["ownerReferences"].size(); ++i)
    owned |= c["ownerReferences"][i]["controller"].as_bool() && c["ownerReferences"][i]["uid"].as_string() == uid;
  if (!owned)
    return fail(errc::conflict, fmt::format("ResourceClaim {}/{} was not created for Pod {}/{} (Pod is not owner)",
                                            c["namespace"].as_string(), c["name"].as_string(),
                                            p["namespace"].as_string(), p["name"].as_string()));
  auto& users = claim["status"]["reservedFor"];
  for (std::size_t i = 0; i < users.size(); ++i) reserved |= users[i]["uid"].as_string() == uid;
  if (!reserved)
    return fail(errc::conflict, fmt::format("pod {} ({}) is not allowed to use ResourceClaim {} ({})",
                                            p["name"].as_string(), uid, c["name"].as_string(), c["uid"].as_string()));
  return {};
}

// What a driver said of each of the claims: the first that went wrong, or that it passed over.
result<void> check_answers(std::string_view method, const std::vector<claim_id>& asked,
                           const std::map<std::string, claim_answer, std::less<>>& answers) {
  std::size_t answered = 0;
  for (auto& [uid, a] : answers) {
    auto of = std::ranges::find(asked, uid, &claim_id::uid);
    if (of == asked.end())
      return fail(errc::protocol, fmt::format("{} returned result for unknown claim UID {}", method, uid));
    if (!a.error.empty())
      return fail(errc::internal, fmt::format("{} failed for ResourceClaim {}: {}", method, of->name, a.error));
    ++answered;
  }
  if (answered < asked.size())
    return fail(errc::protocol, fmt::format("{} skipped {} ResourceClaims", method, asked.size() - answered));
  return {};
}

}  // namespace

// ---- drivers

result<void> claim_manager::check(const plugin_info& plugin) const {
  KEDGE_CHECK(service_of(plugin));
  return {};
}

task<result<void>> claim_manager::add(plugin_info plugin) {
  KEDGE_CO_TRY(auto service, service_of(plugin));
  for (auto& d : drivers_)
    if (d->name == plugin.name && d->socket == plugin.endpoint)
      co_return fail(errc::conflict, fmt::format("endpoint {} already registered for DRA driver plugin {}",
                                                 plugin.endpoint, plugin.name));
  if (drivers_.size() >= claim_drivers_max) co_return fail(errc::exhausted, "too many are registered");
  drivers_.push_back(std::make_shared<driver>(plugin.name, plugin.endpoint, std::move(service), parts_.network));
  co_return result<void>();
}

task<void> claim_manager::remove(plugin_info plugin) {
  std::erase_if(drivers_, [&](auto& d) { return d->name == plugin.name && d->socket == plugin.endpoint; });
  lost_.set();
  co_return;
}

result<claim_manager::shared_driver> claim_manager::find(std::string_view name) const {
  if (name.empty()) return fail(errc::invalid, "DRA driver name is empty");
  for (auto it = drivers_.rbegin(); it != drivers_.rend(); ++it)
    if ((*it)->name == name) return *it;
  return fail(errc::unavailable, fmt::format("DRA driver {} is not registered", name));
}

task<result<std::string>> claim_manager::call(shared_driver d, std::string method, std::string message) {
  auto path = fmt::format("/k8s.io.kubelet.pkg.apis.dra.{}/{}", d->service, method);
  auto answer = co_await reactor::with_deadline(d->channel.unary(std::move(path), std::move(message)),
                                                reactor::loop::current().now() + claim_call_deadline);
  if (!answer) co_return fail(answer.error().code, fmt::format("{}: {}", method, rpc_text(answer.error())));
  co_return answer;
}

// ---- what is kept

task<void> claim_manager::restore() {
  auto text = co_await file_.read();
  auto read = !text ? result<void>(std::unexpected(text.error())) : *text ? ledger_.restore(**text) : result<void>();
  if (!read) log::warning("which claims were prepared isn't known: {}: {}", file_.path(), read.error().message);
  restored_.set();
}

task<result<void>> claim_manager::save() {
  auto done = co_await file_.write(ledger_);
  if (!done) co_return fail(done.error().code, "checkpoint ResourceClaim state: " + done.error().message);
  co_return done;
}

// ---- preparing

// All claims of the pod, as they may be used, and nothing is changed yet: where one can't be, none is begun.
task<result<std::vector<prepared_claim>>> claim_manager::claims_of(value pod) {
  std::vector<prepared_claim> out;
  const auto sources = sources_of(pod);
  auto ns = pod["metadata"]["namespace"].as_string();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    KEDGE_CO_TRY(auto name, claim_name(pod, sources[i]));
    if (!name) continue;
    auto found = co_await parts_.object(fmt::format(fmt::runtime(claims_path), ns, *name));
    if (!found)
      co_return fail(found.error().code, fmt::format("fetch ResourceClaim {}: {}", *name, found.error().message));
    if (!*found)
      co_return fail(errc::not_found, fmt::format("fetch ResourceClaim {}: resourceclaims.resource.k8s.io {} not found",
                                                  *name, quote(*name)));
    KEDGE_CO_CHECK(may_use(pod, **found, !sources[i]["resourceClaimName"].is_string()));
    KEDGE_CO_TRY(auto claim, claim_to_prepare(**found));
    for (auto& [driver, devices] : claim.drivers) KEDGE_CO_CHECK(find(driver));
    out.push_back(std::move(claim));
  }
  co_return std::move(out);
}

task<result<void>> claim_manager::prepare_all(value pod) {
  KEDGE_CO_TRY(auto claims, co_await claims_of(pod));
  const auto uid = std::string(pod["metadata"]["uid"].as_string());
  std::map<std::string, std::vector<claim_id>> batches;  // by driver
  std::vector<claim_id> begun;
  for (auto& c : claims) {
    KEDGE_CO_CHECK(ledger_.use(c, uid));
    if (ledger_.find(c.id.ns, c.id.name)->prepared) continue;
    begun.push_back(c.id);
    for (auto& [driver, devices] : c.drivers) batches[driver].push_back(c.id);
  }
  // Before a driver is asked: what it does is to be undone, whatever becomes of this agent.
  KEDGE_CO_CHECK(co_await save());
  for (auto& [name, batch] : batches) {
    KEDGE_CO_TRY(auto driver, find(name));
    KEDGE_CO_TRY(auto answer, co_await call(driver, "NodePrepareResources", encode_claims(batch)));
    KEDGE_CO_TRY(auto answers, decode_prepared(answer));
    KEDGE_CO_CHECK(check_answers("NodePrepareResources", batch, answers));
    for (auto& id : batch)
      if (auto c = ledger_.find(id.ns, id.name); c && c->id.uid == id.uid)
        c->drivers[name] = std::move(answers.find(id.uid)->second.devices);
  }
  for (auto& id : begun)
    if (auto c = ledger_.find(id.ns, id.name); c && c->id.uid == id.uid) c->prepared = true;
  co_return co_await save();
}

task<result<void>> claim_manager::prepare(value pod) {
  if (sources_of(pod).empty()) co_return result<void>();
  co_await restored_.wait();
  auto done = co_await prepare_all(std::move(pod));
  if (!done) co_return fail(done.error().code, "prepare dynamic resources: " + done.error().message);
  co_return done;
}

task<result<void>> claim_manager::unprepare_all(std::string pod_uid) {
  std::map<std::string, std::vector<claim_id>> batches;  // by driver
  std::vector<claim_id> begun;
  for (auto& id : ledger_.claims_of(pod_uid)) {
    auto c = ledger_.find(id.ns, id.name);
    if (c->pods.size() > 1) {
      c->pods.erase(pod_uid);
      continue;
    }
    begun.push_back(id);
    c->unpreparing = true;
    for (auto& [driver, devices] : c->drivers) batches[driver].push_back(id);
  }
  for (auto& [name, batch] : batches) {
    KEDGE_CO_TRY(auto driver, find(name));
    KEDGE_CO_TRY(auto answer, co_await call(driver, "NodeUnprepareResources", encode_claims(batch)));
    KEDGE_CO_TRY(auto answers, decode_unprepared(answer));
    KEDGE_CO_CHECK(check_answers("NodeUnprepareResources", batch, answers));
  }
  for (auto& id : begun)
    if (auto c = ledger_.find(id.ns, id.name); c && c->id.uid == id.uid) ledger_.erase(id.ns, id.name);
  co_return co_await save();
}

task<result<void>> claim_manager::unprepare(std::string pod_uid) {
  co_await restored_.wait();
  if (ledger_.claims_of(pod_uid).empty()) co_return result<void>();
  // Its worker, and who looks for pods that are gone. A second answer of the driver would come when the claim may be
  // another pod's.
  if (!leaving_.insert(pod_uid).second)
    co_return fail(errc::conflict, "unprepare dynamic resources: the driver is being asked");
  struct until_end {
    std::set<std::string>& of;
    const std::string& uid;
    ~until_end() { of.erase(uid); }
  } leaves{leaving_, pod_uid};
  auto done = co_await unprepare_all(pod_uid);
  if (!done) co_return fail(done.error().code, "unprepare dynamic resources: " + done.error().message);
  co_return done;
}

task<result<std::vector<std::string>>> claim_manager::cdi_devices(value pod, value container) {
  std::vector<std::string> out;
  KEDGE_CO_TRY(const auto uses, uses_of(pod, container));
  if (uses.empty()) co_return std::move(out);
  co_await restored_.wait();
  auto ns = pod["metadata"]["namespace"].as_string();
  for (auto& use : uses) {
    if (!ledger_.find(ns, use.claim))
      co_return fail(
          errc::internal,
          fmt::format("internal error: unable to get claim info for ResourceClaim {} in namespace {}", use.claim, ns));
    for (auto& device : ledger_.cdi_devices(ns, use.claim, use.request))
      if (std::ranges::find(out, device) == out.end()) out.push_back(device);
  }
  co_return std::move(out);
}

// ---- what is gone

task<result<void>> claim_manager::remove_slices_once() {
  constexpr std::string_view path = "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3D{}";
  auto of_node = fmt::format(fmt::runtime(path), parts_.node);
  KEDGE_CO_TRY(auto list, co_await parts_.api.get(of_node, claim_slices_bytes_max));
  std::set<std::string, std::less<>> lost;
  for (std::size_t i = 0; i < list["items"].size(); ++i)
    if (auto name = list["items"][i]["spec"]["driver"].as_string(); !find(name)) lost.emplace(name);
  for (auto& name : lost) {
    log::info("the driver {} is gone, and its ResourceSlices of this node", name);
    KEDGE_CO_CHECK(co_await parts_.api.remove(of_node + "%2Cspec.driver%3D" + name, json::object{}));
  }
  co_return result<void>();
}

// After a start, and when a driver went.
task<void> claim_manager::remove_lost_slices() {
  for (;;) {
    lost_.reset();
    co_await reactor::sleep_for(lost_driver_patience);
    for (auto pause = slices_retry_first;; pause = std::min(pause * 2, slices_retry_most)) {
      auto done = co_await remove_slices_once();
      if (done) break;
      log::debug("ResourceSlices of drivers that are gone: {}", done.error().message);
      co_await reactor::sleep_for(pause);
    }
    co_await lost_.wait();
  }
}

task<void> claim_manager::run() {
  co_await restore();
  reactor::scope beside;
  beside.spawn(remove_lost_slices());
  for (;;) {
    co_await reactor::sleep_for(claims_look_interval);
    auto active = parts_.active();
    if (!active) continue;
    for (auto& uid : ledger_.pods()) {
      if (active->contains(uid)) continue;
      if (auto done = co_await unprepare(uid); !done)
        log::warning("claims of the pod {}, which is gone: {}", uid, done.error().message);
    }
  }
}

}  // namespace kedge::node
