// What servers share of the cluster's identity (certificates, the token, the lock of changes), with clocks that are
// wrong and servers that stop at any moment. Certificates, TLS and files are real; the datastore, the network and time
// are the world's.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "api/local_objects.h"
#include "control/server_endpoints.h"
#include "crypto/files.h"
#include "crypto/passwd.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "net/tls.h"
#include "store/open.h"
#include "supervisor/serving_keeper.h"
#include "supervisor/token_rotation.h"
#include "support/no_admission.h"
#include "support/temporary_folder.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

struct cluster {
  datastore::memory_database db{datastore::memory_database::durability::each_commit, true};
  // When the token was rotated for good, and which was before.
  std::optional<time_point> committed;
  std::string newest(std::string_view key) const {
    std::string out;
    for (auto& [at, e] : db.rows())
      if (e.name == key) out = e.kind == datastore::change::remove ? std::string() : e.value;
    return out;
  }
  std::set<std::string> keys(std::string_view prefix) const {
    std::set<std::string> out;
    for (auto& [at, e] : db.rows()) {
      if (!e.name.starts_with(prefix)) continue;
      if (e.kind == datastore::change::remove)
        out.erase(e.name);
      else
        out.insert(e.name);
    }
    return out;
  }
  bool sealed() const {
    for (auto& key : keys(supervisor::rotation_prefix))
      if (newest(key).find("\"sealed\"") != std::string::npos) return true;
    return false;
  }
};

// A server's machine: its disk and its flags stay when it crashes.
struct site {
  temporary_folder folder;
  supervisor::config settings;
  std::string said;  // why it didn't start, or ended
  // While it runs.
  bool serving = false;
  std::shared_ptr<supervisor::credentials> identity;
  supervisor::token_rotation* rotation = nullptr;
  supervisor::cluster_lock* lock = nullptr;
  control::server_endpoints* endpoints = nullptr;
  void down() {
    serving = false;
    identity.reset();
    rotation = nullptr;
    lock = nullptr;
    endpoints = nullptr;
  }
};

constexpr std::uint16_t port = 6443;

task<void> serve_tls(host& h, std::shared_ptr<net::tls_server_context> tls) {
  auto listener = h.listen({h.address(), port});
  REQUIRE(listener.has_value());
  reactor::scope connections;
  for (;;) {
    auto incoming = co_await (*listener)->accept();
    if (!incoming) co_return;
    connections.spawn(
        [](std::unique_ptr<reactor::stream> below, std::shared_ptr<net::tls_server_context> context) -> task<void> {
          auto stream = co_await net::tls_accept(std::move(below), std::move(context));
          if (stream) (void)co_await (*stream)->receive();  // until the client goes
        }(*std::move(incoming), tls));
  }
}

