// resources.h: the served built-in resources, from schema/resources.json. Constant data as types.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "schema/types.h"

namespace kedge::schema {

struct column_info {
  std::string_view name, type, format, description;
  int priority = 0;  // 0: shown by default, 1: with -o wide
};

struct subresource_info {
  std::string_view name;  // "status", "scale", "exec"
  std::string_view group, version,
      kind;  // of the body: for scale autoscaling/v1 Scale; as the resource when that has no other
  string_list verbs;
};

class resource_info {
 public:
  std::string_view group() const noexcept;  // "" for core
  std::string_view version() const noexcept;
  std::string api_version() const;  // "v1", "apps/v1"
  std::string_view plural() const noexcept;
  std::string_view singular() const noexcept;
  std::string_view kind() const noexcept;
  bool namespaced() const noexcept { return flags_ & 1; }
  // What kube-apiserver keeps such objects in; for most the only one.
  std::string_view stored_version() const noexcept;
  string_list verbs() const noexcept { return {verbs_first_, verbs_count_}; }
  string_list short_names() const noexcept { return {short_first_, short_count_}; }
  string_list categories() const noexcept { return {categories_first_, categories_count_}; }
  bool has_verb(std::string_view verb) const noexcept { return verbs().contains(verb); }
  const type_info* type() const noexcept;  // never nullptr

  std::size_t column_count() const noexcept { return columns_count_; }
  column_info column(std::size_t i) const noexcept;
  std::size_t subresource_count() const noexcept { return sub_count_; }
  subresource_info subresource(std::size_t i) const noexcept;
  bool has_subresource(std::string_view name) const noexcept;

  // One row of the generated table.
  std::uint32_t group_, version_, plural_, singular_, kind_;
  std::uint16_t type_;
  std::uint16_t verbs_first_, short_first_, categories_first_, columns_first_, sub_first_;
  std::uint8_t verbs_count_, short_count_, categories_count_, columns_count_, sub_count_, flags_;
  std::uint32_t stored_version_;
};

std::span<const resource_info> all_resources() noexcept;  // sorted by group, version, plural; core first
const resource_info* find_resource(std::string_view group, std::string_view version, std::string_view plural) noexcept;
// The resource that holds objects of a kind: ("apps/v1", "Deployment"); nullptr when none does (Status, lists).
const resource_info* find_resource_of_kind(std::string_view api_version, std::string_view kind) noexcept;

// Where the resource's objects lie in the log: "/registry/pods/", "/registry/minions/" (kube-apiserver's keys, so that
// a K3s database opens in place). Objects follow as `<namespace>/<name>` or `<name>`.
std::string resource_key_prefix(const resource_info& resource);
// The same for a custom resource: "/registry/<group>/<plural>/".
std::string custom_key_prefix(std::string_view group, std::string_view plural);

}  // namespace kedge::schema
