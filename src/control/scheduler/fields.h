// fields.h: which members a configuration's objects may have, and of which types: as data, so that a slip of the pen is
// told instead of ignored.
#pragma once

#include <span>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace kedge::control::scheduler {

struct field {
  enum class type : unsigned char { text, number, fraction, truth, anything, object, texts, objects };
  std::string_view name;
  type is;
  std::span<const field> of = {};  // members of an object, or of each object of a list
};

// errc::invalid names the first member of `v` that is none of `fields`, or of another type; its place under `path`.
result<void> check_fields(const json::value& v, std::span<const field> fields, std::string_view path);

}  // namespace kedge::control::scheduler
