#include "node/devices/device_manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "crypto/files.h"
#include "net/http/server.h"
#include "node/limits.h"
#include "pod/amounts.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::string_view plugin_version = "v1beta1", registration = "/v1beta1.Registration/Register";

// A resource that isn't Kubernetes' own, by its name (v1helper.IsExtendedResourceName).
bool is_extended(std::string_view name) {
  auto slash = name.find('/');
  return slash != std::string_view::npos && slash > 0 && slash + 1 < name.size() &&
         name.find('/', slash + 1) == std::string_view::npos && !name.substr(0, slash).contains("kubernetes.io") &&
         !name.starts_with("requests.");
}

// Whether the container has devices of a claim for it (KEP-5004).
bool is_claimed(const value& pod, const value& container, std::string_view resource) {
  auto& mappings = pod["status"]["extendedResourceClaimStatus"]["requestMappings"];
  for (std::size_t i = 0; i < mappings.size(); ++i)
    if (mappings[i]["containerName"] == container["name"] && mappings[i]["resourceName"].as_string() == resource)
      return true;
  return false;
}

// Those that a container needs, of devices: requests can't be another number.
std::vector<std::pair<std::string, std::size_t>> needs_of(const value& pod, const value& container) {
  std::vector<std::pair<std::string, std::size_t>> out;
  if (auto* limits = container["resources"]["limits"].object())
    for (auto& [name, amount] : *limits)
      if (is_extended(name) && !is_claimed(pod, container, name))
        out.emplace_back(name, static_cast<std::size_t>(std::max<std::int64_t>(pod::amount_of(amount).value(), 0)));
  return out;
}

bool stays(const value& init_container) { return init_container["restartPolicy"].as_string() == "Always"; }

// Plugins whose sockets go make them anew, and register.
result<void> clean(const std::string& folder) {
  KEDGE_CHECK(crypto::make_folder(folder, 0750));
  std::error_code problem;
  for (auto it = std::filesystem::directory_iterator(folder, problem);
       !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
    std::error_code ignored;
    if (it->is_socket(ignored)) std::filesystem::remove(it->path(), ignored);
  }
  return {};
}

}  // namespace

task<void> device_manager::restore() {
  auto cleaned = co_await reactor::offload([folder = parts_.folder] { return clean(folder); });
  auto text = co_await file_.read();
  auto read = !cleaned    ? std::move(cleaned)
              : !*cleaned ? std::move(*cleaned)
              : !text     ? result<void>(std::unexpected(text.error()))
              : *text     ? ledger_.restore(**text)
                          : result<void>();
  if (!read) log::warning("what devices containers had isn't known: {}: {}", file_.path(), read.error().message);
  restored_.set();
  parts_.changed({});
}

task<void> device_manager::run() {
  co_await restore();
  tasks_.spawn(forget_lost());
  for (bool first = true;; first = false) {
    net::http::server server(*this, {.listen = {reactor::endpoint::unix_path(parts_.folder + "/kubelet.sock")},
                                     .plain_http2 = true,
                                     .connections_max = plugin_connections_max,
                                     .network = parts_.network});
    auto ended = co_await server.run(0);
    if (first && !ended) log::warning("device plugins can't register: {}", ended.error().message);
    co_await reactor::sleep_for(kubelet_listen_retry);
  }
}

task<result<std::string>> device_manager::answer(std::string method, std::string message) {
  if (method != registration) co_return fail(errc::unsupported, fmt::format("unknown method {}", method));
  KEDGE_CO_TRY(auto asked, decode_registration(message));
  KEDGE_CO_CHECK(validate(asked.resource, {asked.version}));
  if (asked.endpoint.empty() || asked.endpoint.contains('/'))
    co_return fail(errc::internal,
                   fmt::format("failed to dial device plugin: \"{}\" names no socket beside this one", asked.endpoint));
  KEDGE_CO_CHECK(co_await connect(asked.resource, parts_.folder + "/" + asked.endpoint));
  co_return std::string();
}

