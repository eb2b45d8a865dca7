#include "datastore/redis/settings.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace kedge::datastore::redis {

namespace {

result<void> read_option(settings& s, std::string_view key, const std::string& value) {
  auto number = parse_uint(value);
  if (key == "prefix") {
    if (value.empty() || value.find_first_of("{} \n") != std::string::npos)
      return fail(errc::invalid, "prefix may not be empty or hold braces or blanks");
    s.prefix = value;
  } else if (key == "replicas") {
    if (!number || *number > 100) return fail(errc::invalid, "replicas is not a number up to 100");
    s.replicas = static_cast<unsigned>(*number);
  } else if (key == "replica_timeout") {
    if (!number || *number == 0 || *number > 60'000)
      return fail(errc::invalid, "replica_timeout is not a number of milliseconds up to 60000");
    s.replica_timeout = std::chrono::milliseconds(*number);
  } else if (key == "skip_verify") {
    if (value != "true" && value != "false") return fail(errc::invalid, "skip_verify is not true or false");
    s.skip_verify = value == "true";
  } else {
    return fail(errc::invalid, fmt::format("the option {} is not known", quote(key)));
  }
  return {};
}

}  // namespace

result<settings> parse_endpoint(std::string_view rest, bool tls) {
  settings s;
  s.tls = tls;
  if (auto q = rest.find('?'); q != std::string_view::npos) {
    for (auto option : split(rest.substr(q + 1), '&')) {
      if (option.empty()) continue;
      auto eq = option.find('=');
      KEDGE_TRY(auto value, percent_decode(eq == std::string_view::npos ? "" : option.substr(eq + 1), true));
      KEDGE_CHECK(read_option(s, option.substr(0, eq), value));
    }
    rest = rest.substr(0, q);
  }
  if (auto slash = rest.find('/'); slash != std::string_view::npos) {
    if (auto db = rest.substr(slash + 1); !db.empty()) {
      auto n = parse_uint(db);
      if (!n || *n > 1'000'000) return fail(errc::invalid, "the database after the host is not a number");
      s.database = static_cast<unsigned>(*n);
    }
    rest = rest.substr(0, slash);
  }
  // The last @: a password may hold one that was not encoded.
  if (auto at = rest.rfind('@'); at != std::string_view::npos) {
    auto who = rest.substr(0, at);
    rest = rest.substr(at + 1);
    auto colon = who.find(':');
    auto user = percent_decode(who.substr(0, colon), false);
    auto password = percent_decode(colon == std::string_view::npos ? "" : who.substr(colon + 1), false);
    if (!user || !password) return fail(errc::invalid, "user or password hold a % that encodes nothing");
    s.user = *user;
    s.password = *password;
  }
  auto host = rest;
  std::string_view port;
  if (rest.starts_with('[')) {
    auto end = rest.find(']');
    if (end == std::string_view::npos) return fail(errc::invalid, "the address has no closing bracket");
    host = rest.substr(1, end - 1);
    if (auto more = rest.substr(end + 1); more.starts_with(':'))
      port = more.substr(1);
    else if (!more.empty())
      return fail(errc::invalid, "something follows the address");
  } else if (auto colon = rest.find(':'); colon != std::string_view::npos) {
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
  }
  if (host.find(',') != std::string_view::npos || port.find(',') != std::string_view::npos)
    return fail(errc::invalid, "one primary is needed, not several hosts (no Redis Cluster, no Sentinel)");
  if (!host.empty()) s.host = host;
  if (!port.empty()) {
    auto n = parse_uint(port);
    if (!n || *n == 0 || *n > 65535) return fail(errc::invalid, "the port is not a number up to 65535");
    s.port = static_cast<std::uint16_t>(*n);
  }
  return s;
}

}  // namespace kedge::datastore::redis
