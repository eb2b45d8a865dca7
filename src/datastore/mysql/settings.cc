#include "datastore/mysql/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/strings.h"

namespace kedge::datastore::mysql {

namespace {

// Of the Go driver: how it talks to its caller, how long it waits and what it speaks. Kedge has its own of each.
constexpr std::array<std::string_view, 21> no_matter = {"allowAllFiles",
                                                        "allowFallbackToPlaintext",
                                                        "allowNativePasswords",
                                                        "allowOldPasswords",
                                                        "charset",
                                                        "checkConnLiveness",
                                                        "clientFoundRows",
                                                        "collation",
                                                        "columnsWithAlias",
                                                        "compress",
                                                        "connectionAttributes",
                                                        "interpolateParams",
                                                        "loc",
                                                        "maxAllowedPacket",
                                                        "multiStatements",
                                                        "parseTime",
                                                        "readTimeout",
                                                        "rejectReadOnly",
                                                        "timeTruncate",
                                                        "timeout",
                                                        "writeTimeout"};

bool is_word(std::string_view s) {
  return !s.empty() && s.size() <= 64 && std::all_of(s.begin(), s.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// A number, a word, or one quoted string without a way out of it.
bool is_literal(std::string_view s) {
  if (is_word(s)) return true;
  auto plain = [](std::string_view text, std::string_view never) {
    return std::all_of(text.begin(), text.end(), [&](char c) { return c >= ' ' && c < 127 && c != '\\'; }) &&
           text.find_first_of(never) == std::string_view::npos;
  };
  if (s.size() >= 2 && (s.front() == '\'' || s.front() == '"') && s.back() == s.front())
    return plain(s.substr(1, s.size() - 2), s.substr(0, 1));
  return !s.empty() && s.size() <= 64 && s.find_first_not_of("0123456789.-") == std::string_view::npos &&
         s.find("--") == std::string_view::npos;
}

result<void> read_option(settings& s, std::string_view key, const std::string& value) {
  auto on = [&]() -> result<bool> {
    for (std::string_view yes : {"1", "true", "TRUE", "True"})
      if (value == yes) return true;
    for (std::string_view no : {"0", "false", "FALSE", "False"})
      if (value == no) return false;
    return fail(errc::invalid, fmt::format("{} is not true or false", key));
  };
  if (key == "tls") {
    auto word = lower(value);
    if (word == "true" || word == "1")
      s.tls = settings::tls_use::checked;
    else if (word == "skip-verify")
      s.tls = settings::tls_use::unchecked;
    else if (word == "preferred")
      s.tls = settings::tls_use::preferred;
    else if (word == "false" || word == "0")
      s.tls = settings::tls_use::none;
    else
      return fail(errc::invalid,
                  "tls is not true, false, skip-verify or preferred (certificates: --datastore-cafile, "
                  "--datastore-certfile, --datastore-keyfile)");
  } else if (key == "allowCleartextPasswords") {
    KEDGE_TRY(s.cleartext_passwords, on());
  } else if (key == "serverPubKey") {
    return fail(errc::unsupported, "serverPubKey names a key of a Go program; use TLS");
  } else if (std::find(no_matter.begin(), no_matter.end(), key) != no_matter.end()) {
    return {};
  } else if (!is_word(key)) {
    return fail(errc::invalid, fmt::format("the option {} is not known", quote(key)));
  } else if (!is_literal(value)) {
    return fail(errc::invalid, fmt::format("the value of {} is not a number, a word or a quoted text", key));
  } else {
    s.variables.emplace_back(key, value);
  }
  return {};
}

// host, host:port, [address], [address]:port; an address of IPv6 without brackets is one, as for the Go driver.
result<void> read_address(settings& s, std::string_view address) {
  auto host = address;
  std::string_view port;
  if (address.starts_with('[')) {
    auto end = address.find(']');
    if (end == std::string_view::npos) return fail(errc::invalid, "the address has no closing bracket");
    host = address.substr(1, end - 1);
    if (auto more = address.substr(end + 1); more.starts_with(':'))
      port = more.substr(1);
    else if (!more.empty())
      return fail(errc::invalid, "something follows the address");
  } else if (auto colon = address.find(':'); colon != std::string_view::npos && address.rfind(':') == colon) {
    host = address.substr(0, colon);
    port = address.substr(colon + 1);
  }
  if (host.find_first_of(std::string_view(", \0", 3)) != std::string_view::npos)
    return fail(errc::invalid, "one host is needed (a proxy or a floating address may stand for several)");
  if (!host.empty()) s.host = host;
  if (!port.empty()) {
    auto n = parse_uint(port);
    if (!n || *n == 0 || *n > 65535) return fail(errc::invalid, "the port is not a number up to 65535");
    s.port = static_cast<std::uint16_t>(*n);
  }
  return {};
}

}  // namespace

result<settings> parse_dsn(std::string_view rest, bool files) {
  settings s;
  if (rest.find('\0') != std::string_view::npos) return fail(errc::invalid, "it holds a NUL");
  if (rest.empty()) {
    if (!files) s.socket = "/var/run/mysqld/mysqld.sock";
    return s;
  }
  // The last slash: passwords and sockets may hold some. What follows a question mark behind it are options.
  auto slash = rest.rfind('/');
  if (slash == std::string_view::npos)
    return fail(errc::invalid,
                "a slash is missing before the database, as in mysql://user:password@tcp(host:3306)/database");
  auto who = rest.substr(0, slash), database = rest.substr(slash + 1);
  if (auto q = database.find('?'); q != std::string_view::npos) {
    for (auto option : split(database.substr(q + 1), '&')) {
      auto eq = option.find('=');
      if (eq == std::string_view::npos) continue;
      KEDGE_TRY(auto value, percent_decode(option.substr(eq + 1), true));
      KEDGE_CHECK(read_option(s, option.substr(0, eq), value));
    }
    database = database.substr(0, q);
  }
  KEDGE_TRY(auto name, percent_decode(database, false));
  if (name.find_first_of(std::string_view("\0`", 2)) != std::string::npos || name.size() > 64)
    return fail(errc::invalid, "that can't be a database's name");
  if (!name.empty()) s.database = std::move(name);
  // The last @: a password may hold one.
  if (auto at = who.rfind('@'); at != std::string_view::npos) {
    auto account = who.substr(0, at);
    who = who.substr(at + 1);
    auto colon = account.find(':');
    s.user = account.substr(0, colon);
    if (colon != std::string_view::npos) s.password = account.substr(colon + 1);
  }
  auto protocol = who, address = std::string_view();
  if (auto open = who.find('('); open != std::string_view::npos) {
    if (!who.ends_with(')'))
      return fail(errc::invalid,
                  "the address has no closing parenthesis (a ? or / in the options is written %3F, %2F)");
    protocol = who.substr(0, open);
    address = who.substr(open + 1, who.size() - open - 2);
  }
  if (protocol == "unix") {
    s.socket = address.empty() ? "/tmp/mysql.sock" : std::string(address);
  } else if (protocol.empty() || protocol == "tcp") {
    KEDGE_CHECK(read_address(s, address));
  } else {
    return fail(errc::invalid,
                "the protocol is not tcp or unix, as in mysql://user:password@tcp(host:3306)/database or "
                "mysql://user@unix(/path)/database");
  }
  return s;
}

std::string describe(const settings& s) {
  if (!s.socket.empty()) return fmt::format("{}/{}", s.socket, s.database);
  auto host = s.host.find(':') == std::string::npos ? s.host : fmt::format("[{}]", s.host);
  return fmt::format("{}:{}/{}", host, s.port, s.database);
}

}  // namespace kedge::datastore::mysql