result<void> device_manager::validate(std::string_view resource, const std::vector<std::string>& versions) const {
  if (std::ranges::find(versions, plugin_version) == versions.end())
    return fail(errc::internal,
                fmt::format("requested API version \"{}\" is not supported by kubelet. Supported version is [\"{}\"]",
                            fmt::join(versions, "\" \""), plugin_version));
  if (!is_extended(resource)) return fail(errc::internal, fmt::format("the ResourceName \"{}\" is invalid", resource));
  return {};
}

result<void> device_manager::check(const plugin_info& plugin) const { return validate(plugin.name, plugin.versions); }
task<result<void>> device_manager::add(plugin_info plugin) {
  return connect(std::move(plugin.name), std::move(plugin.endpoint));
}
task<void> device_manager::remove(plugin_info plugin) {
  disconnect(plugin.name, plugin.endpoint);
  co_return;
}

task<result<void>> device_manager::connect(std::string resource, std::string socket) {
  co_await restored_.wait();
  auto same = [&](const shared_plugin& p) { return p->resource == resource && p->socket == socket; };
  if (std::none_of(plugins_.begin(), plugins_.end(), same) && plugins_.size() >= plugins_max)
    co_return fail(errc::exhausted, fmt::format("{} device plugins are registered already", plugins_.size()));
  auto p = std::make_shared<plugin>(resource, socket, parts_.network);
  auto options = co_await ask(p, "GetDevicePluginOptions", {}, plugin_connect_deadline);
  if (!options) co_return fail(errc::internal, "failed to get device plugin options: " + options.error().message);
  KEDGE_CO_TRY(p->options, decode_plugin_options(*options));
  // The one before it at this socket.
  std::erase_if(plugins_, [&](auto& other) {
    if (!same(other)) return false;
    other->gone.set();
    return true;
  });
  plugins_.push_back(p);
  ledger_.connect(resource);
  log::info("device plugin of {} registered", resource);
  tasks_.spawn(watch(p));
  co_return result<void>();
}

void device_manager::disconnect(std::string_view resource, std::string_view socket) {
  for (auto& p : plugins_)
    if (p->resource == resource && p->socket == socket) p->gone.set();
}

// Until it has nothing more to tell.
task<result<void>> device_manager::follow(shared_plugin p) {
  KEDGE_CO_TRY(auto stream, co_await p->channel.stream("/v1beta1.DevicePlugin/ListAndWatch", {}));
  for (;;) {
    KEDGE_CO_TRY(auto message, co_await stream->next());
    if (!message) co_return fail(errc::closed, "it ended its list");
    KEDGE_CO_TRY(auto devices, decode_devices(*message));
    if (find(p->resource) != p) continue;  // a newer one of the same resource tells what there is
    auto uids = ledger_.update(p->resource, std::move(devices));
    parts_.changed(uids);
    co_await save();
  }
}

// As long as it tells of its devices, it is there.
task<void> device_manager::watch(shared_plugin p) {
  auto ended = co_await reactor::with_stop(follow(p), p->gone);
  if (std::erase(plugins_, p) == 0) co_return;  // another took its place
  log::info("the device plugin of {} has gone: {}", p->resource,
            p->gone.is_set() ? "so has its socket" : std::string_view(ended.error().message));
  if (find(p->resource)) co_return;
  ledger_.disconnect(p->resource, reactor::loop::current().now());
  parts_.changed({});
}

task<void> device_manager::forget_lost() {
  for (;;) {
    co_await reactor::sleep_for(plugin_look_interval);
    if (!ledger_.expire(reactor::loop::current().now())) continue;
    parts_.changed({});
    co_await save();
  }
}

device_manager::shared_plugin device_manager::find(std::string_view resource) const {
  auto p = std::find_if(plugins_.rbegin(), plugins_.rend(), [&](auto& one) { return one->resource == resource; });
  return p == plugins_.rend() ? nullptr : *p;
}

