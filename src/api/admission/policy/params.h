// params.h: the objects that a binding gives its policy: paramKind and paramRef.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/custom/conversion.h"
#include "api/registry/registry.h"
#include "meta/selector.h"
#include "reactor/task.h"
#include "store/store.h"

namespace kedge::api::policy {

struct param_kind {
  std::string api_version, kind;

  static std::optional<param_kind> compile(const json::value& v);  // nullopt: the policy takes none
  std::string text() const;                                        // "example.com/v1, Kind=Limit", as messages name it
};

struct param_reference {
  std::string name, ns;
  std::optional<label_selector> selector;
  bool denies_missing = false;

  static std::optional<param_reference> compile(const json::value& v);
};

// For what a policy is evaluated: each of some objects, of which there may be as many as a namespace holds: they are
// read one by one. Or once, without any.
class params {
 public:
  params() = default;
  params(const served& kind, std::vector<store::object_ref> objects) : kind_(&kind), objects_(std::move(objects)) {}

  std::size_t size() const noexcept { return kind_ ? objects_.size() : 1; }
  // In the version that the policy names; null without params. An error's text: it can't be had so.
  task<std::expected<json::value, std::string>> read(std::size_t i, custom::converter* versions) const;

 private:
  const served* kind_ = nullptr;
  std::vector<store::object_ref> objects_;
};

// None when there are none and none need be. An error's text says what is wrong with the binding. `ns`: the request's.
// All that is given outlives the task.
task<std::expected<params, std::string>> find_params(const served* kind, const param_reference* ref,
                                                     std::string_view ns, const store::snapshot& cluster);

}  // namespace kedge::api::policy
