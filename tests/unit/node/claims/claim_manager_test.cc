// What drivers of claims are asked when several ask for the same pod.
#include "node/claims/claim_manager.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "../loop.h"
#include "base/protobuf_wire.h"
#include "json/parse.h"
#include "net/http/server.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;

namespace {

// Does all that it is asked for the claim with the uid c1; unpreparing only when it may.
class fake_driver final : public net::http::handler {
 public:
  explicit fake_driver(std::string socket)
      : server_(*this, {.listen = {reactor::endpoint::unix_path(std::move(socket))}, .plain_http2 = true}) {}
  std::vector<std::string> asked;
  reactor::event may_unprepare;

  task<void> run() { (void)co_await server_.run(0); }
  reactor::event& ready() { return server_.ready(0); }

  task<void> serve(net::http::exchange& e) override {
    (void)co_await e.read_all();
    asked.push_back(e.request().path.substr(e.request().path.rfind('/') + 1));
    if (asked.back() == "NodeUnprepareResources") co_await may_unprepare.wait();
    net::http::response head;
    head.headers.add("content-type", "application/grpc");
    if (!co_await e.start(head)) co_return;
    auto answer = wire::writer().message(1, wire::writer().text(1, "c1").message(2, std::string_view()).take()).take();
    if (!co_await e.write(net::grpc::frame_message(answer))) co_return;
    net::http::headers status;
    status.add("grpc-status", "0");
    (void)co_await e.finish(status);
  }

 private:
  net::http::server server_;
};

json::value parse(std::string_view text) {
  auto out = json::parse(text);
  REQUIRE(out);
  return *std::move(out);
}

}  // namespace

TEST_CASE("a driver unprepares a pod's claims once, whoever wants it at the same time") {
  temporary_folder folder;
  test_loop t;
  t.run([](std::string at) -> task<void> {
    fake_driver driver(at + "/driver.sock");
    reactor::scope serving;
    serving.spawn(driver.run());
    co_await driver.ready().wait();
    auto api = api_client::make("https://127.0.0.1:1", {}, {}, nullptr);
    REQUIRE(api);
    auto claim = parse(R"({"metadata": {"name": "c", "namespace": "default", "uid": "c1"}, "status": {
        "reservedFor": [{"resource": "pods", "name": "p", "uid": "p1"}], "allocation": {"devices": {"results": [
        {"request": "r", "driver": "gpu.example.com", "pool": "a", "device": "d0"}]}}}})");
    auto pod = parse(R"({"metadata": {"name": "p", "namespace": "default", "uid": "p1"},
        "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}})");
    claim_manager claims(
        {.api = *api,
         .object = [&](std::string) -> task<result<std::optional<json::value>>> { co_return std::optional(claim); },
         .file = at + "/state",
         .node = "a",
         .network = nullptr,
         .active = [] { return std::nullopt; }});
    serving.spawn(claims.run());
    REQUIRE(co_await claims.add({"DRAPlugin", "gpu.example.com", at + "/driver.sock", {"v1.DRAPlugin"}}));
    auto prepared = co_await claims.prepare(pod);
    REQUIRE_MESSAGE(prepared, prepared.error().message);

    reactor::scope leaving;
    reactor::event left;
    leaving.spawn([](claim_manager& of, reactor::event& done) -> task<void> {
      CHECK(co_await of.unprepare("p1"));
      done.set();
    }(claims, left));
    auto times = [&] { return std::ranges::count(driver.asked, "NodeUnprepareResources"); };
    while (times() == 0) co_await reactor::sleep_for(std::chrono::milliseconds(2));
    auto second = co_await claims.unprepare("p1");
    REQUIRE(!second);
    CHECK(second.error().code == errc::conflict);
    CHECK(times() == 1);
    driver.may_unprepare.set();
    co_await left.wait();
    CHECK(co_await claims.unprepare("p1"));  // nothing is left to do
    CHECK(times() == 1);
  }(folder.path()));
}
