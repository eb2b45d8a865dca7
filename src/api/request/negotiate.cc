#include "api/request/negotiate.h"

#include <algorithm>

#include "base/stable_sort.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::string_view protobuf_type = "application/vnd.kubernetes.protobuf";

std::string accepted_types(const media_choices& c) {
  if (c.stream)
    return c.protobuf ? "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
                      : "application/json;stream=watch";
  return c.protobuf ? "application/json, application/yaml, application/vnd.kubernetes.protobuf"
                    : "application/json, application/yaml";
}

int parse_quality(std::string_view text) {
  // 0 to 1 with up to three decimals; anything else counts as 1.
  if (text.empty() || (text[0] != '0' && text[0] != '1')) return 1000;
  int value = text[0] == '1' ? 1000 : 0;
  int weight = 100;
  for (std::size_t i = 2; i < text.size() && i < 5 && text[i] >= '0' && text[i] <= '9'; ++i, weight /= 10)
    value += (text[i] - '0') * weight;
  return std::min(value, 1000);
}

// What a clause asks for, when it can be had at all.
bool accept_clause(const media_clause& c, const media_choices& choices, media& out) {
  out = media{};
  out.watch = choices.stream;
  if (c.type == "*/*" || c.type == "application/*" || c.type == "application/json") {
    out.format = wire::json;
  } else if (c.type == protobuf_type && choices.protobuf) {
    out.format = wire::protobuf;
  } else if (c.type == "application/yaml" && !choices.stream) {
    out.format = wire::yaml;
  } else {
    return false;
  }
  auto as = c.parameter("as");
  if (auto stream = c.parameter("stream"); !stream.empty() && (stream != "watch" || !choices.stream)) return false;
  if (as.empty()) return true;
  if (!choices.shapes || c.parameter("g") != "meta.k8s.io") return false;
  auto v = c.parameter("v");
  if (v != "v1" && v != "v1beta1") return false;
  out.v1beta1 = v == "v1beta1";
  if (as == "Table")
    out.as = shape::table;
  else if (as == "PartialObjectMetadata")
    out.as = shape::partial;
  else if (as == "PartialObjectMetadataList")
    out.as = shape::partial_list;
  else
    return false;
  return true;
}

}  // namespace

std::string media::content_type() const {
  std::string type = format == wire::json   ? "application/json"
                     : format == wire::yaml ? "application/yaml"
                                            : std::string(protobuf_type);
  if (watch && format == wire::protobuf) type += ";stream=watch";
  return type;
}

std::string_view media_clause::parameter(std::string_view name) const noexcept {
  for (auto& [n, v] : parameters)
    if (n == name) return v;
  return {};
}

std::vector<media_clause> parse_accept(std::string_view accept) {
  std::vector<media_clause> out;
  for (auto text : split(accept, ',')) {
    media_clause c;
    bool first = true;
    for (auto part : split(text, ';')) {
      part = trim(part);
      if (first) {
        c.type = lower(part);
        first = false;
        continue;
      }
      auto eq = part.find('=');
      if (eq == std::string_view::npos) continue;
      auto name = lower(trim(part.substr(0, eq)));
      auto value = trim(part.substr(eq + 1));
      if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
      if (name == "q")
        c.quality = parse_quality(value);
      else
        c.parameters.emplace_back(std::move(name), std::string(value));
    }
    if (!c.type.empty() && c.quality > 0) out.push_back(std::move(c));
  }
  stable_sort_short(out, [](auto& a, auto& b) { return a.quality > b.quality; });
  return out;
}

api_result<media> negotiate(std::string_view accept, const media_choices& choices) {
  media m;
  m.watch = choices.stream;
  // The common ones without taking the header apart.
  if (accept.empty() || accept == "application/json" || accept == "*/*") return m;
  for (auto& clause : parse_accept(accept))
    if (accept_clause(clause, choices, m)) return m;
  auto s = not_acceptable("only the following media types are accepted: " + accepted_types(choices));
  return fail(std::move(s));
}

bool wants_pretty(bool has_pretty, bool pretty, std::string_view agent) noexcept {
  if (has_pretty) return pretty;
  return agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/");
}

api_result<wire> body_format(std::string_view content_type, bool protobuf_served) {
  auto given = trim(content_type.substr(0, content_type.find(';')));
  if (given.empty() || iequals(given, "application/json")) return wire::json;
  auto type = lower(given);
  if (type == "application/yaml") return wire::yaml;
  if (type == protobuf_type && protobuf_served) return wire::protobuf;
  return fail(
      unsupported_media_type("the body of the request was in an unknown format - accepted media types include: " +
                             accepted_types({.protobuf = protobuf_served})));
}

}  // namespace kedge::api
