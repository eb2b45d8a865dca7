// remove.cc: DELETE. Who goes at once, and who is only marked: pods with a grace period, objects with
// finalizers, namespaces with content.
#include <fmt/format.h>

#include <algorithm>

#include "api/custom/conversion.h"
#include "api/write/apart.h"
#include "api/write/limits.h"
#include "api/write/storage.h"
#include "base/strings.h"
#include "reactor/loop.h"
#include "schema/decode.h"

namespace kedge::api {
namespace {

bool is_pod(const served& s) { return s.resource == "pods" && s.group.empty(); }
bool is_namespace(const served& s) { return s.resource == "namespaces" && s.group.empty(); }

api_result<void> check_preconditions(const served& s, const store::object& current, const json::value& old,
                                     const delete_options& o) {
  auto uid = old["metadata"]["uid"].as_string();
  if (!o.uid.empty() && o.uid != uid)
    return fail(conflict(s.group, s.kind, name_in(old),
                         fmt::format("the UID in the precondition ({}) does not match the UID in record ({}). The "
                                     "object might have been deleted and then recreated",
                                     o.uid, uid)));
  auto version = std::to_string(current.mod());
  if (!o.resource_version.empty() && o.resource_version != version)
    return fail(conflict(s.group, s.kind, name_in(old),
                         fmt::format("the ResourceVersion in the precondition ({}) does not match the ResourceVersion "
                                     "in record ({}). The object might have been modified",
                                     o.resource_version, version)));
  return {};
}

bool contains(const json::value& list, std::string_view text) {
  auto a = list.array();
  return a && std::any_of(a->begin(), a->end(), [&](auto& v) { return v.as_string() == text; });
}

// Sets the finalizer that the propagation policy calls for, and takes the other of the pair away.
void set_propagation(const served& s, json::value& o, std::string_view policy) {
  if (s.resource == "events") return;
  auto& finalizers = o["metadata"]["finalizers"];
  bool orphan = false, foreground = false;
  if (policy == "Orphan")
    orphan = true;
  else if (policy == "Foreground")
    foreground = true;
  else if (policy.empty()) {
    orphan = contains(finalizers, "orphan");
    foreground = contains(finalizers, "foregroundDeletion");
    if (!orphan && !foreground) orphan = s.rules->orphan_by_default;
  }
  json::array next;
  for (std::size_t i = 0; i < finalizers.size(); ++i) {
    auto f = finalizers[i].as_string();
    if (f != "orphan" && f != "foregroundDeletion") next.push_back(finalizers[i]);
  }
  if (orphan) next.emplace_back("orphan");
  if (foreground) next.emplace_back("foregroundDeletion");
  if (next.empty())
    o.member("metadata").erase("finalizers");
  else
    o.member("metadata").set("finalizers", std::move(next));
}

// The grace period in seconds that a pod gets.
std::int64_t pod_grace(const json::value& pod, std::int64_t asked) {
  auto phase = pod["status"]["phase"].as_string();
  if (pod["spec"]["nodeName"].as_string().empty() || phase == "Succeeded" || phase == "Failed") return 0;
  auto grace = asked >= 0 ? asked : pod["spec"]["terminationGracePeriodSeconds"].as_integer(30);
  return grace < 0 ? 1 : grace;
}

enum class verdict : unsigned char { gone, marked, unchanged };

// Marks `o` as being deleted, where it may not go at once.
verdict mark(const served& s, json::value& o, const delete_options& options, wall_time now) {
  auto& m = o.member("metadata");
  const auto since = std::string(o["metadata"]["deletionTimestamp"].as_string());
  const bool ready = o["metadata"]["finalizers"].empty() && !(is_namespace(s) && !o["spec"]["finalizers"].empty());
  auto stamp = [&](wall_time when, std::int64_t grace) {
    m.set("deletionTimestamp", format_rfc3339(when));
    m.set("deletionGracePeriodSeconds", grace);
  };
  auto first_mark = [&] {
    if (since.empty() && o["metadata"]["generation"].is_integer())
      m.set("generation", o["metadata"]["generation"].as_integer() + 1);
  };
  if (is_pod(s)) {
    if (since.empty()) {
      auto grace = pod_grace(o, options.grace_seconds);
      if (grace == 0 && ready) return verdict::gone;
      first_mark();
      stamp(now + std::chrono::seconds(grace), grace);
      return verdict::marked;
    }
    // Later deletes may only shorten.
    const auto had = o["metadata"]["deletionGracePeriodSeconds"].as_integer();
    auto wanted = options.grace_seconds;
    if (wanted < 0) return had == 0 && ready ? verdict::gone : verdict::unchanged;
    if (wanted >= had && had != 0) return verdict::unchanged;
    if (wanted == 0 && ready) return verdict::gone;
    if (wanted == had) return verdict::unchanged;
    auto end = parse_rfc3339(since);
    stamp((end ? *end : now) - std::chrono::seconds(had - wanted), wanted);
    return verdict::marked;
  }
  if (ready) return verdict::gone;
  if (!since.empty()) return verdict::unchanged;
  first_mark();
  stamp(now, 0);
  if (is_namespace(s)) {
    m.erase("deletionGracePeriodSeconds");
    o.member("status").set("phase", "Terminating");
  }
  return verdict::marked;
}

json::value success(const served& s, const json::value& old) {
  json::object details;
  details.set("name", name_in(old));
  if (!s.group.empty()) details.set("group", s.group);
  details.set("kind", s.resource);
  details.set("uid", old["metadata"]["uid"]);
  return json::object{{"kind", "Status"},
                      {"apiVersion", "v1"},
                      {"metadata", json::object{}},
                      {"status", "Success"},
                      {"details", std::move(details)}};
}

}  // namespace

task<api_result<written>> storage::remove(delete_options options, call& c) {
  for (int tries = 1;; ++tries) {
    bool lost_race = false;
    auto out = co_await remove_once(options, c, lost_race);
    if (!lost_race || tries >= conflict_tries) co_return out;
  }
}

task<api_result<written>> storage::remove_once(const delete_options& options, call& c, bool& lost_race) {
  auto& s = c.to.what();
  auto& name = c.to.name();
  auto cluster = co_await store_.latest();
  if (!cluster) co_return fail(from_error(cluster.error()));
  auto key = c.to.key();
  auto current = cluster->find(key);
  if (!current) co_return fail(not_found(s.group, s.resource, name));
  const auto size = current->bytes().size();
  KEDGE_CO_TRY(auto old, co_await done_by_size(size, [current] { return value_of(*current); }));
  json::value object;
  const dropped_apart rest(size > large_bytes, old, object);
  KEDGE_CO_CHECK(check_preconditions(s, *current, old, options));
  if (s.rules->refuse_delete)
    if (auto why = s.rules->refuse_delete(old); !why.empty()) co_return fail(forbidden(s.group, s.resource, name, why));
  c.deletes = options;
  if (is_pod(s)) c.deletes->grace_seconds = pod_grace(old, options.grace_seconds);
  const beside told{.revision_before = current->mod()};
  for (bool mutating : {true, false})
    KEDGE_CO_CHECK(co_await admit(operation::remove, nullptr, &old, c, *cluster, mutating, told));

  object = co_await done_by_size(size, [](json::value& o) { return o; }, old);
  object.member("metadata").erase("resourceVersion");
  const auto finalizers_before = object["metadata"]["finalizers"].size();
  set_propagation(s, object, options.propagation_policy);
  if (s.rules->prepare_delete) s.rules->prepare_delete(object, reactor::loop::current().wall_now());
  auto what = mark(s, object, options, reactor::loop::current().wall_now());
  written out;
  if (c.options.dry_run ||
      (what == verdict::unchanged && object["metadata"]["finalizers"].size() == finalizers_before)) {
    if (c.options.dry_run && what == verdict::gone && !s.rules->answers_deleted_object) {
      out.value = success(s, old);
      out.is_status = true;
    } else {
      KEDGE_CO_TRY(out.object, co_await custom::show(versions_, s, std::move(current), c.span));
    }
    co_return out;
  }
  if (what == verdict::gone) {
    auto done = co_await finish_removal(s, current, std::move(object), c, lost_race);
    if (!done || s.rules->answers_deleted_object) co_return done;
    object = std::move(done->value);
    out.value = success(s, old);
    out.is_status = true;
    co_return out;
  }
  auto text =
      co_await done_by_size(size, [of = custom::lasting(s)](json::value& o) { return stored_text(*of, o); }, object);
  auto done = co_await store_.write(
      {store::write_kind::update, std::move(key), std::move(text), current->mod(), s.rules->lease_seconds});
  if (!done) {
    lost_race = done.error().code == errc::conflict;
    if (done.error().code == errc::conflict)
      co_return fail(
          conflict(s.group, s.resource, name,
                   "the object has been modified; please apply your changes to the latest version and try again"));
    if (done.error().code == errc::not_found) co_return fail(not_found(s.group, s.resource, name));
    co_return fail(from_error(done.error()));
  }
  KEDGE_CO_TRY(out.object, co_await custom::show(versions_, s, std::move(done->object), c.span));
  co_return out;
}

}  // namespace kedge::api