task<result<std::string>> device_manager::ask(shared_plugin p, std::string method, std::string message,
                                              duration within) {
  co_return co_await reactor::with_deadline(p->channel.unary("/v1beta1.DevicePlugin/" + method, std::move(message)),
                                            reactor::loop::current().now() + within);
}

task<void> device_manager::save() {
  if (auto done = co_await file_.write(ledger_); !done)
    log::warning("what devices containers have can't be kept: {}", done.error().message);
}

void device_manager::free_unused() {
  if (auto uids = parts_.active()) ledger_.keep_only(*uids);
}

task<result<device_ids>> device_manager::preferred(shared_plugin p, const device_choice& c, device_ids among,
                                                   std::size_t count) {
  if (!p || !p->options.preferred) co_return device_ids();
  auto must = c.taken;
  among.insert(must.begin(), must.end());
  auto answer = co_await ask(p, "GetPreferredAllocation", encode_preference(among, must, count), plugin_deadline);
  if (!answer)
    co_return fail(errc::unavailable,
                   "device plugin GetPreferredAllocation rpc failed with err: " + rpc_text(answer.error()));
  co_return decode_preference(*answer);
}

namespace {

device_ids common(const device_ids& a, const device_ids& b) {
  device_ids out;
  std::ranges::set_intersection(a, b, std::inserter(out, out.end()));
  return out;
}

}  // namespace

task<result<void>> device_manager::give_one(std::string uid, std::string container, std::string resource,
                                            std::size_t count, device_ids reusable, std::optional<numa_mask> near) {
  KEDGE_CO_TRY(auto begun, ledger_.begin(uid, container, resource, count, reusable, near));
  if (!begun || (begun->taken.empty() && begun->needed == 0)) co_return result<void>();
  auto& choice = *begun;
  auto p = find(resource);
  // Those that are near enough first, then what the plugin likes best of the others.
  if (choice.needed > 0 && choice.needed < choice.aligned.size()) {
    KEDGE_CO_TRY(auto liked, co_await preferred(p, choice, choice.aligned, count));
    if (!choice.take(common(liked, choice.aligned))) choice.take(choice.aligned);
  } else if (choice.needed > 0 && !choice.take(choice.aligned)) {
    KEDGE_CO_TRY(auto liked, co_await preferred(p, choice, choice.available, count));
    if (!choice.take(common(liked, choice.available)) && !choice.take(choice.unaligned)) choice.take(choice.unplaced);
  }
  if (!p) co_return fail(errc::unavailable, fmt::format("endpoint {} has been stopped", resource));
  auto answer = co_await ask(p, "Allocate", encode_allocation(choice.taken), plugin_deadline);
  if (!answer) co_return fail(answer.error().code, rpc_text(answer.error()));
  KEDGE_CO_TRY(auto response, first_allocation(*answer));
  if (!response) co_return fail(errc::protocol, "no containers return in allocation response");
  ledger_.give(uid, container, resource, choice.taken, *std::move(response));
  co_return result<void>();
}

// What an init container had, those that begin after its end may have, too.
device_ids device_manager::reusable(const value& pod, std::string_view before, std::string_view resource) const {
  device_ids out;
  auto uid = pod["metadata"]["uid"].as_string();
  for (auto* list : {"initContainers", "containers"}) {
    auto* all = pod["spec"][list].array();
    if (!all) continue;
    for (auto& c : *all) {
      if (c["name"].as_string() == before) return out;
      auto* has = ledger_.find(uid, c["name"].as_string(), resource);
      if (!has) continue;
      const bool ends = std::string_view(list) == "initContainers" && !stays(c);
      for (auto& id : ids_of(has->devices)) {
        if (ends)
          out.insert(id);
        else
          out.erase(id);
      }
    }
  }
  return out;
}

task<device_manager::turns> device_manager::turns_for(value pod) {
  co_await restored_.wait();
  // In the order of their names: nobody waits for who waits for him.
  std::set<std::string, std::less<>> wanted;
  for (auto* list : {"initContainers", "containers"})
    if (auto* all = pod["spec"][list].array())
      for (auto& c : *all)
        for (auto& [resource, count] : needs_of(pod, c))
          if (ledger_.knows(resource)) wanted.insert(resource);
  turns out;
  for (auto& resource : wanted) {
    auto& queue = turns_[resource];
    co_await queue.one.acquire();
    out.push_back(std::make_unique<turn>(queue, pod["metadata"]["uid"].as_string()));
  }
  free_unused();
  co_return std::move(out);
}

