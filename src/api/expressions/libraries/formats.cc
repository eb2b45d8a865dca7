#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "api/expressions/libraries/libraries.h"
#include "api/expressions/libraries/url.h"
#include "cel/literals.h"
#include "cel/regex.h"
#include "meta/names.h"

namespace kedge::api::expressions {

namespace {

using cel::value;
using args = std::span<const value>;

problems check_uri(std::string_view text) {
  auto u = parse_request_url(text);
  return u ? problems{} : problems{u.error()};
}

bool is_uuid(std::string_view text) {
  // 8-4-4-4-12 digits, each dash may be missing.
  std::size_t at = 0;
  constexpr std::array<std::size_t, 5> groups = {8, 4, 4, 4, 12};
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (g > 0 && at < text.size() && text[at] == '-') ++at;
    for (std::size_t i = 0; i < groups[g]; ++i, ++at) {
      if (at >= text.size()) return false;
      const char c = text[at];
      if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'))) return false;
    }
  }
  return at == text.size();
}

problems check_uuid(std::string_view text) {
  return is_uuid(text) ? problems{} : problems{"does not match the UUID format"};
}
problems check_byte(std::string_view text) {
  const bool right = !text.empty() && text.size() % 4 == 0 && cel::decode_base64(text);
  return right ? problems{} : problems{"invalid base64"};
}
problems check_date(std::string_view text) { return cel::parse_date(text) ? problems{} : problems{"invalid date"}; }
problems check_date_time(std::string_view text) {
  const bool right = !text.empty() && cel::parse_date_time_format(text) && text.size() > 10;
  return right ? problems{} : problems{"invalid datetime"};
}

// The dash at the end of what is yet to be completed counts as a letter.
std::string masked(std::string_view prefix) {
  std::string out(prefix);
  if (out.size() > 1 && out.back() == '-') out.back() = 'a';
  return out;
}
problems check_label_prefix(std::string_view text) { return check_dns1123_label(masked(text)); }
problems check_subdomain_prefix(std::string_view text) { return check_dns1123_subdomain(masked(text)); }
problems check_dns1035_prefix(std::string_view text) { return check_dns1035_label(masked(text)); }

struct named_format {
  const char* name;
  problems (*check)(std::string_view);
  std::uint64_t regex_size;  // by which its cost is reckoned
};

constexpr named_format formats[] = {
    {"dns1123Label", check_dns1123_label, 30},
    {"dns1123Subdomain", check_dns1123_subdomain, 60},
    {"dns1035Label", check_dns1035_label, 30},
    {"qualifiedName", check_qualified_name, 60},
    {"dns1123LabelPrefix", check_label_prefix, 30},
    {"dns1123SubdomainPrefix", check_subdomain_prefix, 60},
    {"dns1035LabelPrefix", check_dns1035_prefix, 30},
    {"labelValue", check_label_value, 40},
    {"uri", check_uri, 1103},
    {"uuid", check_uuid, 70},
    {"byte", check_byte, 84},
    {"date", check_date, 71},
    {"datetime", check_date_time, 71},
};

struct a_format {
  const named_format* is;
  bool operator==(const a_format&) const = default;
};

const cel::type& format_type() {
  static const cel::type t = cel::type::object("kubernetes.NamedFormat");
  return t;
}

template <std::size_t i>
value constant(args, cel::arena& memory) {
  return own(format_type(), a_format{&formats[i]}, memory);
}

value named(args a, cel::arena& memory) {
  auto found = std::ranges::find_if(formats, [&](const named_format& f) { return a[0].as_text() == f.name; });
  if (found == std::end(formats)) return value::none();
  return value::some(memory, own(format_type(), a_format{found}, memory));
}

value validate(args a, cel::arena& memory) {
  const problems found = content_of<a_format>(a[0]).is->check(a[1].as_text());
  if (found.empty()) return value::none();
  std::vector<value> list;
  for (const std::string& p : found) list.push_back(value::string(memory.copy(p)));
  return value::some(memory, value::list(memory, list));
}

std::uint64_t cost_of_validate(args a, const value&) {
  const std::uint64_t text = cel::size_for_cost(a[1]), pattern = content_of<a_format>(a[0]).is->regex_size;
  return cel::range::exactly(text + 1).scaled(cel::cost_of_character).max *
         cel::range::exactly(pattern).scaled(cel::cost_of_regex_character).max;
}

template <std::size_t... i>
void add_constants(cel::environment::builder& b, std::index_sequence<i...>) {
  (b.function({std::string("format.") + formats[i].name,
               {global(std::string("format.") + formats[i].name, {}, format_type(), constant<i>)}}),
   ...);
}

}  // namespace

void add_formats(cel::environment::builder& b) {
  const cel::type& string = cel::type::string();
  add_constants(b, std::make_index_sequence<std::size(formats)>());
  b.function({"format.named", {global("format-named", {string}, cel::type::optional(format_type()), named)}});
  cel::overload validates =
      method("format-validate", {format_type(), string}, cel::type::optional(cel::type::list(string)), validate);
  validates.cost = cost_of_validate;
  b.function({"validate", {std::move(validates)}});
}

}  // namespace kedge::api::expressions
