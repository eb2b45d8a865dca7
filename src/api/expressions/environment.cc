#include "api/expressions/environment.h"

#include <array>
#include <map>
#include <string>
#include <string_view>

#include "api/expressions/authorizer.h"
#include "api/expressions/libraries/libraries.h"
#include "cel/functions/libraries.h"

namespace kedge::api::expressions {

namespace {

using cel::type;

// Objects with fixed fields: those that admission gives to expressions.
class admission_types final : public cel::type_provider {
 public:
  admission_types() {
    const type& string = type::string();
    const type strings = type::list(string), labels = type::map(string, string);
    add("kubernetes.GroupVersionKind", {{"group", string}, {"version", string}, {"kind", string}});
    add("kubernetes.GroupVersionResource", {{"group", string}, {"version", string}, {"resource", string}});
    add("kubernetes.UserInfo",
        {{"username", string}, {"uid", string}, {"groups", strings}, {"extra", type::map(string, strings)}});
    const type kind = type::object("kubernetes.GroupVersionKind"),
               resource = type::object("kubernetes.GroupVersionResource");
    add("kubernetes.AdmissionRequest", {{"kind", kind},
                                        {"resource", resource},
                                        {"subResource", string},
                                        {"requestKind", kind},
                                        {"requestResource", resource},
                                        {"requestSubResource", string},
                                        {"name", string},
                                        {"namespace", string},
                                        {"operation", string},
                                        {"userInfo", type::object("kubernetes.UserInfo")},
                                        {"dryRun", type::boolean()},
                                        {"options", type::dyn()}});
    add("kubernetes.NamespaceSpec", {{"finalizers", strings}});
    add("kubernetes.NamespaceCondition", {{"status", string},
                                          {"type", string},
                                          {"lastTransitionTime", type::timestamp()},
                                          {"message", string},
                                          {"reason", string}});
    add("kubernetes.NamespaceStatus",
        {{"conditions", type::list(type::object("kubernetes.NamespaceCondition"))}, {"phase", string}});
    add("kubernetes.NamespaceMetadata", {{"name", string},
                                         {"generateName", string},
                                         {"namespace", string},
                                         {"labels", labels},
                                         {"annotations", labels},
                                         {"UID", string},
                                         {"creationTimestamp", type::timestamp()},
                                         {"deletionGracePeriodSeconds", type::integer()},
                                         {"deletionTimestamp", type::timestamp()},
                                         {"generation", type::integer()},
                                         {"resourceVersion", string},
                                         {"finalizers", strings}});
    add("kubernetes.Namespace", {{"metadata", type::object("kubernetes.NamespaceMetadata")},
                                 {"spec", type::object("kubernetes.NamespaceSpec")},
                                 {"status", type::object("kubernetes.NamespaceStatus")}});
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
  void add(const char* name, fields f) { types_.emplace(name, std::move(f)); }
  std::map<std::string, fields, std::less<>> types_;
};

std::shared_ptr<const cel::environment> make_base() {
  auto b = cel::environment::standard();
  cel::add_two_variable(b);
  cel::add_strings(b);
  cel::add_sets(b);
  cel::add_lists(b);
  add_urls(b);
  add_regex(b);
  add_list_functions(b);
  add_quantities(b);
  add_addresses(b);
  add_formats(b);
  add_semver(b);
  add_authorizer(b);
  b.strict_literals();
  b.costs(library_costs());
  return b.build();
}

std::shared_ptr<const cel::environment> make_admission(admission_variables which) {
  auto b = base_environment()->extend();
  b.types(std::make_shared<admission_types>());
  b.variable("object", type::dyn());
  b.variable("oldObject", type::dyn());
  b.variable("namespaceObject", type::object("kubernetes.Namespace"));
  b.variable("request", type::object("kubernetes.AdmissionRequest"));
  if (which.params) b.variable("params", type::dyn());
  if (which.authorizer) {
    b.variable("authorizer", authorizer_type());
    b.variable("authorizer.requestResource", resource_check_type());
  }
  if (which.patches) add_patches(b);
  return b.build();
}

}  // namespace

std::shared_ptr<const cel::environment> base_environment() {
  static const auto made = make_base();
  return made;
}

std::shared_ptr<const cel::environment> admission_environment(admission_variables which) {
  static const auto made = [] {
    std::array<std::shared_ptr<const cel::environment>, 8> all;
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = make_admission({(i & 1) != 0, (i & 2) != 0, (i & 4) != 0});
    return all;
  }();
  return made[(which.params ? 1u : 0u) | (which.authorizer ? 2u : 0u) | (which.patches ? 4u : 0u)];
}

}  // namespace kedge::api::expressions
