// Claims of devices on a node: what drivers say, and what is kept of it.
#include "json/parse.h"
#include "node/claims/claim_ledger.h"
#include "node/claims/limits.h"

#include <doctest/doctest.h>

#include "base/protobuf_wire.h"

using namespace kedge;
using namespace kedge::node;

namespace {

std::string answer_for(std::string_view uid, std::string answer) {
  return wire::writer().message(1, wire::writer().text(1, uid).message(2, answer).take()).take();
}

prepared_claim a_claim(std::string name, std::string uid) {
  return {.id = {"default", std::move(uid), std::move(name)}, .pods = {}, .drivers = {{"gpu.example.com", {}}}};
}

}  // namespace

TEST_CASE("what a driver prepared is read from its answer") {
  auto device = wire::writer()
                    .text(1, "r")
                    .text(2, "node-a")
                    .text(3, "d0")
                    .text(4, "gpu.example.com/gpu=d0")
                    .text(4, "gpu.example.com/gpu=common")
                    .text(5, "share")
                    .take();
  auto read = decode_prepared(answer_for("u1", wire::writer().message(1, device).take()) +
                              answer_for("u2", wire::writer().text(2, "no such device").take()));
  REQUIRE(read.has_value());
  REQUIRE(read->size() == 2);
  auto& one = read->at("u1").devices.at(0);
  CHECK(one ==
        prepared_device{"node-a", "d0", "share", {"r"}, {"gpu.example.com/gpu=d0", "gpu.example.com/gpu=common"}});
  CHECK(read->at("u1").error.empty());
  CHECK(read->at("u2").error == "no such device");
  auto undone = decode_unprepared(answer_for("u1", wire::writer().text(1, "busy").take()));
  REQUIRE(undone.has_value());
  CHECK(undone->at("u1").error == "busy");
  CHECK(decode_prepared("\x0a\xff").error().code == errc::protocol);
}

TEST_CASE("no more is read of a driver's answer than claims can have, and nothing that is no text") {
  wire::writer many;
  for (std::size_t i = 0; i <= claim_answer_items_max; ++i) many.message(1, std::string_view());
  CHECK(decode_prepared(answer_for("u1", many.take())).error().code == errc::too_large);
  wire::writer names;
  for (std::size_t i = 0; i <= claim_answer_items_max; ++i) names.message(4, std::string_view());
  CHECK(decode_prepared(answer_for("u1", wire::writer().message(1, names.take()).take())).error().code ==
        errc::too_large);
  for (int field : {1, 2, 3, 4, 5}) {
    auto device = wire::writer().text(field, "\xff").take();
    CHECK(decode_prepared(answer_for("u1", wire::writer().message(1, device).take())).error().code == errc::protocol);
  }
}

TEST_CASE("a claim is prepared for what it was given, and not before") {
  auto claim = json::parse(R"({"metadata":{"name":"c","namespace":"default","uid":"u"},"status":{}})").value();
  CHECK(claim_to_prepare(claim).error().message == "ResourceClaim c: not allocated");
  claim.member("status").set("allocation", json::parse(R"({"devices":{"results":[
      {"request":"r","driver":"a.example.com","pool":"p","device":"d0"},
      {"request":"r","driver":"b.example.com","pool":"p","device":"d1"},
      {"request":"r","driver":"a.example.com","pool":"p","device":"d2"}]}})")
                                               .value());
  auto read = claim_to_prepare(claim);
  REQUIRE(read.has_value());
  CHECK(read->drivers.size() == 2);
}

TEST_CASE("who uses a claim is known, also after a restart") {
  claim_ledger ledger;
  REQUIRE(ledger.use(a_claim("c", "u1"), "pod-1").has_value());
  REQUIRE(ledger.use(a_claim("c", "u1"), "pod-2").has_value());
  CHECK(ledger.use(a_claim("c", "u9"), "pod-3").error().message ==
        "old ResourceClaim with same name c and different UID u1 still exists (previous pod force-deleted?!)");
  ledger.find("default", "c")->drivers["gpu.example.com"] = {
      {"node-a", "d0", std::nullopt, {"big"}, {"gpu.example.com/gpu=d0"}},
      {"node-a", "d1", "share", {}, {"gpu.example.com/gpu=d1"}}};
  CHECK(ledger.cdi_devices("default", "c", "") ==
        std::vector<std::string>{"gpu.example.com/gpu=d0", "gpu.example.com/gpu=d1"});
  CHECK(ledger.cdi_devices("default", "c", "small") == std::vector<std::string>{"gpu.example.com/gpu=d1"});

  claim_ledger next;
  REQUIRE(next.restore(ledger.checkpoint()).has_value());
  CHECK(next.checkpoint() == ledger.checkpoint());
  CHECK(next.claims_of("pod-2").at(0).uid == "u1");
  CHECK(next.pods() == std::set<std::string, std::less<>>{"pod-1", "pod-2"});
  // Another agent prepared it: a pod that begins has it prepared again.
  CHECK(!next.find("default", "c")->prepared);

  auto broken = ledger.checkpoint();
  broken.replace(broken.find("pod-1"), 5, "pod-7");
  CHECK(claim_ledger().restore(broken).error().code == errc::corrupt);

  next.find("default", "c")->unpreparing = true;
  CHECK(next.use(a_claim("c", "u1"), "pod-4").error().message == "ResourceClaim c is being unprepared");
  next.erase("default", "c");
  CHECK(next.pods().empty());
}
