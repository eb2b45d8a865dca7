#include "base/exposition.h"

#include <fmt/format.h>

#include <cmath>

namespace kedge {

namespace {

void add_escaped(std::string& out, std::string_view text) {
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
}

}  // namespace

std::string label_text(std::initializer_list<metric_label> labels) {
  std::string out;
  for (auto& [name, value] : labels) {
    if (!out.empty()) out += ',';
    out += name;
    out += "=\"";
    add_escaped(out, value);
    out += '"';
  }
  return out;
}

void exposition::family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  head_ = fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

std::string exposition::number(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", v);
}

void exposition::put(std::string_view suffix, std::string_view labels, std::string_view value, wall_time at) {
  text_ += std::exchange(head_, {});
  text_ += name_;
  text_ += suffix;
  if (!labels.empty()) {
    text_ += '{';
    text_ += labels;
    text_ += '}';
  }
  text_ += ' ';
  text_ += value;
  if (at != wall_time{})
    text_ += fmt::format(" {}", std::chrono::floor<std::chrono::milliseconds>(at).time_since_epoch().count());
  text_ += '\n';
}

void histogram::observe(duration d) noexcept {
  const auto seconds = std::chrono::duration<double>(d).count();
  for (std::size_t i = 0; i < std::size(bounds); ++i)
    if (seconds <= bounds[i]) {
      ++counts_[i];
      break;
    }
  ++all_;
  sum_ += seconds;
}

void histogram::write(exposition& out, std::string_view labels) const {
  std::string before(labels);
  if (!before.empty()) before += ',';
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < std::size(bounds); ++i)
    out.part("_bucket", fmt::format("{}le=\"{}\"", before, bounds[i]), static_cast<double>(so_far += counts_[i]));
  out.part("_bucket", before + "le=\"+Inf\"", static_cast<double>(all_));
  out.part("_sum", labels, sum_);
  out.part("_count", labels, static_cast<double>(all_));
}

}  // namespace kedge
