// garbage_collector.cc: deletes what has lost its owners, and finishes foreground and orphaning deletions.
//
//   every object's events ─▶ graph: uid ─▶ its key; owner's uid ─▶ keys of dependents
//        a dependent whose owners are all absent          ─▶ deleted (background, by uid)
//        an owner that waits with `foregroundDeletion`    ─▶ blocking dependents are deleted; when none is left, the finalizer goes
//        an owner that waits with `orphan`                ─▶ dependents forget it, then the finalizer goes
//
// Identity is the uid. Most objects have neither owners nor finalizers and are passed over by a search of their text.
#include <cstring>
#include <map>
#include <set>
#include <unordered_map>

#include "api/registry.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "control/finalizers.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

constexpr std::string_view all_prefix = "/registry/";

struct place {
  api::resource_id resource;
  std::string ns, name;
};

// Where an object is served, from what it says of itself.
std::optional<place> place_of(const api::registry& served, const json::value& o) {
  auto* r = served.find_kind(o["apiVersion"].as_string(), o["kind"].as_string());
  if (!r) return std::nullopt;
  return place{{r->group, r->version, r->resource},
               std::string(o["metadata"]["namespace"].as_string()), std::string(o["metadata"]["name"].as_string())};
}

// With memmem, which passes over a kilobyte in no time: every change of any object is looked at.
bool mentions(std::string_view text, std::string_view what) { return ::memmem(text.data(), text.size(), what.data(), what.size()) != nullptr; }

class collector {
 public:
  explicit collector(context& c) : c_(c), store_(c.objects.objects_store()) {}

  task<void> run() {
    reactor::scope tasks;
    tasks.spawn(follow(store_, std::string(all_prefix), [this](const store::event& e) { changed(e); }, [this] {
      owners_of_.clear();
      dependents_.clear();
    }));
    co_await work("garbage-collector", queue_, 8, [this](std::string key) { return reconcile(std::move(key)); });
  }

 private:
  void changed(const store::event& e) {
    auto key = std::string(e.object->key());
    auto text = e.object->bytes();
    bool owned = mentions(text, "\"ownerReferences\":[");
    bool was_owned = owners_of_.contains(key);
    if (was_owned && (!owned || e.type != store::event_type::added)) forget(key);
    if (e.type == store::event_type::deleted) {
      // Its dependents may have lost their last owner, and its owners may have waited for it.
      if (dependents_.empty() && !was_owned) return;
      auto o = json::parse(text);
      if (!o) return;
      auto uid = std::string((*o)["metadata"]["uid"].as_string());
      if (auto it = dependents_.find(uid); it != dependents_.end())
        for (auto& d : it->second) queue_.add(d);
      for_owners(*o, [&](const json::value& owner) { look_at_owner(*o, owner); });
      return;
    }
    bool waits = mentions(text, "\"deletionTimestamp\"") && mentions(text, "\"finalizers\":[");
    if (!owned && !waits) return;
    auto o = json::parse(text);
    if (!o) return;
    if (owned) {
      auto& mine = owners_of_[key];
      for_owners(*o, [&](const json::value& owner) {
        auto uid = std::string(owner["uid"].as_string());
        mine.insert(uid);
        dependents_[uid].insert(key);
        if (waits) look_at_owner(*o, owner);
      });
    }
    queue_.add(key);
  }

  template <typename F>
  static void for_owners(const json::value& o, F f) {
    auto& list = o["metadata"]["ownerReferences"];
    for (std::size_t i = 0; i < list.size(); ++i) f(list[i]);
  }

  void forget(const std::string& key) {
    for (auto& uid : owners_of_[key]) {
      auto it = dependents_.find(uid);
      if (it == dependents_.end()) continue;
      it->second.erase(key);
      if (it->second.empty()) dependents_.erase(it);
    }
    owners_of_.erase(key);
  }

  std::optional<std::string> key_of_owner(const json::value& dependent, const json::value& owner) const {
    auto served = c_.objects.resources();
    auto* r = served->find_kind(owner["apiVersion"].as_string(), owner["kind"].as_string());
    if (!r) return std::nullopt;
    return r->key(dependent["metadata"]["namespace"].as_string(), owner["name"].as_string());
  }
  void look_at_owner(const json::value& dependent, const json::value& owner) {
    if (auto key = key_of_owner(dependent, owner)) queue_.add(*key);
  }

  enum class owner_state : unsigned char { solid, waiting, absent };
  owner_state state_of(const json::value& dependent, const json::value& owner) const {
    auto key = key_of_owner(dependent, owner);
    if (!key) return owner_state::solid;  // a kind that isn't served here: never a reason to delete
    auto o = store_.current().find(*key);
    if (!o) return owner_state::absent;
    auto v = json::parse(o->bytes());
    if (!v) return owner_state::solid;
    if ((*v)["metadata"]["uid"].as_string() != owner["uid"].as_string()) return owner_state::absent;
    return (*v)["metadata"].find("deletionTimestamp") && has_finalizer(*v, "foregroundDeletion") ? owner_state::waiting : owner_state::solid;
  }

