// parse.cc: JSON text to a value through simdjson's DOM.
#include "json/parse.h"

#include <simdjson.h>

#include <charconv>

#include "json/limits.h"
#include "json/syntax.h"

namespace kedge::json {

namespace {

constexpr std::size_t capacity_step = 4096;  // the parser grows in these, not at every body a byte larger than the last

// The way from the root to where we are, kept only to name duplicates; a link lives in the frame of its level.
struct place {
  const place* parent = nullptr;
  std::string_view name;
  std::size_t index = 0;
  bool is_index = false;
};

void spell(const place* p, std::string& out) {
  if (!p) return;
  spell(p->parent, out);
  if (out.size() > place_bytes_max) return;
  if (p->is_index) {
    out += '[';
    out += std::to_string(p->index);
    out += ']';
  } else {
    if (!out.empty()) out += '.';
    out += p->name.substr(0, place_bytes_max);
  }
}

class converter {
 public:
  explicit converter(duplicate_list* duplicates) : duplicates_(duplicates) {}

  value convert(simdjson::dom::element e, const place* at) {
    using simdjson::dom::element_type;
    switch (e.type()) {
      case element_type::OBJECT: return convert_object(e.get_object().value_unsafe(), at);
      case element_type::ARRAY: return convert_array(e.get_array().value_unsafe(), at);
      case element_type::STRING: return std::string_view(e.get_string().value_unsafe());
      case element_type::INT64: return e.get_int64().value_unsafe();
      case element_type::UINT64: return static_cast<double>(e.get_uint64().value_unsafe());
      case element_type::DOUBLE: return e.get_double().value_unsafe();
      case element_type::BOOL: return e.get_bool().value_unsafe();
      case element_type::NULL_VALUE: break;
    }
    return nullptr;
  }

 private:
  value convert_object(simdjson::dom::object o, const place* at) {
    object out;
    out.reserve(o.size());
    for (auto field : o) {
      place here{at, field.key, 0, false};
      auto v = convert(field.value, &here);
      auto known = out.find(field.key);
      if (!known) {
        out.append(std::string(field.key), std::move(v));
        continue;
      }
      *known = std::move(v);
      if (!duplicates_ || duplicates_->size() >= duplicates_named_max) continue;
      std::string path;
      spell(&here, path);
      duplicates_->push_back(std::move(path));
    }
    return out;
  }

  value convert_array(simdjson::dom::array a, const place* at) {
    array out;
    out.reserve(a.size());
    place here{at, {}, 0, true};
    for (auto e : a) {
      out.push_back(convert(e, &here));
      ++here.index;
    }
    return out;
  }

  duplicate_list* duplicates_;
};

// Go reads an integer that no 64 bits hold as a float64; simdjson refuses it. Such numbers are rare, so only after a
// refusal are they rewritten as fractions: what overflows gets ".0".
bool overflows(std::string_view digits, bool negative) {
  std::uint64_t n = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), n).ec != std::errc()) return true;
  return negative && n > std::uint64_t(1) << 63;
}

std::string widen_integers(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  bool in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    char c = text[i];
    if (in_string) {
      out += c;
      ++i;
      if (c == '\\' && i < text.size()) out += text[i++];
      if (c == '"') in_string = false;
      continue;
    }
    if (c < '0' || c > '9') {
      in_string = c == '"';
      out += c;
      ++i;
      continue;
    }
    auto start = i;
    bool fraction = false;
    while (i < text.size() && ((text[i] >= '0' && text[i] <= '9') || text[i] == '.' || text[i] == 'e' ||
                               text[i] == 'E' || text[i] == '+' || text[i] == '-')) {
      if (text[i] < '0' || text[i] > '9') fraction = true;
      ++i;
    }
    out += text.substr(start, i - start);
    if (!fraction && overflows(text.substr(start, i - start), start > 0 && text[start - 1] == '-')) out += ".0";
  }
  return out;
}

constexpr const char* end_of_input = "unexpected end of JSON input";

// What is wrong, as Go's decoder would say it; what Go would read is told in simdjson's words.
std::unexpected<error> refused(std::string_view text, simdjson::error_code why) {
  auto problem = syntax_problem(text);
  return fail(errc::invalid, problem.empty() ? simdjson::error_message(why) : std::move(problem));
}

result<value> parse_with(simdjson::dom::parser& parser, std::string_view text, const parse_options& options) {
  if (text.empty())
    return fail(errc::invalid, end_of_input);  // may have no address either, which simdjson would copy from
  if (parser.max_depth() != options.depth_max || parser.capacity() < text.size()) {
    auto capacity = (text.size() + capacity_step) / capacity_step * capacity_step;
    if (parser.allocate(capacity, options.depth_max)) return fail(errc::exhausted, "no memory to parse JSON");
  }
  auto parsed = parser.parse(text.data(), text.size());
  if (parsed.error() == simdjson::NUMBER_ERROR) {
    auto widened = widen_integers(text);
    if (widened.size() != text.size()) {
      parsed = parser.parse(widened);
      if (parsed.error()) return refused(text, parsed.error());
      return converter(options.duplicates).convert(parsed.value_unsafe(), nullptr);
    }
  }
  if (parsed.error() == simdjson::EMPTY) return fail(errc::invalid, end_of_input);
  if (parsed.error() == simdjson::DEPTH_ERROR)
    return fail(errc::invalid, "JSON is nested deeper than " + std::to_string(options.depth_max) + " levels");
  if (parsed.error()) return refused(text, parsed.error());
  return converter(options.duplicates).convert(parsed.value_unsafe(), nullptr);
}

}  // namespace

result<value> parse(std::string_view text, const parse_options& options) {
  if (text.size() > parser_kept_bytes) {
    simdjson::dom::parser parser;
    return parse_with(parser, text, options);
  }
  thread_local simdjson::dom::parser parser;  // its scratch memory is what makes the second parse cheap
  return parse_with(parser, text, options);
}

}  // namespace kedge::json
