// exposition.h: Prometheus' text format 0.0.4, a family at a time.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/time.h"

namespace kedge {

using metric_label = std::pair<std::string_view, std::string_view>;

// Labels as they stand between braces, escaped: `a="b",c="d"`.
std::string label_text(std::initializer_list<metric_label> labels);

class exposition {
 public:
  static constexpr std::string_view content_type = "text/plain; version=0.0.4; charset=utf-8";

  // Begins a family; its head is written with its first sample, so that one without samples isn't there.
  // `type`: counter, gauge, histogram.
  void family(std::string_view name, std::string_view type, std::string_view help);
  // `labels`: of label_text(). A time other than 0 stands behind the value, in milliseconds.
  void sample(std::string_view labels, double value, wall_time at = {}) { put("", labels, number(value), at); }
  template <std::integral T>
  void sample(std::string_view labels, T value, wall_time at = {}) {
    put("", labels, std::to_string(value), at);
  }
  // Of a histogram or summary: "_bucket", "_sum", "_count".
  void part(std::string_view suffix, std::string_view labels, double value) { put(suffix, labels, number(value), {}); }
  // What is written elsewhere: whole families.
  void add(std::string_view text) { text_ += text; }

  std::string take() { return std::move(text_); }

 private:
  void put(std::string_view suffix, std::string_view labels, std::string_view value, wall_time at);
  static std::string number(double v);

  std::string text_, name_, head_;
};

// Counts by upper bounds, as Prometheus' histograms have them.
class histogram {
 public:
  // Its own defaults: 5 ms to 10 s.
  static constexpr double bounds[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};

  void observe(duration d) noexcept;
  std::uint64_t count() const noexcept { return all_; }
  void write(exposition& out, std::string_view labels) const;

 private:
  std::uint64_t counts_[std::size(bounds)] = {};  // not yet summed up
  std::uint64_t all_ = 0;
  double sum_ = 0;
};

}  // namespace kedge
