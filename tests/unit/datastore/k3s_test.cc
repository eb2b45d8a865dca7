// k3s_test.cc: databases that K3s has written open in place. The schema and the shapes of the rows are K3s v1.36's; a
// real file is tested too when KEDGE_K3S_STATE_DB names one (unpacked).
#include <stdlib.h>

#include "harness.h"

namespace kedge::datastore {
namespace {

const char* k3s_schema = R"(
CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created INTEGER, deleted INTEGER, create_revision INTEGER,
                   prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
CREATE INDEX kine_name_index ON kine (name);
CREATE INDEX kine_name_id_index ON kine (name,id);
CREATE INDEX kine_id_deleted_index ON kine (id,deleted);
CREATE INDEX kine_prev_revision_index ON kine (prev_revision);
CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);
CREATE INDEX kine_id_compact_rev_key_with_prev_revision_index ON kine(id, name, prev_revision)
  WHERE name != 'compact_rev_key' AND prev_revision != 0;)";

TEST_CASE("rows of every kine so far are read for what they mean") {
  temporary_folder dir;
  runner r;
  auto path = dir.file("state.db");
  query(path, k3s_schema);
  query(path, R"(
    INSERT INTO kine VALUES
      (1,  'compact_rev_key', 1, 0, 0, 0, 0, x'', NULL),
      (2,  '/registry/health', 1, 0, 0, 0, 0, '{"health":"true"}', NULL),
      (5,  'compact_rev_key', 1, 0, 0, 6, 0, x'', NULL),
      (6,  '/registry/minions/a', 1, 0, 0, 0, 0, x'6b387300', NULL),
      (8,  '/registry/events/d/e', 1, 0, 0, 0, 3660, x'6b387300', NULL),
      (9,  '/registry/minions/a', 0, 0, 6, 6, 0, x'6b38730001', x'6b387300'),
      (10, 'gap-10', 0, 1, 0, 0, 0, NULL, NULL),
      (11, '/registry/events/d/e', 0, 1, 8, 8, 3660, x'6b387300', x'6b387300'),
      (12, '/registry/leases/x', 1, 0, 0, 0, 0, x'', NULL),
      (13, '/registry/leases/x', 0, 1, 0, 12, 0, NULL, x'');)");
  auto log = r.open({.path = path});
  REQUIRE(log.has_value());
  auto all = r.load(**log, 0);
  REQUIRE(all.has_value());
  CHECK(all->compacted == 6);  // of two marks the higher one
  std::vector<std::string> seen;
  for (auto& e : all->entries) {
    seen.push_back(fmt::format("{} {} {} created {} lease {} bytes {}", e.at, static_cast<int>(e.kind), e.name,
                               e.created, e.lease_seconds, e.value.size()));
  }
  CHECK(seen == std::vector<std::string>{
                    "2 0 /registry/health created 2 lease 0 bytes 17",
                    "6 0 /registry/minions/a created 6 lease 0 bytes 4",
                    "8 0 /registry/events/d/e created 8 lease 3660 bytes 4",
                    "9 1 /registry/minions/a created 6 lease 0 bytes 5",
                    "10 2 gap-10 created 0 lease 0 bytes 0",
                    "11 2 /registry/events/d/e created 8 lease 3660 bytes 0",
                    "12 0 /registry/leases/x created 12 lease 0 bytes 0",
                    "13 2 /registry/leases/x created 0 lease 0 bytes 0",
                });
  // Written on: after a live row, and after a tombstone.
  CHECK(r.must(**log, {change::update, "/registry/minions/a", "{}", 9, 6}) == 14);
  CHECK(r.must(**log, {change::create, "/registry/leases/x", "{}"}) == 15);
  r.loop.run_until((*log)->close());
  CHECK(query(path, "SELECT id, prev_revision FROM kine WHERE name = 'compact_rev_key'") ==
        std::vector<std::string>{"5|6"});
  CHECK(query(path, "SELECT id, create_revision, prev_revision, hex(old_value) FROM kine WHERE id > 13") ==
        std::vector<std::string>{"14|6|9|6B38730001", "15|0|13|"});
  CHECK(query(path, "SELECT COUNT(*) FROM sqlite_master WHERE type = 'index'") == std::vector<std::string>{"6"});
}

}  // namespace
}  // namespace kedge::datastore
