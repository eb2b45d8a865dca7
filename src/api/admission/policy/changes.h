// changes.h: what a mutating policy's value does to an object: an apply configuration laid over it, or a JSON patch.
// Pure.
#pragma once

#include <expected>
#include <string>

#include "api/admission/policy/match.h"
#include "json/value.h"
#include "meta/status.h"

namespace kedge::api::policy {

// Why an object isn't changed: a policy's failure, or the server's own answer.
struct unchanged {
  std::string failure;
  std::optional<status> answer = std::nullopt;
};

// `config`: the fields that an expression set. Lists and maps that are atomic can't be set so: who sets a part of one
// would take the rest away.
std::expected<json::value, unchanged> apply_configuration(const served& s, std::string_view subresource,
                                                          const json::value& live, json::value config);
// `patch`: operations. One whose `test` fails changes nothing.
std::expected<json::value, unchanged> apply_patch(const served& s, std::string_view subresource,
                                                  const json::value& live, const json::value& patch);

}  // namespace kedge::api::policy
