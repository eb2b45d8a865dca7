// garbage_collector.cc: deletes what has lost its owners, and finishes foreground and orphaning deletions
// (garbage-collector-controller).
//
//   an object whose owners are all absent            ─▶ deleted, as it was looked at (uid, resourceVersion), after a
//   question for the
//                                                       newest state
//   an object with some owners absent                ─▶ forgets these
//   an owner that waits with `foregroundDeletion`    ─▶ its dependents are deleted; when none blocks it any more, the
//   finalizer goes an owner that waits with `orphan`                ─▶ its dependents forget it, then the finalizer
//   goes
//
// An owner of a kind that another API server has is asked for there (other_owners.h); while nobody can say, nothing
// goes. What other API servers have is listed there again and again, for nothing tells what happens to it
// (other_dependents.h), and goes by the same rules.
//
// Who depends on whom is the store's index of owners' uids; nothing is kept here. Most objects have neither owners nor
// finalizers and are passed over by a search of their text.
#include <cstring>
#include <map>
#include <set>

#include "base/log.h"
#include "control/cleanup/other_dependents.h"
#include "control/cleanup/other_owners.h"
#include "control/cleanup/ownership.h"
#include "control/controllers.h"
#include "control/finalizers.h"
#include "control/limits.h"
#include "control/owners.h"
#include "control/pods.h"
#include "store/text.h"

namespace kedge::control {

namespace {

// A key is an object's in the store, or one of these and a uid.
constexpr std::string_view lost = "owner is gone ";  // its dependents are to be looked at
constexpr std::string_view waiting =
    "owner may wait ";  // the object it stood in went, or blocks it no longer: "… apiVersion\nkind\nns\nname"
constexpr std::string_view others = "objects of other servers";  // are to be looked at
// How soon they are looked at again; and an owner that waits for one of them.
constexpr auto others_period = std::chrono::seconds(10), others_pause = std::chrono::seconds(3);
// An owner there that was there isn't asked for again by each of its dependents.
constexpr auto owner_time = std::chrono::seconds(30);
// Of an owner's thousand dependents many go at once: one look for all of them.
constexpr auto gather = std::chrono::milliseconds(10);
constexpr std::string_view ignored[] = {"/registry/events/"};

// With memmem, which passes over a kilobyte in no time: every change of any object is looked at.
bool mentions(const store::object& o, std::string_view what) {
  auto text = o.bytes();
  return ::memmem(text.data(), text.size(), what.data(), what.size()) != nullptr;
}
bool is_owned(const store::object& o) { return mentions(o, "\"ownerReferences\":["); }
bool may_wait(const store::object& o) {
  return mentions(o, "\"deletionTimestamp\"") && (mentions(o, "\"foregroundDeletion\"") || mentions(o, "\"orphan\""));
}
std::string_view owners_text(const store::object& o) { return store::member_at(o.bytes(), "metadata.ownerReferences"); }

api::resource_id id_of(const api::served& s) { return {s.group, s.version, s.resource}; }

void name_owners(const json::value& of, keys& k) {
  each_owner(of, [&](const json::value& r) {
    std::string key(waiting);
    for (auto part : {r["apiVersion"].as_string(), r["kind"].as_string(), of["metadata"]["namespace"].as_string(),
                      r["name"].as_string()})
      (key += part) += '\n';
    k.add_after(key, gather);
  });
}

void changed(const seen& s, keys& k) {
  for (auto prefix : ignored)
    if (s.key().starts_with(prefix)) return;
  auto& o = *s.object();
  if (s.deleted()) {
    k.add(std::string(lost) + text_at(o, "metadata.uid"));
    if (is_owned(o)) name_owners(s.value(), k);
    return;
  }
  bool was_owned = s.previous() && is_owned(*s.previous());
  bool owned = is_owned(o);
  bool other_owners = (owned || was_owned) && (!s.previous() || owners_text(o) != owners_text(*s.previous()));
  if (other_owners && was_owned) name_owners(s.value_before(), k);
  if ((owned && other_owners) || may_wait(o)) k.add(std::string(s.key()));
}

class garbage_collector final : public controller {
 public:
  std::vector<source> sources() override { return {{{}, &changed}}; }
  void begin(keys& k) override { k.add(std::string(others)); }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (key.starts_with(lost)) return name_dependents(s, key.substr(lost.size()));
    if (key.starts_with(waiting)) return name_waiting_owner(s, key.substr(waiting.size()));
    if (key == others) return look_at_others(s);
    return look_at_object(s, std::move(key));
  }

