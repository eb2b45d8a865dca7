// node.cc: Node.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_set>

#include "api/kinds/core/resources.h"
#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"
#include "base/ip.h"
#include "base/strings.h"
#include "json/parse.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::string_view taints_annotation = "scheduler.alpha.kubernetes.io/taints",
                           avoid_annotation = "scheduler.alpha.kubernetes.io/preferAvoidPods";

void check_taints(causes& out, const json::value& taints, const place& at) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (std::size_t i = 0; i < taints.size(); ++i) {
    const place here(at, i);
    auto& t = taints[i];
    auto key = t["key"].as_string(), value = t["value"].as_string();
    add_problems(out, place(here, "key"), key, check_qualified_name(key));
    if (auto wrong = check_label_value(value); !wrong.empty())
      out.push_back(invalid_value(place(here, "value"), value, join(wrong, ";")));
    one_of_needed(out, t, here, "effect", {"NoSchedule", "PreferNoSchedule", "NoExecute"});
    if (seen.insert({t["effect"].as_string(), key}).second) continue;
    auto twice = duplicate_value(here, internal_form("core/v1.Taint", t));
    twice.message += ": taints must be unique by key and effect pair";
    out.push_back(std::move(twice));
  }
}

void check_annotations_of_old(causes& out, const json::value& annotations) {
  const place at("metadata.annotations");
  if (auto text = annotations[taints_annotation].as_string(); !text.empty()) {
    auto list = json::parse(text);
    if (!list)
      out.push_back(invalid_value(at, taints_annotation, list.error().message));
    else
      check_taints(out, *list, place(at, taints_annotation));
  }
  if (auto text = annotations[avoid_annotation].as_string(); !text.empty()) {
    auto v = json::parse(text);
    if (!v) return out.push_back(invalid_value(place(at, "AvoidPods"), avoid_annotation, v.error().message));
    auto& list = (*v)["preferAvoidPods"];
    for (std::size_t i = 0; i < list.size(); ++i) {
      const place of_list(at, avoid_annotation), here(of_list, i);
      auto& controller = list[i]["podSignature"]["podController"];
      if (controller.is_null())
        out.push_back(required(place(here, "PodSignature")));
      else if (!controller["controller"].as_bool())
        out.push_back(
            invalid_value(place(here, "PodSignature.PodController.Controller"), false, "must point to a controller"));
    }
  }
}

void check_amounts(causes& out, const json::value& status) {
  for (auto list : {"capacity", "allocatable"})
    if (auto map = status[list].object())
      for (auto& m : *map) {
        const place at("status"), of_list(at, list);
        check_amount(out, m.name, m.value, place(of_list, m.name));
      }
}

// "MyFeature" or "MyFeature/more", sorted.
void check_features(causes& out, const json::value& list) {
  constexpr std::size_t name_max = 253;
  const place at("status.declaredFeatures");
  auto is_name = [](std::string_view name) {
    auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
    bool first = true;
    for (auto part : split(name, '/')) {
      const bool starts =
          !part.empty() && ((part[0] >= 'A' && part[0] <= 'Z') || (!first && part[0] >= 'a' && part[0] <= 'z'));
      if (!starts || !std::all_of(part.begin(), part.end(), alnum)) return false;
      first = false;
    }
    return true;
  };
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto name = list[i].as_string();
    if (name.size() > name_max)
      out.push_back(invalid_value(
          place(at, i), name,
          fmt::format("invalid feature name {}: must be no more than {} characters", quote(name), name_max)));
    else if (!is_name(name))
      out.push_back(invalid_value(
          place(at, i), name,
          fmt::format(
              "invalid feature name {}: must start with an UpperCamelCase segment, with subsequent segments separated "
              "by '/' "
              "(e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes",
              quote(name))));
    if (i + 1 == list.size()) break;
    auto next = list[i + 1].as_string();
    if (name == next) out.push_back(duplicate_value(place(at, i + 1), next));
    if (name > next) out.push_back(invalid_value(place(at, i + 1), next, "list must be sorted alphabetically"));
  }
}

void check_pod_ranges(causes& out, const json::value& ranges) {
  const place at("spec.podCIDRs");
  std::unordered_set<bool> families;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    auto text = ranges[i].as_string();
    add_problems(out, place(at, i), text, check_cidr(text));
    if (auto range = ip_range::parse_sloppy(text)) families.insert(range->is_v6());
  }
  if (ranges.size() > 1 && (families.size() < 2 || ranges.size() > 2))
    out.push_back(invalid_value(at, ranges, "may specify no more than one CIDR for each IP family"));
}

