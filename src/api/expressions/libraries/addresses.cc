#include <algorithm>

#include "api/expressions/libraries/libraries.h"
#include "base/ip.h"
#include "base/strings.h"

namespace kedge::api::expressions {

namespace {

using cel::value;
using args = std::span<const value>;

struct address {
  ip_address is;
  bool operator==(const address&) const = default;
  std::uint64_t cost_size() const { return is.bits() / 8; }
};

// An address with a prefix; bits behind it may be set.
struct network {
  ip_address address;
  unsigned prefix;
  bool operator==(const network&) const = default;
  std::uint64_t cost_size() const { return (prefix + 7) / 8; }
  std::string text() const { return address.text() + "/" + std::to_string(prefix); }
};

const cel::type& ip_type() {
  static const cel::type t = cel::type::opaque("net.IP");
  return t;
}
const cel::type& cidr_type() {
  static const cel::type t = cel::type::opaque("net.CIDR");
  return t;
}

template <typename T>
using parsed = std::expected<T, std::string>;

// Why Go's netip.ParseAddr doesn't take it, as far as texts go that people write.
std::string parse_addr_problem(std::string_view text) {
  if (!text.contains('.') && !text.contains(':')) return "ParseAddr(" + quote(text) + "): unable to parse IP";
  if (!text.contains(':')) {
    const auto parts = split(text, '.');
    for (std::string_view part : parts) {
      if (part.empty()) return "ParseAddr(" + quote(text) + "): IPv4 field must have at least one digit";
      if (!std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; })) {
        const std::size_t at =
            static_cast<std::size_t>(part.data() - text.data()) + part.find_first_not_of("0123456789");
        return "ParseAddr(" + quote(text) + "): unexpected character (at " + quote(text.substr(at)) + ")";
      }
      if (part.size() > 1 && part[0] == '0')
        return "ParseAddr(" + quote(text) + "): IPv4 field has octet with leading zero";
      if (part.size() > 3 || std::stoi(std::string(part)) > 255)
        return "ParseAddr(" + quote(text) + "): IPv4 field has value >255";
    }
    if (parts.size() > 4) return "ParseAddr(" + quote(text) + "): IPv4 address too long";
    return "ParseAddr(" + quote(text) + "): IPv4 address too short";
  }
  return "ParseAddr(" + quote(text) + "): unexpected character";
}

parsed<address> parse_address(std::string_view text) {
  const std::string_view without_zone = text.substr(0, text.find('%'));
  auto is = ip_address::parse(without_zone);
  if (!is)
    return std::unexpected("IP Address " + quote(text) +
                           " parse error during conversion from string: " + parse_addr_problem(text));
  if (without_zone.size() != text.size())
    return std::unexpected("IP address " + quote(text) + " with zone value is not allowed");
  if (is->is_v4() && text.contains(':'))
    return std::unexpected("IPv4-mapped IPv6 address " + quote(text) + " is not allowed");
  return address{*is};
}

parsed<network> parse_network(std::string_view text) {
  const auto refused = [&](std::string_view why) {
    return std::unexpected("network address parse error during conversion from string: netip.ParsePrefix(" +
                           quote(text) + "): " + std::string(why));
  };
  const std::size_t slash = text.rfind('/');
  if (slash == std::string_view::npos) return refused("no '/'");
  const std::string_view front = text.substr(0, slash), bits = text.substr(slash + 1);
  auto is = ip_address::parse(front);
  if (!is) return refused(parse_addr_problem(front));
  auto n = parse_uint(bits);
  if (!n || (bits.size() > 1 && bits[0] == '0')) return refused("bad bits after slash: " + quote(bits));
  if (is->is_v4() && front.contains(':'))
    return std::unexpected("IPv4-mapped IPv6 address " + quote(text) + " is not allowed");
  if (*n > is->bits()) return refused("prefix length out of range");
  return network{*is, static_cast<unsigned>(*n)};
}

ip_range range_of(const network& n) { return *ip_range::parse(n.text()); }

value to_ip(args a, cel::arena& memory) {
  auto is = parse_address(a[0].as_text());
  return is ? own(ip_type(), *is, memory) : value::error(memory, is.error());
}
value to_cidr(args a, cel::arena& memory) {
  auto n = parse_network(a[0].as_text());
  if (!n) return value::error(memory, "network address parse error during conversion from string: " + n.error());
  return own(cidr_type(), *n, memory);
}
value is_ip(args a, cel::arena&) { return value::boolean(parse_address(a[0].as_text()).has_value()); }
value is_cidr(args a, cel::arena&) { return value::boolean(parse_network(a[0].as_text()).has_value()); }

value is_canonical(args a, cel::arena& memory) {
  auto is = parse_address(a[0].as_text());
  return is ? value::boolean(is->is.text() == a[0].as_text()) : value::error(memory, is.error());
}

