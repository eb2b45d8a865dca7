#include "control/scheduler/devices/allocation_text.h"

#include <algorithm>
#include <map>
#include <set>

namespace kedge::control::scheduler {
namespace {

bool lists(const json::value& names, std::string_view name) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i].as_string() == name) return true;
  return false;
}

bool is_named(const json::value& names, const device_request& r) {
  return lists(names, r.of.empty() ? r.name : r.of) || lists(names, r.full_name());
}

json::value result_of(const chosen_device& d) {
  json::object out{{"request", d.request->full_name()},
                   {"driver", d.in->pool.driver},
                   {"pool", d.in->pool.name},
                   {"device", d.is->name}};
  if (d.request->admin) out.set("adminAccess", true);
  if (!d.request->tolerations_said.empty()) out.set("tolerations", d.request->tolerations_said);
  if (!d.is->binding_conditions.empty()) out.set("bindingConditions", d.is->binding_conditions);
  if (!d.is->failure_conditions.empty()) out.set("bindingFailureConditions", d.is->failure_conditions);
  if (d.shared) out.set("shareID", "");
  if (!d.consumed.empty()) {
    json::object consumed;
    for (auto& [name, amount] : d.consumed) consumed.set(name, amount.text());
    out.set("consumedCapacity", std::move(consumed));
  }
  return out;
}

json::value configuration(std::string_view source, json::value requests, const json::value& said) {
  json::object out{{"source", source}};
  if (!requests.empty()) out.set("requests", std::move(requests));
  if (auto opaque = said.find("opaque")) out.set("opaque", *opaque);
  return out;
}

// Each class's once, then the claim's that are about what was taken. What is about every request names none.
json::array configurations(const device_claim& claim, std::span<const chosen_request> requests) {
  json::array out;
  struct range {
    std::size_t begin, end;
  };
  std::map<std::string_view, range> of_classes;
  for (auto& r : requests) {
    auto name = r.is->full_name();
    if (auto known = of_classes.find(r.of_class->name); known != of_classes.end()) {
      for (auto i = known->second.begin; i < known->second.end; ++i) out[i].member("requests").push_back(name);
      continue;
    }
    const auto begin = out.size();
    for (std::size_t i = 0; i < r.of_class->config.size(); ++i)
      out.push_back(configuration("FromClass", json::array{name}, r.of_class->config[i]));
    of_classes.emplace(r.of_class->name, range{begin, out.size()});
  }
  for (std::size_t i = 0; i < claim.config.size(); ++i) {
    auto& c = claim.config[i];
    auto& names = c["requests"];
    if (names.empty() || std::ranges::any_of(requests, [&](auto& r) { return is_named(names, *r.is); }))
      out.push_back(configuration("FromClaim", names, c));
  }
  for (auto& c : out)
    if (std::ranges::all_of(requests, [&](auto& r) { return is_named(c["requests"], *r.is); })) c.erase("requests");
  return out;
}

std::set<std::string_view> values_of(const json::value& requirement) {
  std::set<std::string_view> out;
  for (std::size_t i = 0; i < requirement["values"].size(); ++i) out.insert(requirement["values"][i].as_string());
  return out;
}

void add_new(json::value& term, const char* list, const json::value& from) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    auto& all = term.member(list).make_array();
    const bool there = std::ranges::any_of(all, [&](auto& r) {
      return r["key"] == from[i]["key"] && r["operator"] == from[i]["operator"] && values_of(r) == values_of(from[i]);
    });
    if (!there) all.push_back(from[i]);
  }
}

// From where all of them can be reached; null: from everywhere.
json::value selector_of(std::span<const chosen_device> devices, std::string_view node) {
  json::value term = json::object{};
  for (auto& d : devices) {
    auto& from = d.in->by_device ? d.is->from : d.in->from;
    if (!from.node.empty() || d.is->binds_to_node)
      return json::object{
          {"nodeSelectorTerms",
           json::array{json::object{
               {"matchFields",
                json::array{json::object{
                    {"key", "metadata.name"}, {"operator", "In"}, {"values", json::array{std::string(node)}}}}}}}}};
    auto& terms = from.selector["nodeSelectorTerms"];  // one: the API takes no more
    for (auto list : {"matchFields", "matchExpressions"})
      if (!terms[0][list].empty()) add_new(term, list, terms[0][list]);
  }
  if (term.empty()) return nullptr;
  return json::object{{"nodeSelectorTerms", json::array{std::move(term)}}};
}

}  // namespace

json::value allocation_of(const device_claim& claim, std::span<const chosen_request> requests,
                          std::span<const chosen_device> devices, std::string_view node) {
  json::array results;
  for (auto& d : devices) results.push_back(result_of(d));
  json::object of_devices{{"results", std::move(results)}};
  if (auto config = configurations(claim, requests); !config.empty()) of_devices.set("config", std::move(config));
  json::object out{{"devices", std::move(of_devices)}};
  if (auto selector = selector_of(devices, node); selector.is_object()) out.set("nodeSelector", std::move(selector));
  return out;
}

}  // namespace kedge::control::scheduler
