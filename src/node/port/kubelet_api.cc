#include "node/port/kubelet_api.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/limits.h"
#include "node/machine/node_stats.h"
#include "node/pods/local_volumes.h"
#include "node/port/kubelet_metrics.h"
#include "node/resources/eviction.h"
#include "node/usage/metrics.h"
#include "node/usage/summary.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::array;
using json::object;
using json::value;
using net::http::exchange;
using net::http::response;

task<void> answer(exchange& e, int code, std::string_view type, std::string body) {
  response r{.status = code};
  r.headers.add("Content-Type", std::string(type));
  if (auto sent = co_await e.respond(r, body); !sent)
    log::debug("kubelet API: answer not sent: {}", sent.error().message);
}
task<void> answer_text(exchange& e, int code, std::string body) {
  return answer(e, code, "text/plain; charset=utf-8", std::move(body));
}
task<void> answer_json(exchange& e, const value& v) { return answer(e, 200, "application/json", json::write(v)); }

// "5%", "100Mi" as a number of bytes: as evictionHard and its like say it.
std::string amount_text(const eviction_amount& a) {
  return a.fraction > 0 ? fmt::format("{}%", std::round(static_cast<double>(a.fraction) * 1000) / 10)
                        : std::to_string(a.amount);
}

object amounts_object(const pod::amounts& all) {
  object out;
  for (auto& [name, amount] : all) out.set(name, amount.text());
  return out;
}

// The settings that a kubelet would have been started with for what this agent does.
value configuration(const agent_config& c, const std::string& domain, const std::vector<std::string>& dns) {
  array servers;
  for (auto& d : dns) servers.emplace_back(d);
  object hard, soft, grace, reclaim;
  for (auto& t : c.kubelet.thresholds) {
    const std::string name(name_of(t.of));
    (t.soft ? soft : hard).set(name, amount_text(t.below));
    if (t.soft) grace.set(name, format_duration(t.grace));
    if (t.reclaim.amount > 0 || t.reclaim.fraction > 0) reclaim.set(name, amount_text(t.reclaim));
  }
  const auto& k = c.kubelet;
  return object{
      {"kubeletconfig",
       object{{"kind", "KubeletConfiguration"},
              {"apiVersion", "kubelet.config.k8s.io/v1beta1"},
              {"address", c.bind_address.empty() ? "0.0.0.0" : c.bind_address},
              {"port", static_cast<int>(c.kubelet.port)},
              {"readOnlyPort", 0},
              {"authentication", object{{"anonymous", object{{"enabled", false}}},
                                        {"webhook", object{{"cacheTTL", "2m0s"}, {"enabled", true}}},
                                        {"x509", object{{"clientCAFile", c.agent_folder() + "/client-ca.crt"}}}}},
              {"authorization",
               object{{"mode", "Webhook"},
                      {"webhook", object{{"cacheAuthorizedTTL", "5m0s"}, {"cacheUnauthorizedTTL", "30s"}}}}},
              {"tlsCertFile", c.agent_folder() + "/serving-kubelet.crt"},
              {"tlsPrivateKeyFile", c.agent_folder() + "/serving-kubelet.key"},
              {"clusterDomain", domain},
              {"clusterDNS", std::move(servers)},
              {"nodeStatusUpdateFrequency", format_duration(c.kubelet.status_interval)},
              {"nodeStatusReportFrequency", "5m0s"},
              {"nodeLeaseDurationSeconds", lease_duration_seconds},
              {"maxPods", k.pods_max},
              {"podsPerCore", k.pods_per_cpu},
              {"podPidsLimit", k.pod_processes_max},
              {"cgroupDriver", "cgroupfs"},
              {"cpuManagerPolicy", k.cpus.is_static ? "static" : "none"},
              {"memoryManagerPolicy", k.memory.is_static ? "Static" : "None"},
              {"systemReserved", amounts_object(k.system_reserved)},
              {"kubeReserved", amounts_object(k.kube_reserved)},
              {"imageGCHighThresholdPercent", k.image_gc_high_percent},
              {"imageGCLowThresholdPercent", k.image_gc_low_percent},
              {"serializeImagePulls", k.pulls_at_once == 1},
              {"registryPullQPS", k.pulls_a_second},
              {"registryBurst", k.pulls_burst},
              {"seccompDefault", k.seccomp_default},
              {"allowedUnsafeSysctls", array(k.unsafe_sysctls.begin(), k.unsafe_sysctls.end())},
              {"containerLogMaxSize",
               c.kubelet.log_bytes_max == 0 ? std::string("-1") : std::to_string(c.kubelet.log_bytes_max)},
              {"containerLogMaxFiles", c.kubelet.log_files_max},
              {"evictionHard", std::move(hard)},
              {"evictionSoft", std::move(soft)},
              {"evictionSoftGracePeriod", std::move(grace)},
              {"evictionMinimumReclaim", std::move(reclaim)},
              {"evictionPressureTransitionPeriod", format_duration(k.pressure_transition)},
              {"failSwapOn", false},
              {"containerRuntimeEndpoint", c.container_runtime_endpoint},
              {"staticPodPath", c.agent_folder() + "/pod-manifests"}}}};
}

