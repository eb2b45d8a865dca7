// Clients, a server and its store, over a network that delays and resets and a machine that dies: what was acknowledged
// stays.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "datastore/memory/memory_log.h"
#include "net/http/client.h"
#include "net/http/server.h"
#include "store/open.h"
#include "store/text.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;
namespace http = net::http;

namespace {

constexpr std::string_view prefix = "/registry/things/";

// Things are found by their writer: "c2" of "c2-17".
void writer_of(const store::object& o, const store::value_visitor& give) {
  std::string buffer;
  auto name = store::string_in(store::member_at(o.bytes(), "metadata.name"), buffer);
  give(name.substr(0, name.find('-')));
}

// Whether the index gives what a look at everything gives.
bool index_is_true(const store::snapshot& s) {
  std::map<std::string, std::vector<std::string>> wanted, found;
  s.scan(prefix, "", [&](const store::object_ref& o) {
    writer_of(*o, [&](std::string_view writer) { wanted[std::string(writer)].emplace_back(o->key()); });
    return true;
  });
  for (auto& [writer, keys] : wanted) {
    if (s.count("writer", writer) != keys.size()) return false;
    s.scan("writer", writer, prefix, "", [&](const store::object_ref& o) {
      found[writer].emplace_back(o->key());
      return true;
    });
  }
  return found == wanted;
}

// PUT /name creates, GET /name reads; the real HTTP server and store below.
class things final : public http::handler {
 public:
  explicit things(store::store& s) : store_(s) {}
  task<void> serve(http::exchange& e) override {
    auto key = std::string(prefix) + e.request().path.substr(1);
    if (e.request().method == "PUT") {
      auto body = co_await e.read_all();
      if (!body) co_return;
      auto done = co_await store_.write({.kind = store::write_kind::create, .key = key, .value = *body});
      CHECK(index_is_true(store_.current()));
      int code = done ? 201 : done.error().code == errc::already_exists ? 409 : 503;
      co_await e.respond({.status = code}, done ? done->object->bytes() : done.error().message);
      co_return;
    }
    auto latest = co_await store_.latest();
    CHECK(index_is_true(store_.current()));
    auto found = latest ? latest->find(key) : store::object_ref();
    co_await e.respond({.status = !latest ? 503 : found ? 200 : 404}, found ? found->bytes() : "");
  }

 private:
  store::store& store_;
};

task<void> server_main(host& h, datastore::memory_database& db) {
  auto opened = co_await store::open_store({.log = datastore::make_memory_log(db),
                                            .loops = {&h.loop()},
                                            .indexes = {{"writer", std::string(prefix), &writer_of}}});
  REQUIRE(opened.has_value());
  things handler(**opened);
  http::server_options o;
  o.listen = {{"", 80}};
  o.network = &h;
  http::server s(handler, o);
  co_await s.run(0);
}

struct history {
  std::set<std::string> acknowledged;
  int failed = 0, done = 0;
};

task<void> client_main(host& h, std::string server, int number, int writes, history& out) {
  http::client c(&h);
  for (int i = 0; i < writes; ++i) {
    auto name = "c" + std::to_string(number) + "-" + std::to_string(i);
    http::client_request r{.to = {.at = {server, 80}}, .method = "PUT", .path = "/" + name};
    r.body = "{\"kind\":\"Thing\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"" + name + "\"}}";
    auto answer = co_await reactor::with_deadline(c.fetch(std::move(r)), reactor::loop::current().now() + 2s);
    if (answer && answer->status == 201)
      out.acknowledged.insert(name);
    else
      ++out.failed;
    co_await reactor::sleep_for(5ms);
  }
  ++out.done;
}

void run(std::uint64_t seed) {
  datastore::memory_database db;  // outlives the hosts, as a disk does
  world w(seed, {.reset_probability = 0.01});
  db.faults.delay_before_commit = [&] { return w.between(0ms, 3ms); };
  db.faults.delay_after_commit = [&] { return w.between(0ms, 3ms); };
  auto& server = w.add_host("server");
  server.start([&](host& h) { return server_main(h, db); });
  history out;
  constexpr int clients = 4;
  for (int i = 0; i < clients; ++i)
    w.add_host("client" + std::to_string(i)).start([&, i](host& h) {
      return client_main(h, server.address(), i, 60, out);
    });
  for (int i = 0; i < 5; ++i) {
    w.after(w.between(20ms, 900ms), [&] {
      if (!server.running()) return;
      server.crash();
      db.lose_power();
      w.after(w.between(1ms, 60ms), [&] {
        if (!server.running()) server.restart();
      });
    });
  }
  INFO(w.trace_text());
  REQUIRE(w.run_until([&] { return out.done == clients; }, 10min));
  CHECK(out.acknowledged.size() > 60);
  // After all that: a fresh server finds every acknowledged thing.
  if (server.running()) server.crash();
  db.lose_power();
  server.restart();
  auto& reader = w.add_host("reader");
  std::size_t found = 0;
  bool ended = false;
  reader.start([&](host& h) -> task<void> {
    http::client c(&h);
    for (auto& name : out.acknowledged)
      for (int tries = 0; tries < 50; ++tries) {
        auto answer = co_await c.fetch({.to = {.at = {server.address(), 80}}, .path = "/" + name});
        if (answer && answer->status == 404) break;
        if (answer && answer->status == 200) {
          ++found;
          break;
        }
        co_await reactor::sleep_for(10ms);
      }
    ended = true;
  });
  REQUIRE(w.run_until([&] { return ended; }, 10min));
  CHECK(found == out.acknowledged.size());
}

}  // namespace

TEST_CASE("an acknowledged create survives any crash of the server") {
  for (auto seed : seeds(40)) run(seed);
}
