// storage.h: writes. One path for every kind:
//
//   create:  prepare ─▶ admission.mutate ─▶ system metadata ─▶ default, normalise ─▶ validate ─▶ admission.validate ─▶ allocate ─▶ store
//   update:  read ─▶ change (PUT's body, a patch, a subresource's own) ─▶ keep what may not change ─▶ prepare ─▶ … ─▶ store
//            again from the read when another writer was first (conflict_tries)
//   remove:  read ─▶ preconditions ─▶ mark (grace, finalizers) or remove
//
// An instance belongs to one core. Everything it keeps is constant; requests hold their own state.
#pragma once

#include <functional>
#include <string>

#include "api/access/access.h"
#include "api/objects.h"
#include "api/registry.h"
#include "api/request.h"
#include "api/service_addresses.h"
#include "json/parse.h"

namespace kedge::api {

// One write request's own state; lives until it is answered.
struct call {
  attributes who;
  write_options options;
  const json::value* raw_options = nullptr;
  std::vector<std::string> warnings;
  std::string manager;     // who will own what the write changes; see applying.h
  bool applies = false;    // an apply, which has found the new managedFields:
  json::value ownership;
};

// What a write gives: the stored object, or a value (dry run, Status).
struct written {
  int code = 200;
  store::object_ref object;
  json::value value;
  bool is_status = false;
};

// Which part of the object an update may change.
enum class part : unsigned char {
  whole,
  status,
  approval,              // CSR: status.conditions
  finalize,              // Namespace: spec.finalizers
  ephemeral_containers,  // Pod
  resize,                // Pod: containers' resources
  own,                   // the server's own change: as it is, without the kind's update rules
};

// The new object (of the served version, decoded and defaulted) from the current one. Called again after a lost race.
using change = std::function<api_result<json::value>(const json::value& current)>;

class storage {
 public:
  // All must outlive this.
  storage(store::store& s, admission& a, const service_ranges& ranges) : store_(s), admission_(a), ranges_(ranges) {}

  task<api_result<written>> create(const served& s, std::string ns, json::value object, call& c);
  // `create_missing`: a PUT that may create (the kind's rules decide).
  task<api_result<written>> update(const served& s, std::string ns, std::string name, change how, part what, bool create_missing, call& c);
  task<api_result<written>> remove(const served& s, std::string ns, std::string name, delete_options options, call& c);

  // A patch document as a change: `kind` of patch, its text already parsed.
  static change patch_change(const served& s, patch_kind how, json::value patch, json::duplicate_list duplicates, part what, call& c);
  // A PUT's body as a change.
  static change put_change(json::value body);

  store::store& objects() noexcept { return store_; }

 private:
  api_result<void> prepare_create(const served& s, const std::string& ns, json::value& o, const kind_context& k);
  task<api_result<void>> admit(const served& s, operation what, json::value* object, const json::value* old, call& c,
                               const store::snapshot& cluster, bool mutating);
  task<api_result<written>> store_new(const served& s, json::value object, call& c, const store::snapshot& cluster);
  task<api_result<written>> update_once(const served& s, const std::string& ns, const std::string& name, const change& how, part what,
                                        bool create_missing, call& c, bool& lost_race);
  task<api_result<written>> remove_once(const served& s, const std::string& ns, const std::string& name, const delete_options& options,
                                        call& c, bool& lost_race);
  task<api_result<written>> finish_removal(const served& s, const store::object_ref& current, json::value last, call& c, bool& lost_race);

  store::store& store_;
  admission& admission_;
  const service_ranges& ranges_;
};

// The text that is stored: canonical, without resourceVersion.
std::string stored_text(const served& s, json::value& object);
// Whether `text` (as stored_text gives it) is what `object` holds already.
bool same_as_stored(const store::object& object, std::string_view text) noexcept;
// The value of a stored object; a K3s database's damaged one gives an internal error.
api_result<json::value> value_of(const store::object& object);

}  // namespace kedge::api
