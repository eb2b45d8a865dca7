#include "node/status/twin_watch.h"

#include <doctest/doctest.h>

using namespace kedge;
using kedge::node::twin_watch;

namespace {

json::value node_of(const char* address, const char* boot) {
  return json::object{
      {"metadata", json::object{{"name", "edge"}}},
      {"status", json::object{{"addresses", json::array{json::object{{"type", "InternalIP"}, {"address", address}}}},
                              {"nodeInfo", json::object{{"bootID", boot}}}}}};
}

// Writes the Node after each look, as an agent does.
std::string look(twin_watch& w, const json::value& standing, const json::value& own) {
  auto said = w.look(standing);
  w.wrote(own);
  return said;
}

}  // namespace

TEST_CASE("two machines under one name both notice it, and say it once") {
  const auto a = node_of("10.0.0.1", "one"), b = node_of("10.0.0.2", "two");
  twin_watch at_a, at_b;
  // Each finds what the other one wrote.
  std::string said_a, said_b;
  for (int i = 0; i < 6; ++i) {
    said_a += look(at_a, i ? b : a, a);
    said_b += look(at_b, a, b);
  }
  for (auto& said : {said_a, said_b}) {
    CHECK(said.find("another machine goes by this node's name \"edge\"") == 0);
    CHECK(said.find("another machine", 1) == said.npos);
  }
  CHECK(said_a.find("10.0.0.2 (boot two), while this one is 10.0.0.1 (boot one)") != said_a.npos);
}

TEST_CASE("a restart, a new address and a person's edit are no twins") {
  const auto a = node_of("10.0.0.1", "one"), moved = node_of("10.0.0.9", "one"), edited = node_of("1.2.3.4", "one");
  twin_watch w;
  CHECK(look(w, node_of("10.0.0.1", "before"), a).empty());  // of the time before this start
  CHECK(look(w, a, a).empty());
  CHECK(look(w, a, moved).empty());
  CHECK(look(w, moved, moved).empty());
  CHECK(look(w, edited, moved).empty());
  CHECK(look(w, moved, moved).empty());
  CHECK(look(w, edited, moved).empty());
  CHECK(look(w, moved, moved).empty());
}
