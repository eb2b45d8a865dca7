#include "api/usage/samples.h"

#include <charconv>
#include <cmath>
#include <optional>

#include "api/usage/limits.h"
#include "base/strings.h"

namespace kedge::api {

namespace {

// Counts of nanoseconds and bytes, and times, stay what a signed number holds.
constexpr double count_max = 9.2e18;
constexpr std::int64_t time_max_ms = 253'402'300'799'000;  // the end of the year 9999

std::optional<double> real(std::string_view text) {
  double v = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (problem != std::errc() || end != text.data() + text.size() || !std::isfinite(v)) return std::nullopt;
  return v;
}

std::optional<std::uint64_t> count(double v) {
  if (v < 0 || v > count_max) return std::nullopt;
  return static_cast<std::uint64_t>(v);
}

struct pod_labels {
  std::string container, pod, ns;
};

// `a="b",c="d"`; nullopt: it is no such text.
std::optional<pod_labels> parse_labels(std::string_view text) {
  pod_labels out;
  while (!text.empty()) {
    auto equals = text.find("=\"");
    if (equals == std::string_view::npos) return std::nullopt;
    auto name = trim(text.substr(0, equals));
    std::string value;
    std::size_t i = equals + 2;
    for (; i < text.size() && text[i] != '"'; ++i) {
      if (text[i] == '\\' && ++i == text.size()) return std::nullopt;
      value += text[i - 1] == '\\' && text[i] == 'n' ? '\n' : text[i];
    }
    if (i >= text.size()) return std::nullopt;
    if (name == "container") out.container = std::move(value);
    if (name == "pod") out.pod = std::move(value);
    if (name == "namespace") out.ns = std::move(value);
    text.remove_prefix(i + 1);
    if (!text.empty() && text.front() == ',') text.remove_prefix(1);
  }
  return out;
}

// Behind the labels' end, which may stand in a value too.
std::size_t end_of_labels(std::string_view line, std::size_t from) {
  bool quoted = false;
  for (auto i = from; i < line.size(); ++i) {
    if (quoted && line[i] == '\\')
      ++i;
    else if (line[i] == '"')
      quoted = !quoted;
    else if (!quoted && line[i] == '}')
      return i;
  }
  return std::string_view::npos;
}

}  // namespace

result<usage_point*> sample_reader::point_of(std::string_view labels) {
  auto who = parse_labels(labels);
  if (!who || who->pod.empty() || who->ns.empty() || who->container.empty()) return nullptr;
  auto& pod = sample_.pods[who->ns + "/" + who->pod];
  auto [at, fresh] = pod.try_emplace(std::move(who->container));
  if (fresh && ++containers_ > usage_containers_max) return fail(errc::too_large, "it tells of too many containers");
  return &at->second;
}

result<void> sample_reader::take(std::string_view line) {
  if (line.empty() || line.front() == '#') return {};
  auto name = line.substr(0, line.find_first_of("{ "));
  const bool of_node = name.starts_with("node_");
  const bool cpu = name == "node_cpu_usage_seconds_total" || name == "container_cpu_usage_seconds_total";
  const bool memory = name == "node_memory_working_set_bytes" || name == "container_memory_working_set_bytes";
  const bool start = name == "container_start_time_seconds";
  if (!cpu && !memory && !start) return {};
  auto rest = line.substr(name.size());
  std::string_view labels;
  if (rest.starts_with('{')) {
    auto end = end_of_labels(rest, 1);
    if (end == std::string_view::npos) return {};
    labels = rest.substr(1, end - 1);
    rest = rest.substr(end + 1);
  }
  rest = trim(rest);
  auto blank = rest.find(' ');
  auto value = real(rest.substr(0, blank));
  if (!value) return {};
  auto at = now_ms_;
  if (blank != std::string_view::npos) {
    auto told = parse_int(trim(rest.substr(blank)));
    if (!told || *told <= 0 || *told > time_max_ms) return {};
    at = *told;
  }
  auto n = count(cpu ? *value * 1e9 : start ? *value * 1e3 : *value);
  if (!n) return {};
  auto* point = &sample_.node;
  if (!of_node) { KEDGE_TRY(point, point_of(labels)); }
  if (!point) return {};
  if (start) {
    point->started_ms = static_cast<std::int64_t>(*n);
    return {};
  }
  // The time of the processor's count is what rates are made with.
  if (cpu || !point->has_cpu) point->at_ms = at;
  (cpu ? point->cpu_nanoseconds : point->memory_bytes) = *n;
  (cpu ? point->has_cpu : point->has_memory) = true;
  return {};
}

result<void> sample_reader::feed(std::string_view piece) {
  bytes_ += piece.size();
  if (bytes_ > usage_answer_bytes_max) return fail(errc::too_large, "its answer is longer than that of any node");
  while (!piece.empty()) {
    auto end = piece.find('\n');
    auto part = piece.substr(0, end);
    if (!passing_ && line_.size() + part.size() > usage_line_bytes_max) passing_ = true;
    if (!passing_) line_ += part;
    if (end == std::string_view::npos) return {};
    if (!passing_) KEDGE_CHECK(take(line_));
    line_.clear();
    passing_ = false;
    piece.remove_prefix(end + 1);
  }
  return {};
}

result<node_sample> sample_reader::finish() {
  if (!passing_) KEDGE_CHECK(take(line_));
  return std::move(sample_);
}

}  // namespace kedge::api
