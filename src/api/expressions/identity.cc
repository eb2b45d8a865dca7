#include "api/expressions/identity.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "api/expressions/environment.h"
#include "api/expressions/schema.h"

namespace kedge::api::expressions {
namespace {

using cel::type;

class identity_types final : public cel::type_provider {
 public:
  identity_types() {
    const type& text = type::string();
    const type texts = type::list(text), extra = type::map(text, texts);
    types_["kubernetes.UserInfo"] = {{"username", text}, {"uid", text}, {"groups", texts}, {"extra", extra}};
    types_["kubernetes.SelectorRequirement"] = {{"key", text}, {"operator", text}, {"values", texts}};
    const fields selector{{"rawSelector", text},
                          {"requirements", type::list(type::object("kubernetes.SelectorRequirement"))}};
    types_["kubernetes.FieldSelectorAttributes"] = selector;
    types_["kubernetes.LabelSelectorAttributes"] = selector;
    types_["kubernetes.ResourceAttributes"] = {{"namespace", text},
                                               {"verb", text},
                                               {"group", text},
                                               {"version", text},
                                               {"resource", text},
                                               {"subresource", text},
                                               {"name", text},
                                               {"fieldSelector", type::object("kubernetes.FieldSelectorAttributes")},
                                               {"labelSelector", type::object("kubernetes.LabelSelectorAttributes")}};
    types_["kubernetes.NonResourceAttributes"] = {{"path", text}, {"verb", text}};
    types_["kubernetes.SubjectAccessReviewSpec"] = {
        {"resourceAttributes", type::object("kubernetes.ResourceAttributes")},
        {"nonResourceAttributes", type::object("kubernetes.NonResourceAttributes")},
        {"user", text},
        {"groups", texts},
        {"extra", extra},
        {"uid", text}};
  }

  bool has_type(std::string_view name) const override { return types_.contains(name); }
  std::optional<type> field(std::string_view type_name, std::string_view field) const override {
    auto found = types_.find(type_name);
    if (found == types_.end()) return std::nullopt;
    auto there = found->second.find(field);
    return there == found->second.end() ? std::nullopt : std::optional(there->second);
  }

 private:
  using fields = std::map<std::string, type, std::less<>>;
  std::map<std::string, fields, std::less<>> types_;
};

std::shared_ptr<const cel::environment> with_variable(const char* name, type of) {
  static const auto types = std::make_shared<const identity_types>();
  auto b = base_environment()->extend();
  b.types(types);
  b.variable(name, std::move(of));
  return b.build();
}

}  // namespace

std::shared_ptr<const cel::environment> claims_environment() {
  static const auto made = with_variable("claims", type::map(type::string(), type::dyn()));
  return made;
}

std::shared_ptr<const cel::environment> user_environment() {
  static const auto made = with_variable("user", type::object("kubernetes.UserInfo"));
  return made;
}

std::shared_ptr<const cel::environment> review_environment() {
  static const auto made = with_variable("request", type::object("kubernetes.SubjectAccessReviewSpec"));
  return made;
}

cel::value loose_value(const json::value& document, cel::arena& memory) {
  static const cel::shape loose{.as = cel::shape::form::loose, .member = unescape_name};
  return cel::value::json(document, &loose, memory);
}

}  // namespace kedge::api::expressions
