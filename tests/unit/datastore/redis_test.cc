#include <doctest/doctest.h>

#include "datastore/redis/server_check.h"

namespace kedge::datastore::redis {

TEST_CASE("endpoints of Redis") {
  struct row {
    const char* rest;
    const char* host;
    int port, database;
    const char *user, *password;
  } table[] = {
      {"", "localhost", 6379, 0, "", ""},
      {"db", "db", 6379, 0, "", ""},
      {"db:7000/4", "db", 7000, 4, "", ""},
      {":pw@db", "db", 6379, 0, "", "pw"},
      {"u:p%40w@db/", "db", 6379, 0, "u", "p@w"},
      {"u:p@w@db", "db", 6379, 0, "u", "p@w"},
      {"u:p:w@[fd00::1]:7/1", "fd00::1", 7, 1, "u", "p:w"},
  };
  for (auto& t : table) {
    CAPTURE(t.rest);
    auto s = parse_endpoint(t.rest, false);
    REQUIRE(s.has_value());
    CHECK(s->host == t.host);
    CHECK(s->port == t.port);
    CHECK(static_cast<int>(s->database) == t.database);
    CHECK(s->user == t.user);
    CHECK(s->password == t.password);
  }
  auto s = parse_endpoint("db?prefix=a%2Fb&replicas=2&replica_timeout=50&skip_verify=true", true);
  REQUIRE(s.has_value());
  CHECK(s->prefix == "a/b");
  CHECK(s->replicas == 2);
  CHECK(s->replica_timeout == std::chrono::milliseconds(50));
  CHECK(s->tls);
  CHECK(s->skip_verify);
  for (auto bad : {"db:0", "db:70000", "db:x", "db/x", "[fd00::1", "[fd00::1]x", "a,b", "a:1,b:2", "u:%zz@db", "db?x=1",
                   "db?replicas=many", "db?prefix=", "db?prefix={a}", "db?replica_timeout=0", "db?skip_verify=1"}) {
    CAPTURE(bad);
    auto refused = parse_endpoint(bad, false);
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::invalid);
  }
}

TEST_CASE("what Redis's settings promise, and which are refused") {
  struct row {
    const char* info;
    std::optional<std::string> fsync, save;
    const char* says;  // durability's beginning, or the error's
    bool warns;
  } table[] = {
      {"redis_version:7.0.15\r\nrole:master\r\naof_enabled:1\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n",
       "always", "", "append-only file, appendfsync always", false},
      {"redis_version:7.0.15\r\nrole:master\r\naof_enabled:1\r\n", "everysec", "",
       "append-only file, appendfsync everysec", false},
      {"redis_version:7.0.15\r\nrole:master\r\naof_enabled:1\r\n", "no", "", "append-only file, appendfsync no", false},
      {"redis_version:7.0.15\r\nrole:master\r\naof_enabled:1\r\n",
       {},
       {},
       "append-only file, appendfsync not known",
       false},
      {"redis_version:6.2.1\r\nrole:master\r\naof_enabled:0\r\n", "everysec", "3600 1", "snapshots only", true},
      {"redis_version:6.2.1\r\nrole:master\r\naof_enabled:0\r\n", "everysec", "", "nothing is kept on disk", true},
      {"redis_version:7.0.15\r\naof_enabled:1\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", "always", "",
       "append-only file", true},
      {"redis_version:7.0.15\r\naof_enabled:1\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n", "always", "",
       "error: maxmemory-policy is allkeys-lru", false},
      {"redis_version:5.0.1\r\n", "always", "", "error: Redis 5.0.1 is too old", false},
      {"redis_version:7.0.1\r\nredis_mode:cluster\r\n", "always", "", "error: this Redis is in cluster mode", false},
      {"redis_version:7.0.1\r\nloading:1\r\n", "always", "", "error: the server is loading", false},
      {"redis_version:7.0.1\r\nrole:slave\r\nmaster_host:db\r\nmaster_port:1\r\n", "always", "",
       "error: the server is a replica of db:1", false},
  };
  for (auto& t : table) {
    CAPTURE(t.info);
    auto found = read_facts(t.info, t.fsync, t.save);
    auto text = found ? found->durability : "error: " + found.error().message;
    CHECK_MESSAGE(text.starts_with(t.says), text);
    if (found) CHECK(found->warning.empty() != t.warns);
  }
}

}  // namespace kedge::datastore::redis
