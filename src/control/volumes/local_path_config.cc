#include "control/volumes/local_path_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

constexpr std::string_view other_nodes = "DEFAULT_PATH_FOR_NON_LISTED_NODES";

const json::array& list_of(const json::value& v) {
  static const json::array none;
  return v.array() ? *v.array() : none;
}

result<std::string> usable(std::string_view path, std::string_view node) {
  if (!path.starts_with('/'))
    return fail(errc::invalid, fmt::format("path must start with / for path {} on node {}", path, node));
  for (auto part : split(path.substr(1), '/'))
    if (part == ".." || part == ".")
      return fail(errc::invalid, fmt::format("path {} on node {} leads elsewhere", path, node));
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.empty()) return fail(errc::invalid, fmt::format("cannot use root ('/') as path on node {}", node));
  return std::string(path);
}

result<local_places> read(const json::value& v) {
  local_places out;
  if (auto shared = v["sharedFileSystemPath"].as_string(); !shared.empty()) {
    KEDGE_TRY(out.shared, usable(shared, "any"));
  }
  for (auto& n : list_of(v["nodePathMap"])) {
    auto node = std::string(n["node"].as_string());
    if (out.by_node.contains(node)) return fail(errc::invalid, fmt::format("duplicate node {}", node));
    auto& paths = out.by_node[node];
    for (auto& p : list_of(n["paths"])) {
      KEDGE_TRY(auto path, usable(p.as_string(), node));
      if (std::ranges::find(paths, path) != paths.end())
        return fail(errc::invalid, fmt::format("duplicate path {} on node {}", path, node));
      paths.push_back(std::move(path));
    }
  }
  if (!out.shared.empty() && !out.by_node.empty())
    return fail(errc::invalid,
                "both nodePathMap and sharedFileSystemPath are defined. Please make sure only one is in use");
  return out;
}

}  // namespace

result<local_path_config> local_path_config::parse(std::string_view text) {
  KEDGE_TRY(auto v, json::parse(text));
  if (!v.is_object()) return fail(errc::invalid, "config.json is no object");
  for (auto* command : {"setupCommand", "teardownCommand"})
    if (!v[command].as_string().empty())
      return fail(errc::unsupported,
                  fmt::format("{} isn't run: Kedge's nodes make and remove folders themselves", command));
  local_path_config out;
  if (auto* classes = v["storageClassConfigs"].object(); classes && !classes->empty()) {
    for (auto& c : *classes) {
      auto places = read(c.value);
      if (!places)
        return fail(errc::invalid, fmt::format("config for class {} is invalid: {}", c.name, places.error().message));
      out.by_class_.emplace(c.name, *std::move(places));
    }
    return out;
  }
  KEDGE_TRY(out.all_, read(v));
  return out;
}

local_path_config local_path_config::of(std::string path) {
  local_path_config out;
  out.all_.by_node[std::string(other_nodes)] = {std::move(path)};
  return out;
}

result<local_places> local_path_config::places(std::string_view storage_class) const {
  if (by_class_.empty()) return all_;
  auto found = by_class_.find(storage_class);
  if (found == by_class_.end())
    return fail(errc::not_found, fmt::format("config doesn't contain storage class {}", storage_class));
  return found->second;
}

result<std::vector<std::string>> local_places::on(std::string_view node) const {
  if (!shared.empty()) return std::vector<std::string>{shared};
  if (by_node.empty()) return fail(errc::invalid, "both nodePathMap and sharedFileSystemPath are unconfigured");
  auto found = by_node.find(node);
  if (found == by_node.end()) found = by_node.find(other_nodes);
  if (found == by_node.end())
    return fail(errc::not_found, fmt::format("config doesn't contain node {}, and no {} available", node, other_nodes));
  if (found->second.empty()) return fail(errc::not_found, fmt::format("no local path available on node {}", node));
  return found->second;
}

std::string local_path_config::base_of(std::string_view path) const {
  std::string_view longest;
  auto look = [&](std::string_view base) {
    const bool below = path.starts_with(base) && path.size() > base.size() + 1 && path[base.size()] == '/';
    if (below && base.size() > longest.size()) longest = base;
  };
  auto look_in = [&](const local_places& p) {
    look(p.shared);
    for (auto& [node, paths] : p.by_node) std::ranges::for_each(paths, look);
  };
  look_in(all_);
  for (auto& [name, places] : by_class_) look_in(places);
  return std::string(longest);
}

}  // namespace kedge::control
