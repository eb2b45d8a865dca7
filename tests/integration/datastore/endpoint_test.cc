#include "datastore/endpoint.h"

#include <doctest/doctest.h>

namespace kedge::datastore {

TEST_CASE("endpoints: what each is, and what is said of those that are none") {
  struct row {
    const char *endpoint, *is;  // the description's beginning, or what the error says
    bool shared;
  } table[] = {
      {"", "SQLite /data/state.db", false},
      {"sqlite:///other/x.db?_journal_mode=WAL", "SQLite /other/x.db", false},
      {"sqlite://", "SQLite /data/state.db", false},
      {"postgres://", "PostgreSQL localhost:5432/kubernetes", true},
      {"postgresql://u:secret@db:5433/Cluster?sslmode=disable", "PostgreSQL db:5433/cluster", true},
      {"POSTGRES://u@db", "PostgreSQL db:5432/kubernetes", true},
      {"postgres://u:secret@a,b:5433/x", "PostgreSQL a:5432,b:5433/x", true},
      {"postgres://u:secret@db/x?nonsense=1", "error: --datastore-endpoint: not a PostgreSQL URL", true},
      {"postgres://u:se%cret@db/x", "error: --datastore-endpoint: not a PostgreSQL URL", true},
      {"redis://", "Redis localhost:6379/0", true},
      {"redis://:secret@db", "Redis db:6379/0", true},
      {"rediss://u:secret@db:6380/3?replicas=1", "Redis db:6380/3", true},
      {"redis://u:sec%ret@db", "error: --datastore-endpoint: user or password", true},
      {"redis://secret@a,b", "error: --datastore-endpoint: one primary", true},
      {"redis://db?nonsense=1", "error: --datastore-endpoint: the option \"nonsense\" is not known", true},
      {"mysql://", "MySQL /var/run/mysqld/mysqld.sock/kubernetes", true},
      {"mysql://u:secret@tcp(db:3307)/x", "MySQL db:3307/x", true},
      {"mysql://u:se%c/r@t:secret@tcp(db)/?tls=skip-verify&parseTime=true", "MySQL db:3306/kubernetes", true},
      {"MYSQL://u:secret@tcp([fd00::5]:3307)/Cluster?wsrep_sync_wait=1", "MySQL [fd00::5]:3307/Cluster", true},
      {"mysql://u:secret@unix(/run/my/sql.sock)/x%2fy", "MySQL /run/my/sql.sock/x/y", true},
      {"mysql://u:secret@/x", "MySQL 127.0.0.1:3306/x", true},
      {"mysql://u:secret@tcp(db:3306)", "error: --datastore-endpoint: a slash is missing", true},
      {"mysql://u:secret@tcp(secret,b)/x", "error: --datastore-endpoint: one host is needed", true},
      {"mysql://u:secret@tcp(db:port)/x", "error: --datastore-endpoint: the port is not a number", true},
      {"mysql://u:secret@tcp(db/x", "error: --datastore-endpoint: the address has no closing parenthesis", true},
      {"mysql://u:secret@udp(db)/x", "error: --datastore-endpoint: the protocol is not tcp or unix", true},
      {"mysql://u:secret@tcp(db)/x?tls=secret", "error: --datastore-endpoint: tls is not true, false", true},
      {"mysql://u:secret@tcp(db)/x?a%20b=secret", "error: --datastore-endpoint: the option", true},
      {"mysql://u:secret@tcp(db)/x?sql_mode=secret;x", "error: --datastore-endpoint: the value of sql_mode is", true},
      {"nats://u:secret@n:4222?bucket=k", "error: --datastore-endpoint: nats:// is not served by kedge: JetStream ack",
       true},
      {"https://etcd:2379", "etcd https://etcd:2379", true},
      {"https://u:secret@a:2379,https://b:1,http://[::1]:3/", "etcd https://a:2379,https://b:1,http://[::1]:3", true},
      {"HTTPS://a", "etcd https://a:2379", true},
      {"https://a:2379,b:2379", "error: --datastore-endpoint: each of etcd's members begins with", true},
      {"https://a:2379,https", "error: --datastore-endpoint: each of etcd's members begins with", true},
      {"https://a:2379,", "error: --datastore-endpoint: each of etcd's members begins with", true},
      {"https://u:secret@", "error: --datastore-endpoint: a member has no host", true},
      {"https://u:secret@a:port", "error: --datastore-endpoint: a port is not", true},
      {"https://u:se%cret@a", "error: --datastore-endpoint: user or password", true},
      {"https://u:secret@a,https://u:secrets@b", "error: --datastore-endpoint: one user asks all members", true},
      {"https://a:2379/prefix", "error: --datastore-endpoint: nothing follows the port", true},
      {"oracle://u:secret@db", "error: --datastore-endpoint: the scheme \"oracle\" is not known", true},
      {"u:secret@db", "error: --datastore-endpoint: it must begin with", false},
  };
  for (auto& t : table) {
    CAPTURE(t.endpoint);
    endpoint_options o;
    o.endpoint = t.endpoint;
    o.sqlite.path = "/data/state.db";
    auto made = make_log(o);
    auto text = made ? (*made)->description() : "error: " + made.error().message;
    CHECK_MESSAGE(text.starts_with(t.is), text);
    CHECK(text.find("secret") == std::string::npos);
    CHECK(is_shared_endpoint(t.endpoint) == t.shared);
    if (made) CHECK((*made)->shared() == t.shared);
  }
}

}  // namespace kedge::datastore
