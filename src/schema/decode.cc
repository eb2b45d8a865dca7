// decode.cc: one pass over a value, field by field, as Go's decoder fills a struct and Go's encoder prints it.
//
// Where Go's decoder notes an error and goes on, so does this: the first error is the answer, but unknown fields behind
// it are still found.
#include "schema/decode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "base/assert.h"
#include "base/strings.h"
#include "json/write.h"
#include "schema/limits.h"
#include "schema/quantity.h"
#include "schema/time_text.h"

namespace kedge::schema {

namespace {

// No type has more fields (JSONSchemaProps: 43, PodSpec: 41); checked by the tests.
constexpr std::size_t fields_max = 64;

// The way from the root to here, kept in the frames; spelled only when something is to be said.
struct place {
  const place* parent = nullptr;
  const type_info* owner = nullptr;  // set for a struct's field
  std::string_view name;             // field or map key
  std::size_t index = 0;
  bool is_index = false;
};

std::string spell(const place* p) {
  if (!p) return {};
  auto out = spell(p->parent);
  if (out.size() > place_bytes_max) return out;
  if (p->is_index) return out + "[" + std::to_string(p->index) + "]";
  if (!out.empty()) out += '.';
  return out.append(p->name.substr(0, place_bytes_max));
}

// Go's spelling of a type: "core/v1.Container" → "v1.Container".
std::string_view short_name(std::string_view name) { return name.substr(name.rfind('/') + 1); }

std::string_view base_name(base_type base, const type_info* type) {
  switch (base) {
    case base_type::structure: return short_name(type->name());
    case base_type::string: return "string";
    case base_type::boolean: return "bool";
    case base_type::int32: return "int32";
    case base_type::int64: return "int64";
    case base_type::float64: return "float64";
    case base_type::bytes: return "[]uint8";
    default: return "string";
  }
}

std::string field_type_name(const field_info& f) {
  auto element = std::string(base_name(f.base(), f.type()));
  switch (f.shape()) {
    case shape::single: return element;
    case shape::array: return "[]" + element;
    case shape::map: return "map[string]" + element;
    case shape::map_of_arrays: return "map[string][]" + element;
  }
  return element;
}

std::string_view kind_of_value(const json::value& v) {
  switch (v.type()) {
    case json::type::boolean: return "bool";
    case json::type::string: return "string";
    case json::type::array: return "array";
    case json::type::object: return "object";
    default: return "number";
  }
}

bool is_scalar(base_type base) { return base >= base_type::string && base <= base_type::bytes; }

class decoder {
 public:
  explicit decoder(unknown_list* unknown, bool as_stored = false) : unknown_(unknown), as_stored_(as_stored) {}
  std::optional<error> first_error;

  // An object of a struct type, in place. Anything else was refused before.
  void structure(const type_info& type, json::value& v, const place* at) {
    if (type.base() != base_type::structure) return element(type.base(), &type, v, at);
    kedge_assert(type.size() <= fields_max);
    std::array<json::member*, fields_max> given;  // by the field's place in the type; null: not given
    std::fill_n(given.begin(), type.size(), nullptr);
    std::array<std::uint8_t, fields_max> known;  // the places of those that are given, in the order of the document
    std::size_t known_count = 0;
    auto& from = v.make_object();
    for (auto& m : from) {
      auto i = type.position(m.name);
      if (i < 0) {
        unknown(m.name, at);
        continue;
      }
      auto& slot = given[static_cast<std::size_t>(i)];
      if (!slot) known[known_count++] = static_cast<std::uint8_t>(i);
      slot = &m;
    }
    // Errors are told in the order of the document, the result stands in the order of the type: decode first, then
    // sort.
    for (std::size_t k = 0; k < known_count; ++k) {
      auto& f = type.field(known[k]);
      place here{at, &type, f.name(), 0, false};
      field(f, given[known[k]]->value, &here);
    }
    auto kept = [this](const field_info& f, const json::member* m) {
      return m && !m->value.is_null() && !omitted(f, m->value);
    };
    // Most objects are decoded more than once on their way: what stands already as it shall is not built again.
    bool stands = known_count == from.size() && std::is_sorted(known.begin(), known.begin() + known_count);
    for (std::size_t i = 0; stands && i < type.size(); ++i) {
      auto& f = type.field(i);
      stands = given[i] ? kept(f, given[i]) : !has_zero(f);
    }
    if (stands) return;
    json::object out;
    out.reserve(std::max(from.size(), std::size_t(4)));
    for (std::size_t i = 0; i < type.size(); ++i) {
      auto& f = type.field(i);
      auto m = given[i];
      if (kept(f, m))
        out.append(std::move(m->name), std::move(m->value));
      else if (has_zero(f))
        out.append(std::string(f.name()), zero_of(f));
    }
    v = std::move(out);
  }

