#include "control_world.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "api/admission/chain.h"
#include "api/authorization/rbac.h"
#include "api/custom/tables.h"
#include "api/registry/indexes.h"
#include "control/scheduler/configuration.h"
#include "json/parse.h"
#include "store/open.h"

namespace kedge::sim {

using namespace std::chrono_literals;

namespace {

constexpr auto act_time = 2min;
constexpr duration restart_least = 100ms, restart_most = 3s;

const api::resource_id namespaces{"", "v1", "namespaces"};
const api::resource_id accounts{"", "v1", "serviceaccounts"};

}  // namespace

json::value yaml(std::string_view text) {
  auto v = json::parse_yaml(text);
  REQUIRE_MESSAGE(v.has_value(), (v ? std::string() : v.error().message));
  return *std::move(v);
}

control_world::control_world(std::uint64_t seed, control_options o)
    : w(seed),
      db(datastore::memory_database::durability::each_commit, true),
      options_(std::move(o)),
      scheduling_(
          std::make_shared<const control::scheduler::configuration>(control::scheduler::default_configuration())) {
  db.faults.delay_before_commit = [this] { return w.between(0ms, 3ms); };
  db.faults.delay_after_commit = [this] {
    maybe_crash();
    return w.between(1ms, 3ms);
  };
  if (!options_.controllers.empty()) options_.settings.controllers = options_.controllers;
  for (int i = 0; i < options_.servers; ++i) {
    hosts_.push_back(&w.add_host("s" + std::to_string(i + 1)));
    servers_.push_back(std::make_unique<server_state>());
    hosts_.back()->start([this, mine = servers_.back().get()](host& h) { return serve(h, *mine); });
  }
  // What pods can't be created without.
  for (auto name : {"default", "kube-system", "kube-node-lease"}) {
    create(namespaces,
           json::object{{"kind", "Namespace"}, {"apiVersion", "v1"}, {"metadata", json::object{{"name", name}}}});
    create(accounts, json::object{{"kind", "ServiceAccount"},
                                  {"apiVersion", "v1"},
                                  {"metadata", json::object{{"name", "default"}, {"namespace", name}}}});
  }
}

control_world::~control_world() {
  for (auto* h : hosts_)
    if (h->running()) h->crash();
}

task<void> control_world::serve(host& h, server_state& mine) {
  auto opened = co_await store::open_store(
      {.log = datastore::make_memory_log(db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
  REQUIRE(opened.has_value());
  auto& objects = **opened;
  api::rule_source* rules = nullptr;
  auto may = api::make_authorizer(&rules);
  auto chain = api::admission_chain::create({}, *may, *rules, &objects);
  REQUIRE(chain.has_value());
  api::custom::tables tables(objects);
  tables.follow();
  api::service_ranges ranges;
  auto client = api::make_objects(objects, **chain, ranges, &tables);
  reactor::event changed;
  struct here {
    server_state& s;
    here(server_state& state, api::objects& c, reactor::event& e) : s(state) {
      ++s.boots;
      s.client = &c;
      s.changed = &e;
    }
    ~here() { s.client = nullptr, s.changed = nullptr; }
  } registered(mine, *client, changed);
  for (;;) {
    reactor::scope leading;
    auto make_client = [&](api::user_info user, std::string manager) {
      return api::make_objects(objects, **chain, ranges, &tables, std::move(user), std::move(manager), options_.ask);
    };
    if (mine.leads) leading.spawn(control::run_controllers(options_.settings, objects, make_client));
    if (mine.leads && options_.schedules) leading.spawn(control::run_scheduling(*scheduling_, make_client, nullptr));
    co_await changed.wait();
    changed.reset();
  }
}

void control_world::maybe_crash() {
  if (crash_probability_ == 0 || !w.chance(crash_probability_)) return;
  auto victim = static_cast<std::size_t>(w.random().below(hosts_.size()));
  // Now, between this commit and its answer, but not from within the server's own turn.
  w.after(0ms, [this, h = hosts_[victim]] {
    if (!h->running()) return;
    h->crash();
    w.after(w.between(restart_least, restart_most), [h] {
      if (!h->running()) h->restart();
    });
  });
}

void control_world::lead(int server, bool leads) {
  auto i = static_cast<std::size_t>(server);
  servers_[i]->leads = leads;
  if (!servers_[i]->changed) return;
  reactor::loop::current_guard guard(hosts_[i]->loop());
  servers_[i]->changed->set();
}

std::string control_world::act(std::function<task<std::string>(api::objects&)> what) {
  auto end = w.now() + act_time;
  std::string why = "no server runs";
  while (w.now() < end) {
    std::size_t i = 0;
    auto up = [&] {
      for (i = 0; i < hosts_.size(); ++i)
        if (hosts_[i]->running() && servers_[i]->client) return true;
      return false;
    };
    if (!w.run_until(up, end - w.now())) break;
    auto answer = std::make_shared<std::optional<std::string>>();
    auto boot = servers_[i]->boots;
    {
      reactor::loop::current_guard guard(hosts_[i]->loop());
      hosts_[i]->loop().spawn([](std::function<task<std::string>(api::objects&)> f, api::objects& client,
                                 std::shared_ptr<std::optional<std::string>> out) -> task<void> {
        *out = co_await f(client);
      }(what, *servers_[i]->client, answer));
    }
    w.run_until([&] { return answer->has_value() || !servers_[i]->client || servers_[i]->boots != boot; },
                end - w.now());
    why = answer->value_or("the server crashed");
    if (why.empty()) break;
    w.run_for(50ms);
  }
  return why;
}

void control_world::begin_on(int server, std::function<task<void>(api::objects&)> what) {
  auto i = static_cast<std::size_t>(server);
  REQUIRE(servers_[i]->client);
  auto& loop = hosts_[i]->loop();
  reactor::loop::current_guard guard(loop);
  loop.spawn([](std::function<task<void>(api::objects&)> f, api::objects& client) -> task<void> {
    co_await f(client);
  }(std::move(what), *servers_[i]->client));
}

namespace {
template <typename T>
std::string reason(const api::api_result<T>& done, int fine) {
  return done || done.error().code == fine ? std::string() : done.error().message;
}
}  // namespace

void control_world::create(const api::resource_id& r, json::value object) {
  CHECK(act([&](api::objects& c) -> task<std::string> {
          co_return reason(co_await c.create(r, std::string(object["metadata"]["namespace"].as_string()), object), 409);
        }) == "");
}

void control_world::change_part(const api::resource_id& r, const std::string& ns, const std::string& name,
                                std::function<void(json::value&)> how, std::string part) {
  int tries = 0;
  CHECK(
      act([&](api::objects& c) -> task<std::string> {
        // What a try before has done may have ended the object.
        co_return reason(
            co_await c.modify(r, ns, name, [&](json::value& v) { return how(v), true; }, part), ++tries > 1 ? 404 : 0);
      }) == "");
}

void control_world::change(const api::resource_id& r, const std::string& ns, const std::string& name,
                           std::function<void(json::value&)> how) {
  change_part(r, ns, name, std::move(how), "");
}

void control_world::set_status(const api::resource_id& r, const std::string& ns, const std::string& name,
                               std::function<void(json::value&)> how) {
  change_part(r, ns, name, std::move(how), "status");
}

void control_world::remove(const api::resource_id& r, const std::string& ns, const std::string& name,
                           api::delete_options options) {
  CHECK(act([&](api::objects& c) -> task<std::string> {
          co_return reason(co_await c.remove(r, ns, name, options), 404);
        }) == "");
}

void control_world::grant(std::string_view account, std::string_view rule) {
  create({"rbac.authorization.k8s.io", "v1", "clusterroles"},
         yaml(fmt::format("{{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {{name: "
                          "'system:controller:{}'}}, rules: [{}]}}",
                          account, rule)));
  create({"rbac.authorization.k8s.io", "v1", "clusterrolebindings"},
         yaml(fmt::format("{{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {{name: "
                          "'system:controller:{0}'}}, roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: "
                          "ClusterRole, name: 'system:controller:{0}'}}, subjects: [{{kind: ServiceAccount, name: "
                          "{0}, namespace: kube-system}}]}}",
                          account)));
}

void control_world::catch_up() const {
  auto& rows = db.rows();
  for (auto it = rows.upper_bound(seen_); it != rows.end(); ++it) {
    seen_ = it->first;
    if (it->second.kind == datastore::change::remove)
      newest_.erase(it->second.name);
    else
      newest_[it->second.name] = &it->second;
  }
}

json::value control_world::get(const std::string& key) const {
  catch_up();
  auto it = newest_.find(key);
  if (it == newest_.end()) return {};
  auto v = json::parse(it->second->value);
  REQUIRE(v.has_value());
  return *std::move(v);
}

bool control_world::exists(const std::string& key) const {
  catch_up();
  return newest_.contains(key);
}

std::size_t control_world::count(std::string_view prefix) const {
  catch_up();
  std::size_t n = 0;
  for (auto it = newest_.lower_bound(prefix); it != newest_.end() && it->first.starts_with(prefix); ++it) ++n;
  return n;
}

std::map<std::string, json::value> control_world::all(std::string_view prefix) const {
  catch_up();
  std::map<std::string, json::value> out;
  for (auto it = newest_.lower_bound(prefix); it != newest_.end() && it->first.starts_with(prefix); ++it) {
    auto v = json::parse(it->second->value);
    REQUIRE(v.has_value());
    out.emplace(it->first, *std::move(v));
  }
  return out;
}

std::vector<std::string> control_world::events(const std::string& name) const {
  std::vector<std::string> out;
  for (auto& [key, e] : all("/registry/events/"))
    if (e["involvedObject"]["name"].as_string() == name)
      out.push_back(std::string(e["reason"].as_string()) + ": " + std::string(e["message"].as_string()));
  return out;
}

}  // namespace kedge::sim