hints_by_resource device_manager::hints(const value& pod, const value& container) const {
  hints_by_resource out;
  auto uid = pod["metadata"]["uid"].as_string(), name = container["name"].as_string();
  for (auto& [resource, count] : needs_of(pod, container)) {
    if (!ledger_.knows(resource)) continue;
    auto* has = ledger_.find(uid, name, resource);
    out[resource] = ledger_.hints(resource, count, has ? ids_of(has->devices) : device_ids(),
                                  has ? device_ids() : reusable(pod, name, resource), numa_);
  }
  return out;
}

hints_by_resource device_manager::pod_hints(const value& pod) const {
  hints_by_resource out;
  for (auto& [resource, amount] : pod::amounts_of_pod(pod, "limits")) {
    if (!is_extended(resource) || !ledger_.knows(resource)) continue;
    device_ids has;
    for (auto* list : {"initContainers", "containers"})
      if (auto* all = pod["spec"][list].array())
        for (auto& c : *all)
          if (auto* own = ledger_.find(pod["metadata"]["uid"].as_string(), c["name"].as_string(), resource))
            has.merge(ids_of(own->devices));
    out[resource] =
        ledger_.hints(resource, static_cast<std::size_t>(std::max<std::int64_t>(amount.value(), 0)), has, {}, numa_);
  }
  return out;
}

result<void> device_manager::can_give(const value& pod, const value& container) const {
  auto name = container["name"].as_string();
  for (auto& [resource, count] : needs_of(pod, container))
    if (ledger_.knows(resource))
      KEDGE_CHECK(ledger_.begin(pod["metadata"]["uid"].as_string(), name, resource, count,
                                reusable(pod, name, resource), std::nullopt));
  return {};
}

task<result<void>> device_manager::give(value pod, value container, numa_hint near) {
  auto uid = std::string(pod["metadata"]["uid"].as_string()), name = std::string(container["name"].as_string());
  for (auto& [resource, count] : needs_of(pod, container)) {
    // Who registered since then may be asked for another pod right now; the container gets its own when it is made.
    auto queue = turns_.find(resource);
    if (!ledger_.knows(resource) || queue == turns_.end() || queue->second.holder != uid) continue;
    KEDGE_CO_CHECK(co_await give_one(uid, name, resource, count, reusable(pod, name, resource), near.nodes));
  }
  co_return result<void>();
}

task<result<device_options>> device_manager::options_for(value pod, value container) {
  device_options out;
  auto uid = std::string(pod["metadata"]["uid"].as_string()), name = std::string(container["name"].as_string());
  co_await restored_.wait();
  bool lacks = false;
  for (auto& [resource, count] : needs_of(pod, container)) {
    if (count == 0 || !ledger_.knows(resource)) continue;
    auto* has = ledger_.find(uid, name, resource);
    lacks |= !has;  // its plugin wasn't there yet when the pod was admitted
    auto p = find(resource);
    if (!has || !p || !p->options.pre_start) continue;
    auto ready = co_await ask(p, "PreStartContainer", encode_pre_start(ids_of(has->devices)), plugin_start_deadline);
    if (!ready)
      co_return fail(errc::unavailable,
                     "device plugin PreStartContainer rpc failed with err: " + rpc_text(ready.error()));
  }
  if (lacks) {
    auto mine = co_await turns_for(pod);
    KEDGE_CO_CHECK(co_await give(pod, container, {}));
    co_await save();
  }
  if (auto* has = ledger_.find(uid, name))
    for (auto& [resource, a] : *has) KEDGE_CO_CHECK(add_allocation(a.response, out));
  co_return std::move(out);
}

}  // namespace kedge::node