 private:
  void unknown(std::string_view name, const place* at) {
    if (!unknown_ || unknown_->size() >= unknown_fields_max) return;
    place here{at, nullptr, name, 0, false};
    unknown_->push_back(spell(&here));
  }

  void save(error e) {
    if (!first_error) first_error = std::move(e);
  }

  void mistyped(std::string what, std::string_view wanted, const place* at) {
    if (first_error) return;
    const type_info* owner = nullptr;
    std::string path;
    for (auto p = at; p; p = p->parent) {
      if (!p->owner) continue;
      if (!owner) owner = p->owner;
      path = path.empty() ? std::string(p->name) : std::string(p->name) + "." + path;
    }
    auto into = owner ? "Go struct field " + std::string(owner->go_name()) + "." + path + " of type "
                      : std::string("Go value of type ");
    first_error.emplace(errc::invalid, "json: cannot unmarshal " + what + " into " + into + std::string(wanted));
  }

  void field(const field_info& f, json::value& v, const place* at) {
    if (v.is_null()) return;
    switch (f.shape()) {
      case shape::single: return element(f.base(), f.type(), v, at);
      case shape::array: {
        if (!v.is_array()) return mistyped(std::string(kind_of_value(v)), field_type_name(f), at);
        return elements(f, *v.array(), at);
      }
      case shape::map:
      case shape::map_of_arrays: break;
    }
    if (!v.is_object()) return mistyped(std::string(kind_of_value(v)), field_type_name(f), at);
    for (auto& m : *v.object()) {
      place here{at, nullptr, m.name, 0, false};
      if (f.shape() == shape::map)
        element_or_zero(f, m.value, &here);
      else if (m.value.is_array())
        elements(f, *m.value.array(), &here);
      else if (!m.value.is_null())
        mistyped(std::string(kind_of_value(m.value)), "[]" + std::string(base_name(f.base(), f.type())), &here);
    }
    sort_members(*v.object());
  }

  void elements(const field_info& f, json::array& a, const place* at) {
    place here{at, nullptr, {}, 0, true};
    for (auto& e : a) {
      element_or_zero(f, e, &here);
      ++here.index;
    }
  }

  void element_or_zero(const field_info& f, json::value& v, const place* at) {
    if (v.is_null()) {
      v = zero_element(f.base());
      if (f.base() != base_type::structure) return;
    }
    element(f.base(), f.type(), v, at);
  }

  static json::value zero_element(base_type base) {
    switch (base) {
      case base_type::structure: return json::object();
      case base_type::string: return "";
      case base_type::boolean: return false;
      case base_type::int32:
      case base_type::int64:
      case base_type::int_or_string: return 0;
      case base_type::float64: return 0;
      case base_type::quantity: return "0";
      default: return nullptr;
    }
  }

  static void sort_members(json::object& o) {
    auto less = [](const json::member& a, const json::member& b) { return a.name < b.name; };
    if (std::is_sorted(o.begin(), o.end(), less)) return;
    std::vector<json::member> members(std::make_move_iterator(o.begin()), std::make_move_iterator(o.end()));
    std::sort(members.begin(), members.end(), less);
    json::object sorted;
    sorted.reserve(members.size());
    for (auto& m : members) sorted.append(std::move(m.name), std::move(m.value));
    o = std::move(sorted);
  }

  void element(base_type base, const type_info* type, json::value& v, const place* at) {
    switch (base) {
      case base_type::structure:
        if (!v.is_object()) return mistyped(std::string(kind_of_value(v)), base_name(base, type), at);
        return structure(*type, v, at);
      case base_type::string:
        if (!v.is_string()) mistyped(std::string(kind_of_value(v)), "string", at);
        return;
      case base_type::boolean:
        if (!v.is_bool()) mistyped(std::string(kind_of_value(v)), "bool", at);
        return;
      case base_type::int32:
        return integer(v, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max(), "int32",
                       at);
      case base_type::int64:
        return integer(v, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(), "int64",
                       at);
      case base_type::float64:
        if (!v.is_number()) mistyped(std::string(kind_of_value(v)), "float64", at);
        return;
      case base_type::bytes: return binary(v, at);
      case base_type::quantity: return quantity_text(v);
      case base_type::time:
      case base_type::micro_time: return time(v, base == base_type::micro_time);
      case base_type::int_or_string:
        if (v.is_string()) return;
        return integer(v, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max(), "int32",
                       at);
      case base_type::raw_extension:
      case base_type::fields_v1:
      case base_type::any_json: return;
      case base_type::schema_or_array:
        if (v.is_object()) return structure(*type, v, at);
        if (!v.is_array()) return mistyped(std::string(kind_of_value(v)), "v1.JSONSchemaPropsOrArray", at);
        {
          place here{at, nullptr, {}, 0, true};
          for (auto& e : *v.array()) {
            element(base_type::structure, type, e, &here);
            ++here.index;
          }
        }
        return;
      case base_type::schema_or_bool:
        if (v.is_bool()) return;
        if (!v.is_object()) return save({errc::invalid, "boolean or JSON schema expected"});
        return structure(*type, v, at);
      case base_type::schema_or_strings:
        if (v.is_object()) return structure(*type, v, at);
        if (!v.is_array()) return mistyped(std::string(kind_of_value(v)), "[]string", at);
        for (auto& e : *v.array())
          if (!e.is_string()) mistyped(std::string(kind_of_value(e)), "string", at);
        return;
    }
  }

