// definition.h: one CustomResourceDefinition, compiled: what its versions are served as.
//
// Immutable; shared by all cores. A change of the object that changes nothing here (a condition, an annotation) keeps
// the compiled one, so that identity tells watches whether their resource is still the same.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/callout/target.h"
#include "api/custom/json_path.h"
#include "api/custom/rules.h"
#include "api/custom/structural.h"
#include "api/registry/registry.h"
#include "store/store.h"

namespace kedge::schema::apply {
struct outline;
}

namespace kedge::api::custom {

struct printer_column {
  std::string type;
  json_path path;
};
struct selectable_field {
  std::string name;  // "spec.color"
  json_path path;
  std::string plain_path;  // "spec.color" where it is nothing but member names without dots, as nearly all are
  std::string index;       // the name of the store's index of it
};
struct scale_paths {
  std::vector<std::string> replicas, status_replicas, selector;  // member names; selector may be empty
};

// Who brings objects from one version to another, where that isn't the server itself.
struct webhook_conversion {
  result<std::shared_ptr<const callout::target>> to;
  std::string review;  // "v1", "v1beta1"; empty: none that is known here
};

// What one version has beyond its `served`.
struct version {
  const definition* owner = nullptr;
  std::string warning;  // deprecated: text of the Warning header
  structural schema;
  bool has_schema = false;
  std::unique_ptr<const rule_tree> rules;                 // null: none
  std::shared_ptr<const schema::apply::outline> outline;  // the schema's topology, for apply
  std::vector<printer_column> columns;                    // behind the name
  std::vector<selectable_field> fields;
  std::unique_ptr<scale_paths> scale;
};

class definition : public std::enable_shared_from_this<definition> {
 public:
  // From the stored object. `previous`, the one made of the object's last version (or null), is given back when nothing
  // changed that matters here. Never null; a CRD that is not established has no versions.
  static std::shared_ptr<const definition> make(const store::object_ref& crd,
                                                const std::shared_ptr<const definition>& previous);

  const std::vector<const served*>& versions() const noexcept { return served_; }
  const std::string& name() const noexcept { return name_; }  // "gizmos.example.com"
  const std::string& group() const noexcept { return group_; }
  const std::string& kind() const noexcept { return kind_; }
  bool terminating() const noexcept { return terminating_; }
  // Null: only the apiVersion changes.
  const webhook_conversion* webhook() const noexcept { return webhook_ ? &*webhook_ : nullptr; }
  // Objects written at this revision or later were pruned and defaulted by these very schemas.
  store::revision since() const noexcept { return since_; }
  // The stored CRD that this was made of: the newest when nothing changed, so that it need not be looked at again.
  const store::object_ref& source() const noexcept { return source_; }
  // Another one whenever what is served is another: for ETags.
  std::uint64_t fingerprint() const noexcept { return fingerprint_; }
  // What the store finds its objects by: each selectable field of each version. They keep this alive.
  std::vector<store::index> indexes() const;
  // spec.versions[…] of the CRD: where the schema stands as JSON, for OpenAPI.
  json::value schema_json(std::string_view version) const;

 private:
  struct one_version {
    served s;
    version v;
  };
  definition() = default;
  void compile(const json::value& crd);
  void compile_version(const json::value& crd, const json::value& v);
  std::string_view keep(std::string_view text);

  std::string name_, group_, kind_;
  bool terminating_ = false;
  std::optional<webhook_conversion> webhook_;
  store::revision since_ = 0;
  std::uint64_t fingerprint_ = 0;
  store::object_ref source_;
  std::uint64_t spec_fingerprint_ = 0;
  std::deque<std::string> texts_;
  std::deque<one_version> all_;  // served or stored
  std::vector<const served*> served_;
};

// A resource, for another thread. Built-in ones are there for ever, and a custom one as long as this.
class lasting {
 public:
  explicit lasting(const served& s) : of_(&s), owner_(s.custom ? s.custom->owner->shared_from_this() : nullptr) {}
  const served& operator*() const noexcept { return *of_; }
  const served* operator->() const noexcept { return of_; }

 private:
  const served* of_;
  std::shared_ptr<const definition> owner_;
};

// "v1" before "v1beta2" before "v1alpha1" before everything else by name: the order of versions in discovery.
bool version_before(std::string_view a, std::string_view b) noexcept;

bool has_condition(const json::value& crd, std::string_view type) noexcept;  // that is True

}  // namespace kedge::api::custom