object list_of_pods(array items) {
  return object{{"kind", "PodList"}, {"apiVersion", "v1"}, {"metadata", object{}}, {"items", std::move(items)}};
}

// The pods that the API has bound here, as this node knows them.
value pod_list(const pod_manager& pods) {
  array items;
  for (auto* p : pods.all()) {
    auto pod = *p->pod();
    pod.set("status", p->status());
    items.push_back(std::move(pod));
  }
  return list_of_pods(std::move(items));
}

// What the runtime runs, and nothing that only the API knows.
value running_list(const pod_manager& pods) {
  array items;
  for (auto* p : pods.all()) {
    array containers;
    for (auto& c : p->seen().containers)
      if (c.state == container_state::running)
        containers.emplace_back(object{{"name", c.name}, {"image", c.image}, {"resources", object{}}});
    if (containers.empty()) continue;
    auto& m = (*p->pod())["metadata"];
    items.emplace_back(
        object{{"metadata", object{{"name", m["name"]}, {"namespace", m["namespace"]}, {"uid", m["uid"]}}},
               {"spec", object{{"containers", std::move(containers)}}},
               {"status", object{}}});
  }
  return list_of_pods(std::move(items));
}

bool asks_for_brief(std::string_view query) {
  for (auto part : split(query, '&'))
    if (part == "only_cpu_and_memory=true") return true;
  return false;
}

// --- /logs

std::string html_escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

