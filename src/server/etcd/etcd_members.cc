#include "server/etcd/etcd_members.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/log.h"
#include "control/conditions.h"
#include "control/finalizers.h"
#include "control/nodes/etcd_marks.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::server {

namespace {

namespace etcd = datastore::etcd;
namespace marks = control::etcd_marks;

constexpr auto look_again = std::chrono::seconds(2);  // K3s looks every 15 s
constexpr auto connect_time = std::chrono::seconds(5);
constexpr auto status_time = std::chrono::seconds(2);  // K3s's
constexpr auto ask_again = std::chrono::seconds(15);   // the members, how they are; K3s's
constexpr auto tell_again = std::chrono::minutes(5);   // lastHeartbeatTime of what hasn't changed; K3s's
constexpr std::string_view nodes = "/registry/minions/";

// K3s's words.
control::condition condition_of(const etcd::cluster_member& m, bool well) {
  if (!well) return {marks::condition, "False", "Unhealthy", "Node is unhealthy"};
  if (m.learner)
    return {marks::condition, "False", "MemberIsLearner",
            "Node has not been promoted to voting member of the etcd cluster"};
  return {marks::condition, "True", "MemberNotLearner", "Node is a voting member of the etcd cluster"};
}

// Puts it there. Whether it has to be written.
bool tell(json::value& node, const control::condition& c, wall_time now) {
  auto heard = parse_rfc3339(control::condition_of(node, c.type)["lastHeartbeatTime"].as_string());
  if (!control::set_condition(node, c, now) && heard && now - *heard < tell_again) return false;
  for (auto& each : node.member("status").member("conditions").make_array())
    if (each["type"].as_string() == c.type)
      each.set("lastHeartbeatTime", format_rfc3339(std::chrono::floor<std::chrono::seconds>(now)));
  return true;
}

}  // namespace

task<result<void>> etcd_members::start() {
  if (!own_.runs()) co_return result<void>();
  KEDGE_CO_CHECK(own_.forget_reset());
  running_.spawn(look_after());
  running_.spawn(follow_nodes());
  co_return result<void>();
}

task<void> etcd_members::stop() {
  running_.cancel();
  co_return;
}

task<void> etcd_members::look_after() {
  auto& loop = reactor::loop::current();
  for (std::unique_ptr<etcd::connection> c;; co_await reactor::sleep_for(look_again)) {
    if (!c || !c->usable()) {
      auto made = co_await etcd::any_member(own_.client_of_own(), loop.now() + connect_time);
      if (!made) continue;
      c = std::move(*made);
    }
    auto about = co_await c->ask(etcd::method::status, {}, false);
    auto status = about ? etcd::decode_status(*about) : result<etcd::status_answer>(fail(std::move(about).error()));
    auto members = status ? co_await etcd::list_members(*c)
                          : result<std::vector<etcd::cluster_member>>(fail(std::move(status).error()));
    if (!members) continue;
    auto own = std::ranges::find(*members, status->from.member, &etcd::cluster_member::id);
    if (own != members->end()) co_await keep_address(*c, *own);
    if (status->leader != status->from.member) continue;
    for (auto& m : *members)
      if (m.learner) co_await promote(*c, m);
    co_await tell_nodes(*members);
    if (shared_.settings.cluster.disable_controller_manager) co_await let_deleted_go();
  }
}

// The controllers do that (control/nodes/etcd_member.cc); where nobody runs any, a Node would keep its finalizer. Doing
// it beside them does no harm.
task<void> etcd_members::let_deleted_go() {
  std::vector<store::object_ref> going;
  identity_.objects().current().scan(nodes, "", [&](const store::object_ref& node) {
    if (node->bytes().contains("deletionTimestamp")) going.push_back(node);
    return true;
  });
  for (auto& node : going) co_await let_go(node);
}

