#include "api/expressions/device.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "api/expressions/environment.h"
#include "api/expressions/libraries/libraries.h"
#include "api/expressions/limits.h"
#include "cel/arena.h"
#include "cel/default_map.h"
#include "cel/functions/libraries.h"
#include "cel/issue.h"

namespace kedge::api::expressions {
namespace {

using cel::type;
using cel::value;

constexpr std::string_view device_type = "kubernetes.DRADevice";

// What an attribute may be is known only when it runs.
const type& attribute_maps() {
  static const type t = type::map(type::string(), type::map(type::string(), type::dyn()));
  return t;
}
const type& capacity_maps() {
  static const type t = type::map(type::string(), type::map(type::string(), quantity_type()));
  return t;
}

class device_types final : public cel::type_provider {
 public:
  bool has_type(std::string_view name) const override { return name == device_type; }
  std::optional<type> field(std::string_view type_name, std::string_view field) const override {
    if (type_name != device_type) return std::nullopt;
    if (field == "driver") return type::string();
    if (field == "allowMultipleAllocations") return type::boolean();
    if (field == "attributes") return attribute_maps();
    if (field == "capacity") return capacity_maps();
    return std::nullopt;
  }
};

// How large a device can be: what the API lets in.
class device_sizes final : public cel::size_model {
 public:
  std::optional<cel::range> size_of(const cel::estimated_part& part) const override {
    constexpr std::uint64_t domain_max = 63, id_max = 32, driver_max = 63, value_max = 64, entries_max = 32;
    auto& path = part.path;
    if (path.empty() || path[0] != "device") return std::nullopt;
    auto upto = [](std::uint64_t n) { return std::optional(cel::range{0, n}); };
    if (path.size() == 1) return upto(0);
    if (path[1] == "driver") return path.size() == 2 ? upto(driver_max) : std::nullopt;
    if (path[1] == "allowMultipleAllocations") return path.size() == 2 ? upto(1) : std::nullopt;
    const bool attributes = path[1] == "attributes";
    if (!attributes && path[1] != "capacity") return std::nullopt;
    std::size_t depth = 0;  // of maps that were stepped into
    for (std::size_t i = 2; i < path.size(); ++i) {
      const bool last = i + 1 == path.size();
      if (path[i] == "@keys") return last ? upto(depth == 0 ? domain_max : id_max) : std::nullopt;
      const bool by_name = path[i] != "@items" && path[i] != "@values";
      if (depth > 1 || (by_name && !(attributes && depth == 1))) return std::nullopt;
      ++depth;
    }
    return depth < 2 ? upto(entries_max) : upto(attributes ? value_max : 0);
  }
};

const std::shared_ptr<const cel::environment>& environment_of_devices() {
  static const auto made = [] {
    auto b = base_environment()->extend();
    cel::add_bindings(b);
    b.types(std::make_shared<const device_types>());
    b.variable("device", type::object(std::string(device_type)));
    return b.build();
  }();
  return made;
}

// Of a device while one expression runs.
class device_value final : public cel::opaque {
 public:
  device_value(std::string_view driver, const json::value& device, value attributes, value capacity)
      : driver_(driver), device_(device), attributes_(attributes), capacity_(capacity) {}
  const cel::type& type() const override {
    static const auto one = cel::type::object(std::string(device_type));
    return one;
  }
  bool equals(const cel::opaque& other) const override { return this == &other; }
  bool has_fields() const override { return true; }
  bool has_field(std::string_view name) const override {
    return name == "driver" || name == "allowMultipleAllocations" || name == "attributes" || name == "capacity";
  }
  value field(std::string_view name, cel::arena&) const override {
    if (name == "driver") return value::string(driver_);
    if (name == "allowMultipleAllocations") return value::boolean(device_["allowMultipleAllocations"].as_bool());
    if (name == "attributes") return attributes_;
    if (name == "capacity") return capacity_;
    return {};
  }

