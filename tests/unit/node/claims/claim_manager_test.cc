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
  std::string devices;  // what it says that it prepared

  task<void> run() { (void)co_await server_.run(0); }
  reactor::event& ready() { return server_.ready(0); }

  task<void> serve(net::http::exchange& e) override {
    (void)co_await e.read_all();
    asked.push_back(e.request().path.substr(e.request().path.rfind('/') + 1));
    if (asked.back() == "NodeUnprepareResources") co_await may_unprepare.wait();
    net::http::response head;
    head.headers.add("content-type", "application/grpc");
    if (!co_await e.start(head)) co_return;
    const auto said = asked.back() == "NodePrepareResources" ? devices : std::string();
    auto answer = wire::writer().message(1, wire::writer().text(1, "c1").message(2, said).take()).take();
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

TEST_CASE("a container gets the devices of the claim that was made for its extended resources") {
  temporary_folder folder;
  test_loop t;
  t.run([](std::string at) -> task<void> {
    fake_driver driver(at + "/driver.sock");
    for (auto [request, id] :
         {std::pair{"container-0-request-0", "example.com/gpu=0"}, {"container-1-request-0", "example.com/gpu=1"}})
      driver.devices += wire::writer()
                            .message(1, wire::writer().text(1, request).text(2, "a").text(3, "d0").text(4, id).take())
                            .take();
    reactor::scope serving;
    serving.spawn(driver.run());
    co_await driver.ready().wait();
    auto api = api_client::make("https://127.0.0.1:1", {}, {}, nullptr);
    REQUIRE(api);
    auto claim =
        parse(R"({"metadata": {"name": "p-extended-resources-x", "namespace": "default", "uid": "c1"}, "status": {
        "reservedFor": [{"resource": "pods", "name": "p", "uid": "p1"}], "allocation": {"devices": {"results": [
        {"request": "container-0-request-0", "driver": "gpu.example.com", "pool": "a", "device": "d0"}]}}}})");
    auto pod = parse(R"({"metadata": {"name": "p", "namespace": "default", "uid": "p1"}, "spec": {"containers": [
        {"name": "one", "resources": {"requests": {"example.com/gpu": "1", "cpu": "1"}}}, {"name": "other"}]},
        "status": {"extendedResourceClaimStatus": {"resourceClaimName": "p-extended-resources-x", "requestMappings": [
        {"containerName": "one", "resourceName": "example.com/gpu", "requestName": "container-0-request-0"}]}}})");
    std::vector<std::string> fetched;
    claim_manager claims({.api = *api,
                          .object = [&](std::string path) -> task<result<std::optional<json::value>>> {
                            fetched.push_back(path);
                            co_return std::optional(claim);
                          },
                          .file = at + "/state",
                          .node = "a",
                          .network = nullptr,
                          .active = [] { return std::nullopt; }});
    serving.spawn(claims.run());
    REQUIRE(co_await claims.add({"DRAPlugin", "gpu.example.com", at + "/driver.sock", {"v1.DRAPlugin"}}));
    auto prepared = co_await claims.prepare(pod);
    REQUIRE_MESSAGE(prepared, prepared.error().message);
    CHECK(fetched == std::vector<std::string>{
                         "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/p-extended-resources-x"});
    auto one = co_await claims.cdi_devices(pod, pod["spec"]["containers"][0]);
    REQUIRE(one);
    CHECK(*one == std::vector<std::string>{"example.com/gpu=0"});
    auto other = co_await claims.cdi_devices(pod, pod["spec"]["containers"][1]);
    REQUIRE(other);
    CHECK(other->empty());
  }(folder.path()));
}
