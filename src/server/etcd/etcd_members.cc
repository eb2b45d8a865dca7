#include "server/etcd/etcd_members.h"

#include <utility>

#include "base/log.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::server {

namespace {

constexpr auto look_again = std::chrono::seconds(2);  // for learners; K3s looks every 15 s
constexpr auto connect_time = std::chrono::seconds(5);
constexpr std::string_view nodes = "/registry/minions/";
constexpr const char* name_annotation = "etcd.k3s.cattle.io/node-name";
constexpr const char* address_annotation = "etcd.k3s.cattle.io/node-address";
constexpr const char* role_label = "node-role.kubernetes.io/etcd";

}  // namespace

task<result<void>> etcd_members::start() {
  if (!own_.runs()) co_return result<void>();
  running_.spawn(promote_learners());
  running_.spawn(follow_nodes());
  co_return result<void>();
}

task<void> etcd_members::stop() {
  running_.cancel();
  co_return;
}

task<void> etcd_members::promote_learners() {
  for (std::unique_ptr<datastore::etcd::connection> c;; co_await reactor::sleep_for(look_again)) {
    if (!c || !c->usable()) {
      auto made =
          co_await datastore::etcd::any_member(own_.client_of_own(), reactor::loop::current().now() + connect_time);
      if (!made) continue;
      c = std::move(*made);
    }
    auto about = co_await c->ask(datastore::etcd::method::status, {}, false);
    auto status = about ? datastore::etcd::decode_status(*about)
                        : result<datastore::etcd::status_answer>(fail(std::move(about).error()));
    if (!status || status->leader != status->from.member) continue;
    auto members = co_await datastore::etcd::list_members(*c);
    if (!members) continue;
    for (auto& m : *members) {
      if (!m.learner || m.name.empty()) continue;
      if (auto done = co_await datastore::etcd::promote_member(*c, m.id))
        log::info("etcd: member {} has caught up and votes from now on", m.name);
      else
        log::debug("etcd: member {}: {}", m.name, done.error().message);
    }
  }
}

task<void> etcd_members::follow_nodes() {
  auto& objects = identity_.objects();
  const auto own_key = std::string(nodes) + shared_.settings.cluster.node_name;
  for (;; co_await reactor::sleep_for(look_again)) {
    auto now = objects.current();
    if (auto node = now.find(own_key)) co_await mark_own(node);
    auto watcher = objects.watch(std::string(nodes), now.at());
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
  auto& address = shared_.settings.etcd.address;
  if (metadata["annotations"][name_annotation].as_string() == own_.member_name() &&
      metadata["annotations"][address_annotation].as_string() == address && metadata["labels"].find(role_label))
    co_return;
  json::value changed = metadata;
  auto set = [&changed](const char* map, const char* key, const std::string& value) {
    json::value entries = std::as_const(changed)[map];
    if (!entries.is_object()) entries = json::object{};
    entries.set(key, value);
    changed.set(map, std::move(entries));
  };
  set("annotations", name_annotation, own_.member_name());
  set("annotations", address_annotation, address);
  set("labels", role_label, "true");
  changed.erase("resourceVersion");
  v->set("metadata", std::move(changed));
  // Whoever was first: the next event brings it here again.
  (void)co_await identity_.objects().write({.kind = store::write_kind::update,
                                            .key = std::string(node->key()),
                                            .value = json::write(*v),
                                            .expected = node->mod()});
}

}  // namespace kedge::server
