// view.h: the cluster as a plan sees it: one snapshot, its objects parsed when they are asked for.
//
// Nothing here waits. What it gives lives as long as the view. Parsed values are shared between the looks of a loop (a
// small cache by the object's identity), so that ten controllers that look at the same node parse it once.
#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/objects.h"
#include "api/registry/registry.h"

namespace kedge::control {

// The object's value in the version that is stored, from this core's cache; null when it can't be read.
std::shared_ptr<const json::value> value_of(const store::object_ref& o);

// "default/web" for namespaced objects, "web" for others, from a key under `prefix`.
std::string_view name_under(std::string_view prefix, std::string_view key);
// Of "default/web"; ns is empty for "web".
struct ns_name {
  std::string_view ns, name;
};
ns_name split_name(std::string_view key);
template <typename S>
  requires std::same_as<S, std::string>
ns_name split_name(S&& key) = delete;  // what it gives would be gone
// The last part but one of a key in the store: the namespace of what has one.
std::string_view namespace_in_key(std::string_view key);

class view {
 public:
  view(store::snapshot cluster, std::shared_ptr<const api::registry> served)
      : cluster_(std::move(cluster)), served_(std::move(served)) {}

  const store::snapshot& cluster() const noexcept { return cluster_; }
  const api::registry& served() const noexcept { return *served_; }
  const api::served* find(const api::resource_id& r) const { return served_->find(r.group, r.version, r.plural); }
  std::string prefix(const api::resource_id& r, std::string_view ns = {}) const;

  // Null when it isn't there, or can't be read.
  const json::value* get(const api::resource_id& r, std::string_view ns, std::string_view name) const;
  // By "ns/name" or "name".
  const json::value* get(const api::resource_id& r, std::string_view key) const;
  const json::value* get(const api::served& s, std::string_view ns, std::string_view name) const;
  const json::value* value(const store::object_ref& o) const;

 private:
  store::snapshot cluster_;
  std::shared_ptr<const api::registry> served_;
  mutable std::vector<std::shared_ptr<const json::value>> held_;
};

}  // namespace kedge::control