const ip_address& ip_of(const value& v) { return content_of<address>(v).is; }
const network& cidr_of(const value& v) { return content_of<network>(v); }

value family(args a, cel::arena&) { return value::integer(ip_of(a[0]).is_v4() ? 4 : 6); }
value ip_text(args a, cel::arena& memory) { return value::string(memory.copy(ip_of(a[0]).text())); }
value cidr_text(args a, cel::arena& memory) { return value::string(memory.copy(cidr_of(a[0]).text())); }

template <bool (ip_address::*is)() const noexcept>
value test(args a, cel::arena&) {
  return value::boolean((ip_of(a[0]).*is)());
}

value contains(const network& n, const ip_address& ip) {
  return value::boolean(n.address.is_v4() == ip.is_v4() && range_of(n).contains(ip));
}
value contains_ip(args a, cel::arena&) { return contains(cidr_of(a[0]), ip_of(a[1])); }
value contains_ip_text(args a, cel::arena& memory) {
  auto is = parse_address(a[1].as_text());
  return is ? contains(cidr_of(a[0]), is->is) : value::error(memory, "no such overload");
}

value contains_network(const network& outer, const network& inner) {
  return value::boolean(outer.address.is_v4() == inner.address.is_v4() && outer.prefix <= inner.prefix &&
                        range_of(outer).contains(inner.address));
}
value contains_cidr(args a, cel::arena&) { return contains_network(cidr_of(a[0]), cidr_of(a[1])); }
value contains_cidr_text(args a, cel::arena& memory) {
  auto n = parse_network(a[1].as_text());
  if (!n) return value::error(memory, "network address parse error during conversion from string: " + n.error());
  return contains_network(cidr_of(a[0]), *n);
}

value cidr_ip(args a, cel::arena& memory) { return own(ip_type(), address{cidr_of(a[0]).address}, memory); }
value prefix_length(args a, cel::arena&) { return value::integer(static_cast<std::int64_t>(cidr_of(a[0]).prefix)); }
value masked(args a, cel::arena& memory) {
  return own(cidr_type(), network{range_of(cidr_of(a[0])).network(), cidr_of(a[0]).prefix}, memory);
}

}  // namespace

void add_addresses(cel::environment::builder& b) {
  const cel::type &ip = ip_type(), &cidr = cidr_type(), &string = cel::type::string(), &boolean = cel::type::boolean(),
                  &integer = cel::type::integer();
  b.constant("net.IP", cel::type::type_of(ip), value::type(ip));
  b.constant("net.CIDR", cel::type::type_of(cidr), value::type(cidr));
  b.function({"ip", {global("string_to_ip", {string}, ip, to_ip), method("cidr_ip", {cidr}, ip, cidr_ip)}});
  b.function({"isIP", {global("is_ip", {string}, boolean, is_ip)}});
  b.function({"ip.isCanonical", {global("ip_is_canonical", {string}, boolean, is_canonical)}});
  b.function({"family", {method("ip_family", {ip}, integer, family)}});
  b.function({"isUnspecified", {method("ip_is_unspecified", {ip}, boolean, test<&ip_address::is_unspecified>)}});
  b.function({"isLoopback", {method("ip_is_loopback", {ip}, boolean, test<&ip_address::is_loopback>)}});
  b.function({"isLinkLocalMulticast",
              {method("ip_is_link_local_multicast", {ip}, boolean, test<&ip_address::is_link_local_multicast>)}});
  b.function({"isLinkLocalUnicast",
              {method("ip_is_link_local_unicast", {ip}, boolean, test<&ip_address::is_link_local_unicast>)}});
  b.function(
      {"isGlobalUnicast", {method("ip_is_global_unicast", {ip}, boolean, test<&ip_address::is_global_unicast>)}});
  b.function(
      {"string", {global("ip_to_string", {ip}, string, ip_text), global("cidr_to_string", {cidr}, string, cidr_text)}});
  b.function({"cidr", {global("string_to_cidr", {string}, cidr, to_cidr)}});
  b.function({"isCIDR", {global("is_cidr", {string}, boolean, is_cidr)}});
  b.function({"containsIP",
              {method("cidr_contains_ip_string", {cidr, string}, boolean, contains_ip_text),
               method("cidr_contains_ip_ip", {cidr, ip}, boolean, contains_ip)}});
  b.function({"containsCIDR",
              {method("cidr_contains_cidr_string", {cidr, string}, boolean, contains_cidr_text),
               method("cidr_contains_cidr", {cidr, cidr}, boolean, contains_cidr)}});
  b.function({"prefixLength", {method("cidr_prefix_length", {cidr}, integer, prefix_length)}});
  b.function({"masked", {method("cidr_masked", {cidr}, cidr, masked)}});
}

}  // namespace kedge::api::expressions
