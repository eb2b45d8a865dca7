// Encryption keys that change under servers which stop, are cut off or lose their token at any moment: what was
// acknowledged is read by all, now and after a restart, and nothing lies under a key that was dropped.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/local_objects.h"
#include "control/controller.h"
#include "control/server_endpoints.h"
#include "crypto/files.h"
#include "crypto/passwd.h"
#include "datastore/memory/memory_log.h"
#include "store/open.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/encryption.h"
#include "support/no_admission.h"
#include "support/temporary_folder.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

// One server: its folder and its way to the database stay when it crashes.
struct member {
  temporary_folder folder;
  supervisor::config settings;
  datastore::memory_link link;
  host* machine = nullptr;
  int writers = 0;
  // While it runs.
  store::store* objects = nullptr;
  supervisor::encryption* keys = nullptr;
  supervisor::bootstrap_data* record = nullptr;
  std::string password;
  std::string ended;  // why it didn't start

  member() {
    settings.data_dir = folder.path();
    settings.token = "secret";
    settings.secrets_encryption = settings.leader_election = true;
  }
};

std::string secret(std::string_view name) {
  return fmt::format(R"({{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"{}"}},"data":{{"k":"djE="}}}})", name);
}
std::string key_of(std::string_view name) { return fmt::format("/registry/secrets/default/{}", name); }

struct cluster {
  datastore::memory_database db{datastore::memory_database::durability::each_commit, true};
  std::vector<std::unique_ptr<member>> members;
  std::set<std::string> acknowledged;
  unsigned refused = 0;
  bool writing = true;

  // What was acknowledged and isn't there.
  std::string missing(const store::snapshot& now) const {
    std::string out;
    for (auto& name : acknowledged)
      if (!now.find(key_of(name))) out += name + " ";
    return out;
  }
};

// Without real certificates, which would take most of the time.
void make_identity(const std::string& folder, const std::string& password) {
  crypto::passwd table;
  table.ensure("server", "k3s:server", password);
  table.ensure("node", "k3s:agent", password);
  for (auto& [name, text] :
       {std::pair("tls/server-ca.crt", std::string("x")), std::pair("cred/passwd", table.write())}) {
    auto path = folder + "/" + name;
    if (crypto::read_file(path)) continue;
    REQUIRE(crypto::make_folder(path.substr(0, path.rfind('/'))).has_value());
    REQUIRE(crypto::write_file(path, text).has_value());
  }
}

// The part of a server's start that takes its identity, and what follows the record; as server/identity.cc does it.
task<void> server_main(host& h, cluster& c, member& me) {
  auto& s = me.settings;
  me.password = s.token;
  supervisor::encryption keys(s);
  REQUIRE(keys.read().has_value());
  std::unique_ptr<store::store> objects;
  auto open = [&]() -> task<result<void>> {
    store::store_options o{.log = datastore::make_memory_log(c.db, &me.link), .loops = {&h.loop()}};
    o.transform = keys.transform([&me] { return me.password; });
    KEDGE_CO_TRY(objects, co_await store::open_store(std::move(o)));
    co_return result<void>();
  };
  REQUIRE((co_await open()).has_value());
  std::optional<supervisor::bootstrap_data> record;
  record.emplace(s, *objects, true);
  if (auto loaded = co_await record->load(); !loaded) {  // its token was rotated
    me.ended = loaded.error().message;
    co_return;
  }
  if (keys.read().value_or(false)) {
    co_await objects->close();
    objects.reset();
    REQUIRE((co_await open()).has_value());
    record.emplace(s, *objects, true);
  }
  REQUIRE(keys.make(h.loop().random()).has_value());
  make_identity(s.server_dir(), me.password);
  if (auto saved = co_await record->save(me.password); !saved) {
    me.ended = saved.error().message;
    co_return;
  }
  tests::no_admission rules;
  api::service_ranges ranges;
  auto local = api::make_objects(*objects, rules, ranges);
  auto process = h.name() + "_" + h.loop().random().uuid();
  control::server_endpoints listed(*local, {.address = h.address(),
                                            .node_name = h.name(),
                                            .identity = process,
                                            .settings = json::object{},
                                            .encryption_hash = [&keys] { return keys.hash(); }});
  if (!co_await listed.join()) co_return;
  supervisor::cluster_lock lock({.objects = *objects,
                                 .row = "/kedge/secrets-encrypt",
                                 .address = [&h] { return h.address(); },
                                 .identity = process,
                                 .lives =
                                     [&listed](std::string_view other) {
                                       return std::ranges::any_of(listed.living(),
                                                                  [&](auto& p) { return p.identity == other; });
                                     }});
  keys.serve({.objects = *objects,
              .record = *record,
              .lock = lock,
              .password = [&me] { return me.password; },
              .others = [&listed] { return listed.encryption_hashes(); }});
  struct shown {
    member& m;
    ~shown() {
      m.objects = nullptr;
      m.keys = nullptr;
      m.record = nullptr;
    }
  } guard{me};
  me.objects = objects.get();
  me.keys = &keys;
  me.record = &*record;
  reactor::scope parts;
  parts.spawn(listed.keep([] { return false; }));
  reactor::event changed;
  parts.spawn(control::follow(*objects, std::string(crypto::bootstrap_prefix), [&](const store::event& e) {
    if (e.object->key() == crypto::bootstrap_key(me.password) && e.type != store::event_type::deleted) changed.set();
  }));
  for (int i = 0; i < me.writers; ++i)
    parts.spawn([](cluster& all, member& m, std::string name) -> task<void> {
      for (int n = 0; all.writing; ++n) {
        auto one = fmt::format("{}-{}", name, n);
        auto done =
            co_await m.objects->write({.kind = store::write_kind::create, .key = key_of(one), .value = secret(one)});
        if (done)
          all.acknowledged.insert(one);
        else
          ++all.refused;
        co_await reactor::sleep_for(done ? 40ms : 200ms);
      }
    }(c, me, fmt::format("{}-{}-{}", h.name(), h.loop().random().below(1'000'000), i)));
  for (;;) {
    co_await changed.wait();
    changed.reset();
    if (keys.changing()) continue;
    auto files = co_await record->refresh(me.password);
    if (!files || files->empty()) continue;
    (void)co_await keys.reload();
    listed.tell();
  }
}

