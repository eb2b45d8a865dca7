// ip.h: addresses of both families and their ranges, as values: what a text means is decided once, after parsing.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kedge {

class ip_address {
 public:
  // "10.9.8.7", "2001:db8::1", "::ffff:10.9.8.7". The last form is an IPv4 address here, as it is to a socket that
  // connects. nullopt for everything else: no zone, no port, no leading zeros.
  static std::optional<ip_address> parse(std::string_view text) noexcept;
  // The same with leading zeros in IPv4's parts, which count for nothing: old objects of Kubernetes have them.
  static std::optional<ip_address> parse_sloppy(std::string_view text) noexcept;

  bool is_v4() const noexcept { return v4_; }
  bool is_v6() const noexcept { return !v4_; }
  unsigned bits() const noexcept { return v4_ ? 32 : 128; }
  // In network order; of an IPv4 address the last four count, behind the prefix of mapped ones.
  const std::array<unsigned char, 16>& octets() const noexcept { return octets_; }

  // Canonical: dotted, or RFC 5952.
  std::string text() const;

  bool is_unspecified() const noexcept;           // 0.0.0.0, ::
  bool is_loopback() const noexcept;              // 127.0.0.0/8, ::1
  bool is_multicast() const noexcept;             // 224.0.0.0/4, ff00::/8
  bool is_link_local_unicast() const noexcept;    // 169.254.0.0/16, fe80::/10
  bool is_link_local_multicast() const noexcept;  // 224.0.0.0/24, ff02::/16 (scope 2 of any flags)
  // What may be a host's address towards others: none of the above, and not 255.255.255.255. Private ranges are.
  bool is_global_unicast() const noexcept;

  // IPv4 before IPv6, then by number.
  friend std::strong_ordering operator<=>(const ip_address& a, const ip_address& b) noexcept;
  friend bool operator==(const ip_address&, const ip_address&) noexcept = default;

 private:
  friend class ip_range;
  static std::optional<ip_address> parse(std::string_view text, bool sloppy) noexcept;
  bool v4_ = true;
  std::array<unsigned char, 16> octets_{};
};

// A network: "10.42.0.0/16". Bits behind the prefix may be set in the text and are no part of the range.
class ip_range {
 public:
  static std::optional<ip_range> parse(std::string_view cidr) noexcept;
  // With leading zeros, as ip_address's; and "::ffff:10.0.0.0/104", which counts from the front of an IPv6 address.
  static std::optional<ip_range> parse_sloppy(std::string_view cidr) noexcept;

  const ip_address& network() const noexcept { return network_; }
  unsigned prefix() const noexcept { return prefix_; }
  bool is_v4() const noexcept { return network_.is_v4(); }
  bool is_v6() const noexcept { return network_.is_v6(); }
  bool contains(const ip_address& a) const noexcept;
  // The address `offset` behind the network's own; nullopt behind the range's end.
  std::optional<ip_address> at(std::uint64_t offset) const noexcept;
  // The `i`-th of the ranges of that prefix, which is no shorter than this one's; nullopt behind the end.
  std::optional<ip_range> part(unsigned prefix, std::uint64_t i) const noexcept;
  // How many addresses, less one: behind the network's own; the largest number where there are more.
  std::uint64_t size() const noexcept;
  std::string text() const;

  friend bool operator==(const ip_range&, const ip_range&) noexcept = default;

 private:
  static std::optional<ip_range> parse(std::string_view cidr, bool sloppy) noexcept;
  ip_address network_;
  unsigned prefix_ = 0;
};

}  // namespace kedge
