#include <string>

#include "cel/functions/libraries.h"
#include "cel/regex.h"

namespace kedge::cel {

namespace {

using args = std::span<const value>;

bool texts(args a) { return a[0].is(kind::string) && a[1].is(kind::string); }

value contains(args a, arena& memory) {
  return texts(a) ? value::boolean(a[0].as_text().contains(a[1].as_text())) : no_such_overload(memory);
}
value starts_with(args a, arena& memory) {
  return texts(a) ? value::boolean(a[0].as_text().starts_with(a[1].as_text())) : no_such_overload(memory);
}
value ends_with(args a, arena& memory) {
  return texts(a) ? value::boolean(a[0].as_text().ends_with(a[1].as_text())) : no_such_overload(memory);
}

value matches_compiled(args a, const regex& pattern, arena& memory) {
  return a[0].is(kind::string) ? value::boolean(pattern.matches(a[0].as_text())) : no_such_overload(memory);
}

value matches(args a, arena& memory) {
  if (!a[0].is(kind::string)) return no_such_overload("matches", a[0], memory);
  if (!a[1].is(kind::string)) return no_such_overload(memory);
  auto pattern = regex::compile(a[1].as_text());
  return pattern ? matches_compiled(a, *pattern, memory) : value::error(memory, pattern.error());
}

value size(args a, arena& memory) {
  const auto n = a[0].size();
  return n && !a[0].is(kind::opaque) ? value::integer(static_cast<std::int64_t>(*n))
                                     : no_such_overload("size", a[0], memory);
}

}  // namespace

// Cold: a long list, once in a process.
[[gnu::cold]] void add_text(environment::builder& b) {
  const type &string = type::string(), &boolean = type::boolean(), &integer = type::integer(), &bytes = type::bytes();
  const type list = type::list(type::parameter("A")), map = type::map(type::parameter("A"), type::parameter("B"));
  b.function({"contains", {method("contains_string", {string, string}, boolean)}, contains});
  b.function({"startsWith", {method("starts_with_string", {string, string}, boolean)}, starts_with});
  b.function({"endsWith", {method("ends_with_string", {string, string}, boolean)}, ends_with});
  b.function({"matches",
              {global("matches", {string, string}, boolean), method("matches_string", {string, string}, boolean)},
              matches,
              1,
              matches_compiled});
  b.function({"size",
              {global("size_bytes", {bytes}, integer), method("bytes_size", {bytes}, integer),
               global("size_list", {list}, integer), method("list_size", {list}, integer),
               global("size_map", {map}, integer), method("map_size", {map}, integer),
               global("size_string", {string}, integer), method("string_size", {string}, integer)},
              size});
}

}  // namespace kedge::cel
