// yaml_scalar.h: what an unquoted YAML scalar means, as go-yaml v2 resolves it (YAML 1.1 core types).
#pragma once

#include <optional>
#include <string_view>

#include "json/value.h"

namespace kedge::json {

// The scalar's value: null, boolean, number or the text itself as a string. nullopt for what JSON can't hold (.nan,
// .inf).
std::optional<value> resolve_yaml_scalar(std::string_view text);

}  // namespace kedge::json
