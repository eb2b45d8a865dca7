#include "store/text.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "json/parse.h"
#include "store/limits.h"

namespace kedge::store {

namespace {

constexpr std::size_t bad = std::string_view::npos;

// ---- 64 bytes at a time. A pod's text is 3 KB and is walked at every change (indexes) and by every selector that has
// none.

using block = unsigned char __attribute__((ext_vector_type(64)));
using block_bits = bool __attribute__((ext_vector_type(64)));

// What stands at `i`, with zeros behind the end.
void load(std::string_view t, std::size_t i, block& out) noexcept {
  if (t.size() - i >= sizeof out) {
    std::memcpy(&out, t.data() + i, sizeof out);
  } else {
    out = 0;
    std::memcpy(&out, t.data() + i, t.size() - i);
  }
}
// Bit n: whether byte n is `c`.
std::uint64_t where(const block& b, unsigned char c) noexcept {
  return __builtin_bit_cast(std::uint64_t, __builtin_convertvector(b == c, block_bits));
}
// The same for a kind of bracket: [ and { differ in one bit alone, and so do ] and }.
std::uint64_t where_bracket(const block& b, unsigned char brace) noexcept {
  return __builtin_bit_cast(std::uint64_t,
                            __builtin_convertvector((b | static_cast<unsigned char>(0x20)) == brace, block_bits));
}

// Which characters are escaped by a backslash before them (outside of strings, where JSON has none, too). `carry`:
// whether the first one is, and then the one behind the last.
std::uint64_t escaped(std::uint64_t backslashes, std::uint64_t& carry) noexcept {
  std::uint64_t out = carry;
  carry = 0;
  for (backslashes &= ~out; backslashes; backslashes &= backslashes - 1) {
    auto at = backslashes & -backslashes;
    if (out & at) continue;  // is escaped itself
    if (at >> 63) carry = 1;
    out |= at << 1;
  }
  return out;
}

// Bit n: whether an odd number of `quotes` stands up to n.
std::uint64_t between(std::uint64_t quotes) noexcept {
  for (int n = 1; n < 64; n *= 2) quotes ^= quotes << n;
  return quotes;
}

// All of these take the position of a token in compact JSON and give the position behind it, or `bad`.
std::size_t skip_string(std::string_view t, std::size_t i) {
  if (i >= t.size() || t[i] != '"') return bad;
  // Most are short.
  for (auto near = std::min(t.size(), ++i + 16); i < near; ++i) {
    if (t[i] == '"') return i + 1;
    if (t[i] == '\\') ++i;
  }
  // A backslash may have led behind the 16.
  for (std::uint64_t carry = 0; i < t.size(); i += sizeof(block)) {
    block b;
    load(t, i, b);
    auto quotes = where(b, '"') & ~escaped(where(b, '\\'), carry);
    if (quotes) return i + static_cast<std::size_t>(std::countr_zero(quotes)) + 1;
  }
  return bad;
}

// Behind the bracket that closes the one at `i`.
std::size_t skip_nested(std::string_view t, std::size_t i) {
  std::uint64_t carry = 0, in_string = 0;
  for (std::size_t depth = 0; i < t.size(); i += sizeof(block)) {
    block b;
    load(t, i, b);
    auto inside = between(where(b, '"') & ~escaped(where(b, '\\'), carry)) ^ in_string;
    in_string = inside >> 63 ? ~std::uint64_t(0) : 0;
    auto opening = where_bracket(b, '{') & ~inside, closing = where_bracket(b, '}') & ~inside;
    // Where it can't end here, how many there are is enough.
    if (auto closed = static_cast<std::size_t>(std::popcount(closing)); closed < depth) {
      depth += static_cast<std::size_t>(std::popcount(opening)) - closed;
      if (depth > nesting_max) return bad;
      continue;
    }
    for (auto both = opening | closing; both; both &= both - 1) {
      if (opening & both & -both) {
        if (++depth > nesting_max) return bad;
      } else if (--depth == 0) {
        return i + static_cast<std::size_t>(std::countr_zero(both)) + 1;
      }
    }
  }
  return bad;
}

std::size_t skip_value(std::string_view t, std::size_t i) {
  if (i >= t.size()) return bad;
  if (t[i] == '"') return skip_string(t, i);
  if (t[i] == '{' || t[i] == '[') return skip_nested(t, i);
  auto begin = i;
  while (i < t.size() && t[i] != ',' && t[i] != '}' && t[i] != ']') {
    if (t[i] == '"' || t[i] == '{' || t[i] == '[' || t[i] == ':') return bad;
    ++i;
  }
  return i == begin ? bad : i;
}

// `"name":"…",` at i; gives the position behind the comma.
std::size_t skip_text_member(std::string_view t, std::size_t i, std::string_view name) {
  if (t.substr(i, name.size()) != name) return bad;
  i = skip_string(t, i + name.size());
  return i == bad || i >= t.size() || t[i] != ',' ? bad : i + 1;
}

struct member {
  std::string_view name;  // quotes included
  std::string_view value;
};

// The members of the compact object at `i`; false when it isn't one. Puts the end into `i`.
bool members_of(std::string_view t, std::size_t& i, std::vector<member>& out) {
  if (i >= t.size() || t[i] != '{') return false;
  ++i;
  if (i < t.size() && t[i] == '}') return ++i, true;
  for (;;) {
    auto name_end = skip_string(t, i);
    if (name_end == bad || name_end >= t.size() || t[name_end] != ':') return false;
    auto value_end = skip_value(t, name_end + 1);
    if (value_end == bad || value_end >= t.size()) return false;
    out.push_back({t.substr(i, name_end - i), t.substr(name_end + 1, value_end - name_end - 1)});
    i = value_end + 1;
    if (t[value_end] == '}') return true;
    if (t[value_end] != ',') return false;
  }
}

// Without the white space between tokens.
std::string compact(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') {
      auto end = skip_string(text, i);
      if (end == bad) end = text.size();
      out += text.substr(i, end - i);
      i = end - 1;
    } else if (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::optional<text_layout> find_layout(std::string_view t) {
  constexpr std::string_view metadata = "\"metadata\":{";
  auto i = skip_text_member(t, 0, "{\"kind\":");
  if (i == bad) return std::nullopt;
  i = skip_text_member(t, i, "\"apiVersion\":");
  if (i == bad || t.substr(i, metadata.size()) != metadata) return std::nullopt;
  text_layout out;
  out.tail = i;
  out.members = i += metadata.size();
  if (i >= t.size()) return std::nullopt;
  if (t[i] == '}') return out;
  out.has_members = true;
  for (;;) {
    auto name_end = skip_string(t, i);
    if (name_end == bad || name_end >= t.size() || t[name_end] != ':') return std::nullopt;
    auto name = t.substr(i, name_end - i);
    auto value_end = skip_value(t, name_end + 1);
    if (value_end == bad || value_end >= t.size() || name == "\"resourceVersion\"") return std::nullopt;
    if (name == "\"labels\"" && t[name_end + 1] == '{') {
      out.labels = name_end + 1;
      out.labels_size = value_end - out.labels;
      return out;
    }
    if (t[value_end] == '}') return out;
    if (t[value_end] != ',') return std::nullopt;
    i = value_end + 1;
  }
}

std::string_view member_at(std::string_view object, std::string_view path) {
  while (!path.empty()) {
    auto name = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    std::size_t i = 1;
    if (!object.starts_with('{')) return {};
    for (;;) {
      auto name_end = skip_string(object, i);
      if (name_end == bad || name_end >= object.size()) return {};
      auto value_end = skip_value(object, name_end + 1);
      if (value_end == bad) return {};
      if (object.substr(i + 1, name_end - i - 2) == name) {
        object = object.substr(name_end + 1, value_end - name_end - 1);
        break;
      }
      if (value_end >= object.size() || object[value_end] != ',') return {};
      i = value_end + 1;
    }
  }
  return object;
}

void each_element(std::string_view array, const std::function<bool(std::string_view)>& visit) {
  if (!array.starts_with('[')) return;
  for (std::size_t i = 1; i < array.size();) {
    auto end = skip_value(array, i);
    if (end == bad || !visit(array.substr(i, end - i))) return;
    if (end >= array.size() || array[end] != ',') return;
    i = end + 1;
  }
}

std::string_view string_in(std::string_view text, std::string& buffer) {
  if (!text.starts_with('"') || text.size() < 2) return text;
  auto inside = text.substr(1, text.size() - 2);
  if (inside.find('\\') == std::string_view::npos) return inside;
  auto value = json::parse(text);
  buffer = value ? value->as_string() : std::string_view();
  return buffer;
}

bool is_whole_object(std::string_view text) { return text.starts_with('{') && skip_value(text, 0) == text.size(); }

result<std::string> canonical_text(std::string_view text) {
  auto flat = compact(text);
  std::size_t end = 0;
  std::vector<member> top;
  if (!members_of(flat, end, top) || end != flat.size()) return fail(errc::invalid, "it is not a JSON object");
  const member *kind = nullptr, *version = nullptr, *metadata = nullptr;
  for (auto& m : top) {
    if (m.name == "\"kind\"") kind = &m;
    if (m.name == "\"apiVersion\"") version = &m;
    if (m.name == "\"metadata\"") metadata = &m;
  }
  if (!kind || !version || !metadata) return fail(errc::invalid, "it lacks kind, apiVersion or metadata");
  if (kind->value[0] != '"' || version->value[0] != '"')
    return fail(errc::invalid, "kind and apiVersion must be strings");
  std::vector<member> inner;
  end = 0;
  if (!members_of(metadata->value, end, inner)) return fail(errc::invalid, "metadata is not an object");

  std::string out;
  out.reserve(flat.size());
  out.append("{\"kind\":")
      .append(kind->value)
      .append(",\"apiVersion\":")
      .append(version->value)
      .append(",\"metadata\":{");
  bool first = true;
  for (auto& m : inner) {
    if (m.name == "\"resourceVersion\"" || m.name == "\"selfLink\"") continue;
    if (!std::exchange(first, false)) out += ',';
    out.append(m.name).append(":").append(m.value);
  }
  out += '}';
  for (auto& m : top) {
    if (m.name == "\"kind\"" || m.name == "\"apiVersion\"" || m.name == "\"metadata\"") continue;
    out.append(",").append(m.name).append(":").append(m.value);
  }
  out += '}';
  return out;
}

}  // namespace kedge::store