 private:
  task<api::api_result<void>> name_dependents(shell& s, std::string uid) {
    note_gone(uid);
    if (there_.has(uid)) s.queue().add(std::string(others));
    auto cluster = s.now();
    std::vector<std::string> found;
    cluster.cluster().scan(api::objects_by_owner, uid, {}, {}, [&](const store::object_ref& o) {
      found.emplace_back(o->key());
      return true;
    });
    for (auto& key : found) s.queue().add(key);
    co_return api::api_result<void>();
  }

  task<api::api_result<void>> name_waiting_owner(shell& s, std::string where) {
    std::vector<std::string> part(4);
    std::size_t at = 0;
    for (auto& p : part) {
      auto end = where.find('\n', at);
      p = where.substr(at, end - at);
      at = end + 1;
    }
    auto cluster = s.now();
    auto kind = cluster.served().find_kind(part[0], part[1]);
    if (!kind || (kind->namespaced() && part[2].empty())) co_return api::api_result<void>();
    auto ns = kind->namespaced() ? part[2] : "";
    auto owner = cluster.get(*kind, ns, part[3]);
    if (owner && waits_for_dependents(*owner) && !is_blocked(cluster, *owner)) s.queue().add(kind->key(ns, part[3]));
    co_return api::api_result<void>();
  }

  static bool is_blocked(const view& cluster, const json::value& owner) {
    bool blocked = false;
    each_dependent(cluster, owner, [&](const json::value& d) { return !(blocked = blocks(d, uid_of(owner))); });
    return blocked;
  }

  void note_gone(const std::string& what) {
    if (gone_.size() >= told_max) gone_.clear();
    gone_.insert(what);
  }

  task<api::api_result<void>> look_at_object(shell& s, std::string key) {
    {
      auto cluster = s.now();
      auto o = cluster.cluster().find(key);
      if (!o || (!may_wait(*o) && owners_are_solid(cluster, *o))) co_return api::api_result<void>();
    }
    // Something is to be done: by the newest state that there is.
    auto latest = co_await s.store().latest();
    if (!latest) co_return api::fail(api::from_error(latest.error()));
    view cluster(*std::move(latest), s.client().resources());
    auto o = cluster.cluster().find(key);
    auto object = o ? cluster.value(o) : nullptr;
    auto kind = object ? served_as(cluster, *object) : nullptr;
    if (!kind) co_return api::api_result<void>();
    auto id = id_of(*kind);
    if (waits_for_orphans(*object)) co_return co_await orphan(s, cluster, std::move(id), *object);
    if (waits_for_dependents(*object)) co_return co_await foreground(s, cluster, std::move(id), *object);
    if (is_deleting(*object)) co_return api::api_result<void>();
    co_return co_await check_owners(s, cluster, std::move(id), *object);
  }

