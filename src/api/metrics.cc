#include "api/metrics.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

#include "base/time.h"

namespace kedge::api {
namespace {

// kube-apiserver's buckets of apiserver_request_duration_seconds.
constexpr double duration_bounds[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2,
                                      3,     4,     5,    6,   8,   10,  15,  20,  30, 45,   60};

const wall_time process_start = system_wall_time();

long open_descriptors() {
  // The rough number is enough, without reading a directory: the next free descriptor.
  int fd = dup(0);
  if (fd < 0) return 0;
  close(fd);
  return fd;
}

void append_process(std::string& out) {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  out += fmt::format("# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n# TYPE process_cpu_seconds_total counter\n"
                     "process_cpu_seconds_total {:.3f}\n",
                     seconds(use.ru_utime) + seconds(use.ru_stime));
  long total = 0, resident = 0;
  if (auto f = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(f, "%ld %ld", &total, &resident) != 2) total = resident = 0;
    std::fclose(f);
  }
  const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
  append_gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes.", static_cast<double>(resident) * page);
  append_gauge(out, "process_virtual_memory_bytes", "Virtual memory size in bytes.", static_cast<double>(total) * page);
  append_gauge(out, "process_open_fds", "Number of open file descriptors.", static_cast<double>(open_descriptors()));
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  append_gauge(out, "process_max_fds", "Maximum number of open file descriptors.", static_cast<double>(limit.rlim_cur));
  append_gauge(out, "process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
               static_cast<double>(process_start.time_since_epoch().count()) / 1e9);
}

std::string braces(std::string_view labels) { return labels.empty() ? std::string() : fmt::format("{{{}}}", labels); }

}  // namespace

histogram::histogram(std::span<const double> bounds)
    : bounds_(bounds), counts_(std::make_unique<std::atomic<std::uint64_t>[]>(bounds.size() + 1)) {}

void histogram::observe(double seconds) noexcept {
  std::size_t i = 0;
  while (i < bounds_.size() && seconds > bounds_[i]) ++i;
  counts_[i].fetch_add(1, std::memory_order_relaxed);
  sum_nanoseconds_.fetch_add(static_cast<std::uint64_t>(seconds * 1e9), std::memory_order_relaxed);
}

metrics::family& metrics::find_family(std::string_view name, std::string_view help, const char* type) {
  auto it = families_.find(name);
  if (it == families_.end()) {
    it = families_.try_emplace(std::string(name)).first;
    it->second.help = help;
    it->second.type = type;
  }
  return it->second;
}

metric_cell& metrics::counter(std::string_view name, std::string_view help, std::string_view labels) {
  std::scoped_lock lock(mutex_);
  auto& cell = find_family(name, help, "counter").cells[std::string(labels)];
  if (!cell) cell = std::make_unique<metric_cell>();
  return *cell;
}

metric_cell& metrics::gauge(std::string_view name, std::string_view help, std::string_view labels) {
  std::scoped_lock lock(mutex_);
  auto& cell = find_family(name, help, "gauge").cells[std::string(labels)];
  if (!cell) cell = std::make_unique<metric_cell>();
  return *cell;
}

histogram& metrics::durations(std::string_view name, std::string_view help, std::string_view labels) {
  std::scoped_lock lock(mutex_);
  auto& h = find_family(name, help, "histogram").histograms[std::string(labels)];
  if (!h) h = std::make_unique<histogram>(duration_bounds);
  return *h;
}

void metrics::collect(std::function<void(std::string&)> more) {
  std::scoped_lock lock(mutex_);
  collectors_.push_back(std::move(more));
}

std::string metrics::text() const {
  std::string out;
  std::scoped_lock lock(mutex_);
  for (auto& [name, f] : families_) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, f.help, name, f.type);
    for (auto& [labels, cell] : f.cells) out += fmt::format("{}{} {}\n", name, braces(labels), cell->value());
    for (auto& [labels, h] : f.histograms) {
      std::uint64_t sum = 0;
      auto comma = labels.empty() ? "" : ",";
      for (std::size_t i = 0; i <= h->bounds_.size(); ++i) {
        sum += h->counts_[i].load(std::memory_order_relaxed);
        auto le = i < h->bounds_.size() ? fmt::format("{}", h->bounds_[i]) : std::string("+Inf");
        out += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels, comma, le, sum);
      }
      out += fmt::format("{}_sum{} {}\n", name, braces(labels),
                         static_cast<double>(h->sum_nanoseconds_.load(std::memory_order_relaxed)) / 1e9);
      out += fmt::format("{}_count{} {}\n", name, braces(labels), sum);
    }
  }
  for (auto& more : collectors_) more(out);
  append_process(out);
  return out;
}

void append_gauge(std::string& out, std::string_view name, std::string_view help, double value) {
  out += fmt::format("# HELP {} {}\n# TYPE {} gauge\n{} {}\n", name, help, name, name, value);
}

}  // namespace kedge::api
