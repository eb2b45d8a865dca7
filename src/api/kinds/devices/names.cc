#include "api/kinds/devices/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/expressions/device.h"
#include "api/kinds/core/volumes.h"
#include "base/strings.h"
#include "json/write.h"

namespace kedge::api {
namespace {

constexpr std::size_t driver_max = 63, pool_max = 253, attribute_max = 32, parameters_max = 10 * 1024,
                      selectors_max = 32, binding_conditions_max = 4;

void check_identifier(causes& out, std::string_view name, const place& at) {
  if (name.size() > attribute_max) out.push_back(too_long(at, attribute_max));
  add_problems(out, at, name, check_c_identifier(name));
}

}  // namespace

void check_declared_driver(causes& out, std::string_view name, const place& at) {
  if (name.empty()) return out.push_back(required(at));
  add_problems(out, at, name, check_any_case_subdomain(name));
  if (name.size() > driver_max) out.push_back(too_many_characters(at, driver_max));
}

void check_pool_name(causes& out, std::string_view name, const place& at) {
  if (name.empty()) return out.push_back(required(at));
  if (name.size() > pool_max) out.push_back(too_long(at, pool_max));
  for (auto part : split(name, '/')) add_problems(out, at, part, check_dns1123_subdomain(part));
}

void check_declared_pool_name(causes& out, std::string_view name, const place& at) {
  if (name.empty()) return out.push_back(required(at));
  if (name.size() > pool_max) out.push_back(too_long(at, pool_max));
  auto parts = split(name, '/');
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty())
      out.push_back(invalid_value(at, name, fmt::format("segment {}: must not be empty", i)));
    else
      for (auto& text : check_dns1123_subdomain(parts[i]))
        out.push_back(invalid_value(at, parts[i], fmt::format("segment {}: {}", i, text)));
  }
}

void check_attribute_name(causes& out, std::string_view name, const place& at) {
  auto parts = split(name, '/');
  if (parts.size() == 1) return check_identifier(out, name, at);
  if (parts.size() != 2) return;  // the real server looks at no others
  if (parts[0].empty())
    out.push_back(invalid_value(at, "", "the domain must not be empty"));
  else
    check_csi_driver_name(out, parts[0], at);
  if (parts[1].empty())
    out.push_back(invalid_value(at, "", "the name must not be empty"));
  else
    check_identifier(out, parts[1], at);
}

void check_declared_full_name(causes& out, const json::value& value, const place& at) {
  if (!value.is_string()) return;
  auto name = value.as_string();
  auto parts = split(name, '/');
  if (parts.size() == 1) {
    check_identifier(out, name, at);
    return out.push_back(
        invalid_value(at, name, "a fully qualified name must be a domain and a name separated by a slash"));
  }
  if (parts.size() != 2) return;
  if (parts[0].empty()) {
    out.push_back(invalid_value(at, "", "prefix must not be empty"));
  } else {
    if (parts[0].size() > driver_max) out.push_back(too_long(at, driver_max));
    add_problems(out, at, parts[0], check_dns1123_subdomain(parts[0]));
  }
  if (parts[1].empty())
    out.push_back(invalid_value(at, "", "name must not be empty"));
  else
    check_identifier(out, parts[1], at);
}

void check_declared_uid(causes& out, const json::value& uid, const place& at) {
  constexpr std::string_view shape = "00000000-0000-0000-0000-000000000000";
  if (!uid.is_string()) return;
  auto text = uid.as_string();
  bool good = text.size() == shape.size();
  for (std::size_t i = 0; good && i < shape.size(); ++i)
    good = shape[i] == '-' ? text[i] == '-' : (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
  if (!good) out.push_back(invalid_value(at, text, "must be a lowercase UUID in 8-4-4-4-12 format"));
}

void check_raw_object(causes& out, const json::value& raw, const place& at, std::size_t bytes_max) {
  if (raw.is_null()) return out.push_back(required(at));
  if (json::write(raw).size() > bytes_max) return out.push_back(too_long(at, bytes_max));
  if (!raw.is_object()) out.push_back(invalid_value(at, "<value omitted>", "must be a valid JSON object"));
}

void check_configuration(causes& out, const json::value& config, const place& at) {
  const place of_opaque(at, "opaque");
  if (!config["opaque"].is_object()) return out.push_back(required(of_opaque));
  check_raw_object(out, config["opaque"]["parameters"], place(of_opaque, "parameters"), parameters_max);
}

void check_declared_configuration(causes& out, const json::value& config, const place& at) {
  const place of_opaque(at, "opaque");
  if (config["opaque"].is_object())
    check_declared_driver(out, config["opaque"]["driver"].as_string(), place(of_opaque, "driver"));
}

void check_selectors(causes& out, const json::value& list, const place& at, bool stored) {
  constexpr std::size_t expression_max = 10 * 1024;
  if (list.size() > selectors_max) return;  // told with what is declared
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    if (!list[i]["cel"].is_object()) {
      out.push_back(required(place(here, "cel")));
      continue;
    }
    if (stored) continue;
    auto text = list[i]["cel"]["expression"].as_string();
    const place of_text(here, "cel.expression");
    if (text.size() > expression_max) {
      out.push_back(too_long(of_text, expression_max));
      continue;
    }
    auto compiled = expressions::compile_device_selector(text);
    if (!compiled.program)
      out.push_back(invalid_value(of_text, text, compiled.wrong));
    else if (compiled.too_costly)
      out.push_back(forbidden_value(of_text, "too complex, exceeds cost limit"));
  }
}

