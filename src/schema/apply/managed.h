// managed.h: metadata.managedFields: who owns which fields, kept through applies and other writes.
//
//   apply:  live ── merge config ── prune what this manager no longer names ── compare with live ──▶ conflicts, or
//   object + owners write:  before, after ── compare ──▶ the writer owns what it changed; nobody owns what is gone
//
// Entries of another API version than the type's are kept as they are: their paths mean another structure.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "json/value.h"
#include "schema/apply/structure.h"
#include "schema/types.h"

namespace kedge::schema::apply {

// At most so many Update entries an object; older ones become one, as kube-apiserver has it.
inline constexpr std::size_t update_managers_max = 10;

// Who writes, through what. `reset`: top-level members that this way of writing never changes ("status", "spec").
struct writer {
  topology shape;
  std::string api_version;
  std::string manager;
  std::string subresource;
  std::vector<std::string> reset;
  std::string now;                                 // RFC 3339
  std::function<void(json::value&)> canonicalise;  // of custom resources; built-in types are normalised

  void normalise(json::value& v) const;
};

struct conflict {
  std::string with;   // `"m1"`, `"kubectl" using v1 at 2026-…`
  std::string field;  // `.data.k`
};
// "Apply failed with 1 conflict: conflict with …"
std::string conflict_message(const std::vector<conflict>& all);

struct applied {
  std::vector<conflict> conflicts;  // when any, there is no object
  json::value object;               // without managedFields, canonical
  json::value managed;              // an array
};

// `live`: the object as it is stored, in the type's version; null when there is none yet. `config`: what the client
// sent, with the fields that it named and no others. errc::invalid as fields_of.
result<applied> apply(const writer& w, const json::value& live, const json::value& config, bool force);

// managedFields after a write that was no apply, of objects without it. `held`: as it was before the write; `asked`: as
// the writer sent it (null: not at all). [] and [{}] ask for no tracking; what can't be read counts as not sent. At
// creation every object gets an entry; one that has none later (a reset, another cluster's) stays untracked: null.
json::value after_create(const writer& w, const json::value& object, const json::value& asked);
json::value after_update(const writer& w, const json::value& before, const json::value& after, const json::value& held,
                         const json::value& asked);

// Whether two managedFields differ in nothing but times, which alone are no change of an object.
bool same_but_for_times(const json::value& a, const json::value& b);

}  // namespace kedge::schema::apply
