// expression.h: a rule of nftables as the kernel's own small instructions, which read the packet into registers and act
// on them (linux/netfilter/nf_tables.h). What the text `ip daddr . th dport vmap @services` stands for.
//
// There are sixteen registers of four bytes. A value longer than that, or a concatenation, takes several in a row:
// `at(n)` names where it begins.
#pragma once

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "node/network/netlink.h"

namespace kedge::node::nft {

using reg = std::uint32_t;
// The register of four bytes number `n`, 0 to 15.
constexpr reg at(unsigned n) { return NFT_REG32_00 + n; }

// Numbers and addresses as they stand in packets, padded to whole registers: parts of keys and values.
std::string key_u8(std::uint8_t v);
std::string key_port(std::uint16_t v);
std::string key_u32(std::uint32_t v);  // host order, as meta and numgen give it
std::string key_address(const ip_address& a);

// What becomes of a packet.
struct verdict {
  std::int32_t code = NF_ACCEPT;
  std::string chain;  // of jump and goto
  static verdict accept() { return {NF_ACCEPT, {}}; }
  static verdict drop() { return {NF_DROP, {}}; }
  static verdict jump(std::string to) { return {NFT_JUMP, std::move(to)}; }
  static verdict go_to(std::string to) { return {NFT_GOTO, std::move(to)}; }
  static verdict back() { return {NFT_RETURN, {}}; }
  friend bool operator==(const verdict&, const verdict&) noexcept = default;
};
// As an attribute's content: NFTA_DATA_VERDICT or NFTA_DATA_VALUE.
void put_verdict(netlink::writer& w, std::uint16_t attribute, const verdict& v);
void put_value(netlink::writer& w, std::uint16_t attribute, std::string_view data);

class rule {
 public:
  // Reading: into registers.
  rule& meta(std::uint32_t key, reg into);  // NFT_META_…
  rule& payload(std::uint32_t base, unsigned offset, unsigned length, reg into);
  rule& source(bool v4, reg into);  // the packet's addresses
  rule& destination(bool v4, reg into);
  rule& destination_port(reg into) { return payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, into); }
  rule& ct(std::uint32_t key, reg into);  // NFT_CT_…
  // The connection's own addresses and ports, whichever way this packet of it goes: IP_CT_DIR_ORIGINAL are the
  // client's words, IP_CT_DIR_REPLY come from who really answers.
  rule& ct(std::uint32_t key, std::uint8_t direction, reg into);
  rule& destination_type(reg into);  // RTN_LOCAL … of the destination address (fib)
  rule& source_type(reg into);
  rule& random(std::uint32_t below, reg into);  // 0 … below-1
  rule& constant(std::string_view data, reg into);
  rule& bits(reg r, std::string_view mask, std::string_view flip);  // r = (r & mask) ^ flip

  // Conditions: the rule ends here when they don't hold.
  rule& equal(reg r, std::string_view data) { return compare(r, NFT_CMP_EQ, data); }
  rule& unequal(reg r, std::string_view data) { return compare(r, NFT_CMP_NEQ, data); }
  rule& within(reg r, const ip_range& range, bool inside);  // r holds an address and is changed
  rule& in_set(const std::string& set, reg key, bool inside = true);
  rule& find(const std::string& map, reg key, reg into);  // of a map; ends the rule when it isn't there

  // Acts.
  rule& go(const verdict& v);
  rule& decide(const std::string& verdict_map, reg key);  // the map's verdict, if it has one
  rule& mark(std::uint32_t set_bits);                     // meta mark |= set_bits
  rule& unmark(std::uint32_t clear_bits);
  // Destination and port from registers; `port` 0 keeps it.
  rule& dnat(bool v4, reg address, reg port);
  rule& masquerade();     // at a random port, as kube-proxy's
  rule& reject(bool v4);  // port unreachable
  rule& reset();          // of TCP, to who sent the packet
  rule& remember(const std::string& map, reg key, reg value,
                 std::uint64_t timeout_ms);  // adds an element, or renews its time alone
  rule& forget(const std::string& map, reg key,
               reg value);  // removes the key's element; of the value only its place is used

  bool empty() const noexcept { return writer_.size() == 0; }
  std::string take() { return writer_.take(); }

 private:
  class one;
  rule& compare(reg r, std::uint32_t operation, std::string_view data);
  netlink::writer writer_;
};

}  // namespace kedge::node::nft