// Everything of a server that has to do with its identity, in the order of its start.
task<result<void>> run_server(host& h, cluster& c, site& at) {
  auto settings = at.settings;
  settings.data_dir = at.folder.path() + "/data";
  settings.write_kubeconfig = at.folder.path() + "/kubeconfig.yaml";
  settings.node_name = h.name();
  settings.node_ips = {h.address()};
  settings.advertise_address = h.address();
  settings.cluster_cidrs = {"10.42.0.0/16"};
  settings.service_cidrs = {"10.43.0.0/16"};
  KEDGE_CO_TRY(auto objects_store,
               co_await store::open_store({.log = datastore::make_memory_log(c.db), .loops = {&h.loop()}}));
  supervisor::bootstrap_data record(settings, *objects_store, true);
  KEDGE_CO_CHECK(co_await record.load());
  if (record.token_outdated()) settings.token.clear();
  KEDGE_CO_TRY(at.identity, supervisor::credentials::open(settings, h.loop().wall_now(), h.loop().random()));
  KEDGE_CO_CHECK(co_await record.save(at.identity->password()));

  tests::no_admission rules;
  api::service_ranges ranges;
  auto objects = api::make_objects(*objects_store, rules, ranges);
  (void)co_await objects->create(
      {"", "v1", "namespaces"}, "",
      json::object{{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", json::object{{"name", "kube-system"}}}});
  auto identity = h.name() + "_" + h.loop().random().uuid();
  control::server_endpoints listed(*objects,
                                   {.address = h.address(),
                                    .node_name = h.name(),
                                    .identity = identity,
                                    .settings = json::object{},
                                    .token_id = [&at] { return supervisor::token_id(at.identity->password()); }});
  KEDGE_CO_CHECK(co_await listed.join());
  supervisor::cluster_lock lock({.objects = *objects_store,
                                 .row = "/kedge/secrets-encrypt",
                                 .address = [a = std::string(h.address())] { return a; },
                                 .identity = identity,
                                 .lives =
                                     [&](std::string_view other) {
                                       return std::ranges::any_of(listed.living(),
                                                                  [&](auto& p) { return p.identity == other; });
                                     }});
  supervisor::token_rotation rotation({.objects = *objects_store,
                                       .record = record,
                                       .identity = *at.identity,
                                       .lock = lock,
                                       .address = [a = std::string(h.address())] { return a; },
                                       .others = [&] { return listed.living(); },
                                       .changed = [&] { listed.tell(); }});
  auto [chain, key] = at.identity->serving_identity();
  KEDGE_CO_TRY(auto tls, net::tls_server_context::make({}, chain, key));
  supervisor::serving_keeper keeper(*at.identity, *objects, [&] {
    auto [now, its_key] = at.identity->serving_identity();
    CHECK(tls->replace(now, its_key).has_value());
  });
  at.rotation = &rotation;
  at.lock = &lock;
  at.endpoints = &listed;
  at.serving = true;
  reactor::scope parts;
  parts.spawn(listed.keep([] { return false; }));
  parts.spawn(rotation.keep());
  parts.spawn(keeper.run());
  parts.spawn(serve_tls(h, tls));
  co_await parts.join();
  co_return result<void>();
}

task<void> server_main(host& h, cluster& c, site& at) {
  struct ending {
    site& s;
    ~ending() { s.down(); }
  } end(at);
  at.said.clear();
  if (auto done = co_await run_server(h, c, at); !done) at.said = done.error().message;
}

struct scenario {
  cluster shared;
  std::vector<std::unique_ptr<site>> sites;
  world w;
  std::vector<host*> hosts;

  explicit scenario(std::uint64_t seed) : w(seed) {
    shared.db.faults.delay_before_commit = [this] { return w.between(0ms, 3ms); };
    shared.db.faults.delay_after_commit = [this] { return w.between(0ms, 3ms); };
  }
  ~scenario() {
    for (auto* h : hosts) h->crash();
  }
  site& add(std::string token, duration clock = duration(0)) {
    auto& h = w.add_host("s" + std::to_string(hosts.size() + 1));
    auto& at = *sites.emplace_back(std::make_unique<site>());
    hosts.push_back(&h);
    at.settings.token = std::move(token);
    h.jump_clock(clock);
    h.start([this, &at](host& on) { return server_main(on, shared, at); });
    return at;
  }
  // On that server's loop, until it crashes.
  void run(std::size_t on, task<void> t) {
    reactor::loop::current_guard here(hosts[on]->loop());
    hosts[on]->loop().spawn(std::move(t));
  }
  bool all_serve() const {
    return std::ranges::all_of(sites, [](auto& s) { return s->serving; });
  }
};

// ---- clocks ----

// Connects to every server in turn, by its own clock, and keeps what went wrong last; empty: none.
struct visitor {
  std::string problem = "not tried";
  std::uint64_t visits = 0;
};
task<void> visitor_main(host& h, scenario& s, visitor& v) {
  for (;;) {
    co_await reactor::sleep_for(500ms);
    auto ca = crypto::read_file(s.sites.front()->folder.path() + "/data/server/tls/server-ca.crt");
    if (!ca) continue;
    std::string problem;
    for (std::size_t i = 0; i < s.hosts.size(); ++i) {
      auto context = net::tls_client_context::make({.ca_pem = *ca});
      REQUIRE(context.has_value());
      auto plain = co_await h.connect({s.hosts[i]->address(), port});
      if (!plain) {
        problem = plain.error().message;
        continue;
      }
      auto tls = co_await net::tls_connect(*std::move(plain), *context, s.hosts[i]->address());
      if (!tls) problem = s.hosts[i]->name() + ": " + tls.error().message;
    }
    v.problem = problem;
    ++v.visits;
  }
}

}  // namespace

TEST_CASE("servers whose clocks are days apart are all reachable, whoever joins or restarts in whatever order") {
  const duration offsets[] = {2h, 24h, 24h * 730, -2h, -24h, -24h * 730};
  for (auto seed : seeds(12)) {
    CAPTURE(seed);
    scenario s(seed);
    visitor v;
    auto& client = s.w.add_host("client");
    s.add("secret");
    REQUIRE(s.w.run_until([&] { return s.all_serve(); }, 60s));
    client.start([&](host& h) { return visitor_main(h, s, v); });
    s.add("secret");
    s.add("secret", offsets[seed % std::size(offsets)]);
    REQUIRE(s.w.run_until([&] { return s.all_serve(); }, 60s));
    auto reachable = [&] {
      auto from = v.visits + 2;
      return s.w.run_until([&] { return v.visits >= from && v.problem.empty(); }, 30s);
    };
    CHECK_MESSAGE(reachable(), v.problem);
    for (int round = 0; round < 4; ++round) {
      auto i = s.w.random().below(s.hosts.size());
      s.hosts[i]->crash();
      s.w.run_for(s.w.between(0s, 3s));
      s.hosts[i]->restart();
      REQUIRE(s.w.run_until([&] { return s.all_serve(); }, 60s));
      CHECK_MESSAGE(reachable(), v.problem);
      // Nor does it change back: one certificate, of all names, that is valid by the right clock.
      std::set<std::string> shown;
      for (auto& at : s.sites) shown.insert(at->identity->serving_identity().first);
      CHECK(shown.size() == 1);
    }
    client.crash();
  }
}

TEST_CASE("clocks that differ are told, and nobody else's") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    scenario s(seed);
    for (int i = 0; i < 3; ++i) s.add("secret");
    // A K3s server tells no time.
    auto& k3s = s.w.add_host("k3s");
    k3s.start([&](host& h) -> task<void> {
      auto opened = co_await store::open_store({.log = datastore::make_memory_log(s.shared.db), .loops = {&h.loop()}});
      REQUIRE(opened.has_value());
      auto key = "/registry/masterleases/" + h.address();
      for (;;) {
        auto row = (*opened)->current().find(key);
        (void)co_await (*opened)->write(
            {.kind = row ? store::write_kind::update : store::write_kind::create,
             .key = key,
             .value = fmt::format(
                 R"({{"kind":"Endpoints","apiVersion":"v1","metadata":{{}},"subsets":[{{"addresses":[{{"ip":"{}"}}]}}]}})",
                 h.address()),
             .expected = row ? row->mod() : 0,
             .lease_seconds = 15});
        co_await reactor::sleep_for(10s);
      }
    });
    REQUIRE(s.w.run_until([&] { return s.all_serve(); }, 60s));
    auto difference = [&](int by, int of) {
      auto all = s.sites[by]->endpoints->clocks().differences();
      auto one = all.find(s.hosts[of]->address() + ":6443");
      return one == all.end() ? duration::max() : one->second;
    };
    auto agree = [&] {
      for (int by = 0; by < 3; ++by)
        for (int of = 0; of < 3; ++of)
          if (by != of && (difference(by, of) > 1s || difference(by, of) < -1s)) return false;
      return true;
    };
    REQUIRE(s.w.run_until(agree, 30s));
    // A datastore that takes its time for a while makes no clock wrong.
    bool always = true;
    s.shared.db.faults.delay_after_commit = [&] { return s.w.between(0s, 1500ms); };
    s.w.run_until([&] { return !(always = always && difference(0, 1) < 5s && difference(0, 1) > -5s); }, 60s);
    CHECK(always);
    s.shared.db.faults.delay_after_commit = [&] { return s.w.between(0ms, 3ms); };
    auto by = seed % 2 ? duration(35s) : duration(-35s);
    s.hosts[1]->jump_clock(by);
    auto close_to = [](duration a, duration b) { return a - b < 1s && b - a < 1s; };
    CHECK(s.w.run_until(
        [&] {
          return close_to(difference(0, 1), by) && close_to(difference(2, 1), by) && close_to(difference(1, 0), -by);
        },
        30s));
    CHECK(close_to(difference(0, 2), duration(0)));
    std::string metrics;
    s.sites[0]->endpoints->clocks().append_metrics(metrics);
    CHECK(metrics.find("kedge_server_clock_difference_seconds{server=\"10.0.0.2:6443\"} " +
                       std::string(by > duration(0) ? "3" : "-3")) != std::string::npos);
    CHECK(metrics.find(k3s.address()) == std::string::npos);
    s.hosts[1]->crash();
    CHECK(s.w.run_until([&] { return difference(0, 1) == duration::max(); }, 30s));
    k3s.crash();
  }
}

