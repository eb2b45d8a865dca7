#include <fmt/format.h>

#include "api/printers/printer.h"
#include "base/strings.h"
#include "meta/selector.h"

namespace kedge::api {

std::string human_duration(duration d) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(d).count();
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 120) return fmt::format("{}s", seconds);
  const auto pair = [](std::int64_t a, char unit, std::int64_t b, char small) {
    return b == 0 ? fmt::format("{}{}", a, unit) : fmt::format("{}{}{}{}", a, unit, b, small);
  };
  const auto minutes = seconds / 60;
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return fmt::format("{}m", minutes);
  const auto hours = minutes / 60;
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return fmt::format("{}h", hours);
  if (hours < 192) return pair(hours / 24, 'd', hours % 24, 'h');
  if (hours < 24 * 365 * 2) return fmt::format("{}d", hours / 24);
  if (hours < 24 * 365 * 8) return pair(hours / 24 / 365, 'y', hours / 24 % 365, 'd');
  return fmt::format("{}y", hours / 24 / 365);
}

std::string age(const json::value& timestamp, wall_time now) {
  auto t = parse_rfc3339(timestamp.as_string());
  return t ? human_duration(now - *t) : "<unknown>";
}

std::string age_of(const json::value& o, wall_time now) { return age(o["metadata"]["creationTimestamp"], now); }

std::string format_labels(const json::value& map) {
  auto out = label_selector::from_map(map).text();
  return out.empty() ? "<none>" : out;
}

std::string format_selector(const json::value& selector) {
  auto out = label_selector::from_object(selector).text();
  return out.empty() ? "<none>" : out;
}

std::string container_names(const json::value& spec) {
  std::string out;
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) {
    if (i) out += ',';
    out += spec["containers"][i]["name"].as_string();
  }
  return out;
}

std::string container_images(const json::value& spec) {
  std::string out;
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) {
    if (i) out += ',';
    out += spec["containers"][i]["image"].as_string();
  }
  return out;
}

std::string joined(const json::value& list, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i) out += separator;
    out += list[i].as_string();
  }
  return out.empty() ? "<none>" : out;
}

}  // namespace kedge::api
