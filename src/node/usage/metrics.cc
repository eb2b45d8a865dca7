#include "node/usage/metrics.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/exposition.h"

namespace kedge::node {

namespace {

double seconds(std::uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }
std::uint64_t or_zero(std::optional<std::uint64_t> n) { return n.value_or(0); }

// One line of each family, for one control group.
struct row {
  std::string labels;  // id, image, name, namespace, pod, container
  const cgroup_usage* used;
  std::int64_t started_at;  // nanoseconds since the epoch; 0: not known
};

struct labels_of_row {
  std::string_view container, id, image, name, ns, pod;
  std::string text() const {
    return label_text(
        {{"container", container}, {"id", id}, {"image", image}, {"name", name}, {"namespace", ns}, {"pod", pod}});
  }
};

// The whole machine as a group: what the kernel keeps of its root group differs by version.
cgroup_usage root_group(const node_usage& u) {
  cgroup_usage out;
  out.at = u.at;
  out.cpu_nanoseconds = u.machine.cpu_nanoseconds;
  out.memory_bytes = u.machine.memory_usage_bytes;
  out.page_faults = u.machine.page_faults;
  out.major_page_faults = u.machine.major_page_faults;
  out.inactive_file_bytes = out.memory_bytes - std::min(out.memory_bytes, u.machine.memory_working_set_bytes);
  out.rss_bytes = u.machine.memory_rss_bytes;
  out.swap_bytes = u.machine.swap_usage_bytes;
  out.memory_limit = u.machine.memory_total_bytes;
  out.processes = static_cast<std::uint64_t>(u.machine.processes);
  out.cpu_pressure = u.cpu_pressure;
  out.memory_pressure = u.memory_pressure;
  out.io_pressure = u.io_pressure;
  return out;
}

std::vector<row> rows_of(const node_usage& u, const cgroup_usage& root) {
  std::vector<row> out;
  out.push_back({labels_of_row{.id = "/"}.text(), &root, u.machine.booted * 1'000'000'000});
  for (auto& g : u.groups) out.push_back({labels_of_row{.id = g.path}.text(), &g.used, 0});
  for (auto& p : u.pods) {
    if (p.used) out.push_back({labels_of_row{.id = p.cgroup, .ns = p.ns, .pod = p.name}.text(), &*p.used, 0});
    if (p.sandbox)
      out.push_back(
          {labels_of_row{.id = p.cgroup + "/" + p.sandbox_id, .name = p.sandbox_id, .ns = p.ns, .pod = p.name}.text(),
           &*p.sandbox, 0});
    for (auto& c : p.measured)
      out.push_back({labels_of_row{.container = c.name,
                                   .id = p.cgroup + "/" + c.id,
                                   .image = c.image,
                                   .name = c.id,
                                   .ns = p.ns,
                                   .pod = p.name}
                         .text(),
                     &c.used, c.started_at});
  }
  return out;
}

struct number_family {
  std::string_view name, type, help;
  double (*value)(const cgroup_usage&);
  bool (*applies)(const cgroup_usage&) = nullptr;
  std::string_view label = {};  // one more
};

double real(std::uint64_t n) { return static_cast<double>(n); }
bool has_quota(const cgroup_usage& u) { return u.cpu_quota_us > 0; }
bool has_pressure(const cgroup_usage& u) { return u.cpu_pressure && u.memory_pressure && u.io_pressure; }
double stalled(const pressure::share& s) { return static_cast<double>(s.total_microseconds) / 1e6; }

constexpr std::string_view counter = "counter", gauge = "gauge";
constexpr number_family measured_families[] = {
    {"container_cpu_usage_seconds_total", counter, "Cumulative cpu time consumed in seconds.",
     [](auto& u) { return seconds(u.cpu_nanoseconds); }, nullptr, "cpu=\"total\""},
    {"container_cpu_user_seconds_total", counter, "Cumulative user cpu time consumed in seconds.",
     [](auto& u) { return seconds(u.cpu_user_nanoseconds); }},
    {"container_cpu_system_seconds_total", counter, "Cumulative system cpu time consumed in seconds.",
     [](auto& u) { return seconds(u.cpu_system_nanoseconds); }},
    {"container_cpu_cfs_periods_total", counter, "Number of elapsed enforcement period intervals.",
     [](auto& u) { return real(u.periods); }, has_quota},
    {"container_cpu_cfs_throttled_periods_total", counter, "Number of throttled period intervals.",
     [](auto& u) { return real(u.throttled_periods); }, has_quota},
    {"container_cpu_cfs_throttled_seconds_total", counter, "Total time duration the container has been throttled.",
     [](auto& u) { return seconds(u.throttled_nanoseconds); }, has_quota},
    {"container_memory_usage_bytes", gauge,
     "Current memory usage in bytes, including all memory regardless of when it was accessed",
     [](auto& u) { return real(u.memory_bytes); }},
    {"container_memory_working_set_bytes", gauge, "Current working set in bytes.",
     [](auto& u) { return real(u.working_set_bytes()); }},
    {"container_memory_rss", gauge, "Size of RSS in bytes.", [](auto& u) { return real(u.rss_bytes); }},
    {"container_memory_cache", gauge, "Number of bytes of page cache memory.",
     [](auto& u) { return real(u.cache_bytes); }},
    {"container_memory_swap", gauge, "Container swap usage in bytes.", [](auto& u) { return real(u.swap_bytes); }},
    {"container_memory_mapped_file", gauge, "Size of memory mapped files in bytes.",
     [](auto& u) { return real(u.mapped_bytes); }},
    {"container_memory_kernel_usage", gauge, "Size of kernel memory allocated in bytes.",
     [](auto& u) { return real(u.kernel_bytes); }},
    {"container_memory_max_usage_bytes", gauge, "Maximum memory usage recorded in bytes",
     [](auto& u) { return real(u.memory_most_bytes); }},
    {"container_memory_failcnt", counter, "Number of memory usage hits limits",
     [](auto& u) { return real(u.memory_limit_hits); }},
    {"container_memory_total_active_file_bytes", gauge, "Current total active file in bytes.",
     [](auto& u) { return real(u.active_file_bytes); }},
    {"container_memory_total_inactive_file_bytes", gauge, "Current total inactive file in bytes.",
     [](auto& u) { return real(u.inactive_file_bytes); }},
    {"container_oom_events_total", counter, "Count of out of memory events observed for the container",
     [](auto& u) { return real(u.oom_kills); }},
    {"container_processes", gauge, "Number of processes running inside the container.",
     [](auto& u) { return real(u.processes); }},
    {"container_threads", gauge, "Number of threads running inside the container",
     [](auto& u) { return real(u.threads); }},
    {"container_threads_max", gauge,
     "Maximum number of threads allowed inside the container, infinity if value is zero",
     [](auto& u) { return real(or_zero(u.threads_limit)); }},
    {"container_pressure_cpu_waiting_seconds_total", counter,
     "Total time duration tasks in the container have waited due to CPU congestion.",
     [](auto& u) { return stalled(u.cpu_pressure->some); }, has_pressure},
    {"container_pressure_cpu_stalled_seconds_total", counter,
     "Total time duration no tasks in the container could make progress due to CPU congestion.",
     [](auto& u) { return stalled(u.cpu_pressure->full); }, has_pressure},
    {"container_pressure_memory_waiting_seconds_total", counter,
     "Total time duration tasks in the container have waited due to memory congestion.",
     [](auto& u) { return stalled(u.memory_pressure->some); }, has_pressure},
    {"container_pressure_memory_stalled_seconds_total", counter,
     "Total time duration no tasks in the container could make progress due to memory congestion.",
     [](auto& u) { return stalled(u.memory_pressure->full); }, has_pressure},
    {"container_pressure_io_waiting_seconds_total", counter,
     "Total time duration tasks in the container have waited due to IO congestion.",
     [](auto& u) { return stalled(u.io_pressure->some); }, has_pressure},
    {"container_pressure_io_stalled_seconds_total", counter,
     "Total time duration no tasks in the container could make progress due to IO congestion.",
     [](auto& u) { return stalled(u.io_pressure->full); }, has_pressure},
};

// What a group is allowed, which has no time of its own.
constexpr number_family spec_families[] = {
    {"container_spec_cpu_period", gauge, "CPU period of the container.", [](auto& u) { return real(u.cpu_period_us); }},
    {"container_spec_cpu_quota", gauge, "CPU quota of the container.",
     [](auto& u) { return static_cast<double>(u.cpu_quota_us); }, has_quota},
    {"container_spec_cpu_shares", gauge, "CPU share of the container.", [](auto& u) { return real(u.cpu_shares); }},
    {"container_spec_memory_limit_bytes", gauge, "Memory limit for the container.",
     [](auto& u) { return real(or_zero(u.memory_limit)); }},
    {"container_spec_memory_swap_limit_bytes", gauge, "Memory swap limit for the container.",
     [](auto& u) { return real(or_zero(u.swap_limit)); }},
};

struct device_family {
  std::string_view name, help;
  std::uint64_t device_io::* value;
};
constexpr device_family device_families[] = {
    {"container_fs_reads_bytes_total", "Cumulative count of bytes read", &device_io::read_bytes},
    {"container_fs_writes_bytes_total", "Cumulative count of bytes written", &device_io::written_bytes},
    {"container_fs_reads_total", "Cumulative count of reads completed", &device_io::reads},
    {"container_fs_writes_total", "Cumulative count of writes completed", &device_io::writes},
};

struct interface_family {
  std::string_view name, help;
  std::uint64_t interface_usage::* value;
};
constexpr interface_family interface_families[] = {
    {"container_network_receive_bytes_total", "Cumulative count of bytes received", &interface_usage::received_bytes},
    {"container_network_receive_packets_total", "Cumulative count of packets received",
     &interface_usage::received_packets},
    {"container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving",
     &interface_usage::receive_drops},
    {"container_network_receive_errors_total", "Cumulative count of errors encountered while receiving",
     &interface_usage::receive_errors},
    {"container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", &interface_usage::sent_bytes},
    {"container_network_transmit_packets_total", "Cumulative count of packets transmitted",
     &interface_usage::sent_packets},
    {"container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting",
     &interface_usage::send_drops},
    {"container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting",
     &interface_usage::send_errors},
};

std::string with_label(const std::string& labels, std::string_view more) {
  return more.empty() ? labels : fmt::format("{},{}", more, labels);
}

void add_network(exposition& out, const node_usage& u) {
  for (auto& f : interface_families) {
    out.family(f.name, counter, f.help);
    for (auto& i : u.network)
      out.sample(with_label(labels_of_row{.id = "/"}.text(), label_text({{"interface", i.name}})), i.*f.value, u.at);
    for (auto& p : u.pods)
      for (auto& i : p.network)
        out.sample(
            with_label(
                labels_of_row{.id = p.cgroup + "/" + p.sandbox_id, .name = p.sandbox_id, .ns = p.ns, .pod = p.name}
                    .text(),
                label_text({{"interface", i.name}})),
            i.*f.value, p.sandbox ? p.sandbox->at : u.at);
  }
}

void add_storage(exposition& out, const node_usage& u) {
  if (u.storage_device.empty()) return;
  auto& m = u.machine;
  const auto labels = with_label(labels_of_row{.id = "/"}.text(), label_text({{"device", u.storage_device}}));
  auto one = [&](std::string_view name, std::string_view help, std::uint64_t n) {
    out.family(name, gauge, help);
    out.sample(labels, n, u.at);
  };
  one("container_fs_limit_bytes", "Number of bytes that can be consumed by the container on this filesystem.",
      m.disk_bytes);
  one("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.",
      m.disk_used_bytes);
  one("container_fs_inodes_total", "Number of Inodes", m.inodes);
  one("container_fs_inodes_free", "Number of available Inodes", m.inodes_free);
}

void add_machine(exposition& out, const node_usage& u, const system_info& machine) {
  const auto ids = label_text(
      {{"boot_id", machine.boot_id}, {"machine_id", machine.machine_id}, {"system_uuid", machine.system_uuid}});
  auto one = [&](std::string_view name, std::string_view help, std::uint64_t n) {
    out.family(name, gauge, help);
    out.sample(ids, n);
  };
  one("machine_cpu_cores", "Number of logical CPU cores.", static_cast<std::uint64_t>(machine.cpus));
  one("machine_memory_bytes", "Amount of memory installed on the machine.", u.machine.memory_total_bytes);
  one("machine_swap_bytes", "Amount of swap memory available on the machine.", u.machine.swap_total_bytes);
  out.family("cadvisor_version_info", gauge,
             "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor "
             "version & cadvisor revision.");
  out.sample(label_text({{"cadvisorRevision", ""},
                         {"cadvisorVersion", ""},
                         {"dockerVersion", ""},
                         {"kernelVersion", machine.kernel_version},
                         {"osVersion", machine.os_image}}),
             1);
}

void add_page_faults(exposition& out, const std::vector<row>& rows) {
  out.family("container_memory_failures_total", counter, "Cumulative count of memory allocation failures.");
  for (auto& r : rows)
    for (std::string_view scope : {"container", "hierarchy"}) {
      out.sample(with_label(r.labels, label_text({{"failure_type", "pgfault"}, {"scope", scope}})), r.used->page_faults,
                 r.used->at);
      out.sample(with_label(r.labels, label_text({{"failure_type", "pgmajfault"}, {"scope", scope}})),
                 r.used->major_page_faults, r.used->at);
    }
}

// --- /metrics/resource

std::string of_container(const measured_pod& p, const measured_container& c) {
  return label_text({{"container", c.name}, {"namespace", p.ns}, {"pod", p.name}});
}
std::string of_pod(const measured_pod& p) { return label_text({{"namespace", p.ns}, {"pod", p.name}}); }

void add_containers(exposition& out, const node_usage& u) {
  auto each = [&](auto give) {
    for (auto& p : u.pods)
      for (auto& c : p.measured) give(of_container(p, c), c);
  };
  out.family("container_cpu_usage_seconds_total", counter,
             "[STABLE] Cumulative cpu time consumed by the container in core-seconds");
  each([&](auto labels, auto& c) { out.sample(labels, seconds(c.used.cpu_nanoseconds), c.used.at); });
  out.family("container_memory_working_set_bytes", gauge, "[STABLE] Current working set of the container in bytes");
  each([&](auto labels, auto& c) { out.sample(labels, c.used.working_set_bytes(), c.used.at); });
  out.family("container_start_time_seconds", gauge, "[STABLE] Start time of the container since unix epoch in seconds");
  each([&](auto labels, auto& c) {
    if (c.started_at > 0) out.sample(labels, static_cast<double>(c.started_at) / 1e9);
  });
  out.family("container_swap_usage_bytes", gauge,
             "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems");
  each([&](auto labels, auto& c) { out.sample(labels, c.used.swap_bytes, c.used.at); });
  out.family("container_swap_limit_bytes", gauge,
             "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems");
  each([&](auto labels, auto& c) {
    if (c.used.swap_limit) out.sample(labels, *c.used.swap_limit, c.used.at);
  });
}

void add_pods(exposition& out, const node_usage& u) {
  auto each = [&](auto give) {
    for (auto& p : u.pods)
      if (p.used) give(of_pod(p), *p.used);
  };
  out.family("pod_cpu_usage_seconds_total", counter,
             "[STABLE] Cumulative cpu time consumed by the pod in core-seconds");
  each([&](auto labels, auto& used) { out.sample(labels, seconds(used.cpu_nanoseconds), used.at); });
  out.family("pod_memory_working_set_bytes", gauge, "[STABLE] Current working set of the pod in bytes");
  each([&](auto labels, auto& used) { out.sample(labels, used.working_set_bytes(), used.at); });
  out.family("pod_swap_usage_bytes", gauge,
             "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems");
  each([&](auto labels, auto& used) { out.sample(labels, used.swap_bytes, used.at); });
}

void add_node(exposition& out, const node_usage& u) {
  out.family("node_cpu_usage_seconds_total", counter,
             "[STABLE] Cumulative cpu time consumed by the node in core-seconds");
  out.sample("", seconds(u.machine.cpu_nanoseconds), u.at);
  out.family("node_memory_working_set_bytes", gauge, "[STABLE] Current working set of the node in bytes");
  out.sample("", u.machine.memory_working_set_bytes, u.at);
  out.family("node_swap_usage_bytes", gauge,
             "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems");
  out.sample("", u.machine.swap_usage_bytes, u.at);
}

}  // namespace

std::string resource_metrics(const node_usage* u) {
  exposition out;
  if (u) {
    add_containers(out, *u);
    add_node(out, *u);
    add_pods(out, *u);
  }
  out.family("resource_scrape_error", gauge,
             "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise");
  out.sample("", u ? 0 : 1);
  out.family("scrape_error", gauge, "[ALPHA] 1 if there was an error while getting container metrics, 0 otherwise");
  out.sample("", u ? 0 : 1);
  return out.take();
}

std::string cadvisor_metrics(const node_usage& u, const system_info& machine) {
  exposition out;
  const auto root = root_group(u);
  const auto rows = rows_of(u, root);
  out.family("container_last_seen", gauge, "Last time a container was seen by the exporter");
  for (auto& r : rows)
    out.sample(r.labels, std::chrono::floor<std::chrono::seconds>(u.at).time_since_epoch().count(), u.at);
  out.family("container_start_time_seconds", gauge, "Start time of the container since unix epoch in seconds.");
  for (auto& r : rows)
    if (r.started_at > 0) out.sample(r.labels, r.started_at / 1'000'000'000);
  for (auto& f : spec_families) {
    out.family(f.name, f.type, f.help);
    for (auto& r : rows)
      if (!f.applies || f.applies(*r.used)) out.sample(r.labels, f.value(*r.used));
  }
  for (auto& f : measured_families) {
    out.family(f.name, f.type, f.help);
    for (auto& r : rows)
      if (!f.applies || f.applies(*r.used)) out.sample(with_label(r.labels, f.label), f.value(*r.used), r.used->at);
  }
  add_page_faults(out, rows);
  for (auto& f : device_families) {
    out.family(f.name, counter, f.help);
    for (auto& r : rows)
      for (auto& d : r.used->io)
        out.sample(with_label(r.labels, label_text({{"device", d.device}})), d.*f.value, r.used->at);
  }
  add_storage(out, u);
  add_network(out, u);
  add_machine(out, u, machine);
  out.family("container_scrape_error", gauge, "1 if there was an error while getting container metrics, 0 otherwise");
  out.sample("", 0);
  return out.take();
}

}  // namespace kedge::node
