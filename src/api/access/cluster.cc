#include "api/access/cluster.h"

#include <algorithm>

#include "base/log.h"
#include "json/parse.h"

namespace kedge::api {

std::string object_key(std::string_view directory, std::string_view ns, std::string_view name) {
  std::string key = directory_prefix(directory, ns);
  key += name;
  return key;
}

std::string directory_prefix(std::string_view directory, std::string_view ns) {
  std::string key;
  key.reserve(12 + directory.size() + ns.size() + 64);
  key += "/registry/";
  key += directory;
  key += '/';
  if (!ns.empty()) {
    key += ns;
    key += '/';
  }
  return key;
}

std::optional<json::value> read_object(const store::object_ref& stored) {
  if (!stored) return std::nullopt;
  auto parsed = json::parse(stored->bytes());
  if (!parsed) {
    log::error("stored object {} can't be read: {}", stored->key(), parsed.error().message);
    return std::nullopt;
  }
  return std::move(*parsed);
}

std::optional<json::value> read_object(const store::snapshot& cluster, const std::string& key) {
  return read_object(cluster.find(key));
}

void each_object(const store::snapshot& cluster, const std::string& prefix,
                 const std::function<bool(json::value&)>& visit) {
  cluster.scan(prefix, {}, [&](const store::object_ref& stored) {
    auto object = read_object(stored);
    return !object || visit(*object);
  });
}

std::string_view name_of(const json::value& object) noexcept { return object["metadata"]["name"].as_string(); }
std::string_view namespace_of(const json::value& object) noexcept {
  return object["metadata"]["namespace"].as_string();
}
std::string_view uid_of(const json::value& object) noexcept { return object["metadata"]["uid"].as_string(); }
std::string_view annotation_of(const json::value& object, std::string_view name) noexcept {
  return object["metadata"]["annotations"][name].as_string();
}
bool has_annotation(const json::value& object, std::string_view name) noexcept {
  return object["metadata"]["annotations"].find(name) != nullptr;
}

namespace {

bool meets(const json::value& requirement, const json::value& labels) noexcept {
  auto found = labels.find(requirement["key"].as_string());
  auto op = requirement["operator"].as_string();
  auto listed = [&] {
    auto values = requirement["values"].array();
    return found && values && std::any_of(values->begin(), values->end(), [&](const json::value& v) {
             return v.as_string() == found->as_string();
           });
  };
  if (op == "In") return listed();
  if (op == "NotIn") return !listed();
  if (op == "Exists") return found != nullptr;
  if (op == "DoesNotExist") return found == nullptr;
  return false;
}

}  // namespace

bool selects(const json::value& selector, const json::value& labels) noexcept {
  if (!selector.is_object()) return false;
  if (auto wanted = selector["matchLabels"].object())
    for (auto& [name, value] : *wanted) {
      auto found = labels.find(name);
      if (!found || found->as_string() != value.as_string()) return false;
    }
  if (auto expressions = selector["matchExpressions"].array())
    for (auto& requirement : *expressions)
      if (!meets(requirement, labels)) return false;
  return true;
}

std::vector<std::string> string_list(const json::value& array) {
  std::vector<std::string> out;
  if (auto items = array.array()) {
    out.reserve(items->size());
    for (auto& item : *items) out.emplace_back(item.as_string());
  }
  return out;
}

}  // namespace kedge::api
