// The table of controllers: names, accounts, and who is asked to run.
#include "control/controllers.h"

#include <doctest/doctest.h>

#include <set>

#include "control/settings.h"

using namespace kedge;
using namespace kedge::control;

TEST_CASE("names and aliases of controllers are each one's own") {
  std::set<std::string_view> names;
  for (auto& c : controllers()) {
    CHECK(names.insert(c.name).second);
    if (!c.alias.empty()) CHECK(names.insert(c.alias).second);
    CHECK(!is_foreign_controller(c.name));
    CHECK(!is_foreign_controller(c.alias));
    CHECK(find_controller(c.name) == &c);
    CHECK(c.workers > 0);
    CHECK(c.make({}) != nullptr);
  }
  CHECK(find_controller("nonsense") == nullptr);
  CHECK(find_controller("") == nullptr);
}

TEST_CASE("who runs, as --controllers says") {
  auto& gc = *find_controller("garbagecollector");
  auto& tokens = *find_controller("tokencleaner");
  auto on = [](const controller_info& c, std::vector<std::string> list) {
    return is_enabled(c, {.controllers = std::move(list)});
  };
  CHECK(on(gc, {"*"}));
  CHECK(!on(tokens, {"*"}));
  CHECK(on(tokens, settings{}.controllers));
  CHECK(!on(gc, {}));
  CHECK(on(gc, {"garbage-collector-controller"}));
  CHECK(!on(gc, {"*", "-garbagecollector"}));
  CHECK(!on(gc, {"-garbage-collector-controller", "*"}));
  CHECK(on(gc, {"garbagecollector", "-garbagecollector"}));  // the first says it
  CHECK(!is_enabled(gc, {.enable_garbage_collector = false}));
}

TEST_CASE("controllers act as the accounts of the real ones") {
  auto user = user_of(*find_controller("podgc"));
  CHECK(user.name == "system:serviceaccount:kube-system:pod-garbage-collector");
  CHECK(user.groups == std::vector<std::string>{"system:serviceaccounts", "system:serviceaccounts:kube-system",
                                                "system:authenticated"});
  CHECK(user_of(*find_controller("cloud-node")).name == "k3s-cloud-controller-manager");
}
