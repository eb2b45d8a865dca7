#include "cel/regex.h"

#include "api/expressions/libraries/libraries.h"
#include "cel/utf8.h"

namespace kedge::api::expressions {

namespace {

using cel::value;
using args = std::span<const value>;

value no_overload(cel::arena& memory) { return value::error(memory, "no such overload"); }

value find_compiled(args a, const cel::regex& pattern, cel::arena& memory) {
  if (!a[0].is(cel::kind::string)) return no_overload(memory);
  auto found = pattern.find(a[0].as_text(), 0);
  return value::string(found ? a[0].as_text().substr(found->begin, found->end - found->begin) : std::string_view());
}

value find_all_compiled(args a, const cel::regex& pattern, cel::arena& memory) {
  if (!a[0].is(cel::kind::string) || (a.size() > 2 && !a[2].is(cel::kind::integer))) return no_overload(memory);
  const std::string_view text = a[0].as_text();
  const std::int64_t most = a.size() > 2 ? a[2].as_integer() : -1;
  std::vector<value> out;
  std::size_t from = 0, last_end = std::string_view::npos;
  while (from <= text.size() && (most < 0 || static_cast<std::int64_t>(out.size()) < most)) {
    auto found = pattern.find(text, from);
    if (!found) break;
    // An empty match right behind another one is none.
    if (found->begin != found->end || found->begin != last_end)
      out.push_back(value::string(text.substr(found->begin, found->end - found->begin)));
    last_end = found->end;
    from = found->end;
    if (found->begin == found->end) from += from < text.size() ? cel::utf8_length(text.substr(from)) : 1;
  }
  return value::list(memory, out);
}

value with_pattern(args a, cel::arena& memory, cel::implementation_with_regex run) {
  if (!a[0].is(cel::kind::string) || !a[1].is(cel::kind::string)) return no_overload(memory);
  auto pattern = cel::regex::compile(a[1].as_text());
  return pattern ? run(a, *pattern, memory) : value::error(memory, "Illegal regex: " + pattern.error());
}

value find(args a, cel::arena& memory) { return with_pattern(a, memory, find_compiled); }
value find_all(args a, cel::arena& memory) { return with_pattern(a, memory, find_all_compiled); }

}  // namespace

void add_regex(cel::environment::builder& b) {
  const cel::type &string = cel::type::string(), &integer = cel::type::integer();
  const cel::type strings = cel::type::list(string);
  b.function({"find", {method("string_find_string", {string, string}, string, nullptr)}, find, 1, find_compiled});
  b.function({"findAll",
              {method("string_find_all_string", {string, string}, strings, nullptr),
               method("string_find_all_string_int", {string, string, integer}, strings, nullptr)},
              find_all,
              1,
              find_all_compiled});
}

}  // namespace kedge::api::expressions