void check_declared_size(causes& out, const json::value& list, const place& at, std::size_t most) {
  if (list.size() > most) out.push_back(too_many(at, list.size(), most));
}

void date_taint(json::value& taint, wall_time now) {
  if (taint["timeAdded"].is_null()) taint.set("timeAdded", format_rfc3339(now));
}

void check_taint(causes& out, const json::value& taint, const place& at) {
  add_problems(out, place(at, "key"), taint["key"].as_string(), check_qualified_name(taint["key"].as_string()));
  if (auto value = taint["value"].as_string(); !value.empty())
    add_problems(out, place(at, "value"), value, check_label_value(value));
}

void check_declared_taint(causes& out, const json::value& taint, const place& at) {
  one_of_needed(out, taint, at, "effect", {"NoExecute", "NoSchedule", "None"});
}

void check_tolerations(causes& out, const json::value& list, const place& at) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place of_item(at, i), here(of_item, "value");
    auto op = list[i]["operator"].as_string(), value = list[i]["value"].as_string();
    if (op == "Exists" && !value.empty())
      out.push_back(invalid_value(here, value, "must be empty for operator `Exists`"));
    if (op == "Equal") add_problems(out, here, value, check_label_value(value));
  }
}

void check_declared_tolerations(causes& out, const json::value& list, const place& at) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto& t = list[i];
    if (auto key = t["key"].as_string(); !key.empty())
      add_problems(out, place(here, "key"), key, check_qualified_name(key));
    one_of_needed(out, t, here, "operator", {"Equal", "Exists"});
    if (!t["effect"].as_string().empty()) one_of(out, t, here, "effect", {"NoExecute", "NoSchedule", "None"});
  }
}

void check_binding_conditions(causes& out, const json::value& device, const place& at) {
  auto &ready = device["bindingConditions"], &failed = device["bindingFailureConditions"];
  const place of_ready(at, "bindingConditions"), of_failed(at, "bindingFailureConditions");
  auto names = [&](const json::value& list, const place& where) {
    if (list.size() > binding_conditions_max) return;
    for (std::size_t i = 0; i < list.size(); ++i)
      add_problems(out, place(where, i), list[i], check_qualified_name(list[i].as_string()));
  };
  names(ready, of_ready);
  names(failed, of_failed);
  std::set<std::string_view> seen, seen_failed;
  for (std::size_t i = 0; i < ready.size(); ++i)
    if (!seen.insert(ready[i].as_string()).second) out.push_back(duplicate_value(place(of_ready, i), ready[i]));
  for (std::size_t i = 0; i < failed.size(); ++i) {
    const place here(of_failed, i);
    if (!seen_failed.insert(failed[i].as_string()).second) out.push_back(duplicate_value(here, failed[i]));
    if (seen.contains(failed[i].as_string()))
      out.push_back(invalid_value(here, failed[i], "bindingFailureConditions must not overlap with bindingConditions"));
  }
  if (ready.empty() && !failed.empty())
    out.push_back(invalid_value(of_ready, nullptr, "bindingConditions are required to use bindingFailureConditions"));
  if (failed.empty() && !ready.empty())
    out.push_back(invalid_value(of_failed, nullptr, "bindingFailureConditions are required to use bindingConditions"));
}

void check_declared_binding_conditions(causes& out, const json::value& device, const place& at) {
  for (auto list : {"bindingConditions", "bindingFailureConditions"})
    check_declared_size(out, device[list], place(at, list), binding_conditions_max);
}

}  // namespace kedge::api