  task<api::api_result<void>> check_owners(shell& s, const view& cluster, api::resource_id id,
                                           const json::value& object) {
    auto found = look_at_owners(cluster, object);
    if (found.unknown > 0) co_await ask_others(s, cluster, object, found);
    if (found.absent + found.misplaced > 0) co_await tell_of_strangers(s, cluster, object);
    if (found.misplaced > 0 || found.gone.empty()) {
      // A kind that may be served some day: it is looked at again, later and later.
      if (found.unknown > 0 && found.misplaced == 0) co_return api::fail(api::no_such_resource());
      co_return api::api_result<void>();
    }
    if (found.unknown > 0) co_return api::fail(api::no_such_resource());
    if (found.solid > 0) {
      plan forget;
      forget.write(update_of(std::move(id), without_owners(object, found.gone)));
      co_return co_await s.write(std::move(forget), {});
    }
    bool has_dependents = cluster.cluster().count(api::objects_by_owner, uid_of(object)) > 0;
    auto policy = policy_of(object);
    auto next = object;
    if (found.waiting > 0 && has_dependents) {
      policy = "Foreground";
      if (is_in_circle(cluster, object)) {
        auto unblocked = co_await s.client().update(id, std::string(object["metadata"]["namespace"].as_string()),
                                                    unblocking(object));
        if (!unblocked) co_return api::fail(unblocked.error());
        next = *std::move(unblocked);
      }
    }
    log::info("deleting {} {}/{}: its owners are gone", id.plural, next["metadata"]["namespace"].as_string(),
              next["metadata"]["name"].as_string());
    co_return co_await remove(s, std::move(id), std::move(next), std::move(policy));
  }

  static std::string policy_of(const json::value& object) {
    return has_finalizer(object, "orphan")               ? "Orphan"
           : has_finalizer(object, "foregroundDeletion") ? "Foreground"
                                                         : "Background";
  }

  task<api::api_result<void>> look_at_others(shell& s) {
    co_await there_.look(s);
    for (auto& list : there_.all())
      for (auto& d : *list) {
        if (auto done = co_await judge_other(s, d); !done) log::debug("{}: {}", d.path, done.error().message);
        co_await reactor::maybe_yield();
      }
    s.queue().add_after(std::string(others), others_period);
    co_return api::api_result<void>();
  }

  // Of another server's object: what look_at_object does with one of the own.
  task<api::api_result<void>> judge_other(shell& s, const other_dependent& d) {
    if (is_deleting(d.about)) co_return api::api_result<void>();
    auto found = look_at_owners(s.now(), d.about);
    if (found.gone.empty() && found.unknown == 0) co_return api::api_result<void>();
    // Something may be to be done: by the newest state that there is.
    auto latest = co_await s.store().latest();
    if (!latest) co_return api::fail(api::from_error(latest.error()));
    view cluster(*std::move(latest), s.client().resources());
    found = look_at_owners(cluster, d.about);
    if (found.unknown > 0) co_await ask_about_other(s, cluster, d.about, found);
    if (found.misplaced > 0 || found.unknown > 0 || found.gone.empty()) co_return api::api_result<void>();
    if (found.solid > 0) co_return co_await other_dependents::forget(s, d, std::move(found.gone));
    const bool has_dependents =
        there_.has(uid_of(d.about)) || cluster.cluster().count(api::objects_by_owner, uid_of(d.about)) > 0;
    auto policy = found.waiting > 0 && has_dependents ? std::string("Foreground") : policy_of(d.about);
    co_return co_await other_dependents::remove(s, d, std::move(policy));
  }

  task<void> ask_about_other(shell& s, const view& cluster, const json::value& object, owners_found& found) {
    const auto now = reactor::loop::current().now();
    auto& owners = object["metadata"]["ownerReferences"];
    for (std::size_t i = 0; i < owners.size(); ++i) {
      if (worth_of(cluster, object, owners[i]) != owner_worth::unknown) continue;
      auto uid = std::string(owners[i]["uid"].as_string());
      auto worth = owner_worth::solid;
      const auto known = solid_until_.find(uid);
      const bool asks = known == solid_until_.end() || known->second < now;
      if (asks)
        worth = co_await others_.worth_of(s, std::string(object["metadata"]["namespace"].as_string()), owners[i]);
      if (worth == owner_worth::unknown) continue;
      --found.unknown;
      count(found, worth, owners[i]);
      if (!asks || worth != owner_worth::solid) continue;
      if (solid_until_.size() >= told_max) solid_until_.clear();
      solid_until_.insert_or_assign(std::move(uid), now + owner_time);
    }
  }

