// harness.h: the API handler over a store in memory, asked through exchanges that are made here.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "api/handler.h"
#include "api/local_objects.h"
#include "api/registry/indexes.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "store/open.h"
#include "support/no_admission.h"

namespace kedge::api {

// One request, and what was answered. The body of a stream grows while it runs; `changed` is pulsed.
class memory_exchange final : public net::http::exchange {
 public:
  net::http::request asked;
  std::string body;
  net::http::response head;
  std::string answer;
  bool finished = false, aborted = false;
  bool silent = false;  // the client takes nothing of the body, until it is broken off
  reactor::event changed;
  std::size_t writes = 0;

  const net::http::request& request() const noexcept override { return asked; }
  net::http::connection_info& connection() noexcept override { return connection_; }
  task<result<reactor::buffer>> read() override {
    if (limit_ && body.size() - at_ > limit_) co_return fail(errc::too_large, "too large");
    auto n = std::min<std::size_t>(body.size() - at_, 64 * 1024);
    if (n == 0) co_return reactor::buffer();
    auto b = reactor::buffer::allocate(n);
    b.truncate(n);
    std::copy_n(as_bytes(body).begin() + static_cast<std::ptrdiff_t>(at_), n, b.writable().begin());
    at_ += n;
    co_return b;
  }
  void limit_body(std::uint64_t n) noexcept override { limit_ = n; }
  void body_deadline(time_point) noexcept override {}
  task<result<void>> respond(const net::http::response& h, std::span<const bytes> parts) override {
    KEDGE_CO_CHECK(co_await start(h));
    KEDGE_CO_CHECK(co_await write(parts));
    co_return co_await finish({});
  }
  task<result<void>> start(const net::http::response& h) override {
    started_ = true;
    head = h;
    changed.pulse();
    co_return result<void>();
  }
  task<result<void>> write(std::span<const bytes> parts) override {
    if (silent) {
      co_await broken_off_.wait();
      co_return fail(errc::closed, "broken off");
    }
    for (auto p : parts) answer += as_text(p);
    ++writes;
    changed.pulse();
    co_return result<void>();
  }
  task<result<void>> finish(const net::http::headers&) override {
    finished = true;
    changed.pulse();
    co_return result<void>();
  }
  using net::http::exchange::finish;
  using net::http::exchange::respond;
  using net::http::exchange::write;
  bool started() const noexcept override { return started_; }
  void abort() noexcept override {
    aborted = true;
    broken_off_.set();
  }
  task<result<std::unique_ptr<reactor::stream>>> upgrade(const net::http::response&) override {
    co_return fail(errc::unsupported, "no upgrade here");
  }

 private:
  net::http::connection_info connection_;
  std::size_t at_ = 0;
  std::uint64_t limit_ = 0;
  bool started_ = false;
  reactor::event broken_off_;
};

class everyone final : public authenticator {
 public:
  user_info user{"tester", "", {"system:masters", "system:authenticated"}, {}};
  bool known = true;
  task<api_result<user_ref>> authenticate(net::http::exchange&) override {
    if (!known) co_return fail(unauthorized());
    co_return user;
  }
};

class may_all final : public authorizer {
 public:
  std::string denied_resource, denied_verb;  // to see refusals
  decision authorize(const attributes& a, const store::snapshot&) override {
    if (!denied_resource.empty() && a.resource == denied_resource) return {decision::kind::no_opinion, ""};
    if (!denied_verb.empty() && a.verb == denied_verb) return {decision::kind::no_opinion, ""};
    return {decision::kind::allow, "everyone may"};
  }
};

struct answer_text {
  int code = 0;
  std::string body;
  net::http::headers headers;
  json::value json() const {
    auto v = json::parse(body);
    REQUIRE_MESSAGE(v.has_value(), body);
    return *std::move(v);
  }
};

using header_list = std::vector<std::pair<std::string, std::string>>;

struct api_world {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  datastore::memory_database database;
  std::unique_ptr<store::store> objects;
  everyone who;
  may_all may;
  tests::no_admission rules;
  health checks;
  metrics measures;
  service_ranges ranges;
  std::unique_ptr<api_handler> handler;
  std::unique_ptr<class objects> client;