struct fault {
  std::uint64_t step = 0;  // after so many steps of the world since the rotation began
  bool rotator = false;    // the server that changes the keys, or another
  bool cut = false;        // from the database; else it stands still
  duration lasts = 0s;
  bool new_token = false;  // the cluster's token is changed meanwhile
};

// Three servers write Secrets while one changes the keys, and something happens. Gives how many steps the rotation
// took.
std::uint64_t rotate(std::uint64_t seed, std::optional<fault> f) {
  cluster c;  // outlives the hosts
  world w(seed);
  CAPTURE(seed);
  if (f) CAPTURE(f->step);
  c.db.faults.delay_before_commit = [&w] { return w.between(0ms, 3ms); };
  c.db.faults.delay_after_commit = [&w] { return w.between(0ms, 3ms); };
  c.db.faults.delay_read = [&w] { return w.between(0ms, 10ms); };  // who wakes writes before it knows
  auto add = [&](const std::string& name, int writers, std::string token) -> member& {
    auto& m = *c.members.emplace_back(std::make_unique<member>());
    m.writers = writers;
    m.settings.token = std::move(token);
    m.machine = &w.add_host(name);
    m.settings.advertise_address = m.machine->address();
    m.machine->start([&c, &m](host& h) { return server_main(h, c, m); });
    return m;
  };
  for (auto name : {"a", "b", "c"}) add(name, *name == 'b' ? 4 : 1, "secret");
  auto &a = *c.members[0], &b = *c.members[1];
  INFO(w.trace_text());
  auto all_serve = [&] {
    return std::all_of(c.members.begin(), c.members.end(), [](auto& m) { return m->keys != nullptr; });
  };
  REQUIRE(w.run_until([&] { return all_serve() && c.acknowledged.size() > 10; }, 60s));

  auto on = [&](member& m, std::function<task<result<void>>(member&)> what) {
    auto done = std::make_shared<std::optional<bool>>();
    reactor::loop::current_guard guard(m.machine->loop());
    m.machine->loop().spawn([](member& one, std::function<task<result<void>>(member&)> f2,
                               std::shared_ptr<std::optional<bool>> out) -> task<void> {
      auto r = co_await f2(one);
      *out = r.has_value();
    }(m, std::move(what), done));
    return done;
  };
  auto ask = [&](member& m) {
    return on(m, [](member& one) { return one.keys->change(json::object{{"stage", "rotate_keys"}}); });
  };
  auto finished = [&](member& m) {
    reactor::loop::current_guard guard(m.machine->loop());
    return m.keys && !m.keys->changing() && m.keys->status()["stage"].as_string() == "reencrypt_finished";
  };

  bool over = false;
  auto begin = w.steps();
  auto answered = ask(a);
  if (f) {
    auto& victim = f->rotator ? a : b;
    REQUIRE(w.run_until([&] { return w.steps() >= begin + f->step; }, 60s));
    if (f->cut)
      victim.link.cut = true;
    else
      victim.machine->pause();
    w.trace(fmt::format("{} {} at step {}", victim.machine->name(), f->cut ? "is cut off" : "stands still", f->step));
    w.after(f->lasts, [&] {
      victim.link.cut = false;
      victim.machine->resume();
      over = true;
    });
    if (f->new_token) {
      // Another server moves the record to a new token; who knows the new one goes on changing the keys.
      auto& mover = f->rotator ? b : a;
      w.run_until([&] { return answered->has_value(); }, 60s);
      auto moved = on(mover, [](member& one) -> task<result<void>> {
        KEDGE_CO_CHECK(co_await one.record->rotate("secret", "fresh", "another server"));
        KEDGE_CO_CHECK(co_await one.record->finish_rotation("secret", "fresh"));
        one.password = "fresh";
        co_return result<void>();
      });
      REQUIRE(w.run_until([&] { return moved->has_value(); }, 60s));
      REQUIRE(**moved);
      auto& fresh = add("d", 1, "fresh");
      w.run_until([&] { return fresh.keys != nullptr; }, 30s);
      CAPTURE(fresh.ended);
      REQUIRE(fresh.keys != nullptr);
      auto again = ask(fresh);
      w.run_until([&] { return again->has_value(); }, 60s);
    }
  }
  if (!f) {
    REQUIRE(w.run_until([&] { return finished(a); }, 60s));
    REQUIRE(**answered);
  } else {
    w.run_until([&] { return over && answered->has_value() && !a.keys->changing(); }, 120s);
    w.run_for(3s);
  }
  auto steps = w.steps() - begin;

  // Everybody who can goes on writing, and then all is still.
  auto so_far = c.acknowledged.size();
  REQUIRE(w.run_until([&] { return c.acknowledged.size() > so_far + 10; }, 60s));
  c.writing = false;
  w.run_for(5s);
  for (auto& m : c.members) {
    if (!m->objects) continue;
    CAPTURE(m->machine->name());
    auto& seen = *m->objects;
    reactor::loop::current_guard guard(m->machine->loop());
    auto now = seen.current();
    // Who has a token of before can't read what was written under keys of after, and says so.
    bool stale = f && f->new_token && m->password == "secret";
    if (!stale) CHECK(seen.complete().has_value());
    if (stale && !seen.complete()) continue;
    CHECK(c.missing(now) == "");
  }
  // And after a restart of all, from the record alone.
  for (auto& m : c.members) m->machine->crash();
  bool moved = false;
  for (auto& [at, e] : c.db.rows())
    if (e.name == crypto::bootstrap_key("fresh") && e.kind != datastore::change::remove) moved = true;
  auto& reader = add("reader", 0, moved ? "fresh" : "secret");
  w.run_until([&] { return reader.keys != nullptr; }, 60s);
  CAPTURE(reader.ended);
  REQUIRE(reader.keys != nullptr);
  reactor::loop::current_guard guard(reader.machine->loop());
  CHECK(reader.objects->complete().has_value());
  auto now = reader.objects->current();
  CHECK(c.missing(now) == "");
  return steps;
}

}  // namespace

