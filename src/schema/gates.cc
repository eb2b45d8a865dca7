#include "schema/gates.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace kedge::schema {
namespace {

std::size_t index_of(const type_info& type) { return static_cast<std::size_t>(&type - all_types().data()); }

// Which types have such a field, or lead to one: others aren't walked. Made once.
const std::vector<bool>& leading() {
  static const auto made = [] {
    auto types = all_types();
    std::vector<bool> leads(types.size());
    for (bool more = true; more;) {
      more = false;
      for (auto& t : types) {
        bool here = false;
        for (std::size_t i = 0; i < t.size() && !here; ++i) {
          auto& f = t.field(i);
          here = f.gated() || (f.base() == base_type::structure && leads[index_of(*f.type())]);
        }
        more |= here && !leads[index_of(t)];
        leads[index_of(t)] = here;
      }
    }
    return leads;
  }();
  return made;
}

// Calls `see` with the type and value of each struct right below `v` that leads to a gated field.
template <typename Value, typename Function>
void for_each_below(const type_info& type, Value& v, const Function& see) {
  for (auto& m : *v.object()) {
    auto f = type.find(m.name);
    if (!f || f->base() != base_type::structure || !leading()[index_of(*f->type())]) continue;
    if (f->is_single()) {
      see(*f->type(), m.value);
    } else if (auto a = m.value.array()) {
      for (auto& e : *a) see(*f->type(), e);
    } else if (auto o = m.value.object()) {
      for (auto& e : *o) see(*f->type(), e.value);
    }
  }
}

bool uses(const type_info& type, const json::value& v, const field_info& wanted) {
  if (!v.is_object()) return false;
  bool found = type.find(wanted.name()) == &wanted && v.find(wanted.name());
  if (!found) for_each_below(type, v, [&](auto& t, auto& below) { found = found || uses(t, below, wanted); });
  return found;
}

class dropper {
 public:
  dropper(const type_info& type, const json::value* old) : type_(type), old_(old) {}

  // True when nothing is left of a struct that can't stand empty.
  bool drop(const type_info& type, json::value& v) {
    if (!v.is_object() || !leading()[index_of(type)]) return false;
    for_each_below(type, v, [&](auto& t, auto& below) {
      if (drop(t, below)) below = nullptr;
    });
    bool goes = false;
    for (std::size_t i = 0; i < type.size(); ++i) {
      auto& f = type.field(i);
      auto there = v.find(f.name());
      if (!there) continue;
      if (f.gated() ? !in_use(f) : there->is_null()) {
        v.erase(f.name());
        goes = f.gated_with_owner();
      }
    }
    return goes && v.empty();
  }

 private:
  // Asked once for each field, however often that stands in the object.
  bool in_use(const field_info& f) {
    if (!old_) return false;
    auto known = std::find_if(known_.begin(), known_.end(), [&](auto& k) { return k.first == &f; });
    if (known == known_.end()) known = known_.insert(known_.end(), {&f, uses(type_, *old_, f)});
    return known->second;
  }

  const type_info& type_;
  const json::value* old_;
  std::vector<std::pair<const field_info*, bool>> known_;
};

}  // namespace

void drop_gated(const type_info& type, json::value& object, const json::value* old) {
  dropper(type, old).drop(type, object);
}

}  // namespace kedge::schema
