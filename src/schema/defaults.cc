#include "schema/defaults.h"

#include <vector>

#include "base/assert.h"
#include "json/parse.h"
#include "schema/decode.h"
#include "schema/defaults/rules.h"
#include "schema/quantity.h"

namespace kedge::schema {

namespace {

using defaults::rule;
using defaults::target;

using apply_function = void (*)(const target&);

struct plan {
  apply_function apply = nullptr;
  bool from_table = false;  // a field of the type has a default in the table
  bool reaches = false;     // the type, or one within it, has anything to fill in: others are not walked
};

std::size_t index_of(const type_info& type) { return static_cast<std::size_t>(&type - all_types().data()); }

// Says nothing: "" or 0 of a field that is no pointer.
bool has_table_default(const field_info& f) {
  auto text = f.default_json();
  return !text.empty() && (f.pointer() || (text != "\"\"" && text != "0" && text != "false"));
}

// What each type fills in, by the type's place in the table; made once.
const std::vector<plan>& plans() {
  static const auto made = [] {
    auto types = all_types();
    std::vector<plan> by_type(types.size());
    for (auto list :
         {defaults::core_rules(), defaults::apps_rules(), defaults::batch_rules(), defaults::autoscaling_rules(),
          defaults::networking_rules(), defaults::admission_rules(), defaults::flowcontrol_rules(),
          defaults::storage_rules(), defaults::access_rules(), defaults::device_rules()})
      for (auto& r : list) {
        auto type = find_type(r.type);
        kedge_assert(type != nullptr);
        by_type[index_of(*type)].apply = r.apply;
      }
    for (auto& t : types)
      for (std::size_t i = 0; i < t.size(); ++i) by_type[index_of(t)].from_table |= has_table_default(t.field(i));
    for (bool more = true; more;) {
      more = false;
      for (auto& t : types) {
        auto& p = by_type[index_of(t)];
        bool reaches = p.apply || p.from_table;
        for (std::size_t i = 0; i < t.size() && !reaches; ++i) {
          auto& f = t.field(i);
          reaches = (f.base() == base_type::structure && by_type[index_of(*f.type())].reaches) ||
                    (f.base() == base_type::quantity && f.shape() == shape::map);
        }
        more |= reaches && !p.reaches;
        p.reaches = reaches;
      }
    }
    return by_type;
  }();
  return made;
}

class filler {
 public:
  bool changed = false;

  void object(const type_info& type, json::value& v) {
    auto& p = plans_[index_of(type)];
    if (!p.reaches || !v.is_object() || type.base() != base_type::structure) return;
    if (p.apply) p.apply({v, changed});
    for (std::size_t i = 0; p.from_table && i < type.size(); ++i) from_table(type.field(i), v);
    for (auto& m : *v.object())
      if (auto f = type.find(m.name)) field(*f, m.value);
  }

 private:
  void from_table(const field_info& f, json::value& v) {
    if (!has_table_default(f)) return;
    auto there = v.find(f.name());
    bool missing = !there || there->is_null() || (!f.pointer() && there->is_string() && there->as_string().empty());
    if (!missing) return;
    if (auto parsed = json::parse(f.default_json())) target{v, changed}.set(f.name(), *std::move(parsed));
  }

  void field(const field_info& f, json::value& v) {
    if (f.base() == base_type::quantity && f.shape() == shape::map) return whole_milli(v);
    if (f.base() != base_type::structure) return;
    if (f.is_single()) return object(*f.type(), v);
    if (auto a = v.array())
      for (auto& e : *a) object(*f.type(), e);
    if (auto o = v.object())
      for (auto& m : *o) object(*f.type(), m.value);
  }

  // Resource lists hold nothing finer than a thousandth; what is finer is rounded up.
  void whole_milli(json::value& v) {
    if (!v.is_object()) return;
    for (auto& m : *v.object()) {
      auto text = m.value.as_string();
      if (!text.ends_with('n') && !text.ends_with('u')) continue;
      auto q = quantity::parse(text);
      if (!q) continue;
      m.value = quantity::of_milli(q->milli_value()).text();
      changed = true;
    }
  }

  const std::vector<plan>& plans_ = plans();
};

}  // namespace

void apply_defaults(const type_info& type, json::value& object) {
  filler f;
  f.object(type, object);
  if (f.changed) normalise(type, object);
}

}  // namespace kedge::schema
