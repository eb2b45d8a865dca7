// environment.h: a container's environment, and the $(NAME) of its command, arguments and paths: from the pod, the
// objects it names and the services of its namespace. Pure; who calls fetches the objects first (needs_of).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/strings.h"
#include "node/pods/seen.h"

namespace kedge::node {

// ConfigMaps and Secrets by name; nullopt: there is none.
using named_objects = std::map<std::string, std::optional<json::value>, std::less<>>;

struct pod_objects {
  named_objects config_maps, secrets;
  std::vector<json::value> services;  // of the pod's namespace, and default/kubernetes
};

struct object_names {
  std::set<std::string> config_maps, secrets;
};
// What `container`'s environment is made of.
object_names environment_needs(const json::value& container);

// What the downward API tells of the node.
struct node_view {
  std::string name;
  std::vector<std::string> host_ips;
  json::value allocatable;  // a ResourceList: the limits of who has none
};

// Variables in the order in which they were first set.
class variables {
 public:
  void set(std::string_view name, std::string value);
  const std::string* find(std::string_view name) const;
  const text_map& all() const { return all_; }

 private:
  text_map all_;
  std::unordered_map<std::string, std::size_t, string_hash, std::equal_to<>> at_;
};

// Errors are those of the waiting reason CreateContainerConfigError.
result<variables> make_environment(const json::value& pod, const json::value& container, const pod_objects& objects,
                                   const std::vector<std::string>& pod_ips, const node_view& node);

// $(NAME) by `env`, or else `behind`; what isn't there stays, $$(NAME) is $(NAME).
std::string expand(std::string_view text, const variables& env, const variables* behind = nullptr);
std::vector<std::string> expand_all(const json::value& list, const variables& env);

// The value of a fieldRef, as environment or file.
result<std::string> field_value(const json::value& pod, std::string_view path, const std::vector<std::string>& pod_ips,
                                const node_view& node);
// The value of a resourceFieldRef; `container` is the one it names, or that it stands in.
result<std::string> resource_value(const json::value& container, const json::value& ref, const node_view& node);

// A Secret's or ConfigMap's value: bytes of data, binaryData (base64) or stringData; nullopt when there is none.
std::optional<std::string> config_map_value(const json::value& object, std::string_view key);
std::optional<std::string> secret_value(const json::value& object, std::string_view key);

}  // namespace kedge::node
