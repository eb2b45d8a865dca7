#include "datastore/endpoint.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "datastore/etcd/etcd_log.h"
#include "datastore/mysql/mysql_log.h"
#include "datastore/postgres/postgres_log.h"
#include "datastore/redis/redis_log.h"
#include "datastore/sqlite/sqlite_log.h"

namespace kedge::datastore {

namespace {

// As long as a server that starts waits.
template <typename Options>
Options patient(Options o, bool looks_only) {
  if (looks_only) o.start_wait = {};
  return o;
}

constexpr std::string_view flag = "--datastore-endpoint: ";

// As kine: user and database have defaults, and TLS files make the server's name count unless the URL says otherwise.
result<std::unique_ptr<log>> make_postgres(const endpoint_options& o, std::string_view rest) {
  std::string url = "postgresql://" + std::string(rest.empty() ? "postgres:postgres@localhost" : rest);
  auto parsed = postgres::parse_url(url);
  if (!parsed) {
    // libpq quotes the URL, and with it the password.
    return fail(errc::invalid,
                std::string(flag) +
                    "not a PostgreSQL URL as in postgres://user:password@host:5432/database?sslmode=require "
                    "(percent-encode what is special in user and password)");
  }
  auto& s = *parsed;
  if (auto* db = postgres::find(s, "dbname"); !db || db->empty())
    postgres::put(s, "dbname", "kubernetes");
  else
    postgres::put(s, "dbname", lower(*db));
  bool verify = false;
  auto file = [&](std::string_view key, const std::string& path) {
    if (path.empty() || postgres::find(s, key)) return;
    postgres::put(s, key, path);
    verify = true;
  };
  file("sslrootcert", o.ca_file);
  file("sslcert", o.certificate_file);
  file("sslkey", o.key_file);
  if (verify && !postgres::find(s, "sslmode")) postgres::put(s, "sslmode", "verify-full");
  return make_postgres_log(
      patient(postgres_options{.connection = std::move(s), .makes_database = !o.looks_only}, o.looks_only));
}

// As kine: TLS files turn TLS on, with the server's name counting.
result<std::unique_ptr<log>> make_mysql(const endpoint_options& o, std::string_view rest) {
  bool files = !o.ca_file.empty() || !o.certificate_file.empty() || !o.key_file.empty();
  auto s = mysql::parse_dsn(rest, files);
  if (!s) return fail(std::move(s).error().with(flag));
  s->ca_file = o.ca_file;
  s->certificate_file = o.certificate_file;
  s->key_file = o.key_file;
  if (files && s->tls == mysql::settings::tls_use::none) s->tls = mysql::settings::tls_use::checked;
  return make_mysql_log(
      patient(mysql_options{.connection = std::move(*s), .makes_database = !o.looks_only}, o.looks_only));
}

}  // namespace

bool is_shared_endpoint(std::string_view endpoint) {
  return endpoint.find("://") != std::string_view::npos && !endpoint.starts_with("sqlite://");
}

std::string sqlite_path(const endpoint_options& o) {
  constexpr std::string_view scheme = "sqlite://";
  if (lower(o.endpoint.substr(0, scheme.size())) != scheme) return o.sqlite.path;
  // kine's parameters set what is set anyway.
  auto path = o.endpoint.substr(scheme.size());
  path.resize(std::min(path.size(), path.find('?')));
  return path.empty() ? o.sqlite.path : path;
}

result<std::unique_ptr<log>> make_log(const endpoint_options& o) {
  std::string_view endpoint = o.endpoint;
  if (endpoint.empty()) return make_sqlite_log(o.sqlite);
  auto colon = endpoint.find("://");
  // Not shown: an endpoint without a scheme may be anything, a password too.
  if (colon == std::string_view::npos)
    return fail(errc::invalid,
                std::string(flag) +
                    "it must begin with postgres://, mysql://, https:// (etcd), redis://, rediss:// or sqlite://");
  auto scheme = lower(endpoint.substr(0, colon));
  auto rest = endpoint.substr(colon + 3);
  if (scheme == "sqlite") {
    auto s = o.sqlite;
    s.path = sqlite_path(o);
    return make_sqlite_log(std::move(s));
  }
  if (scheme == "redis" || scheme == "rediss") {
    auto s = redis::parse_endpoint(rest, scheme == "rediss");
    if (!s) return fail(std::move(s).error().with(flag));
    s->ca_file = o.ca_file;
    s->certificate_file = o.certificate_file;
    s->key_file = o.key_file;
    return make_redis_log(patient(redis_options{.connection = std::move(*s)}, o.looks_only));
  }
  if (scheme == "postgres" || scheme == "postgresql") return make_postgres(o, rest);
  if (scheme == "mysql") return make_mysql(o, rest);
  if (scheme == "http" || scheme == "https") {
    auto s = etcd::parse_endpoint(endpoint);
    if (!s) return fail(std::move(s).error().with(flag));
    s->ca_file = o.ca_file;
    s->certificate_file = o.certificate_file;
    s->key_file = o.key_file;
    return make_etcd_log(patient(etcd_options{.cluster = std::move(*s)}, o.looks_only));
  }
  constexpr std::string_view served = "postgres://, mysql://, https:// (etcd), redis:// or sqlite://";
  if (scheme == "nats" || scheme == "jetstream")
    return fail(
        errc::unsupported,
        fmt::format(
            "{}{}:// is not served by kedge: JetStream acknowledges what is not on its disks yet (by default for "
            "two minutes) and goes on with another history when a machine has lost power (nats-server's "
            "issues 7564 and 7567), so objects would come back or vanish that others have seen; use {}",
            flag, scheme, served));
  for (std::string_view known : {"unix", "unixs", "t4", "litestream"}) {
    if (scheme == known)
      return fail(errc::unsupported, fmt::format("{}{}:// is not served by kedge; use {}", flag, scheme, served));
  }
  return fail(errc::invalid, fmt::format("{}the scheme {} is not known; use {}", flag, quote(scheme), served));
}

}  // namespace kedge::datastore