  api_world() {
    store::store_options o;
    o.indexes = builtin_indexes();
    o.log = datastore::make_memory_log(database);
    o.loops = {&loop};
    auto opened = loop.run_until(store::open_store(std::move(o)));
    REQUIRE(opened.has_value());
    objects = *std::move(opened);
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = may,
                                                      .rules = rules,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .ranges = ranges,
                                                      .server_address = "10.0.0.1:6443"});
    client = make_objects(*objects, rules, ranges);
  }
  ~api_world() {
    handler.reset();
    client.reset();
    loop.run_until(objects->close());
    objects.reset();
  }

  static void fill(memory_exchange& e, std::string_view method, std::string_view target, std::string_view body,
                   const header_list& headers) {
    e.asked.method = method;
    e.asked.target = target;
    auto q = target.find('?');
    e.asked.path = target.substr(0, q);
    if (q != std::string_view::npos) e.asked.query = target.substr(q + 1);
    e.body = body;
    e.asked.content_length = body.size();
    for (auto& [n, v] : headers) e.asked.headers.add(n, v);
  }
  answer_text ask(std::string_view method, std::string_view target, std::string_view body = {},
                  const header_list& headers = {}) {
    memory_exchange e;
    fill(e, method, target, body, headers);
    loop.run_until(handler->serve(e));
    CHECK(e.started());
    return {e.head.status, e.answer, e.head.headers};
  }
  answer_text get(std::string_view target, const header_list& headers = {}) { return ask("GET", target, {}, headers); }
  answer_text post(std::string_view target, std::string_view body, const header_list& headers = {}) {
    return ask("POST", target, body, headers);
  }
  answer_text put(std::string_view target, std::string_view body) { return ask("PUT", target, body); }
  answer_text patch(std::string_view target, std::string_view body, std::string_view type) {
    return ask("PATCH", target, body, {{"Content-Type", std::string(type)}});
  }
  answer_text remove(std::string_view target, std::string_view body = {}) { return ask("DELETE", target, body); }

  json::value must(const answer_text& a, int code) {
    REQUIRE_MESSAGE(a.code == code, a.body);
    return a.json();
  }
};

constexpr std::string_view merge = "application/merge-patch+json";
constexpr std::string_view strategic = "application/strategic-merge-patch+json";

// A watch that runs while the test goes on.
struct running_watch {
  api_world& w;
  memory_exchange e;
  reactor::scope work;
  std::size_t read = 0;

  running_watch(api_world& world, std::string_view target, const header_list& headers = {}) : w(world) {
    api_world::fill(e, "GET", target, {}, headers);
    work.spawn(w.handler->serve(e));
  }
  // The next line as an event; fails the test after 2 s.
  json::value next() {
    auto deadline = monotonic_clock::now() + std::chrono::seconds(2);
    while (e.answer.find('\n', read) == std::string::npos) {
      REQUIRE_MESSAGE(monotonic_clock::now() < deadline, "no event came; so far: " << e.answer);
      w.loop.turn(monotonic_clock::now() + std::chrono::milliseconds(5));
    }
    auto end = e.answer.find('\n', read);
    auto line = std::string_view(e.answer).substr(read, end - read);
    read = end + 1;
    auto v = json::parse(line);
    REQUIRE_MESSAGE(v.has_value(), line);
    return *std::move(v);
  }
  // "ADDED name".
  std::string brief() {
    auto v = next();
    return fmt::format("{} {}", v["type"].as_string(), v["object"]["metadata"]["name"].as_string());
  }
  bool quiet() {
    for (int i = 0; i < 5; ++i) w.loop.turn(monotonic_clock::now() + std::chrono::milliseconds(2));
    return e.answer.find('\n', read) == std::string::npos;
  }
};

inline std::string config_map(std::string_view name, std::string_view value = "v", std::string_view labels = "{}") {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}","labels":{}}},"data":{{"k":"{}"}}}})", name,
      labels, value);
}

}  // namespace kedge::api
