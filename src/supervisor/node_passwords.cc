#include "supervisor/node_passwords.h"

#include <set>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "crypto/password_hash.h"
#include "reactor/offload.h"
#include "reactor/scope.h"
#include "store/text.h"

namespace kedge::supervisor {

namespace {

constexpr std::string_view suffix = ".node-password.k3s";
constexpr auto secret_type = "k3s.cattle.io/node-password";
constexpr std::size_t password_bytes_max = 256;  // K3s's is 32 hexadecimal digits
constexpr auto sweep_interval = std::chrono::minutes(1);
constexpr auto gather_time = std::chrono::seconds(1);  // many nodes may join at once
constexpr auto orphan_age = std::chrono::minutes(10);  // K3s's: a node may take its time to come up

const api::resource_id secrets{"", "v1", "secrets"};
const api::resource_id nodes{"", "v1", "nodes"};

std::string text_of(const store::object& o, std::string_view path) {
  std::string buffer;
  return std::string(store::string_in(store::member_at(o.bytes(), path), buffer));
}

api::status refused(const std::string& node) {
  api::status s;
  s.code = 403;
  s.reason = "Forbidden";
  s.message =
      "node password for " + quote(node) +
      " does not match the one recorded when it first joined; if the machine was reinstalled, delete secret "
      "kube-system/" +
      node + std::string(suffix) +
      " (or the node), and if another machine has this name, give this one another by --node-name or --with-node-id";
  s.name = node;
  s.kind = "nodes";
  return s;
}

bool is_owned(const json::value& secret, std::string_view uid) {
  auto& owners = secret["metadata"]["ownerReferences"];
  for (std::size_t i = 0; i < owners.size(); ++i)
    if (owners[i]["uid"].as_string() == uid) return true;
  return false;
}

api::status taken(const std::string& node) {
  auto s = refused(node);
  s.message = "no password is recorded for node " + quote(node) +
              ", which is alive: its name can be taken over when its lease kube-node-lease/" + node + " has run out";
  return s;
}

}  // namespace

// Whether somebody renews the node's lease: then the name isn't a stranger's to take, though its password was lost.
bool node_passwords::lives(const std::string& node) {
  auto lease = objects_.get({"coordination.k8s.io", "v1", "leases"}, "kube-node-lease", node);
  if (!lease) return false;
  auto renewed = parse_rfc3339((*lease)["spec"]["renewTime"].as_string());
  auto holds = std::chrono::seconds((*lease)["spec"]["leaseDurationSeconds"].as_integer(40));
  return renewed && reactor::loop::current().wall_now() < *renewed + holds && bool(objects_.get(nodes, "", node));
}

task<api::api_result<void>> node_passwords::check(std::string node, std::string password, bool by_certificate) {
  if (password.size() > password_bytes_max)
    co_return api::fail(api::bad_request("the node password is longer than 256 bytes"));
  auto name = node + std::string(suffix);
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto secret = objects_.get(secrets, "kube-system", name);
    co_await hashing_.acquire();
    struct giver {
      reactor::semaphore& s;
      ~giver() { s.release(); }
    } give_back{hashing_};
    if (secret) {
      auto hash = unbase64((*secret)["data"]["hash"].as_string());
      if (!hash)
        co_return api::fail(api::internal_error("secret kube-system/" + name +
                                                " has no readable hash; delete it to let the node join anew"));
      auto same = co_await reactor::offload([h = *hash, password] { return crypto::verify_password(password, h); });
      if (!same) co_return api::fail(api::from_error(same.error()));
      if (!*same) co_return api::fail(api::internal_error("secret kube-system/" + name + ": " + same->error().message));
      if (!**same) co_return api::fail(refused(node));
      // A Node that registers again doesn't lose it with the one before it.
      auto there = objects_.get(nodes, "", node);
      if (!there || is_owned(*secret, (*there)["metadata"]["uid"].as_string())) co_return api::api_result<void>();
      auto kept = co_await give_to(name, node, std::string((*there)["metadata"]["uid"].as_string()));
      if (kept) co_return api::api_result<void>();
      if (kept.error().code != 404) co_return api::fail(kept.error());
      continue;  // it went meanwhile
    }
    if (secret.error().code != 404) co_return api::fail(secret.error());
    if (!by_certificate && lives(node)) co_return api::fail(taken(node));
    auto hash = co_await reactor::offload([password] { return crypto::hash_password(password, system_random()); });
    if (!hash) co_return api::fail(api::from_error(hash.error()));
    if (!*hash) co_return api::fail(api::from_error(hash->error()));
    auto made =
        co_await objects_.create(secrets, "kube-system",
                                 json::object{{"kind", "Secret"},
                                              {"apiVersion", "v1"},
                                              {"metadata", json::object{{"name", name}, {"namespace", "kube-system"}}},
                                              {"immutable", true},
                                              {"data", json::object{{"hash", base64(as_bytes(**hash))}}},
                                              {"type", secret_type}});
    if (made) {
      log::info("node {} registered: its password is recorded in secret kube-system/{}", quote(node), name);
      co_return api::api_result<void>();
    }
    if (made.error().code != 409) co_return api::fail(made.error());
    // Another registration of the same name was first: compare with what it recorded.
  }
  co_return api::fail(api::unavailable("the node password could not be recorded; try again"));
}