// Read on the offload pool alone, so it is no descriptor of a loop.
class file_handle {
 public:
  explicit file_handle(int fd = -1) noexcept : fd_(fd) {}
  file_handle(file_handle&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  file_handle& operator=(file_handle o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~file_handle() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

struct opened_log {
  bool is_folder = false;
  std::string listing;                      // of a folder
  std::shared_ptr<const file_handle> file;  // shared with a read that outlives its request
  std::uint64_t size = 0;
};

// `path` below `root`, wherever links lead, but never out of the folder.
result<opened_log> open_log(const std::string& root, const std::string& path) {
  std::error_code problem;
  auto base = std::filesystem::canonical(root, problem);
  if (problem) return fail(errc::not_found, root + " isn't there");
  auto full = std::filesystem::canonical(base / path, problem);
  if (problem) return fail(errc::not_found, "404 page not found");
  auto text = full.string();
  if (text != base.string() && !text.starts_with(base.string() + "/"))
    return fail(errc::not_found, "404 page not found");
  opened_log out;
  out.file = std::make_shared<file_handle>(::open(text.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (out.file->get() < 0) return fail(os_error(errno, "open " + path));
  struct stat about{};
  if (::fstat(out.file->get(), &about) != 0) return fail(os_error(errno, "stat " + path));
  if (S_ISREG(about.st_mode)) {
    out.size = static_cast<std::uint64_t>(about.st_size);
    return out;
  }
  if (!S_ISDIR(about.st_mode)) return fail(errc::not_found, "404 page not found");
  out.is_folder = true;
  std::vector<std::string> names;
  for (auto it = std::filesystem::directory_iterator(full, problem);
       !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
    std::error_code ignored;
    auto name = it->path().filename().string();
    names.push_back(it->is_directory(ignored) ? name + "/" : name);
    if (names.size() == log_folder_entries_max) break;
  }
  std::sort(names.begin(), names.end());
  // As Go's file server has it.
  out.listing = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n";
  for (auto& n : names) {
    std::string href = percent_encode(std::string_view(n).substr(0, n.size() - (n.ends_with('/') ? 1 : 0))) +
                       (n.ends_with('/') ? "/" : "");
    out.listing += fmt::format("<a href=\"{}\">{}</a>\n", href, html_escaped(n));
  }
  out.listing += "</pre>\n";
  return out;
}

result<std::string> read_piece(int file, std::uint64_t at, std::size_t most) {
  std::string out(most, '\0');
  auto n = ::pread(file, out.data(), most, static_cast<off_t>(at));
  if (n < 0) return fail(os_error(errno, "read a log"));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

}  // namespace

namespace {

task<void> answer_refused(exchange& e, const error& why) {
  switch (why.code) {
    case errc::unauthenticated: return answer_text(e, 401, "Unauthorized");
    case errc::forbidden: return answer_text(e, 403, why.message);
    default:
      log::warning("kubelet API: {} {} can't be authorized: {}", e.request().method, e.request().path, why.message);
      return answer_text(e, 500, "Internal Error: " + why.message);
  }
}

}  // namespace

task<void> kubelet_api::serve(exchange& e) {
  if (auto& path = e.request().path; parts_.mirror && (path == "/v2" || path.starts_with("/v2/")))
    co_return co_await serve_images(e);
  auto allowed =
      co_await reactor::with_deadline(parts_.access.check(e), reactor::loop::current().now() + request_deadline);
  if (!allowed) co_return co_await answer_refused(e, allowed.error());
  co_await serve_allowed(e);
}

task<void> kubelet_api::serve_images(exchange& e) {
  auto who =
      co_await reactor::with_deadline(parts_.access.check_member(e), reactor::loop::current().now() + request_deadline);
  if (!who) co_return co_await answer_refused(e, who.error());
  co_await parts_.mirror->serve(e, *std::move(who));
}

// {"base": "/var/lib/rancher/k3s/storage", "folder": "pvc-…"}
task<void> kubelet_api::serve_local_volumes(exchange& e) {
  auto body = co_await e.read_all();
  auto asked = body ? json::parse(*body) : result<value>(fail(body.error()));
  auto v =
      asked ? local_volume::make(std::string((*asked)["base"].as_string()), std::string((*asked)["folder"].as_string()))
            : result<local_volume>(fail(asked.error()));
  if (!v) co_return co_await answer_text(e, 400, v.error().message);
  const bool makes = e.request().path.ends_with("/make");
  auto done = co_await reactor::offload(
      [volume = *std::move(v), makes] { return makes ? make_local_volume(volume) : remove_local_volume(volume); });
  if (done && *done) co_return co_await answer_text(e, 200, "ok");
  co_await answer_text(e, 500, done ? done->error().message : done.error().message);
}

// /checkpoint/namespace/pod/container[?timeout=seconds] (KEP-2008)
task<void> kubelet_api::serve_checkpoint(exchange& e) {
  std::vector<std::string> parts;
  for (auto part : split(std::string_view(e.request().path).substr(1), '/'))
    if (auto decoded = percent_decode(part, false)) parts.push_back(*std::move(decoded));
  if (parts.size() != 4) co_return co_await answer_text(e, 404, "404 page not found\n");
  auto &ns = parts[1], &pod = parts[2], &container = parts[3];
  auto* worker = parts_.pods.find(ns, pod);
  if (!worker) co_return co_await answer_text(e, 404, "pod does not exist");
  if (container_named(*worker->pod(), container).is_null())
    co_return co_await answer_text(e, 404, fmt::format("container {} does not exist", container));
  std::int64_t timeout = 0;
  for (auto part : split(e.request().query, '&'))
    if (part.starts_with("timeout=")) {
      auto seconds = parse_int(part.substr(8));
      if (!seconds || *seconds < 0) co_return co_await answer_text(e, 404, "cannot parse value of timeout parameter");
      timeout = std::min(*seconds, checkpoint_seconds_max);
    }
  auto failed = [&](std::string_view why) {
    return answer_text(e, 500, fmt::format("checkpointing of {}/{}/{} failed ({})", ns, pod, container, why));
  };
  auto* running = worker->seen().newest(container);
  if (!running) co_return co_await failed(fmt::format("container {} not found", container));
  const std::string id = running->id;  // its worker sees others, or goes, while this waits
  const auto folder = parts_.config.kubelet_folder() + "/checkpoints";
  const auto file = fmt::format("{}/checkpoint-{}_{}-{}-{}.tar", folder, pod, ns, container,
                                format_rfc3339(reactor::loop::current().wall_now()));
  auto made = co_await reactor::offload([folder] { return ::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST; });
  if (!made || !*made) co_return co_await failed(fmt::format("{} can't be made", folder));
  auto done = co_await parts_.cri.checkpoint(id, file, timeout);
  if (!done) co_return co_await failed(rpc_text(done.error()));
  co_await answer_json(e, object{{"items", array{value(file)}}});
}

task<void> kubelet_api::serve_allowed(exchange& e) {
  auto& path = e.request().path;
  auto is = [&](std::string_view p) { return path == p; };
  auto below = [&](std::string_view p) {
    return path.starts_with(p) && path.size() > p.size() && path[p.size()] == '/';
  };
  if (pod_streams::serves(path)) co_return co_await parts_.streams.serve(e);
  if (below("/cri") || (below("/checkpoint") && !parts_.config.kubelet.checkpoints))
    co_return co_await answer_text(e, 404, "404 page not found\n");
  const auto& method = e.request().method;
  if (method == "POST" && (is("/localVolumes/make") || is("/localVolumes/remove")))
    co_return co_await serve_local_volumes(e);
  if (method == "POST" && below("/checkpoint")) co_return co_await serve_checkpoint(e);
  if (method != "GET" && method != "HEAD" && !(method == "POST" && is("/stats/summary")))
    co_return co_await answer_text(e, 405, "405: Method Not Allowed");
  if (is("/healthz") || is("/healthz/ping") || is("/healthz/log") || is("/healthz/syncloop"))
    co_return co_await answer_text(e, 200, "ok");
  if (is("/pods") || is("/pods/")) co_return co_await answer_json(e, pod_list(parts_.pods));
  if (is("/runningpods") || is("/runningpods/")) co_return co_await answer_json(e, running_list(parts_.pods));
  if (is("/configz"))
    co_return co_await answer_json(e, configuration(parts_.config, parts_.cluster_domain, parts_.cluster_dns));
  if (is("/metrics")) co_return co_await serve_metrics(e);
  if (is("/metrics/probes")) co_return co_await serve_probes(e);
  if (is("/metrics/resource")) co_return co_await serve_resource_metrics(e);
  if (is("/metrics/cadvisor")) co_return co_await serve_cadvisor_metrics(e);
  if (is("/stats/summary")) co_return co_await serve_summary(e);
  if (is("/logs")) {
    response moved{.status = 301};
    moved.headers.add("Location", "/logs/");
    (void)co_await e.respond(moved, "");
    co_return;
  }
  if (below("/logs")) co_return co_await serve_logs(e);
  co_await answer_text(e, 404, "404 page not found\n");
}

namespace {

task<result<node_stats>> read_own(std::string folder) {
  KEDGE_CO_TRY(auto read,
               co_await reactor::offload([folder = std::move(folder)] { return read_node_stats("", folder); }));
  co_return read;
}

task<void> answer_failed(exchange& e, const error& why) {
  return answer_text(e, 500, "Internal Error: " + why.message);
}

// What `make` makes on the pool, since it is as long as the node has pods.
template <typename F>
task<void> answer_made(exchange& e, std::string type, F make) {
  auto made = co_await reactor::offload(std::move(make));
  if (!made) co_return co_await answer_failed(e, made.error());
  co_await answer(e, 200, type, *std::move(made));
}

const std::string metrics_type(exposition::content_type);

}  // namespace

task<void> kubelet_api::serve_metrics(exchange& e) {
  auto own = co_await read_own(parts_.config.agent_folder());
  if (!own) co_return co_await answer_failed(e, own.error());
  exposition out;
  constexpr std::string_view gauge = "gauge";
  out.family("kubelet_node_name", gauge, "[ALPHA] The node's name. The count is always 1.");
  out.sample(label_text({{"node", parts_.config.node_name}}), 1);
  add_pod_counts(out, parts_.pods);
  out.family("kubernetes_build_info", gauge, "[ALPHA] A metric with a constant '1' value labeled by the version.");
  out.sample(label_text({{"git_version", parts_.config.version}}), 1);
  out.family("kedge_node_runtime_ready", gauge, "Whether the container runtime and its network are ready.");
  out.sample("", parts_.runtime.ready() ? 1 : 0);
  add_process(out, *own);
  if (parts_.more_metrics) parts_.more_metrics(out);
  co_await answer(e, 200, exposition::content_type, out.take());
}

task<void> kubelet_api::serve_probes(exchange& e) {
  auto own = co_await read_own(parts_.config.agent_folder());
  if (!own) co_return co_await answer_failed(e, own.error());
  co_await answer(e, 200, exposition::content_type, probe_metrics(parts_.pods, *own));
}

task<void> kubelet_api::serve_resource_metrics(exchange& e) {
  auto usage = co_await parts_.usage.now();
  if (!usage) log::warning("what pods use can't be measured: {}", usage.error().message);
  co_await answer_made(e, metrics_type, [u = usage ? *usage : nullptr] { return resource_metrics(u.get()); });
}

task<void> kubelet_api::serve_cadvisor_metrics(exchange& e) {
  auto usage = co_await parts_.usage.now();
  if (!usage) co_return co_await answer_failed(e, usage.error());
  co_await answer_made(e, metrics_type,
                       [u = *usage, machine = parts_.machine] { return cadvisor_metrics(*u, machine); });
}

task<void> kubelet_api::serve_summary(exchange& e) {
  auto usage = co_await parts_.usage.now();
  if (!usage) co_return co_await answer_failed(e, usage.error());
  const bool brief = asks_for_brief(e.request().query);
  layer_usages layers;
  if (!brief) {
    // The runtime alone knows the layers; while it doesn't answer, the rest is told without them.
    auto all =
        co_await reactor::with_deadline(parts_.containers.usage(), reactor::loop::current().now() + runtime_deadline);
    if (all)
      for (auto& c : *all) layers[c.id] = {.bytes = c.disk_bytes, .inodes = c.inodes};
  }
  co_await answer_made(
      e, "application/json",
      [u = *usage, name = parts_.config.node_name, layers = std::move(layers), brief, volumes = parts_.volumes] {
        return json::write(usage_summary(*u, name, layers, brief, volumes));
      });
}

task<void> kubelet_api::serve_logs(exchange& e) {
  auto path = percent_decode(std::string_view(e.request().path).substr(6), false);
  bool bad = !path || path->find('\0') != std::string::npos;
  if (!bad)
    for (auto part : split(*path, '/')) bad |= part == "..";
  if (bad) co_return co_await answer_text(e, 400, "invalid URL path\n");
  auto opened = co_await reactor::offload([root = parts_.logs_folder, p = *path] { return open_log(root, p); });
  if (!opened || !*opened)
    co_return co_await answer_text(e, opened && opened->error().code == errc::not_found ? 404 : 500,
                                   (opened ? opened->error().message : opened.error().message) + "\n");
  auto& log = **opened;
  if (log.is_folder) {
    if (!path->empty() && !path->ends_with('/')) {
      response moved{.status = 301};
      moved.headers.add("Location", e.request().path + "/");
      (void)co_await e.respond(moved, "");
      co_return;
    }
    co_return co_await answer(e, 200, "text/html; charset=utf-8", std::move(log.listing));
  }
  response head;
  head.headers.add("Content-Type", "text/plain; charset=utf-8");
  if (e.request().method == "HEAD") {
    (void)co_await e.respond(head, "");
    co_return;
  }
  if (!co_await e.start(head)) co_return;
  // Up to the size that it had: a log that grows has no end.
  for (std::uint64_t at = 0; at < log.size;) {
    auto most = static_cast<std::size_t>(std::min<std::uint64_t>(log_piece_bytes, log.size - at));
    auto piece = co_await reactor::offload([file = log.file, at, most] { return read_piece(file->get(), at, most); });
    if (!piece || !*piece) co_return e.abort();
    if ((*piece)->empty()) break;
    at += (*piece)->size();
    if (!co_await e.write(**piece)) co_return;
  }
  (void)co_await e.finish();
}

}  // namespace kedge::node