 private:
  std::string_view driver_;
  const json::value& device_;
  value attributes_, capacity_;
};

std::optional<value> of_list(const json::value& list, bool versions, cel::arena& memory) {
  if (!list.is_array()) return std::nullopt;
  if (!versions) return value::json(list);
  std::vector<value> all;
  for (auto& v : *list.array()) {
    all.push_back(semver_value(v.as_string(), memory));
    if (all.back().is_error()) return all.back();
  }
  return value::list(memory, all);
}

value attribute_value(const json::value& attribute, cel::arena& memory) {
  for (auto name : {"ints", "bools", "strings"})
    if (auto list = of_list(attribute[name], false, memory)) return *list;
  if (auto list = of_list(attribute["versions"], true, memory)) return *list;
  for (auto name : {"int", "bool", "string"})
    if (auto& one = attribute[name]; !one.is_null()) return value::json(one);
  if (auto& version = attribute["version"]; version.is_string()) return semver_value(version.as_string(), memory);
  return value::error(memory, "unsupported attribute value");
}

value capacity_value(const json::value& capacity, cel::arena& memory) {
  auto& text = capacity["value"];
  auto q =
      schema::quantity::parse(text.is_string() ? std::string(text.as_string()) : fmt::format("{}", text.as_integer()));
  return q ? quantity_value(*q, memory) : value::error(memory, q.error().message);
}

// "domain/name", or the driver's own "name": a map of maps. An error value: the first that can't be read.
template <typename F>
value by_domain(const json::value& named, std::string_view driver, cel::arena& memory, F read) {
  std::map<std::string_view, std::vector<std::pair<value, value>>> domains;
  if (auto members = named.object())
    for (auto& m : *members) {
      const std::string_view name = m.name;
      const auto slash = name.find('/');
      auto domain = slash == name.npos ? driver : name.substr(0, slash);
      auto id = slash == name.npos ? name : name.substr(slash + 1);
      auto v = read(m.value, memory);
      if (v.is_error())
        return value::error(memory, fmt::format("attribute {}: {}{}", name,
                                                m.value["version"].is_string() || m.value["versions"].is_array()
                                                    ? "parse semantic version: "
                                                    : "",
                                                v.as_text()));
      domains[domain].emplace_back(value::string(id), v);
    }
  std::vector<std::pair<value, value>> all;
  for (auto& [domain, entries] : domains) all.emplace_back(value::string(domain), value::map(memory, entries));
  return cel::map_with_default(memory, all, value::map(memory, {}));
}

}  // namespace

device_selector compile_device_selector(std::string_view text) {
  static const device_sizes sizes;
  device_selector out;
  auto compiled = cel::compile(environment_of_devices(), text, &sizes);
  if (!compiled) {
    out.wrong = "compilation failed: " + cel::issues_text(compiled.error(), text);
    return out;
  }
  auto& gives = (*compiled)->result_type();
  if (!gives.is(cel::type_kind::boolean) && !gives.is_dyn()) {
    out.wrong = fmt::format("must evaluate to bool or the unknown type, not {}", gives.text());
    return out;
  }
  out.too_costly = (*compiled)->cost().max > call_budget;
  out.program = *std::move(compiled);
  return out;
}

std::expected<bool, std::string> matches_device(const cel::program& selector, std::string_view driver,
                                                const json::value& device, std::uint64_t* cost) {
  cel::arena memory;
  auto attributes = by_domain(device["attributes"], driver, memory, attribute_value);
  if (attributes.is_error()) return std::unexpected(std::string(attributes.as_text()));
  auto capacity = by_domain(device["capacity"], driver, memory, capacity_value);
  if (capacity.is_error()) return std::unexpected(std::string(capacity.as_text()));
  const device_value subject(driver, device, attributes, capacity);
  cel::bindings with(selector);
  with.set("device", value::opaque(&subject));
  auto ran = cel::run(selector, with, memory, call_budget);
  if (cost) *cost = ran.cost;
  if (!ran.result) {
    auto& message = ran.result.error().message;
    return std::unexpected(message.find("no such key:") == message.npos
                               ? message
                               : message +
                                     ". consider using CEL optional chaining (.? followed by orValue()) or guarding "
                                     "the check with has() for optional fields");
  }
  if (!ran.result->is(cel::kind::boolean))
    return std::unexpected(
        fmt::format("CEL result of type {} could not be converted to bool: type conversion error from "
                    "'{}' to 'bool'",
                    cel::kind_text(*ran.result), cel::kind_text(*ran.result)));
  return ran.result->as_bool();
}

}  // namespace kedge::api::expressions