// ---- the token ----

namespace {

enum class joined : unsigned char { accepted, refused, unknown };

// What a server says to whoever comes with that password now (supervisor/routes.cc).
task<joined> join(site& at, std::string password) {
  auto identity = at.identity;
  if (!identity || !at.rotation) co_return joined::unknown;
  if (!identity->passwd_table()->verify("server", password)) co_return joined::refused;
  auto stands = co_await at.rotation->stands();
  if (!stands) co_return joined::unknown;
  co_return *stands ? joined::accepted : joined::refused;
}

// Comes to one server with the old token and the new one the whole time.
struct joiner {
  std::uint64_t tries = 0;
  bool old_after = false;   // the old one was taken though the rotation had been committed before it was asked
  bool new_before = false;  // the new one was, before it had been
};
task<void> joiner_main(scenario& s, std::size_t which, joiner& j) {
  for (;;) {
    co_await reactor::sleep_for(s.w.between(1ms, 20ms));
    bool committed = s.shared.committed.has_value();
    auto old = co_await join(*s.sites[which], "old-secret");
    if (old == joined::accepted && committed) j.old_after = true;
    auto fresh = co_await join(*s.sites[which], "new-secret");
    if (fresh == joined::accepted && !s.shared.committed) j.new_before = true;
    ++j.tries;
  }
}

// The datastore's rows are what decides when.
void watch_commit(scenario& s) {
  if (!s.shared.committed && !s.shared.keys(supervisor::rotation_prefix).empty()) s.shared.committed = s.w.now();
}

}  // namespace

