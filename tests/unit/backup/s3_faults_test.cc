// An S3 that is slow, hangs, refuses, fails for a moment, or is away: within the timeout, with its reason, and nothing
// half done.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "backup/s3/bucket.h"
#include "base/bytes.h"
#include "net/http/server.h"
#include "reactor/sync.h"
#include "support/temporary_folder.h"

namespace kedge::backup::s3 {
namespace {

using namespace std::chrono_literals;

constexpr auto short_time = 300ms;  // for what never answers
constexpr auto long_time = 60s;     // for what does

// Does with each request what the case wants.
struct fake_s3 final : net::http::handler {
  std::function<task<void>(net::http::exchange&)> answer;
  int asked = 0;
  task<void> serve(net::http::exchange& e) override {
    ++asked;
    co_await answer(e);
  }
  static task<void> say(net::http::exchange& e, int status, std::string body) {
    for (;;) {
      auto piece = co_await e.read();
      if (!piece || piece->empty()) break;
    }
    net::http::response r;
    r.status = status;
    (void)co_await e.respond(r, body);
  }
};

struct bench {
  temporary_folder folder;
  fake_s3 s3;
  std::string file = folder.path() + "/snapshot", back = folder.path() + "/back";

  // `work` beside a server that answers by `s3`; `at` is its address.
  void with_server(std::function<task<void>(std::string at)> work) {
    std::ofstream(file) << std::string(1'000'000, 'x');
    reactor::loop loop(*reactor::make_backend(reactor::io_backend::epoll));
    loop.run_until([](bench& b, std::function<task<void>(std::string)> run) -> task<void> {
      net::http::server server(b.s3, {.listen = {{"127.0.0.1", 0}}});
      reactor::scope serving;
      serving.spawn([](net::http::server& s) -> task<void> { (void)co_await s.run(0); }(server));
      co_await server.ready(0).wait();
      co_await run(server.listening(0).front().text());
      serving.cancel();
    }(*this, std::move(work)));
  }
  static bucket at(const std::string& endpoint, duration timeout) {
    return bucket::open({.enabled = true,
                         .endpoint = endpoint,
                         .insecure = true,
                         .who = {.access_key = "a", .secret_key = "b", .session_token = {}},
                         .bucket = "b",
                         .timeout = timeout})
        .value();
  }
  // All that an S3 is asked for: what each came to.
  task<std::vector<error>> ask_all(std::string endpoint, duration timeout) {
    std::vector<error> out;
    auto note = [&](auto&& done) {
      if (!done) out.push_back(done.error());
    };
    note(co_await at(endpoint, timeout).look());
    note(co_await at(endpoint, timeout).put(file, "name", {}));
    note(co_await at(endpoint, timeout).get("name", back));
    note(co_await at(endpoint, timeout).list(""));
    note(co_await at(endpoint, timeout).remove("name"));
    co_return out;
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::ranges::distance(std::filesystem::directory_iterator(folder.path()),
                                                          std::filesystem::directory_iterator()));
  }
};

}  // namespace

TEST_CASE("an S3 that takes a request and says nothing, or trickles, is left at the timeout, which is named") {
  for (bool trickles : {false, true}) {
    CAPTURE(trickles);
    bench b;
    b.s3.answer = [&](net::http::exchange& e) -> task<void> {
      if (trickles && e.request().method == "GET") {
        net::http::response r;
        r.headers.add("Content-Length", "1000000");
        if (!co_await e.start(r)) co_return;
        for (const bytes part = as_bytes("<ListBucketResult");;) {
          if (!co_await e.write({&part, 1})) co_return;
          co_await reactor::sleep_for(20ms);
        }
      }
      reactor::event never;
      co_await never.wait();
    };
    b.with_server([&](std::string at) -> task<void> {
      auto failed = co_await b.ask_all(at, short_time);
      REQUIRE(failed.size() == 5);
      for (auto& e : failed) {
        CHECK(e.code == errc::timeout);
        CHECK(e.message == "S3 at " + at + " is too slow: it was not done within 300ms (--etcd-s3-timeout)");
      }
      CHECK(b.files() == 1);  // the half of one went
    });
  }
}

TEST_CASE("an S3 that denies is not asked again, and its reason is told") {
  bench b;
  b.s3.answer = [](net::http::exchange& e) {
    return fake_s3::say(e, 403, "<Error><Code>AccessDenied</Code><Message>Not you &amp; not now.</Message></Error>");
  };
  b.with_server([&](std::string at) -> task<void> {
    auto failed = co_await b.ask_all(at, long_time);
    REQUIRE(failed.size() == 5);
    CHECK(b.s3.asked == 5);
    for (auto& e : failed) CHECK(e.code == errc::forbidden);
    CHECK(failed[1].message == "S3 at " + at + " answers PUT /b/name with AccessDenied: Not you & not now.");
    CHECK(b.files() == 1);
  });
}

TEST_CASE("what fails for a moment is done all the same") {
  bench b;
  int bad = 0;
  b.s3.answer = [&](net::http::exchange& e) -> task<void> {
    if (++bad % 2) co_return co_await fake_s3::say(e, 503, "<Error><Code>SlowDown</Code></Error>");
    auto method = e.request().method;
    co_await fake_s3::say(e, 200, method == "GET" && !e.request().query.empty() ? "<ListBucketResult/>" : "whole");
  };
  b.with_server([&](std::string at) -> task<void> {
    auto failed = co_await b.ask_all(at, long_time);
    CHECK(failed.size() == 0);
    CHECK(b.s3.asked == 10);
    CHECK(b.files() == 2);
  });
}

TEST_CASE("an S3 that is away is told of") {
  bench b;
  b.with_server([&](std::string) -> task<void> {
    auto failed = co_await b.ask_all("127.0.0.1:1", long_time);
    REQUIRE(failed.size() == 5);
    for (auto& e : failed) CHECK(e.code == errc::refused);
    CHECK(b.s3.asked == 0);
    CHECK(b.files() == 1);
  });
}

}  // namespace kedge::backup::s3