task<api::api_result<json::value>> node_passwords::give_to(std::string secret, std::string node, std::string uid) {
  return objects_.modify(secrets, "kube-system", std::move(secret), [node, uid](json::value& s) {
    s.member("metadata")
        .set("ownerReferences",
             json::array{json::object{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}, {"uid", uid}}});
    return true;
  });
}

task<void> node_passwords::keep() {
  reactor::event news;
  std::set<std::string> gone;  // Nodes that went, by name
  reactor::scope following;
  auto& s = objects_.objects_store();
  following.spawn(
      control::follow(s, objects_.prefix(nodes), [&, prefix = objects_.prefix(nodes)](const store::event& e) {
        if (e.type == store::event_type::modified) return;
        if (e.type == store::event_type::deleted) gone.insert(std::string(e.object->key().substr(prefix.size())));
        news.set();
      }));
  following.spawn(control::follow(s, objects_.prefix(secrets, "kube-system"), [&news](const store::event& e) {
    if (e.type == store::event_type::added && e.object->key().ends_with(suffix)) news.set();
  }));
  for (;;) {
    news.reset();
    for (auto& node : std::exchange(gone, {})) co_await free_name(node);
    co_await sweep();
    co_await news.wait_until(reactor::loop::current().now() + sweep_interval);
    co_await reactor::sleep_for(gather_time);
  }
}

// A Node that went before its Secret was given to it: nothing else frees its name.
task<void> node_passwords::free_name(std::string node) {
  auto name = node + std::string(suffix);
  auto secret = objects_.get(secrets, "kube-system", name);
  if (!secret || !(*secret)["metadata"]["ownerReferences"].empty() || objects_.get(nodes, "", node)) co_return;
  log::info("removing secret kube-system/{}: its node was deleted", name);
  auto uid = std::string((*secret)["metadata"]["uid"].as_string());
  (void)co_await objects_.remove(secrets, "kube-system", name, {.uid = uid});
}

// By the objects' texts: there are as many nodes and secrets as there are nodes, and hardly ever is one of them to be
// changed.
task<void> node_passwords::sweep() {
  auto cluster = objects_.objects_store().current();
  auto prefix = objects_.prefix(secrets, "kube-system"), node_prefix = objects_.prefix(nodes);
  std::vector<store::object_ref> passwords;
  cluster.scan(prefix, {}, [&](const store::object_ref& o) {
    if (o->key().ends_with(suffix) && text_of(*o, "type") == secret_type) passwords.push_back(o);
    return true;
  });
  auto now = reactor::loop::current().wall_now();
  for (auto& secret : passwords) {
    co_await reactor::maybe_yield();
    auto name = std::string(secret->key().substr(prefix.size()));
    auto node = name.substr(0, name.size() - suffix.size());
    auto found = cluster.find(node_prefix + node);
    if (!found) {
      auto made = parse_rfc3339(text_of(*secret, "metadata.creationTimestamp"));
      if (!made || now - *made <= orphan_age) continue;
      log::info("removing secret kube-system/{}: there is no node of that name", name);
      (void)co_await objects_.remove(secrets, "kube-system", name, {.uid = text_of(*secret, "metadata.uid")});
      continue;
    }
    auto uid = text_of(*found, "metadata.uid");
    bool owned = false;
    store::each_element(store::member_at(secret->bytes(), "metadata.ownerReferences"), [&](std::string_view owner) {
      std::string buffer;
      owned = store::string_in(store::member_at(owner, "uid"), buffer) == uid;
      return !owned;
    });
    if (owned) continue;
    (void)co_await give_to(name, node, uid);
  }
}

}  // namespace kedge::supervisor
