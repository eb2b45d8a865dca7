#include "api/metrics/metrics.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

#include "base/time.h"

namespace kedge::api {
namespace {

// kube-apiserver's buckets of apiserver_request_duration_seconds.
constexpr double duration_bounds[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,  1.25, 1.5, 2,
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
  out += fmt::format(
      "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n# TYPE "
      "process_cpu_seconds_total counter\n"
      "process_cpu_seconds_total {:.3f}\n",
      seconds(use.ru_utime) + seconds(use.ru_stime));
  long total = 0, resident = 0;
  if (auto f = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(f, "%ld %ld", &total, &resident) != 2) total = resident = 0;
    std::fclose(f);
  }
  const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
  append_gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes.",
               static_cast<double>(resident) * page);
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

std::size_t histogram::bucket_of(double x) const noexcept {
  std::size_t i = 0;
  while (i < bounds_.size() && x > bounds_[i]) ++i;
  return i;
}

void histogram::observe(double x) noexcept {
  counts_[bucket_of(x)].fetch_add(1, std::memory_order_relaxed);
  sum_billionths_.fetch_add(static_cast<std::uint64_t>(x * 1e9), std::memory_order_relaxed);
}

void histogram::observe_own(double x) noexcept {
  auto add = [](std::atomic<std::uint64_t>& to, std::uint64_t n) {
    to.store(to.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  };
  add(counts_[bucket_of(x)], 1);
  add(sum_billionths_, static_cast<std::uint64_t>(x * 1e9));
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

metric_cell& metrics::cell(std::string_view name, std::string_view help, const char* type, std::string_view labels,
                           std::size_t core) {
  std::scoped_lock lock(mutex_);
  auto& c = find_family(name, help, type).cells[std::string(labels)][core];
  if (!c) c = std::make_unique<metric_cell>();
  return *c;
}

metric_cell& metrics::counter(std::string_view name, std::string_view help, std::string_view labels, std::size_t core) {
  return cell(name, help, "counter", labels, core);
}

metric_cell& metrics::gauge(std::string_view name, std::string_view help, std::string_view labels, std::size_t core) {
  return cell(name, help, "gauge", labels, core);
}

histogram& metrics::durations(std::string_view name, std::string_view help, std::string_view labels, std::size_t core) {
  return observations(name, help, labels, duration_bounds, core);
}

histogram& metrics::observations(std::string_view name, std::string_view help, std::string_view labels,
                                 std::span<const double> bounds, std::size_t core) {
  std::scoped_lock lock(mutex_);
  auto& h = find_family(name, help, "histogram").histograms[std::string(labels)][core];
  if (!h) h = std::make_unique<histogram>(bounds);
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
    for (auto& [labels, cells] : f.cells) {
      std::int64_t sum = 0;
      for (auto& [core, cell] : cells) sum += cell->value();
      out += fmt::format("{}{} {}\n", name, braces(labels), sum);
    }
    for (auto& [labels, cells] : f.histograms) {
      auto total = [&](auto&& of) {
        std::uint64_t n = 0;
        for (auto& [core, h] : cells) n += of(*h).load(std::memory_order_relaxed);
        return n;
      };
      auto& bounds = cells.begin()->second->bounds_;
      std::uint64_t sum = 0;
      auto comma = labels.empty() ? "" : ",";
      for (std::size_t i = 0; i <= bounds.size(); ++i) {
        sum += total([i](const histogram& h) -> auto& { return h.counts_[i]; });
        auto le = i < bounds.size() ? fmt::format("{}", bounds[i]) : std::string("+Inf");
        out += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels, comma, le, sum);
      }
      out +=
          fmt::format("{}_sum{} {}\n", name, braces(labels),
                      static_cast<double>(total([](const histogram& h) -> auto& { return h.sum_billionths_; })) / 1e9);
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