task<void> etcd_members::let_go(store::object_ref node) {
  auto v = json::parse(node->bytes());
  if (!v || !std::as_const(*v)["metadata"]["deletionTimestamp"].is_string() ||
      !control::has_finalizer(*v, marks::finalizer))
    co_return;
  auto& notes = std::as_const(*v)["metadata"]["annotations"];
  auto name = std::string(notes[marks::member_name].as_string());
  // A node may write what it notes, but not the label: only a server's names a member.
  const bool is_member = !std::as_const(*v)["metadata"]["labels"][marks::role].is_null() && !name.empty() &&
                         notes[marks::removed].as_string() != name;
  if (is_member) {
    auto gone = co_await own_.remove_member(name, std::string(notes[marks::address].as_string()));
    // The only member stays, and its Node may come again.
    if (!gone && gone.error().code != errc::unsupported)
      co_return log::debug("etcd: member {}: {}", name, gone.error().message);
  }
  control::remove_finalizer(*v, marks::finalizer);
  v->member("metadata").erase("resourceVersion");
  const bool last = std::as_const(*v)["metadata"]["finalizers"].is_null();
  // Whoever was first: it is looked at again soon.
  (void)co_await identity_.objects().write({.kind = last ? store::write_kind::remove : store::write_kind::update,
                                            .key = std::string(node->key()),
                                            .value = last ? std::string() : json::write(*v),
                                            .expected = node->mod()});
}

// It is another one than when this member joined: the machine has moved, or it was made for a restore.
task<void> etcd_members::keep_address(const etcd::connection& c, const etcd::cluster_member& own) {
  if (own.peer_urls == std::vector{own_.peer_url()}) co_return;
  auto done = co_await etcd::move_member(c, own.id, own_.peer_url());
  auto why = done ? std::string() : done.error().message;
  if (done)
    log::info("etcd: member {} is at {} now", own.name, own_.peer_url());
  else if (why != not_moved_)
    log::warning("etcd: member {} can't be said to be at {}: {}", own.name, own_.peer_url(), why);
  not_moved_ = std::move(why);
}

task<void> etcd_members::promote(const etcd::connection& c, const etcd::cluster_member& learner) {
  auto& loop = reactor::loop::current();
  if (!learner.name.empty()) {
    auto done = co_await etcd::promote_member(c, learner.id);
    if (done) co_return log::info("etcd: member {} has caught up and votes from now on", learner.name);
    log::debug("etcd: member {}: {}", learner.name, done.error().message);
  }
  std::optional<std::uint64_t> applied;
  if (!learner.client_urls.empty()) {
    auto where = own_.client_of(learner.client_urls);
    auto tls = co_await etcd::make_tls(where);
    auto status =
        tls ? co_await reactor::with_deadline(etcd::connection::status_of(where, 0, *tls), loop.now() + status_time)
            : result<etcd::status_answer>(fail(std::move(tls).error()));
    if (status) applied = status->applied;
  }
  if (!learner_.stalled(learner.id, applied, loop.now())) co_return;
  auto name = learner.name.empty() ? learner.peer_urls.empty() ? "?" : learner.peer_urls.front() : learner.name;
  if (auto done = co_await etcd::remove_member(c, learner.id))
    log::warning("etcd: member {} didn't catch up, and was removed, so that others can join", name);
  else
    log::warning("etcd: member {} doesn't catch up, and can't be removed: {}", name, done.error().message);
}

task<bool> etcd_members::answers(etcd::cluster_member m) const {
  if (m.client_urls.empty()) co_return false;
  auto where = own_.client_of(m.client_urls);
  auto tls = co_await etcd::make_tls(where);
  if (!tls) co_return false;
  auto status = co_await reactor::with_deadline(etcd::connection::status_of(where, 0, *tls),
                                                reactor::loop::current().now() + status_time);
  co_return status && status->errors.empty();
}

// A member is named after its node. Members are asked how they are now and then, and when a Node says other than the
// list.
task<void> etcd_members::tell_nodes(const std::vector<etcd::cluster_member>& members) {
  auto& loop = reactor::loop::current();
  std::map<std::string, const etcd::cluster_member*> of;
  bool due = loop.now() >= next_told_;
  for (auto& m : members) {
    auto name = std::string(managed_etcd::node_of(m.name));
    auto node = node_of_member(name, m.name);
    if (!node) continue;
    of.emplace(name, &m);
    auto reason = control::condition_of(*node, marks::condition)["reason"].as_string();
    due = due || (reason != "Unhealthy" && reason != condition_of(m, true).reason);
  }
  due = due || std::ranges::any_of(told_, [&](auto& name) { return !of.contains(name); });
  if (!due) co_return;
  next_told_ = loop.now() + ask_again;
  std::set<std::string> told;
  for (auto& [name, m] : of) {
    co_await tell_node(name, condition_of(*m, co_await answers(*m)));
    told.insert(name);
  }
  for (auto& name : std::exchange(told_, told))
    if (!told.contains(name))
      co_await tell_node(name, {marks::condition, "False", "NotAMember", "Node is not a member of the etcd cluster"});
}

