#include "base/ip.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"

namespace kedge {

namespace {

using octets = std::array<unsigned char, 16>;
constexpr unsigned char mapped_prefix[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Four octets at `out`.
bool parse_v4(std::string_view text, bool sloppy, unsigned char* out) {
  for (int i = 0; i < 4; ++i) {
    unsigned value = 0;
    std::size_t digits = 0;
    for (; digits < text.size() && is_digit(text[digits]); ++digits) {
      if (digits > 0 && value == 0 && !sloppy) return false;
      value = value * 10 + static_cast<unsigned>(text[digits] - '0');
      if (value > 255) return false;
    }
    if (digits == 0) return false;
    out[i] = static_cast<unsigned char>(value);
    text.remove_prefix(digits);
    if (i == 3) return text.empty();
    if (!text.starts_with('.')) return false;
    text.remove_prefix(1);
  }
  return false;
}

// Groups from `at` on into `out`, up to a "::" or the end; the last may be dotted. `text` is left behind what was
// taken.
bool parse_groups(std::string_view& text, bool sloppy, octets& out, std::size_t& at) {
  while (!text.empty() && !text.starts_with("::")) {
    unsigned value = 0;
    std::size_t digits = 0;
    for (; digits < std::min<std::size_t>(text.size(), 4) && hex_value(text[digits]) >= 0; ++digits)
      value = value * 16 + static_cast<unsigned>(hex_value(text[digits]));
    const auto end = text.find(':');
    if (const auto group = text.substr(0, end); group.find('.') != group.npos) {
      if (end != text.npos || at + 4 > out.size() || !parse_v4(group, sloppy, out.data() + at)) return false;
      at += 4;
      text = {};
      return true;
    }
    if (digits == 0 || at + 2 > out.size() || (end == text.npos ? digits != text.size() : digits != end)) return false;
    out[at++] = static_cast<unsigned char>(value >> 8);
    out[at++] = static_cast<unsigned char>(value);
    text.remove_prefix(digits);
    if (text.empty() || text.starts_with("::")) return true;
    text.remove_prefix(1);
    if (text.empty()) return false;  // a colon at the end
  }
  return true;
}

bool parse_v6(std::string_view text, bool sloppy, octets& out) {
  std::size_t head = 0;
  if (!parse_groups(text, sloppy, out, head)) return false;
  if (head == out.size()) return text.empty();
  if (!text.starts_with("::")) return false;
  text.remove_prefix(2);
  octets behind{};
  std::size_t tail = 0;
  if (text.starts_with(':') || !parse_groups(text, sloppy, behind, tail) || !text.empty()) return false;
  if (head + tail > out.size() - 2) return false;  // "::" stands for one group at least
  std::copy_n(behind.begin(), tail, out.end() - static_cast<std::ptrdiff_t>(tail));
  return true;
}

// The longest run of two or more zero groups, the first of equals: its first group and how many.
std::pair<int, int> longest_zeros(const std::array<unsigned, 8>& groups) {
  int best = 0, length = 1;
  for (int i = 0; i < 8; ++i) {
    int n = 0;
    while (i + n < 8 && groups[static_cast<std::size_t>(i + n)] == 0) ++n;
    if (n > length) best = i, length = n;
    i += n;
  }
  return {best, length > 1 ? length : 0};
}

}  // namespace

std::optional<ip_address> ip_address::parse(std::string_view text, bool sloppy) noexcept {
  ip_address out;
  if (text.find(':') == text.npos) {
    std::copy(std::begin(mapped_prefix), std::end(mapped_prefix), out.octets_.begin());
    if (!parse_v4(text, sloppy, out.octets_.data() + 12)) return std::nullopt;
    return out;
  }
  if (!parse_v6(text, sloppy, out.octets_)) return std::nullopt;
  out.v4_ = std::equal(std::begin(mapped_prefix), std::end(mapped_prefix), out.octets_.begin());
  return out;
}

std::optional<ip_address> ip_address::parse(std::string_view text) noexcept { return parse(text, false); }
std::optional<ip_address> ip_address::parse_sloppy(std::string_view text) noexcept { return parse(text, true); }

std::string ip_address::text() const {
  auto& o = octets_;
  if (v4_) return fmt::format("{}.{}.{}.{}", o[12], o[13], o[14], o[15]);
  std::array<unsigned, 8> groups{};
  for (std::size_t i = 0; i < 8; ++i) groups[i] = static_cast<unsigned>(o[2 * i] << 8 | o[2 * i + 1]);
  const auto [zeros, count] = longest_zeros(groups);
  std::string out;
  for (int i = 0; i < 8; ++i) {
    if (count > 0 && i == zeros) {
      out += "::";
      i += count - 1;
      continue;
    }
    if (!out.empty() && !out.ends_with(':')) out += ':';
    fmt::format_to(std::back_inserter(out), "{:x}", groups[static_cast<std::size_t>(i)]);
  }
  return out;
}

bool ip_address::is_unspecified() const noexcept {
  return std::all_of(octets_.begin() + (v4_ ? 12 : 0), octets_.end(), [](unsigned char c) { return c == 0; });
}

bool ip_address::is_loopback() const noexcept {
  if (v4_) return octets_[12] == 127;
  return octets_[15] == 1 && std::all_of(octets_.begin(), octets_.end() - 1, [](unsigned char c) { return c == 0; });
}

bool ip_address::is_multicast() const noexcept { return v4_ ? octets_[12] >> 4 == 14 : octets_[0] == 0xff; }

bool ip_address::is_link_local_unicast() const noexcept {
  return v4_ ? octets_[12] == 169 && octets_[13] == 254 : octets_[0] == 0xfe && (octets_[1] & 0xc0) == 0x80;
}

bool ip_address::is_link_local_multicast() const noexcept {
  return v4_ ? octets_[12] == 224 && octets_[13] == 0 && octets_[14] == 0
             : octets_[0] == 0xff && (octets_[1] & 0x0f) == 0x02;
}

bool ip_address::is_global_unicast() const noexcept {
  const bool broadcast =
      v4_ && std::all_of(octets_.begin() + 12, octets_.end(), [](unsigned char c) { return c == 255; });
  return !broadcast && !is_unspecified() && !is_loopback() && !is_multicast() && !is_link_local_unicast();
}

std::strong_ordering operator<=>(const ip_address& a, const ip_address& b) noexcept {
  if (a.v4_ != b.v4_) return a.v4_ ? std::strong_ordering::less : std::strong_ordering::greater;
  return a.octets_ <=> b.octets_;
}

std::optional<ip_range> ip_range::parse(std::string_view cidr, bool sloppy) noexcept {
  const auto slash = cidr.find('/');
  if (slash == cidr.npos) return std::nullopt;
  const auto address = ip_address::parse(cidr.substr(0, slash), sloppy);
  const auto length = cidr.substr(slash + 1);
  auto prefix = parse_uint(length);
  if (!address || !prefix || (!sloppy && length.size() > 1 && length.starts_with('0'))) return std::nullopt;
  if (address->is_v4() && cidr.find(':') != cidr.npos) {  // written in neither family's way
    if (!sloppy || *prefix > 128) return std::nullopt;
    *prefix -= std::min<std::uint64_t>(*prefix, 96);
  }
  if (*prefix > address->bits()) return std::nullopt;
  ip_range out;
  out.network_ = *address;
  out.prefix_ = static_cast<unsigned>(*prefix);
  for (unsigned bit = 128 - address->bits() + out.prefix_; bit < 128; ++bit)
    out.network_.octets_[bit / 8] = static_cast<unsigned char>(out.network_.octets_[bit / 8] & ~(0x80u >> bit % 8));
  return out;
}

std::optional<ip_range> ip_range::parse(std::string_view cidr) noexcept { return parse(cidr, false); }
std::optional<ip_range> ip_range::parse_sloppy(std::string_view cidr) noexcept { return parse(cidr, true); }

bool ip_range::contains(const ip_address& a) const noexcept {
  if (a.is_v4() != network_.is_v4()) return false;
  const unsigned bits = 128 - network_.bits() + prefix_;
  const auto whole = bits / 8, rest = bits % 8;
  if (!std::equal(a.octets_.begin(), a.octets_.begin() + whole, network_.octets_.begin())) return false;
  return rest == 0 || (a.octets_[whole] ^ network_.octets_[whole]) >> (8 - rest) == 0;
}

std::optional<ip_address> ip_range::at(std::uint64_t offset) const noexcept {
  auto out = network_;
  unsigned carry = 0;
  for (auto i = out.octets_.size(); i-- > 0; offset >>= 8) {
    carry += out.octets_[i] + static_cast<unsigned>(offset & 0xff);
    out.octets_[i] = static_cast<unsigned char>(carry);
    carry >>= 8;
  }
  if (carry > 0 || !contains(out)) return std::nullopt;
  return out;
}

std::optional<ip_range> ip_range::part(unsigned prefix, std::uint64_t i) const noexcept {
  if (prefix < prefix_ || prefix > network_.bits()) return std::nullopt;
  ip_range out;
  out.prefix_ = prefix;
  out.network_ = network_;
  // Its bits lie before those of hosts: added from the last of them on.
  for (unsigned bit = 128 - network_.bits() + prefix; i != 0 && bit > 128 - network_.bits() + prefix_; i >>= 1) {
    --bit;
    if (i & 1)
      out.network_.octets_[bit / 8] = static_cast<unsigned char>(out.network_.octets_[bit / 8] | 0x80u >> bit % 8);
  }
  if (i != 0) return std::nullopt;
  return out;
}

std::uint64_t ip_range::size() const noexcept {
  const unsigned bits = network_.bits() - prefix_;
  return bits >= 64 ? ~std::uint64_t(0) : (std::uint64_t(1) << bits) - 1;
}

std::string ip_range::text() const { return fmt::format("{}/{}", network_.text(), prefix_); }

}  // namespace kedge
