// metrics.h: what /metrics tells, in Prometheus' text format, under kube-apiserver's names.
//
// A series is looked up once by name and labels (under a mutex, from any thread) and then counted without a lock: cells
// are relaxed atomics, since a scrape only needs each number whole, not all of them of one moment. What every request
// counts has a cell on each core (`core`, from 1 on; 0 is everybody's), written by that core alone; a scrape adds them
// up.
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
  // The same in a core's own cell: no other writes, so nothing needs to be locked.
  void count(std::int64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(std::int64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  std::int64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

class histogram {
 public:
  explicit histogram(std::span<const double> bounds);
  void observe(double x) noexcept;
  void observe_own(double x) noexcept;  // in a core's own cell

 private:
  friend class metrics;
  std::span<const double> bounds_;
  std::size_t bucket_of(double x) const noexcept;
  std::unique_ptr<std::atomic<std::uint64_t>[]> counts_;  // one a bound, and +Inf
  std::atomic<std::uint64_t> sum_billionths_{0};
};

class metrics {
 public:
  // `labels` as they stand between the braces: `code="200",verb="GET"`. References live as long as this.
  metric_cell& counter(std::string_view name, std::string_view help, std::string_view labels, std::size_t core = 0);
  metric_cell& gauge(std::string_view name, std::string_view help, std::string_view labels, std::size_t core = 0);
  // In seconds, with kube-apiserver's buckets of requests.
  histogram& durations(std::string_view name, std::string_view help, std::string_view labels, std::size_t core = 0);
  // `bounds` lives as long as this, and is the same for all of that name.
  histogram& observations(std::string_view name, std::string_view help, std::string_view labels,
                          std::span<const double> bounds, std::size_t core = 0);
  // Asked at each scrape; appends whole families in text format.
  void collect(std::function<void(std::string&)> more);

  std::string text() const;  // with process_* and build information

 private:
  struct family {
    std::string help;
    const char* type;
    template <typename T>
    using by_core = std::map<std::size_t, std::unique_ptr<T>>;
    std::map<std::string, by_core<metric_cell>, std::less<>> cells;
    std::map<std::string, by_core<histogram>, std::less<>> histograms;
  };
  metric_cell& cell(std::string_view name, std::string_view help, const char* type, std::string_view labels,
                    std::size_t core);
  family& find_family(std::string_view name, std::string_view help, const char* type);
  mutable std::mutex mutex_;
  std::map<std::string, family, std::less<>> families_;
  std::vector<std::function<void(std::string&)>> collectors_;
};

// One family of one gauge, for collectors.
void append_gauge(std::string& out, std::string_view name, std::string_view help, double value);

}  // namespace kedge::api