// What the Node is, when it names that member.
std::optional<json::value> etcd_members::node_of_member(const std::string& name, const std::string& member) {
  auto object = identity_.objects().current().find(std::string(nodes) + name);
  auto v = object ? json::parse(object->bytes()) : result<json::value>(fail(errc::not_found, name));
  if (!v || std::as_const(*v)["metadata"]["annotations"][marks::member_name].as_string() != member) return std::nullopt;
  return *std::move(v);
}

task<void> etcd_members::tell_node(std::string name, control::condition c) {
  auto& objects = identity_.objects();
  auto object = objects.current().find(std::string(nodes) + name);
  auto v = object ? json::parse(object->bytes()) : result<json::value>(fail(errc::not_found, name));
  if (!v || !tell(*v, c, reactor::loop::current().wall_now())) co_return;
  v->member("metadata").erase("resourceVersion");
  // Whoever was first: it is looked at again soon.
  (void)co_await objects.write({.kind = store::write_kind::update,
                                .key = std::string(object->key()),
                                .value = json::write(*v),
                                .expected = object->mod()});
}

task<void> etcd_members::follow_nodes() {
  auto& objects = identity_.objects();
  const auto own_key = std::string(nodes) + shared_.settings.cluster.node_name;
  for (;; co_await reactor::sleep_for(look_again)) {
    auto now = objects.current();
    if (auto node = now.find(own_key)) co_await mark_own(node);
    auto watcher = objects.watch(own_key, now.at());
    while (watcher) {
      auto events = co_await (*watcher)->next();
      if (!events) break;
      for (auto& e : *events) {
        if (e->type != store::event_type::deleted && e->object->key() == own_key) co_await mark_own(e->object);
      }
    }
  }
}

// What K3s's servers look for at a Node, and a Node's own etcd is found by.
task<void> etcd_members::mark_own(store::object_ref node) {
  auto v = json::parse(node->bytes());
  if (!v) co_return;
  const auto& metadata = std::as_const(*v)["metadata"];
  auto& notes = metadata["annotations"];
  auto& address = shared_.settings.etcd.address;
  // One that goes, or was taken out, is no member's any more.
  if (metadata["deletionTimestamp"].is_string() || notes[marks::removed].as_string() == own_.member_name()) co_return;
  const bool held = control::has_finalizer(*v, marks::finalizer);
  if (notes[marks::member_name].as_string() == own_.member_name() && notes[marks::address].as_string() == address &&
      metadata["labels"].find(marks::role) && held)
    co_return;
  json::value changed = metadata;
  auto set = [&changed](const char* map, const char* key, const std::string& value) {
    json::value entries = std::as_const(changed)[map];
    if (!entries.is_object()) entries = json::object{};
    entries.set(key, value);
    changed.set(map, std::move(entries));
  };
  set("annotations", marks::member_name, own_.member_name());
  set("annotations", marks::address, address);
  set("labels", marks::role, "true");
  if (!held) {
    json::array kept;
    for (std::size_t i = 0; i < metadata["finalizers"].size(); ++i) kept.push_back(metadata["finalizers"][i]);
    kept.push_back(marks::finalizer);
    changed.set("finalizers", std::move(kept));
  }
  changed.erase("resourceVersion");
  v->set("metadata", std::move(changed));
  // Whoever was first: the next event brings it here again.
  (void)co_await identity_.objects().write({.kind = store::write_kind::update,
                                            .key = std::string(node->key()),
                                            .value = json::write(*v),
                                            .expected = node->mod()});
}

}  // namespace kedge::server