TEST_CASE("a rotated token: refused everywhere from one moment on, taken over everywhere without a restart") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    scenario s(seed);
    std::vector<joiner> joiners(3);
    for (int i = 0; i < 3; ++i) s.add("old-secret", i == 2 ? duration(-26h) : duration(0));
    REQUIRE(s.w.run_until([&] { return s.all_serve(); }, 60s));
    for (std::size_t i = 0; i < 3; ++i) s.run(i, joiner_main(s, i, joiners[i]));
    s.w.run_for(3s);
    std::optional<result<std::vector<std::string>>> answer;
    s.run(0, [](scenario& all, std::optional<result<std::vector<std::string>>>& out) -> task<void> {
      out = co_await all.sites[0]->rotation->rotate("new-secret");
    }(s, answer));
    REQUIRE(s.w.run_until(
        [&] {
          watch_commit(s);
          return answer.has_value();
        },
        60s));
    REQUIRE_MESSAGE(answer->has_value(), (*answer ? std::string() : (*answer).error().message));
    CHECK((*answer)->empty());
    for (auto& at : s.sites) CHECK(at->identity->full_token().ends_with("::server:new-secret"));
    CHECK(s.shared.keys(crypto::bootstrap_prefix) == std::set<std::string>{crypto::bootstrap_key("new-secret")});
    CHECK(s.w.run_until([&] { return !s.shared.sealed(); }, 5s));
    s.w.run_for(3s);
    for (auto& j : joiners) {
      CHECK(j.tries > 50);
      CHECK(!j.old_after);
      CHECK(!j.new_before);
    }
    // A restart with the configuration of before goes on with what it took over; without one too.
    for (auto* token : {"old-secret", "new-secret", ""}) {
      for (std::size_t i = 0; i < 3; ++i) {
        s.sites[i]->settings.token = token;
        s.hosts[i]->crash();
        s.hosts[i]->restart();
      }
      REQUIRE_MESSAGE(s.w.run_until([&] { return s.all_serve(); }, 60s), s.sites[0]->said, s.sites[1]->said,
                      s.sites[2]->said);
      for (auto& at : s.sites) CHECK(at->identity->password() == "new-secret");
    }
    // Who is new is told what to do.
    auto& late = s.add("old-secret");
    REQUIRE(s.w.run_until([&] { return !late.said.empty(); }, 60s));
    CHECK(late.said.find("the cluster's token was rotated at ") == 0);
    CHECK(late.said.find("start it with the new --token") != std::string::npos);
  }
}