TEST_CASE("keys change while all servers write") {
  for (auto seed : seeds(4)) CHECK(rotate(seed, std::nullopt) > 100);
}

TEST_CASE("a server stops, or is cut off, at every line of a rotation: no acknowledged Secret is lost") {
  // Shorter than a server is missed, and longer than the whole rotation takes without it.
  for (auto seed : seeds(1)) {
    auto steps = rotate(seed, std::nullopt);
    constexpr std::uint64_t moments = 30;
    for (std::uint64_t i = 0; i < moments; ++i)
      rotate(seed,
             fault{.step = steps * i / moments, .rotator = false, .cut = i % 2 == 0, .lasts = i % 5 == 4 ? 3s : 25s});
    for (std::uint64_t i = 0; i < moments / 2; ++i)
      rotate(
          seed,
          fault{.step = steps * i * 2 / moments, .rotator = true, .cut = i % 2 == 1, .lasts = i % 3 == 1 ? 3s : 25s});
  }
}

TEST_CASE("the same while the cluster gets a new token") {
  for (auto seed : seeds(1)) {
    auto steps = rotate(seed, std::nullopt);
    constexpr std::uint64_t moments = 10;
    for (std::uint64_t i = 0; i < moments; ++i)
      rotate(seed,
             fault{.step = steps * i / moments, .rotator = false, .cut = i % 2 == 0, .lasts = 60s, .new_token = true});
  }
}

TEST_CASE("a rotation of the token that can't be carried out is not begun") {
  datastore::memory_database db;
  member me;
  world w(1);
  auto& machine = w.add_host("a");
  bool done = false;
  machine.start([&](host& h) -> task<void> {
    auto objects = co_await store::open_store({.log = datastore::make_memory_log(db), .loops = {&h.loop()}});
    REQUIRE(objects.has_value());
    auto sealed = crypto::encrypt_bootstrap(crypto::write_bootstrap_files({{"PasswdFile", {.content = "not a table"}}}),
                                            "secret", h.loop().random());
    REQUIRE(sealed.has_value());
    REQUIRE((co_await (*objects)->write(
                 {.kind = store::write_kind::create, .key = crypto::bootstrap_key("secret"), .value = *sealed}))
                .has_value());
    supervisor::bootstrap_data record(me.settings, **objects, true);
    auto rotated = co_await record.rotate("secret", "fresh", "a");
    REQUIRE(!rotated.has_value());
    CHECK(rotated.error().message ==
          "the datastore's record of the cluster: passwd line 1: a record needs password, user and uid");
    CHECK(!supervisor::rotation_of((*objects)->current(), "secret", {}));
    co_await (*objects)->close();
    done = true;
  });
  CHECK(w.run_until([&] { return done; }, 10s));
}
