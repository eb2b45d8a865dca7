#include "node/port/kubelet_api.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "base/strings.h"
#include "json/write.h"
#include "node/limits.h"
#include "node/machine/node_stats.h"
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

std::int64_t whole(std::uint64_t n) { return static_cast<std::int64_t>(n); }

std::string rfc3339(std::int64_t unix_seconds) { return format_rfc3339(wall_time(std::chrono::seconds(unix_seconds))); }

// The settings that a kubelet would have been started with for what this agent does.
value configuration(const agent_config& c, const std::string& domain, const std::vector<std::string>& dns) {
  array servers;
  for (auto& d : dns) servers.emplace_back(d);
  return object{
      {"kubeletconfig",
       object{{"address", c.bind_address.empty() ? "0.0.0.0" : c.bind_address},
              {"port", whole(c.kubelet_port)},
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
              {"nodeStatusUpdateFrequency", "10s"},
              {"nodeStatusReportFrequency", "5m0s"},
              {"nodeLeaseDurationSeconds", lease_duration_seconds},
              {"maxPods", pods_max},
              {"evictionHard", object{{"imagefs.available", "5%"}, {"nodefs.available", "5%"}}},
              {"failSwapOn", false},
              {"containerRuntimeEndpoint", c.container_runtime_endpoint},
              {"staticPodPath", c.agent_folder() + "/pod-manifests"}}}};
}

// The pods that the API has bound here, as this node knows them; or only those that run.
value pod_list(const pod_manager& pods, bool running) {
  array items;
  for (auto* p : pods.all()) {
    if (running && !p->seen().runs_anything()) continue;
    auto pod = *p->pod();
    pod.set("status", p->status());
    items.push_back(std::move(pod));
  }
  return object{{"kind", "PodList"}, {"apiVersion", "v1"}, {"metadata", object{}}, {"items", std::move(items)}};
}

struct running_counts {
  std::size_t sandboxes = 0, containers = 0;
};
running_counts count_running(const pod_manager& pods) {
  running_counts out;
  for (auto* p : pods.all()) {
    if (p->seen().active_sandbox()) ++out.sandboxes;
    for (auto& c : p->seen().containers) out.containers += c.state == container_state::running;
  }
  return out;
}

void metric(std::string& out, std::string_view name, std::string_view type, std::string_view help,
            const std::string& samples) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n{}", name, help, name, type, samples);
}