  // Those whose kinds aren't served here, of the servers that do. Nothing tells when one of them goes, so those that
  // are there are asked for again.
  task<void> ask_others(shell& s, const view& cluster, const json::value& object, owners_found& found) {
    bool again = false;
    auto& owners = object["metadata"]["ownerReferences"];
    for (std::size_t i = 0; i < owners.size(); ++i) {
      if (worth_of(cluster, object, owners[i]) != owner_worth::unknown) continue;
      const auto worth =
          co_await others_.worth_of(s, std::string(object["metadata"]["namespace"].as_string()), owners[i]);
      if (worth == owner_worth::unknown) continue;
      --found.unknown;
      again = again || worth == owner_worth::solid;
      count(found, worth, owners[i]);
      // Its other dependents need not wait for their turn.
      auto uid = std::string(owners[i]["uid"].as_string());
      if (worth == owner_worth::absent && !gone_.contains(uid)) (void)co_await name_dependents(s, std::move(uid));
    }
    if (again) s.queue().add_at(key_of(cluster, object), others_.next_look(s.when().now));
  }

  // An owner and its dependents that wait for each other would wait for ever.
  static bool is_in_circle(const view& cluster, const json::value& object) {
    bool found = false;
    each_dependent(cluster, object, [&](const json::value& d) { return !(found = found || waits_for_dependents(d)); });
    return found;
  }

  // As it was looked at. What changes all the time but keeps its owners goes all the same.
  task<api::api_result<void>> remove(shell& s, api::resource_id id, json::value object, std::string policy) {
    auto ns = std::string(object["metadata"]["namespace"].as_string()),
         name = std::string(object["metadata"]["name"].as_string());
    api::delete_options options{.propagation_policy = std::move(policy),
                                .uid = std::string(uid_of(object)),
                                .resource_version = std::string(object["metadata"]["resourceVersion"].as_string())};
    auto done = co_await s.client().remove(id, ns, name, options);
    if (!done && done.error().code == 409) {
      auto now = s.client().get(id, ns, name);
      if (now && uid_of(*now) == uid_of(object) &&
          (*now)["metadata"]["ownerReferences"] == object["metadata"]["ownerReferences"]) {
        options.resource_version.clear();
        done = co_await s.client().remove(id, ns, name, options);
      }
    }
    if (!done && done.error().code == 404) co_return api::api_result<void>();
    co_return done;
  }

  // A reference whose owner lives in another namespace is told of, once for each: it will never count.
  task<void> tell_of_strangers(shell& s, const view& cluster, const json::value& object) {
    auto about = reference_to(object);
    auto& owners = object["metadata"]["ownerReferences"];
    for (std::size_t i = 0; i < owners.size(); ++i) {
      auto kind = cluster.served().find_kind(owners[i]["apiVersion"].as_string(), owners[i]["kind"].as_string());
      if (!kind || !kind->namespaced()) continue;
      auto worth = worth_of(cluster, object, owners[i]);
      if (worth != owner_worth::absent && worth != owner_worth::misplaced) continue;
      auto uid = std::string(owners[i]["uid"].as_string());
      if (told_.contains(about.uid + uid)) continue;
      if (!co_await lives_elsewhere(cluster, *kind, owners[i])) continue;
      if (told_.size() >= told_max) told_.clear();
      told_.insert(about.uid + uid);
      auto ns = about.ns;
      s.recorder().tell({about, true, "OwnerRefInvalidNamespace",
                         "ownerRef [" + std::string(owners[i]["apiVersion"].as_string()) + "/" + kind->kind +
                             ", namespace: " + ns + ", name: " + std::string(owners[i]["name"].as_string()) +
                             ", uid: " + uid + "] does not exist in namespace \"" + ns + "\""});
    }
  }

