// not_yet.h: objects that are kept and not obeyed. Who writes one is told in a Warning header, on each write, and not
// by what happens later. Who makes a kind work takes its row away.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"

namespace kedge::api {

struct not_yet {
  std::string_view group, resource;
  bool (*applies)(const json::value& object);  // null: to all of the kind
  std::string_view text;                       // of the header
};
std::span<const not_yet> all_not_yet();

// The texts for an object of the kind, in its stored version.
void warn_not_yet(std::vector<std::string>& out, std::string_view group, std::string_view resource,
                  const json::value& object);

}  // namespace kedge::api