std::string process_metrics(const node_stats& s) {
  std::string out;
  auto one = [&](std::string_view name, std::string_view type, std::string_view help, double v) {
    metric(out, name, type, help, fmt::format("{} {}\n", name, v));
  };
  one("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
      static_cast<double>(s.own_cpu_nanoseconds) / 1e9);
  one("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
      static_cast<double>(s.own_resident_bytes));
  one("process_open_fds", "gauge", "Number of open file descriptors.", static_cast<double>(s.own_descriptors));
  one("process_max_fds", "gauge", "Maximum number of open file descriptors.",
      static_cast<double>(s.own_descriptors_max));
  one("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", s.own_started);
  return out;
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

task<void> kubelet_api::serve(exchange& e) {
  auto allowed =
      co_await reactor::with_deadline(parts_.access.check(e), reactor::loop::current().now() + request_deadline);
  if (allowed) co_return co_await serve_allowed(e);
  switch (allowed.error().code) {
    case errc::unauthenticated: co_return co_await answer_text(e, 401, "Unauthorized");
    case errc::forbidden: co_return co_await answer_text(e, 403, allowed.error().message);
    default:
      log::warning("kubelet API: {} {} can't be authorized: {}", e.request().method, e.request().path,
                   allowed.error().message);
      co_return co_await answer_text(e, 500, "Internal Error: " + allowed.error().message);
  }
}

task<void> kubelet_api::serve_allowed(exchange& e) {
  auto& path = e.request().path;
  auto is = [&](std::string_view p) { return path == p; };
  auto below = [&](std::string_view p) {
    return path.starts_with(p) && path.size() > p.size() && path[p.size()] == '/';
  };
  if (pod_streams::serves(path)) co_return co_await parts_.streams.serve(e);
  for (std::string_view p : {"/cri", "/checkpoint"})
    if (below(p)) co_return co_await answer_text(e, 404, "404 page not found\n");
  if (e.request().method != "GET" && e.request().method != "HEAD")
    co_return co_await answer_text(e, 405, "405: Method Not Allowed");
  if (is("/healthz") || is("/healthz/ping") || is("/healthz/log") || is("/healthz/syncloop"))
    co_return co_await answer_text(e, 200, "ok");
  if (is("/pods") || is("/pods/") || is("/runningpods") || is("/runningpods/"))
    co_return co_await answer_json(e, pod_list(parts_.pods, below("/runningpods") || is("/runningpods")));
  if (is("/configz"))
    co_return co_await answer_json(e, configuration(parts_.config, parts_.cluster_domain, parts_.cluster_dns));
  if (is("/metrics")) co_return co_await serve_metrics(e, false);
  if (is("/metrics/resource")) co_return co_await serve_metrics(e, true);
  if (is("/metrics/probes") || is("/metrics/cadvisor"))
    co_return co_await answer(e, 200, "text/plain; version=0.0.4; charset=utf-8", "");
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

task<void> kubelet_api::serve_metrics(exchange& e, bool resource) {
  auto read =
      co_await reactor::offload([folder = parts_.config.agent_folder()] { return read_node_stats("", folder); });
  if (!read || !*read) co_return co_await answer_text(e, 500, read ? read->error().message : read.error().message);
  auto& s = **read;
  std::string out;
  auto quoted_name = quote(parts_.config.node_name);
  if (resource) {
    auto ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(reactor::loop::current().wall_now().time_since_epoch())
            .count();
    auto sample = [&](std::string_view name, std::string_view type, std::string_view help, double v) {
      metric(out, name, type, fmt::format("[STABLE] {}", help), fmt::format("{} {} {}\n", name, v, ms));
    };
    sample("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds",
           static_cast<double>(s.cpu_nanoseconds) / 1e9);
    sample("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes",
           static_cast<double>(s.memory_working_set_bytes));
    sample("node_swap_usage_bytes", "gauge",
           "Current swap usage of the node in bytes. Reported only on non-windows systems",
           static_cast<double>(s.swap_usage_bytes));
    metric(out, "resource_scrape_error", "gauge",
           "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
           "resource_scrape_error 0\n");
  } else {
    metric(out, "kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.",
           fmt::format("kubelet_node_name{{node={}}} 1\n", quoted_name));
    auto running = count_running(parts_.pods);
    metric(out, "kubelet_running_pods", "gauge", "[ALPHA] Number of pods that have a running pod sandbox",
           fmt::format("kubelet_running_pods {}\n", running.sandboxes));
    metric(out, "kubelet_running_containers", "gauge", "[ALPHA] Number of containers currently running",
           fmt::format("kubelet_running_containers{{container_state=\"running\"}} {}\n", running.containers));
    metric(out, "kubernetes_build_info", "gauge", "[ALPHA] A metric with a constant '1' value labeled by the version.",
           fmt::format("kubernetes_build_info{{git_version={}}} 1\n", quote(parts_.config.version)));
    metric(out, "kedge_node_runtime_ready", "gauge", "Whether the container runtime and its network are ready.",
           fmt::format("kedge_node_runtime_ready {}\n", parts_.runtime.ready() ? 1 : 0));
    out += process_metrics(s);
    if (parts_.more_metrics) out += parts_.more_metrics();
  }
  co_await answer(e, 200, "text/plain; version=0.0.4; charset=utf-8", std::move(out));
}

task<void> kubelet_api::serve_summary(exchange& e) {
  auto read =
      co_await reactor::offload([folder = parts_.config.agent_folder()] { return read_node_stats("", folder); });
  if (!read || !*read) co_return co_await answer_text(e, 500, read ? read->error().message : read.error().message);
  auto& s = **read;
  auto now = format_rfc3339(std::chrono::floor<std::chrono::seconds>(reactor::loop::current().wall_now()));
  object disk{{"time", now},
              {"availableBytes", whole(s.disk_available_bytes)},
              {"capacityBytes", whole(s.disk_bytes)},
              {"usedBytes", whole(s.disk_bytes - std::min(s.disk_bytes, s.disk_available_bytes))},
              {"inodesFree", whole(s.inodes_free)},
              {"inodes", whole(s.inodes)},
              {"inodesUsed", whole(s.inodes - std::min(s.inodes, s.inodes_free))}};
  object node{{"nodeName", parts_.config.node_name},
              {"startTime", rfc3339(s.booted)},
              {"cpu", object{{"time", now}, {"usageCoreNanoSeconds", whole(s.cpu_nanoseconds)}}},
              {"memory", object{{"time", now},
                                {"availableBytes", whole(s.memory_available_bytes)},
                                {"usageBytes", whole(s.memory_usage_bytes)},
                                {"workingSetBytes", whole(s.memory_working_set_bytes)},
                                {"rssBytes", whole(s.memory_rss_bytes)}}},
              {"fs", disk},
              {"runtime", object{{"imageFs", disk}}},
              {"rlimit", object{{"time", now}, {"maxpid", s.processes_max}, {"curproc", s.processes}}},
              {"swap", object{{"time", now},
                              {"swapAvailableBytes", whole(s.swap_total_bytes - s.swap_usage_bytes)},
                              {"swapUsageBytes", whole(s.swap_usage_bytes)}}}};
  if (!s.network_interface.empty()) {
    object one{{"name", s.network_interface},
               {"rxBytes", whole(s.received_bytes)},
               {"rxErrors", whole(s.receive_errors)},
               {"txBytes", whole(s.sent_bytes)},
               {"txErrors", whole(s.send_errors)}};
    value network(object{{"time", now}});
    for (auto& m : one) network.set(m.name, m.value);
    network.set("interfaces", array{one});
    node.set("network", std::move(network));
  }
  co_await answer_json(e, object{{"node", std::move(node)}, {"pods", array{}}});
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