TEST_CASE("a rotation whose servers stop at any moment ends with one token, which all have") {
  // Where the rotating server, another one, or all stop: after so many turns of the world.
  int committed = 0, not_committed = 0;
  for (auto seed : seeds(60)) {
    CAPTURE(seed);
    scenario s(seed);
    for (int i = 0; i < 3; ++i) s.add("old-secret");
    REQUIRE(s.w.run_until([&] { return s.all_serve(); }, 60s));
    std::vector<joiner> joiners(3);
    s.w.run_for(s.w.between(0s, 2s));
    for (auto& at : s.sites)
      at->settings.token = seed % 2 ? "" : "old-secret";  // as the unit's file says, or only the disk
    for (std::size_t i = 0; i < 3; ++i) s.run(i, joiner_main(s, i, joiners[i]));
    bool answered = false;
    s.run(0, [](scenario& all, bool& out) -> task<void> {
      out = (co_await all.sites[0]->rotation->rotate("new-secret")).has_value();
    }(s, answered));
    std::uint64_t turns = 0;
    s.w.run_until(
        [&] {
          watch_commit(s);
          return answered || ++turns > (seed % 2 ? seed : seed * 6);
        },
        60s);
    std::vector<std::size_t> who;
    switch (seed % 3) {
      case 0: who = {0}; break;
      case 1: who = {1}; break;
      default: who = {0, 1, 2};
    }
    for (auto i : who) s.hosts[i]->crash();
    // Some are away for longer than what is sealed stands.
    auto away = s.w.between(0s, 150s);
    s.w.run_until(
        [&] {
          watch_commit(s);
          return false;
        },
        away);
    for (auto i : who) s.hosts[i]->restart();
    auto settled = [&] {
      watch_commit(s);
      return std::ranges::all_of(s.sites, [](auto& at) { return at->serving || !at->said.empty(); });
    };
    REQUIRE(s.w.run_until(settled, 60s));
    s.w.run_until(
        [&] {
          watch_commit(s);
          return false;
        },
        70s);
    std::string token = s.shared.committed ? "new-secret" : "old-secret";
    (s.shared.committed ? committed : not_committed)++;
    CHECK(s.shared.keys(crypto::bootstrap_prefix) == std::set<std::string>{crypto::bootstrap_key(token)});
    CHECK(!s.shared.sealed());
    // Also who was away for longer than what the old token opens.
    for (auto& at : s.sites) {
      CHECK_MESSAGE(at->serving, at->said);
      if (at->serving) CHECK(at->identity->password() == token);
    }
    for (auto& j : joiners) CHECK(!(j.old_after || j.new_before));
    // Everybody comes up once more.
    for (std::size_t i = 0; i < 3; ++i) {
      s.hosts[i]->crash();
      s.hosts[i]->restart();
    }
    REQUIRE_MESSAGE(s.w.run_until([&] { return s.all_serve(); }, 60s), s.sites[0]->said, s.sites[1]->said,
                    s.sites[2]->said);
    for (auto& at : s.sites) CHECK(at->identity->password() == token);
    // And the next one is not held up by what the last one left.
    std::optional<result<std::vector<std::string>>> answer;
    s.run(1, [](scenario& all, std::optional<result<std::vector<std::string>>>& out) -> task<void> {
      out = co_await all.sites[1]->rotation->rotate("third-secret");
    }(s, answer));
    REQUIRE(s.w.run_until([&] { return answer.has_value(); }, 90s));
    CHECK_MESSAGE(answer->has_value(), (*answer ? std::string() : (*answer).error().message));
  }
  if (seeds(60).size() > 1) {
    CHECK(committed > 10);
    CHECK(not_committed >= 3);
  }
}

