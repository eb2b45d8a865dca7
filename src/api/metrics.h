// metrics.h: what /metrics tells, in Prometheus' text format, under kube-apiserver's names.
//
// A series is looked up once by name and labels (under a mutex, from any thread) and then counted without a lock: cells are
// relaxed atomics, since a scrape only needs each number whole, not all of them of one moment.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kedge::api {

class metric_cell {
 public:
  void add(std::int64_t n = 1) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  void set(std::int64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  std::int64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

class histogram {
 public:
  explicit histogram(std::span<const double> bounds);
  void observe(double seconds) noexcept;

 private:
  friend class metrics;
  std::span<const double> bounds_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> counts_;  // one a bound, and +Inf
  std::atomic<std::uint64_t> sum_nanoseconds_{0};
};

class metrics {
 public:
  // `labels` as they stand between the braces: `code="200",verb="GET"`. References live as long as this.
  metric_cell& counter(std::string_view name, std::string_view help, std::string_view labels);
  metric_cell& gauge(std::string_view name, std::string_view help, std::string_view labels);
  histogram& durations(std::string_view name, std::string_view help, std::string_view labels);
  // Asked at each scrape; appends whole families in text format.
  void collect(std::function<void(std::string&)> more);

  std::string text() const;  // with process_* and build information

 private:
  struct family {
    std::string help;
    const char* type;
    std::map<std::string, std::unique_ptr<metric_cell>, std::less<>> cells;
    std::map<std::string, std::unique_ptr<histogram>, std::less<>> histograms;
  };
  family& find_family(std::string_view name, std::string_view help, const char* type);
  mutable std::mutex mutex_;
  std::map<std::string, family, std::less<>> families_;
  std::vector<std::function<void(std::string&)>> collectors_;
};

// One family of one gauge, for collectors.
void append_gauge(std::string& out, std::string_view name, std::string_view help, double value);

}  // namespace kedge::api