  void integer(json::value& v, std::int64_t low, std::int64_t high, std::string_view wanted, const place* at) {
    if (v.is_integer() && v.as_integer() >= low && v.as_integer() <= high) return;
    mistyped(v.is_number() ? "number " + json::write(v) : std::string(kind_of_value(v)), wanted, at);
  }

  void binary(json::value& v, const place* at) {
    if (!v.is_string()) return mistyped(std::string(kind_of_value(v)), "[]uint8", at);
    // Go's decoder skips line ends; the canonical text is one line.
    auto& text = *v.string();
    std::erase_if(text, [](char c) { return c == '\n' || c == '\r'; });
    static constexpr auto alphabet = [] {
      std::array<bool, 256> t{};
      for (char c = 'A'; c <= 'Z'; ++c)
        t[static_cast<unsigned char>(c)] = t[static_cast<unsigned char>(c - 'A' + 'a')] = true;
      for (char c = '0'; c <= '9'; ++c) t[static_cast<unsigned char>(c)] = true;
      t['+'] = t['/'] = true;
      return t;
    }();
    std::size_t n = 0;
    while (n < text.size() && alphabet[static_cast<unsigned char>(text[n])]) ++n;
    auto padding = text.size() - n;
    bool whole = text.size() % 4 == 0 && padding <= 2 && text.find_first_not_of('=', n) == std::string::npos;
    if (!whole) return save({errc::invalid, "illegal base64 data at input byte " + std::to_string(n)});
    // Bits below the last byte may be anything in the text, and are zero in its canonical form.
    if (padding != 0)
      if (auto decoded = unbase64(text)) text = base64(as_bytes(*decoded));
  }

  void quantity_text(json::value& v) {
    auto text = v.is_string() ? std::string(trim(v.as_string())) : json::write(v);
    auto canonical = canonical_quantity(text);
    if (!canonical) return save(std::move(canonical).error());
    v = *std::move(canonical);
  }

  void time(json::value& v, bool micro) {
    if (!v.is_string()) return mistyped(std::string(kind_of_value(v)), "string", nullptr);
    auto t = parse_time_text(v.as_string(), micro);
    if (!t) return save(std::move(t).error());
    if (is_zero(*t)) {
      v = nullptr;
      return;
    }
    // Whole seconds with a Z behind them stand as they are printed.
    constexpr std::size_t plain_size = std::string_view("2006-01-02T15:04:05Z").size();
    if (micro || v.as_string().size() != plain_size) v = time_text(*t, micro);
  }

  // omitempty of what was given.
  bool omitted(const field_info& f, const json::value& v) const {
    if (!f.omitempty()) return as_stored_ && !f.is_single() && v.empty();
    if (!f.is_single()) return v.empty();
    if (f.pointer()) return false;
    switch (f.base()) {
      case base_type::string:
      case base_type::bytes: return v.as_string().empty();
      case base_type::boolean: return !v.as_bool();
      case base_type::int32:
      case base_type::int64:
      case base_type::float64: return v.as_number() == 0;
      default: return false;
    }
  }

  // Whether Go prints a field that was not given.
  static bool has_zero(const field_info& f) {
    return !f.omitzero() && (!f.omitempty() || (f.is_single() && !f.pointer() && !is_scalar(f.base())));
  }

  // What it prints for it.
  json::value zero_of(const field_info& f) {
    if (!f.is_single() || f.pointer() || f.base() == base_type::bytes) return {};
    auto v = zero_element(f.base());
    if (f.base() == base_type::structure) structure(*f.type(), v, nullptr);
    return v;
  }

  unknown_list* unknown_;
  bool as_stored_;
};

}  // namespace

result<void> decode(const type_info& type, json::value& v, unknown_list* unknown) {
  if (type.base() == base_type::structure && !v.is_object())
    return fail(errc::invalid, "json: cannot unmarshal " + std::string(v.is_null() ? "null" : kind_of_value(v)) +
                                   " into Go value of type " + std::string(short_name(type.name())));
  decoder d(unknown);
  d.structure(type, v, nullptr);
  if (d.first_error) return fail(*std::move(d.first_error));
  return {};
}

void normalise(const type_info& type, json::value& v, bool as_stored) {
  if (!v.is_object()) return;
  decoder(nullptr, as_stored).structure(type, v, nullptr);
}

}  // namespace kedge::schema
