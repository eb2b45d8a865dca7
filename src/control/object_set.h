// object_set.h: objects that are applied together and belong to one owner, kept as rancher/wrangler's apply keeps them,
// so that what K3s applied goes on here, and the other way round.
//
//   objects wanted ─▶ marked: whose they are ─▶ create │ three-way merge: applied last, wanted now, what is there
//   objects there with the owner's hash that are wanted no more ─▶ removed
//
// Each object has label objectset.rio.cattle.io/hash (SHA-1 over the owner), annotations …/id, …/owner-gvk,
// …/owner-name and …/owner-namespace, and in …/applied what was applied last: JSON, gzip, base64.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/objects.h"

namespace kedge::control {

// A kind in a version, as Go's schema.GroupVersionKind.
struct versioned_kind {
  std::string api_version, kind;
  friend bool operator==(const versioned_kind&, const versioned_kind&) = default;
  // "apps/v1, Kind=Deployment"; "/v1, Kind=Pod"
  std::string text() const;
  // Empty for what isn't such a text.
  static versioned_kind parse(std::string_view text);
};
versioned_kind kind_of(const json::value& object);

struct set_owner {
  std::string id;  // wrangler's set ID: one owner may have several sets
  versioned_kind what;
  std::string ns, name;
  std::string uid = {};  // not empty: objects in the owner's namespace name it among their ownerReferences
};
// The value of the label by which the owner's objects are found.
std::string hash_of(const set_owner& owner);

struct object_set {
  set_owner owner;
  std::vector<json::value> objects;  // with apiVersion, kind and metadata; a later one of the same name counts
  // Kinds in which objects of the owner are looked for beside those of `objects`: what it had before.
  std::vector<versioned_kind> kinds = {};
  bool prune = true;  // what is wanted no more is removed
  // Asked before an object that is there is changed: an error says why it can't be now, `replace` that it is removed,
  // to be made anew by a later apply. Null: it is changed.
  enum class decision : unsigned char { change, replace };
  std::function<api::api_result<decision>(const json::value& there)> decide = nullptr;
};

// The kinds of these objects, each once, in the order in which they are applied: definitions of resources, namespaces,
// then as they come.
std::vector<versioned_kind> kinds_of(const std::vector<json::value>& objects);

// Applies the set. What went wrong, in wrangler's words; one object's refusal holds no other. Kinds that a definition
// in the set brings are waited for; a kind that isn't served is an error for what is wanted of it, and nothing for what
// is to be pruned.
task<std::vector<std::string>> apply_set(api::objects& client, object_set set);

// What it writes, for tests and for who writes it himself: the object marked as the owner's, with what is applied in
// its annotation.
json::value marked(json::value object, const set_owner& owner, bool is_namespaced);
// `there` as it becomes when `wanted` (marked) is applied: what was applied before and is wanted no more goes, what
// others added stays. The same value when nothing changes.
api::api_result<json::value> applied(const json::value& there, const json::value& wanted);

}  // namespace kedge::control
