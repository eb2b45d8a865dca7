// bootstrap.h: the objects that a fresh API server creates, from schema/bootstrap.json.
#pragma once

#include <span>
#include <string_view>

namespace kedge::schema {

// One category's objects: `json` is the text of an array. They carry neither apiVersion nor kind; both stand here.
struct bootstrap_category {
  std::string_view name;         // "clusterroles"
  std::string_view api_version;  // "rbac.authorization.k8s.io/v1"
  std::string_view kind;         // "ClusterRole"
  std::string_view json;
};

std::span<const bootstrap_category> bootstrap_categories() noexcept;
std::string_view bootstrap_json(std::string_view name) noexcept;  // "" when there is no such category

}  // namespace kedge::schema
