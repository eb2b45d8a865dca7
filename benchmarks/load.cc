// load.cc: the clients that wrk can't be: many watchers of one collection, and many idle connections with a watch each.
//
//   load watch URL CA TOKEN WATCHERS ROUNDS    one object is updated ROUNDS times; prints events/s and latencies
//   load idle URL CA TOKEN CONNECTIONS         connects, says "connected" and holds until standard input ends
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "base/strings.h"
#include "net/http/client.h"
#include "reactor/sync.h"

using namespace kedge;
using namespace std::chrono_literals;
namespace http = net::http;

namespace {

constexpr auto collection = "/api/v1/namespaces/default/configmaps";
constexpr std::size_t connecting_at_once = 64;

struct tally {
  std::size_t connected = 0, failed = 0;
  std::uint64_t round = 0;      // the update that is awaited
  std::size_t seen = 0;         // watchers that have got it
  time_point sent{};
  std::vector<double> latencies_ms;
  reactor::event changed;
};

struct options {
  http::target to;
  std::string token;
};

http::client_request request(const options& o, std::string method, std::string path) {
  http::client_request r{.to = o.to, .method = std::move(method), .path = std::move(path)};
  r.headers.add("Authorization", "Bearer " + o.token);
  r.headers.add("Content-Type", "application/json");
  return r;
}

std::string object(std::uint64_t round) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"watched"}},"data":{{"round":"<{:08}>","filler":"{}"}}}})", round,
                     std::string(900, 'x'));
}

// One connection of its own for each watcher: a client pools by target, and a watch keeps its connection.
task<void> watch(const options& o, http::client& c, reactor::semaphore& turn, tally& t, bool reads) {
  co_await turn.acquire();
  auto x = co_await c.open(request(o, "GET", std::string(collection) + "?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dwatched" +
                                                  (reads ? "" : "&sendInitialEvents=false")));
  auto head = x ? co_await (*x)->head() : result<const http::response*>(fail(x.error()));
  turn.release();
  if (!head || (*head)->status != 200) {
    ++t.failed;
    if (t.failed == 1) fmt::print(stderr, "watch: {}\n", head ? std::to_string((*head)->status) : head.error().message);
    t.changed.pulse();
    co_return;
  }
  ++t.connected;
  t.changed.pulse();
  std::string tail;
  std::uint64_t last = 0;
  for (;;) {
    auto b = co_await (*x)->read();
    if (!b || b->empty()) {
      ++t.failed;
      co_return;
    }
    if (!reads) continue;
    tail += as_text(b->view());
    for (auto at = tail.find("\"round\":\"<"); at != std::string::npos && at + 18 <= tail.size(); at = tail.find("\"round\":\"<")) {
      auto round = parse_uint(std::string_view(tail).substr(at + 10, 8)).value_or(0);
      tail.erase(0, at + 18);
      if (round == t.round && round != last) {
        last = round;
        t.latencies_ms.push_back(std::chrono::duration<double, std::milli>(monotonic_clock::now() - t.sent).count());
        if (++t.seen == t.connected) t.changed.pulse();
      }
    }
    if (tail.size() > 64) tail.erase(0, tail.size() - 64);
  }
}

task<int> run(options o, std::string mode, std::size_t count, std::size_t rounds) {
  http::client c;
  auto made = co_await c.fetch([&] {
    auto r = request(o, "POST", collection);
    r.body = object(0);
    return r;
  }());
  if (!made || (made->status != 201 && made->status != 409)) {
    fmt::print(stderr, "create: {}\n", made ? made->body : made.error().message);
    co_return 1;
  }
  tally t;
  reactor::semaphore turn(connecting_at_once);
  reactor::scope watchers;
  for (std::size_t i = 0; i < count; ++i) watchers.spawn(watch(o, c, turn, t, mode == "watch"));
  while (t.connected + t.failed < count) co_await t.changed.wait();
  if (t.failed) {
    fmt::print(stderr, "{} of {} watches failed\n", t.failed, count);
    co_return 1;
  }
  if (mode == "idle") {
    fmt::print("connected\n");
    std::fflush(stdout);
    for (;;) {
      pollfd in{0, POLLIN, 0};
      char byte;
      if (::poll(&in, 1, 0) == 1 && ::read(0, &byte, 1) <= 0) co_return t.failed ? 1 : 0;
      co_await reactor::sleep_for(50ms);
    }
  }
  auto began = monotonic_clock::now();
  for (t.round = 1; t.round <= rounds; ++t.round) {
    t.seen = 0;
    auto r = request(o, "PUT", std::string(collection) + "/watched");
    r.body = object(t.round);
    t.sent = monotonic_clock::now();
    auto put = co_await c.fetch(std::move(r));
    if (!put || put->status != 200) {
      fmt::print(stderr, "update: {}\n", put ? put->body : put.error().message);
      co_return 1;
    }
    while (t.seen < t.connected) co_await t.changed.wait();
  }
  auto seconds = std::chrono::duration<double>(monotonic_clock::now() - began).count();
  std::sort(t.latencies_ms.begin(), t.latencies_ms.end());
  fmt::print("{{\"events_per_second\":{:.0f},\"p50_ms\":{:.2f},\"p99_ms\":{:.2f}}}\n", static_cast<double>(t.latencies_ms.size()) / seconds,
             t.latencies_ms[t.latencies_ms.size() / 2], t.latencies_ms[t.latencies_ms.size() * 99 / 100]);
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    fmt::print(stderr, "usage: load watch URL CA TOKEN WATCHERS ROUNDS\n       load idle URL CA TOKEN CONNECTIONS\n");
    return 2;
  }
  std::ifstream file(argv[3]);
  std::stringstream ca;
  ca << file.rdbuf();
  auto tls = net::tls_client_context::make({.ca_pem = ca.str(), .alpn = {"http/1.1"}});
  auto url = tls ? http::parse_url(argv[2], *tls) : result<std::pair<http::target, std::string>>(fail(tls.error()));
  if (!url) {
    fmt::print(stderr, "{}\n", url.error().message);
    return 2;
  }
  auto backend = reactor::make_backend(reactor::io_backend::automatic);
  reactor::loop loop(std::move(*backend));
  return loop.run_until(run({url->first, argv[4]}, argv[1], parse_uint(argv[5]).value_or(1), argc > 6 ? parse_uint(argv[6]).value_or(1) : 1));
}