  // By the keys of its kind: the names of all namespaces are gone through, a piece at a time, and only what has the
  // name is read.
  task<bool> lives_elsewhere(const view& cluster, const api::served& kind, const json::value& reference) {
    auto uid = std::string(reference["uid"].as_string());
    auto prefix = kind.prefix({}), end = "/" + std::string(reference["name"].as_string());
    auto identity = prefix + end + '\n' + uid;
    if (gone_.contains(uid) || gone_.contains(identity)) co_return false;
    std::string start;
    bool found = false;
    for (bool more = true; more && !found;) {
      std::size_t n = 0;
      more = false;
      cluster.cluster().scan(prefix, start, [&](const store::object_ref& o) {
        found = o->key().ends_with(end) && text_at(*o, "metadata.uid") == uid;
        if (found) return false;
        if (++n < scan_piece) return true;
        start = std::string(o->key()) + '\0';
        more = true;
        return false;
      });
      co_await reactor::maybe_yield();
    }
    if (!found) note_gone(identity);
    co_return found;
  }

  task<api::api_result<void>> orphan(shell& s, const view& cluster, api::resource_id id, const json::value& object) {
    std::vector<std::string> uid{std::string(uid_of(object))};
    co_await there_.look(s);
    for (auto& d : there_.of(object)) KEDGE_CO_CHECK(co_await other_dependents::forget(s, d, uid));
    // That took its time: what was adopted meanwhile is orphaned, too.
    auto latest = co_await s.store().latest();
    if (!latest) co_return api::fail(api::from_error(latest.error()));
    const view now(*std::move(latest), s.client().resources());
    std::vector<change> changes;
    each_dependent(now, object, [&](const json::value& d) {
      changes.push_back(update_of(id_of(*served_as(now, d)), without_owners(d, uid)));
      return changes.size() < writes_at_once;
    });
    bool more = changes.size() == writes_at_once;
    plan p;
    p.write(pace::together, std::move(changes));
    if (!more) p.write(without_finalizer(std::move(id), object, "orphan"));
    auto done = co_await s.write(std::move(p), {});
    if (done && more) s.queue().add(key_of(cluster, object));
    co_return done;
  }

  task<api::api_result<void>> foreground(shell& s, const view& cluster, api::resource_id id,
                                         const json::value& object) {
    bool blocked = false;
    auto uid = std::string(uid_of(object));
    auto ask_all = [&](const view& state) {
      each_dependent(state, object, [&](const json::value& d) {
        blocked = blocked || blocks(d, uid);
        if (!is_deleting(d)) s.queue().add(key_of(state, d));  // sees its owner waiting, and goes
        return true;
      });
    };
    ask_all(cluster);
    co_await there_.look(s);
    for (auto& d : there_.of(object)) {
      if (auto done = co_await judge_other(s, d); !done) log::debug("{}: {}", d.path, done.error().message);
      if (!blocks(d.about, uid)) continue;
      // Nothing tells of its end.
      blocked = true;
      s.queue().add_after(key_of(cluster, object), others_pause);
    }
    // The others took their time: one that was made here meanwhile counts.
    auto latest = co_await s.store().latest();
    if (!latest) co_return api::fail(api::from_error(latest.error()));
    const view now(*std::move(latest), s.client().resources());
    ask_all(now);
    if (blocked) co_return api::api_result<void>();  // the last dependent's end brings this key back
    plan p;
    p.write(without_finalizer(std::move(id), object, "foregroundDeletion"));
    co_return co_await s.write(std::move(p), {});
  }

  static std::string key_of(const view& cluster, const json::value& object) {
    auto about = reference_to(object);
    return served_as(cluster, object)->key(about.ns, about.name);
  }

  static change without_finalizer(api::resource_id id, json::value object, std::string_view finalizer) {
    remove_finalizer(object, finalizer);
    return update_of(std::move(id), std::move(object));
  }

  other_owners others_;
  other_dependents there_;
  std::map<std::string, time_point> solid_until_;  // owners of other servers, by uid; bounded
  std::set<std::string> gone_;  // uids that are gone, and references that point nowhere in any namespace; bounded
  std::set<std::string> told_;  // object's and owner's uid: what was told of; bounded
};

}  // namespace

std::unique_ptr<controller> make_garbage_collector(const settings&) { return std::make_unique<garbage_collector>(); }

}  // namespace kedge::control
