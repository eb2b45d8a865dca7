// storage.h: writes. One path for every kind:
//
//   create:  admission.mutate ─▶ prepare ─▶ system metadata ─▶ default, normalise ─▶ validate ─▶ admission.validate ─▶
//   allocate ─▶ store
//   update:  read ─▶ change (PUT's body, a patch, a subresource's own) ─▶ admission.mutate ─▶ keep what may not change
//   ─▶ prepare ─▶ … ─▶ store
//            again from the read when another writer was first (conflict_tries)
//   remove:  read ─▶ preconditions ─▶ mark (grace, finalizers) or remove
//
// An instance belongs to one core. Everything it keeps is constant but whose turn it is; requests hold their own state.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "api/admission/admission.h"
#include "api/answer/answer.h"
#include "api/authorization/authorization.h"
#include "api/objects.h"
#include "api/registry/registry.h"
#include "api/registry/stored.h"
#include "api/request/request.h"
#include "api/tracing/span.h"
#include "api/write/service_addresses.h"
#include "json/parse.h"
#include "reactor/sync.h"

namespace kedge::api {

namespace custom {
class converter;
}

// An object as admission sees it where a request is on something else that stands for it: a Scale.
struct projection {
  std::string_view kind;
  std::function<json::value(const json::value& object)> show;
  std::function<void(json::value& object, const json::value& shown)> take;  // what admission changed
};

// The right to work on what is large, given back at its end.
class large_turn {
 public:
  explicit large_turn(reactor::semaphore& of) noexcept : of_(&of) {}
  large_turn(large_turn&& o) noexcept : of_(std::exchange(o.of_, nullptr)) {}
  ~large_turn() {
    if (of_) of_->release();
  }

 private:
  reactor::semaphore* of_;
};

// One write request's own state; lives until it is answered.
struct call {
  authorized to;  // what is written, and by whom
  write_options options;
  std::optional<delete_options> deletes = std::nullopt;  // of a deletion
  std::vector<std::string> warnings;
  std::vector<std::pair<std::string, std::string>> annotations = {};  // for the audit log
  std::string manager;   // who will own what the write changes; see applying.h
  bool applies = false;  // an apply, which has found the new managedFields:
  json::value ownership;
  // Asks whether a write that creates what is missing (a PUT, an apply) may do that. Null: it may not.
  std::function<task<api_result<authorized>>()> may_create = nullptr;
  const projection* seen_as = nullptr;            // null: admission sees the object itself
  std::optional<large_turn> turn = std::nullopt;  // while something large is worked on (take_turn)
  request_witness* told = nullptr;                // of what the body holds; null: nobody
  const tracing::live_span* span = nullptr;       // what it is a part of; null: nobody is told
  std::string_view audit_id = {};
  bool admitted = false;  // admission has judged the request as a whole (an eviction, a binding): not its parts again
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

// The new object (of the served version, decoded and defaulted) from the current one. Made again after a lost race.
struct change {
  std::function<api_result<json::value>(const json::value& current)> make;
  // Not null: `make` uses nothing but what it holds, so that another thread may do it; this tells the call what was
  // found beside, whether an object came of it or not.
  std::function<void(call&)> tell = nullptr;

  change() = default;
  template <typename F>
    requires std::is_invocable_r_v<api_result<json::value>, F&, const json::value&>
  change(F f) : make(std::move(f)) {}
};
// Whether a part of the work on what is large goes to another thread (apart.h).
inline bool goes_apart(const call& c) { return c.turn.has_value(); }
// What comes of `current`, which stays, in the frame of who awaits this.
task<api_result<json::value>> make_change(const change& how, json::value& current, bool apart, call& c);

class storage {
 public:
  // All must outlive this. `versions`: of custom resources; null: none is converted by webhook.
  storage(store::store& s, admission& a, const service_ranges& ranges, custom::converter* versions = nullptr)
      : store_(s), admission_(a), ranges_(ranges), versions_(versions) {}

  // Which objects an update without a change writes anew all the same: what is stored in a way that isn't written any
  // more.
  using outdated = std::function<bool(const store::object&)>;
  void write_anew(outdated o) { outdated_ = std::move(o); }

  // All of what `c.to` says. The object's name is the target's, where that has one.
  task<api_result<written>> create(json::value object, call& c);
  // `create_missing`: a PUT that may create (the kind's rules and c.may_create decide).
  task<api_result<written>> update(change how, part what, bool create_missing, call& c);
  task<api_result<written>> remove(delete_options options, call& c);

  // Admission of a request that isn't stored itself: a body that is created on a subresource (a token, an eviction), a
  // question (a review), the options of a connection. May change the body.
  task<api_result<void>> judge(operation what, json::value& body, std::string_view kind, call& c);

  // Before a text of so many bytes becomes values: work on what is large pauses, so that others run meanwhile, and what
  // it holds, some fifteen times the text, must not add up. One at a time, in order; nothing for what is small, and for
  // who has the turn already.
  task<result<void>> take_turn(call& c, std::size_t bytes);

  // A patch document as a change: `kind` of patch, its text already parsed. `large`: it was a large text.
  static change patch_change(const served& s, patch_kind how, json::value patch, json::duplicate_list duplicates,
                             part what, field_validation validation, bool large = false);
  // A PUT's body as a change.
  static change put_change(json::value body, bool large = false);

  store::store& objects() noexcept { return store_; }
  custom::converter* versions() noexcept { return versions_; }

 private:
  // What admission sees of an object beside it.
  struct beside {
    const json::value *owned = nullptr, *owned_before = nullptr;  // metadata.managedFields
    store::revision revision = 0, revision_before = 0;            // of the object and of the old one
  };
  // What other requests wait for is let go while this one waits for another server, and taken again.
  task<void> take_again(call& c, bool had);
  task<api_result<json::value>> bring(const served& to, json::value object, call& c);
  task<api_result<void>> admit(operation what, json::value* object, const json::value* old, call& c,
                               const store::snapshot& cluster, bool mutating, const beside& b);
  task<api_result<written>> store_new(const served& s, json::value object, call& c, const store::snapshot& cluster);
  task<api_result<store::object_ref>> write_new(const served& s, std::string key, std::string text, call& c,
                                                const store::snapshot& cluster, bool& unknown);
  task<api_result<written>> update_once(const change& how, part what, bool create_missing, call& c, bool& lost_race);
  task<api_result<written>> create_missing_object(const change& how, call& c);
  task<api_result<written>> remove_once(const delete_options& options, call& c, bool& lost_race);
  task<api_result<written>> finish_removal(const served& s, const store::object_ref& current, json::value last, call& c,
                                           bool& lost_race);

  store::store& store_;
  admission& admission_;
  const service_ranges& ranges_;
  custom::converter* versions_;
  outdated outdated_;
  reactor::semaphore large_{1};
};

// Whether a PUT's body has the name that its URL says: 400.
api_result<void> check_body_name(const json::value& body, const authorized& to);

}  // namespace kedge::api
