// libraries.h: Kubernetes' own functions for expressions (apiserver/pkg/cel/library), to be added to an environment.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cel/environment.h"
#include "cel/function.h"
#include "cel/value.h"
#include "schema/quantity.h"

namespace kedge::api::expressions {

void add_urls(cel::environment::builder& b);            // url('https://…').getHost()
void add_regex(cel::environment::builder& b);           // 'abc'.find('b+'), findAll
void add_list_functions(cel::environment::builder& b);  // isSorted, sum, min, max, indexOf, lastIndexOf
void add_quantities(cel::environment::builder& b);      // quantity('1Gi').isGreaterThan(…)
void add_addresses(cel::environment::builder& b);       // ip('10.0.0.1'), cidr('10.0.0.0/8')
void add_formats(cel::environment::builder& b);         // format.dns1123Label().validate('…')
void add_semver(cel::environment::builder& b);          // semver('1.2.3')
void add_authorizer(cel::environment::builder& b);      // authorizer.group('').resource('pods').check('get').allowed()
void add_patches(cel::environment::builder& b);         // Object{…}, JSONPatch{…}, jsonpatch.escapeKey

// A value of an own type: what a function made, with its equality.
template <typename T>
class own_value final : public cel::opaque {
 public:
  own_value(const cel::type& t, T content) : type_(t), content_(std::move(content)) {}
  const cel::type& type() const override { return type_; }
  bool equals(const cel::opaque& other) const override {
    return static_cast<const own_value&>(other).content_ == content_;  // only asked for the same type
  }
  std::optional<std::uint64_t> size() const override {
    if constexpr (requires { content_.cost_size(); }) return content_.cost_size();
    return std::nullopt;
  }
  const T& content() const { return content_; }

 private:
  const cel::type& type_;
  T content_;
};

template <typename T>
cel::value own(const cel::type& t, T content, cel::arena& memory) {
  return cel::value::opaque(memory.make<own_value<T>>(t, std::move(content)));
}
// Of a value whose type an overload has checked.
template <typename T>
const T& content_of(const cel::value& v) {
  return static_cast<const own_value<T>&>(v.as_opaque()).content();
}

inline cel::overload global(std::string id, std::vector<cel::type> arguments, cel::type result,
                            cel::implementation run) {
  return {std::move(id), false, std::move(arguments), std::move(result), run};
}
inline cel::overload method(std::string id, std::vector<cel::type> arguments, cel::type result,
                            cel::implementation run) {
  return {std::move(id), true, std::move(arguments), std::move(result), run};
}

// What quantity('…') and semver('…') give, for data that has it; an error value for text that is no version.
cel::value quantity_value(const schema::quantity& q, cel::arena& memory);
cel::value semver_value(std::string_view text, cel::arena& memory);
const cel::type& quantity_type();

// What the functions above cost (apiserver/pkg/cel/library/cost.go).
std::shared_ptr<const cel::cost_model> library_costs();

}  // namespace kedge::api::expressions
