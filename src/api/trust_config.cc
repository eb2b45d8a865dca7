#include "api/trust_config.h"

#include <algorithm>
#include <vector>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::api {
namespace {

// The certificates of a bundle, each a block of PEM without what stands around it.
std::vector<std::string_view> certificates(std::string_view bundle) {
  constexpr std::string_view begin = "-----BEGIN CERTIFICATE-----", end = "-----END CERTIFICATE-----";
  std::vector<std::string_view> out;
  for (std::size_t at = 0; (at = bundle.find(begin, at)) != bundle.npos;) {
    auto last = bundle.find(end, at);
    if (last == bundle.npos) break;
    last += end.size();
    out.push_back(bundle.substr(at, last - at));
    at = last;
  }
  return out;
}

std::string bundle_of_both(std::string_view there, std::string_view own) {
  auto all = certificates(there);
  for (auto c : certificates(own))
    if (std::ranges::find(all, c) == all.end()) all.push_back(c);
  std::string out;
  for (auto c : all) out.append(c) += '\n';
  return out;
}

std::string list_of_both(std::string_view there, std::string_view own) {
  auto first = json::parse(there), second = json::parse(own);
  if (!first || !first->is_array() || !second) return std::string(own);
  json::array all;
  for (auto* list : {&*first, &*second})
    for (std::size_t i = 0; i < list->size(); ++i)
      if (std::ranges::find(all, (*list)[i]) == all.end()) all.push_back((*list)[i]);
  return json::write(json::value(std::move(all)));
}

}  // namespace

bool add_trust(json::value& config_map, const json::value& own_data) {
  bool changed = false;
  for (auto& m : *own_data.object()) {
    auto there = config_map["data"][m.name].as_string(), own = m.value.as_string();
    auto both = m.name.ends_with("ca-file") ? bundle_of_both(there, own) : list_of_both(there, own);
    if (both == there) continue;
    config_map.member("data").set(m.name, std::move(both));
    changed = true;
  }
  return changed;
}

}  // namespace kedge::api
