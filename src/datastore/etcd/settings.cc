#include "datastore/etcd/settings.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "datastore/etcd/limits.h"

namespace kedge::datastore::etcd {

namespace {

result<void> read_user(std::string_view text, settings& s) {
  auto colon = text.find(':');
  auto user = percent_decode(text.substr(0, colon), false);
  auto password = percent_decode(colon == std::string_view::npos ? "" : text.substr(colon + 1), false);
  if (!user || !password) return fail(errc::invalid, "user or password hold a % that encodes nothing");
  if (!s.user.empty() && (s.user != *user || s.password != *password))
    return fail(errc::invalid, "one user asks all members: name it once, at the first");
  s.user = std::move(*user);
  s.password = std::move(*password);
  return {};
}

result<void> read_address(std::string_view text, member& m) {
  auto host = text;
  std::string_view port;
  if (text.starts_with('[')) {
    auto end = text.find(']');
    if (end == std::string_view::npos) return fail(errc::invalid, "an address has no closing bracket");
    host = text.substr(1, end - 1);
    auto more = text.substr(end + 1);
    if (!more.empty() && !more.starts_with(':')) return fail(errc::invalid, "something follows an address");
    if (!more.empty()) port = more.substr(1);
  } else if (auto colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (host.empty()) return fail(errc::invalid, "a member has no host");
  m.host = host;
  if (port.empty()) return {};
  auto n = parse_uint(port);
  if (!n || *n == 0 || *n > 65535) return fail(errc::invalid, "a port is not a number up to 65535");
  m.port = static_cast<std::uint16_t>(*n);
  return {};
}

}  // namespace

std::string member::url() const {
  bool v6 = host.find(':') != std::string::npos;
  return fmt::format("http{}://{}{}{}:{}", tls ? "s" : "", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

result<settings> parse_endpoint(std::string_view endpoint) {
  settings out;
  for (auto one : split(endpoint, ',')) {
    auto text = trim(one);
    auto& m = out.members.emplace_back();
    if (out.members.size() > members_max) return fail(errc::invalid, fmt::format("more than {} members", members_max));
    auto mark = text.find("://");
    auto scheme = mark == std::string_view::npos ? std::string() : lower(text.substr(0, mark));
    if (scheme != "http" && scheme != "https")
      return fail(errc::invalid, "each of etcd's members begins with https:// or http://");
    m.tls = scheme == "https";
    text.remove_prefix(scheme.size() + 3);
    if (text.ends_with('/')) text.remove_suffix(1);
    // The last @: a password may hold one that was not encoded.
    if (auto at = text.rfind('@'); at != std::string_view::npos) {
      KEDGE_CHECK(read_user(text.substr(0, at), out));
      text.remove_prefix(at + 1);
    }
    if (text.find_first_of("/?#") != std::string_view::npos)
      return fail(errc::invalid, "nothing follows the port of a member of etcd");
    KEDGE_CHECK(read_address(text, m));
  }
  return out;
}

}  // namespace kedge::datastore::etcd