  task<api::api_result<void>> reconcile(std::string key) {
    auto stored = store_.current().find(key);
    if (!stored) co_return api::api_result<void>();
    auto o = json::parse(stored->bytes());
    if (!o) co_return api::api_result<void>();
    auto where = place_of(*c_.objects.resources(), *o);
    if (!where) co_return api::api_result<void>();
    if ((*o)["metadata"].find("deletionTimestamp")) {
      if (has_finalizer(*o, "orphan")) co_return co_await orphan(*o, *where);
      if (has_finalizer(*o, "foregroundDeletion")) co_return co_await foreground(*o, *where);
      co_return api::api_result<void>();
    }
    co_return co_await check_owners(*o, *where);
  }

  task<api::api_result<void>> check_owners(const json::value& o, place where) {
    std::vector<std::string> gone;
    std::size_t solid = 0, waiting = 0;
    for_owners(o, [&](const json::value& owner) {
      auto s = state_of(o, owner);
      if (s == owner_state::solid) return void(++solid);
      if (s == owner_state::waiting) ++waiting;
      gone.emplace_back(owner["uid"].as_string());
    });
    if (gone.empty()) co_return api::api_result<void>();
    auto uid = std::string(o["metadata"]["uid"].as_string());
    if (solid == 0) {
      bool has_dependents = dependents_.contains(uid);
      auto policy = waiting && has_dependents ? "Foreground" : has_finalizer(o, "orphan") ? "Orphan" : has_finalizer(o, "foregroundDeletion") ? "Foreground" : "Background";
      log::info("deleting {} {}/{}: its owners are gone", where.resource.plural, where.ns, where.name);
      co_return co_await c_.objects.remove(where.resource, where.ns, where.name, {.propagation_policy = policy, .uid = uid});
    }
    co_return co_await drop_owners(where, uid, gone);
  }

  task<api::api_result<void>> drop_owners(place where, std::string uid, std::vector<std::string> gone) {
    auto done = co_await c_.objects.modify(where.resource, where.ns, where.name, [&](json::value& v) {
      if (v["metadata"]["uid"].as_string() != uid) return false;
      json::array kept;
      for_owners(v, [&](const json::value& owner) {
        if (std::find(gone.begin(), gone.end(), owner["uid"].as_string()) == gone.end()) kept.push_back(owner);
      });
      if (kept.size() == v["metadata"]["ownerReferences"].size()) return false;
      if (kept.empty())
        v.member("metadata").erase("ownerReferences");
      else
        v.member("metadata").set("ownerReferences", std::move(kept));
      return true;
    });
    if (!done) co_return api::fail(done.error());
    co_return api::api_result<void>();
  }

  std::vector<std::string> dependents_of(const std::string& uid) const {
    auto it = dependents_.find(uid);
    return it == dependents_.end() ? std::vector<std::string>() : std::vector<std::string>(it->second.begin(), it->second.end());
  }

  task<api::api_result<void>> orphan(const json::value& o, place where) {
    auto uid = std::string(o["metadata"]["uid"].as_string());
    for (auto& key : dependents_of(uid)) {
      auto stored = store_.current().find(key);
      if (!stored) continue;
      auto d = json::parse(stored->bytes());
      auto at = d ? place_of(*c_.objects.resources(), *d) : std::nullopt;
      if (!at) continue;
      auto done = co_await drop_owners(*at, std::string((*d)["metadata"]["uid"].as_string()), {uid});
      if (!done && done.error().code != 404) co_return done;
    }
    co_return co_await drop_finalizer(where, uid, "orphan");
  }

  task<api::api_result<void>> foreground(const json::value& o, place where) {
    auto uid = std::string(o["metadata"]["uid"].as_string());
    bool blocked = false;
    for (auto& key : dependents_of(uid)) {
      auto stored = store_.current().find(key);
      auto d = stored ? json::parse(stored->bytes()) : result<json::value>(json::value());
      if (!stored || !d) continue;
      for_owners(*d, [&](const json::value& owner) {
        if (owner["uid"].as_string() == uid && owner["blockOwnerDeletion"].as_bool()) blocked = true;
      });
      if (!(*d)["metadata"].find("deletionTimestamp")) queue_.add(key);  // sees its owner waiting, and goes
    }
    if (blocked) co_return api::api_result<void>();  // the last dependent's end brings this key back
    co_return co_await drop_finalizer(where, uid, "foregroundDeletion");
  }

  task<api::api_result<void>> drop_finalizer(place where, std::string uid, std::string_view finalizer) {
    auto done = co_await c_.objects.modify(where.resource, where.ns, where.name, [&](json::value& v) {
      if (v["metadata"]["uid"].as_string() != uid) return false;
      remove_finalizer(v, finalizer);
      return true;
    });
    if (!done && done.error().code != 404) co_return api::fail(done.error());
    co_return api::api_result<void>();
  }

  context& c_;
  store::store& store_;
  std::unordered_map<std::string, std::set<std::string>> owners_of_;   // key → owners' uids
  std::unordered_map<std::string, std::set<std::string>> dependents_;  // owner's uid → keys
  work_queue queue_;
};

}  // namespace

task<void> run_garbage_collector(context& c) {
  collector g(c);
  co_await g.run();
}

}  // namespace kedge::control
