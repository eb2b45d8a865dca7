#include "schema/json_schema.h"

#include <algorithm>
#include <vector>

namespace kedge::schema {
namespace {

json::value open() { return json::object{{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}}; }

json::value scalar(base_type base) {
  switch (base) {
    case base_type::boolean: return json::object{{"type", "boolean"}};
    case base_type::int32:
    case base_type::int64: return json::object{{"type", "integer"}};
    case base_type::float64: return json::object{{"type", "number"}};
    case base_type::string: return json::object{{"type", "string"}};
    case base_type::bytes: return json::object{{"type", "string"}, {"format", "byte"}};
    case base_type::time:
    case base_type::micro_time: return json::object{{"type", "string"}, {"format", "date-time"}};
    case base_type::quantity:
    case base_type::int_or_string: return json::object{{"x-kubernetes-int-or-string", true}};
    default: return open();
  }
}

class writer {
 public:
  explicit writer(int depth_max) : left_(depth_max) {}

  json::value of(const type_info& t) {
    if (t.base() != base_type::structure) return scalar(t.base());
    if (left_ == 0 || std::ranges::find(within_, &t) != within_.end()) return open();
    within_.push_back(&t);
    --left_;
    json::object members;
    members.reserve(t.size());
    for (std::size_t i = 0; i < t.size(); ++i) members.set(t.field(i).name(), of(t.field(i)));
    ++left_;
    within_.pop_back();
    return json::object{{"type", "object"}, {"properties", std::move(members)}};
  }

 private:
  json::value of(const field_info& f) {
    auto element = f.type() ? of(*f.type()) : scalar(f.base());
    switch (f.shape()) {
      case shape::single: return element;
      case shape::array: return list_of(std::move(element));
      case shape::map: return json::object{{"type", "object"}, {"additionalProperties", std::move(element)}};
      case shape::map_of_arrays:
        return json::object{{"type", "object"}, {"additionalProperties", list_of(std::move(element))}};
    }
    return element;
  }
  static json::value list_of(json::value element) {
    return json::object{{"type", "array"}, {"items", std::move(element)}};
  }

  int left_;
  std::vector<const type_info*> within_;
};

}  // namespace

json::value json_schema(const type_info& type, int depth_max) { return writer(depth_max).of(type); }

}  // namespace kedge::schema
