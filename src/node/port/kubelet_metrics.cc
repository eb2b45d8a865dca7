#include "node/port/kubelet_metrics.h"

#include <fmt/format.h>

#include <map>

namespace kedge::node {

namespace {

constexpr std::string_view counter = "counter", gauge = "gauge";

std::string_view name_of_state(container_state s) {
  switch (s) {
    case container_state::created: return "created";
    case container_state::running: return "running";
    case container_state::exited: return "exited";
    case container_state::unknown: break;
  }
  return "unknown";
}

constexpr std::string_view start_time_help = "Start time of the process since unix epoch in seconds.";

void add_start_time(exposition& out, const node_stats& s, std::string_view help) {
  out.family("process_start_time_seconds", gauge, help);
  out.sample("", s.own_started);
}

// Of each probe that has been tried: f(its pod, container, kind, counts).
template <typename F>
void each_probe(const pod_manager& pods, F f) {
  for (auto* p : pods.all())
    for (auto& [which, counts] : p->probes()) f(*p, which.first, which.second, counts);
}

}  // namespace

void add_pod_counts(exposition& out, const pod_manager& pods) {
  std::size_t sandboxes = 0;
  std::map<std::string_view, std::size_t> containers;
  for (auto* p : pods.all()) {
    sandboxes += p->seen().active_sandbox() != nullptr;
    for (auto& c : p->seen().containers) ++containers[name_of_state(c.state)];
  }
  out.family("kubelet_running_pods", gauge, "[ALPHA] Number of pods that have a running pod sandbox");
  out.sample("", sandboxes);
  out.family("kubelet_running_containers", gauge, "[ALPHA] Number of containers currently running");
  for (auto& [state, n] : containers) out.sample(label_text({{"container_state", state}}), n);
}

void add_process(exposition& out, const node_stats& s) {
  out.family("process_cpu_seconds_total", counter, "Total user and system CPU time spent in seconds.");
  out.sample("", static_cast<double>(s.own_cpu_nanoseconds) / 1e9);
  out.family("process_resident_memory_bytes", gauge, "Resident memory size in bytes.");
  out.sample("", s.own_resident_bytes);
  out.family("process_open_fds", gauge, "Number of open file descriptors.");
  out.sample("", s.own_descriptors);
  out.family("process_max_fds", gauge, "Maximum number of open file descriptors.");
  out.sample("", s.own_descriptors_max);
  add_start_time(out, s, start_time_help);
}

std::string probe_metrics(const pod_manager& pods, const node_stats& s) {
  exposition out;
  add_start_time(out, s, fmt::format("[ALPHA] {}", start_time_help));
  out.family("prober_probe_duration_seconds", "histogram", "[ALPHA] Duration in seconds for a probe response.");
  each_probe(pods, [&](auto& pod, auto& container, auto kind, auto& counts) {
    auto& m = (*pod.pod())["metadata"];
    counts.took.write(out, label_text({{"container", container},
                                       {"namespace", m["namespace"].as_string()},
                                       {"pod", m["name"].as_string()},
                                       {"probe_type", name_of(kind)}}));
  });
  out.family("prober_probe_total", counter,
             "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.");
  each_probe(pods, [&](auto& pod, auto& container, auto kind, auto& counts) {
    auto& m = (*pod.pod())["metadata"];
    auto one = [&](std::string_view result, std::uint64_t n) {
      if (n == 0) return;
      out.sample(label_text({{"container", container},
                             {"namespace", m["namespace"].as_string()},
                             {"pod", m["name"].as_string()},
                             {"pod_uid", m["uid"].as_string()},
                             {"probe_type", name_of(kind)},
                             {"result", result}}),
                 n);
    };
    one("failed", counts.failed);
    one("successful", counts.successful);
  });
  return out.take();
}

}  // namespace kedge::node
