#include "harness.h"

namespace kedge::datastore {
namespace {

TEST_CASE("rows are kine's") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  auto l = r.open({.path = path});
  REQUIRE(l.has_value());
  auto& log = **l;
  auto made = r.must(log, {change::create, "/registry/a", "one"});
  CHECK(made == 3);
  auto updated = r.must(log, {change::update, "/registry/a", "two", made, made});
  auto gone = r.must(log, {change::remove, "/registry/a", "", updated, made});
  auto again = r.must(log, {change::create, "/registry/a", "three", 0, 0, 60});
  CHECK(again == 6);
  auto refused = r.append(log, {{change::create, "/registry/a", "four"}});
  CHECK(refused->outcomes[0].what == outcome::status::conflict);
  CHECK(refused->outcomes[0].at == again);
  CHECK(*r.loop.run_until(log.current()) == 6);
  r.loop.run_until(log.close());

  CHECK(gone == 5);
  CHECK(query(path, "SELECT id, name, created, deleted, create_revision, prev_revision, lease, CAST(value AS TEXT), CAST(old_value AS TEXT) "
                    "FROM kine ORDER BY id") ==
        std::vector<std::string>{
            "1|compact_rev_key|1|0|0|0|0||NULL",
            R"(2|/registry/health|1|0|0|0|0|{"health":"true"}|NULL)",
            "3|/registry/a|1|0|0|0|0|one|NULL",
            "4|/registry/a|0|0|3|3|0|two|one",
            "5|/registry/a|0|1|0|4|0|NULL|two",
            "6|/registry/a|1|0|0|5|60|three|NULL",
        });
  CHECK(query(path, "PRAGMA journal_mode") == std::vector<std::string>{"wal"});
  CHECK(!std::filesystem::exists(path + "-wal"));
}

}  // namespace
}  // namespace kedge::datastore
