#include "api/kinds/core/warnings.h"

#include <fmt/format.h>

#include <utility>

#include "base/ip.h"
#include "base/strings.h"
#include "meta/names.h"

namespace kedge::api {

std::string_view deprecated_node_label(std::string_view key) noexcept {
  constexpr std::pair<std::string_view, std::string_view> known[] = {
      {"beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"},
      {"beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"},
      {"failure-domain.beta.kubernetes.io/region",
       "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"},
      {"failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"},
      {"beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"},
      {"app.kubernetes.io/created-by", "deprecated since v1.9"},
      {"scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"},
      {"node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"},
  };
  for (auto& [label, text] : known)
    if (label == key) return text;
  return {};
}

void warn_node_selector_term(warnings& out, const json::value& term, const place& at, bool values) {
  for (std::size_t i = 0; i < term["matchExpressions"].size(); ++i) {
    auto& e = term["matchExpressions"][i];
    const place here(at, "matchExpressions", i);
    auto key = e["key"].as_string();
    if (auto text = deprecated_node_label(key); !text.empty())
      out.push_back(fmt::format("{}: {} is {}", place(here, "key").text(), key, text));
    for (std::size_t j = 0; j < e["values"].size() && values; ++j)
      for (auto& problem : check_label_value(e["values"][j].as_string()))
        out.push_back(
            fmt::format("{}: {} is invalid, {}", place(here, "values", j).text(), e["values"][j].as_string(), problem));
  }
}

void warn_ip(warnings& out, std::string_view text, const place& at) {
  auto address = ip_address::parse_sloppy(text);
  if (!address) return;
  const auto canonical = address->text();
  if (!ip_address::parse(text) || (address->is_v4() && text.find(':') != text.npos))
    out.push_back(
        fmt::format("{}: non-standard IP address {} is invalid: use {}", at.text(), quote(text), quote(canonical)));
  else if (address->is_v6() && canonical != text)
    out.push_back(fmt::format("{}: IPv6 address {} should be in RFC 5952 canonical format ({})", at.text(), quote(text),
                              quote(canonical)));
}

void warn_cidr(warnings& out, std::string_view text, const place& at) {
  auto range = ip_range::parse_sloppy(text);
  if (!range) return;
  auto address = ip_address::parse_sloppy(text.substr(0, text.find('/')));
  const auto canonical = range->text();
  const bool has_host_bits = address && !(*address == range->network());
  if (has_host_bits)
    out.push_back(fmt::format("{}: CIDR value {} is ambiguous in this context (should be {} or {}?)", at.text(),
                              quote(text), quote(canonical),
                              quote(fmt::format("{}/{}", address->text(), address->bits()))));
  const bool mapped = text.find(':') != text.npos && address && address->is_v4();
  if (!ip_range::parse(text) || mapped)
    out.push_back(
        fmt::format("{}: non-standard CIDR value {} is invalid: use {}", at.text(), quote(text), quote(canonical)));
  else if (!has_host_bits && range->is_v6() && canonical != text)
    out.push_back(fmt::format("{}: IPv6 CIDR value {} should be in RFC 5952 canonical format ({})", at.text(),
                              quote(text), quote(canonical)));
}

void warn_name(warnings& out, const json::value& o, std::string_view what) {
  auto wrong = check_dns1123_label(o["metadata"]["name"].as_string());
  if (!wrong.empty())
    out.push_back(fmt::format(
        "metadata.name: this is used in {}, which can result in surprising behavior; a DNS label is recommended: [{}]",
        what, join(wrong, " ")));
}

}  // namespace kedge::api