TEST_CASE("a server that was cut off through a rotation takes no joins, and takes the token over when it is back") {
  for (auto seed : seeds(10)) {
    CAPTURE(seed);
    scenario s(seed);
    for (int i = 0; i < 2; ++i) s.add("old-secret");
    REQUIRE(s.w.run_until([&] { return s.all_serve(); }, 60s));
    // A K3s server rotates: the record moves, and nobody is told how.
    if (seed % 2) {
      std::optional<bool> moved;
      s.run(0, [](scenario& all, std::optional<bool>& out) -> task<void> {
        auto opened = co_await store::open_store(
            {.log = datastore::make_memory_log(all.shared.db), .loops = {&all.hosts[0]->loop()}});
        REQUIRE(opened.has_value());
        auto old = (*opened)->current().find(crypto::bootstrap_key("old-secret"));
        auto plain = crypto::decrypt_bootstrap(old->bytes(), "old-secret");
        REQUIRE(plain.has_value());
        auto files = crypto::parse_bootstrap_files(*plain);
        REQUIRE(files.has_value());
        auto& passwd = files->find("PasswdFile")->second.content;
        auto table = crypto::passwd::parse(passwd);
        table->ensure("node", "k3s:agent", "k3s-secret");
        table->ensure("server", "k3s:server", "k3s-secret");
        passwd = table->write();
        auto value = crypto::encrypt_bootstrap(crypto::write_bootstrap_files(*files), "k3s-secret",
                                               all.hosts[0]->loop().random());
        auto made = co_await (*opened)->write(
            {.kind = store::write_kind::create, .key = crypto::bootstrap_key("k3s-secret"), .value = *value});
        auto gone = co_await (*opened)->write(
            {.kind = store::write_kind::remove, .key = crypto::bootstrap_key("old-secret"), .value = {}});
        out = made && gone;
        co_await (*opened)->close();
      }(s, moved));
      REQUIRE(s.w.run_until([&] { return moved.has_value(); }, 30s));
      CHECK(*moved);
      for (std::size_t i = 0; i < 2; ++i) {
        std::optional<joined> said;
        s.run(i, [](scenario& all, std::size_t which, std::optional<joined>& out) -> task<void> {
          out = co_await join(*all.sites[which], "old-secret");
        }(s, i, said));
        REQUIRE(s.w.run_until([&] { return said.has_value(); }, 30s));
        CHECK(*said == joined::refused);
      }
      // Written into the file where it stands, it is taken over; and at a start.
      REQUIRE(crypto::write_file(s.sites[0]->identity->token_file(), "k3s-secret\n").has_value());
      CHECK(s.w.run_until([&] { return s.sites[0]->identity->password() == "k3s-secret"; }, 30s));
      s.hosts[1]->crash();
      s.sites[1]->settings.token = "k3s-secret";
      s.hosts[1]->restart();
      CHECK_MESSAGE(s.w.run_until([&] { return s.all_serve(); }, 60s), s.sites[1]->said);
      continue;
    }
    // The lock: who holds it is named, and a dead owner holds nobody up.
    std::string busy;
    std::optional<bool> taken;
    s.run(0, [](scenario& all) -> task<void> {
      CHECK((co_await all.sites[0]->lock->take("changes the encryption keys")).has_value());
    }(s));
    s.w.run_for(45s);  // longer than the row's lease
    s.run(1, [](scenario& all, std::string& out) -> task<void> {
      auto r = co_await all.sites[1]->rotation->rotate("new-secret");
      out = r ? "(done)" : r.error().message;
    }(s, busy));
    REQUIRE(s.w.run_until([&] { return !busy.empty(); }, 30s));
    CHECK_MESSAGE(busy.find("the server at 10.0.0.1 changes the encryption keys since ") == 0, busy);
    s.hosts[0]->crash();
    s.w.run_for(10s);
    s.run(1, [](scenario& all, std::optional<bool>& out) -> task<void> {
      out = (co_await all.sites[1]->lock->take("rotates the cluster's token")).has_value();
    }(s, taken));
    REQUIRE(s.w.run_until([&] { return taken.has_value(); }, 30s));
    CHECK(*taken);
    // Its own, from an earlier life, doesn't hold it up either.
    s.hosts[1]->crash();
    s.hosts[1]->restart();
    REQUIRE(s.w.run_until([&] { return s.sites[1]->serving; }, 60s));
    taken.reset();
    s.run(1, [](scenario& all, std::optional<bool>& out) -> task<void> {
      out = (co_await all.sites[1]->lock->take("rotates the cluster's token")).has_value();
    }(s, taken));
    REQUIRE(s.w.run_until([&] { return taken.has_value(); }, 30s));
    CHECK(*taken);
  }
}