void validate(causes& out, const json::value& o) {
  const place metadata("metadata");
  check_annotations_of_old(out, o["metadata"]["annotations"]);
  check_taints(out, o["spec"]["taints"], place(metadata, "taints"));
  check_amounts(out, o["status"]);
  if (auto& swap = o["status"]["nodeInfo"]["swap"]["capacity"]; swap.is_integer() && swap.as_integer() <= 0)
    out.push_back(invalid_value("metadata.nodeSwapStatus.capacity", swap, "must be greater than zero"));
  check_features(out, o["status"]["declaredFeatures"]);
  check_pod_ranges(out, o["spec"]["podCIDRs"]);
}

void check_changes(causes& out, const json::value& o, const json::value& old) {
  auto &spec = o["spec"], &before = old["spec"], &addresses = o["status"]["addresses"];
  check_annotations_of_old(out, o["metadata"]["annotations"]);
  check_amounts(out, o["status"]);
  check_features(out, o["status"]["declaredFeatures"]);
  std::set<std::pair<std::string_view, std::string_view>> seen;
  const place of_addresses("status.addresses");
  for (std::size_t i = 0; i < addresses.size(); ++i)
    if (!seen.insert({addresses[i]["type"].as_string(), addresses[i]["address"].as_string()}).second)
      out.push_back(duplicate_value(place(of_addresses, i), internal_form("core/v1.NodeAddress", addresses[i])));
  if (!before["podCIDRs"].empty() && !(spec["podCIDRs"] == before["podCIDRs"]))
    out.push_back(forbidden_value("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid"));
  if (auto id = before["providerID"].as_string(); !id.empty()) {
    auto now = spec["providerID"].as_string();
    if (now.empty())
      out.push_back(invalid_value("spec.providerID", nullptr, "field cannot be cleared once set"));
    else if (now != id)
      out.push_back(invalid_value("spec.providerID", nullptr, "field cannot be modified once set"));
  }
  check_taints(out, spec["taints"], "metadata.taints");
  if (spec["externalID"].as_string() != before["externalID"].as_string())
    out.push_back(forbidden_value("spec.externalID", "may not be updated"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  check_changes(out, o, old);
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  check_changes(out, o, old);
}

// A configuration source is of a feature that is gone.
void drop_config(json::value& o, const json::value* old) {
  if (auto spec = o.find("spec"); spec && (!old || (*old)["spec"]["configSource"].is_null()))
    spec->erase("configSource");
  if (auto status = o.find("status"); status && (!old || (*old)["status"]["config"].is_null())) status->erase("config");
}

// Of the list and its first item, which older clients write alone, one follows from the other.
void pair_ranges(json::value& o) {
  auto &one = o["spec"]["podCIDR"], &all = o["spec"]["podCIDRs"];
  if (!one.as_string().empty() && (all.empty() || !(all[0] == one)))
    o.member("spec").set("podCIDRs", json::array{one});
  else if (one.as_string().empty() && !all.empty())
    o.member("spec").set("podCIDR", all[0]);
}

void prepare_create(json::value& o, const kind_context&) { drop_config(o, nullptr); }
void prepare_update(json::value& o, const json::value& old, const kind_context&) { drop_config(o, &old); }

void warn(warnings& out, const json::value& o, const json::value*) {
  if (o["spec"]["configSource"].is_object()) out.push_back("spec.configSource: the feature is removed");
  if (!o["spec"]["externalID"].as_string().empty())
    out.push_back("spec.externalID: this field is deprecated, and is unused by Kubernetes");
  const place at("spec.podCIDRs");
  for (std::size_t i = 0; i < o["spec"]["podCIDRs"].size(); ++i)
    warn_cidr(out, o["spec"]["podCIDRs"][i].as_string(), place(at, i));
}

}  // namespace

// A kubelet registers with its status: it stays.
const kind_rules kinds::nodes{.group = "",
                              .resource = "nodes",
                              .keeps_status_on_create = true,
                              .convert = pair_ranges,
                              .prepare_create = prepare_create,
                              .prepare_update = prepare_update,
                              .validate = validate,
                              .validate_update = validate_update,
                              .validate_part = validate_part,
                              .warn = warn};

}  // namespace kedge::api
