// A disk that ran in another machine is noticed, and a machine that changed a little is no other.
#include "node/machine/disk_owner.h"

#include <doctest/doctest.h>

#include "support/temporary_folder.h"

namespace kedge::node {
namespace {

TEST_CASE("another machine-id, or none of its interfaces, makes another machine") {
  const machine_marks m{"id", {"02:00:00:00:00:01", "02:00:00:00:00:02"}};
  CHECK_FALSE(is_another(m, m));
  CHECK(is_another(m, {"other", m.mac_addresses}));
  CHECK_FALSE(is_another(m, {"id", {"02:00:00:00:00:02", "02:00:00:00:00:09"}}));  // a card was changed
  CHECK(is_another(m, {"id", {"02:00:00:00:00:09"}}));                             // a clone that kept its id
  CHECK_FALSE(is_another(m, {"", m.mac_addresses}));
  CHECK_FALSE(is_another(m, {"id", {}}));  // a container
}

TEST_CASE("a clone is told of once, with what to do") {
  temporary_folder folder;
  auto file = folder.path() + "/etc/machine.json";
  const machine_marks first{"one", {"02:00:00:00:00:01"}}, second{"two", {"02:00:00:00:00:07"}};
  CHECK(look_at_owner(file, first, "edge")->empty());
  CHECK(look_at_owner(file, first, "edge")->empty());
  auto told = look_at_owner(file, second, "edge");
  REQUIRE(told);
  CHECK(told->find("kedge prepare-image") != std::string::npos);
  CHECK(told->find("node edge") != std::string::npos);
  CHECK(look_at_owner(file, second, "edge")->empty());
}

}  // namespace
}  // namespace kedge::node
