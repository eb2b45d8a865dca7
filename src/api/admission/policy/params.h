// params.h: the objects that a binding gives its policy: paramKind and paramRef.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/registry/registry.h"
#include "meta/selector.h"
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

// The values for which the policy is evaluated, in the version that it names: one null without params, none when there
// are none and none need be. An error's text says what is wrong with the binding. `ns`: the request's.
std::expected<std::vector<json::value>, std::string> find_params(const served* kind, const param_reference* ref,
                                                                 std::string_view ns, const store::snapshot& cluster);

}  // namespace kedge::api::policy
