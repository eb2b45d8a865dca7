#include "node/nft/expression.h"

#include <optional>

namespace kedge::node::nft {

using netlink::writer;

// One expression: NFTA_LIST_ELEM { name, data { … } }.
class rule::one {
 public:
  one(writer& w, std::string_view name) : element_(w, NFTA_LIST_ELEM), w_(w) {
    w_.put_text(NFTA_EXPR_NAME, name);
    data_.emplace(w_, NFTA_EXPR_DATA);
  }
  ~one() { data_.reset(); }
  one& be32(std::uint16_t type, std::uint32_t v) {
    w_.put_be32(type, v);
    return *this;
  }

 private:
  writer::nest element_;
  writer& w_;
  std::optional<writer::nest> data_;
};

namespace {
std::string padded(std::string s) {
  s.resize((s.size() + 3) & ~std::size_t(3), '\0');
  return s;
}
}  // namespace

std::string key_u8(std::uint8_t v) { return padded(std::string(1, static_cast<char>(v))); }
std::string key_port(std::uint16_t v) {
  std::string s;
  append_be16(s, v);
  return padded(std::move(s));
}
std::string key_u32(std::uint32_t v) { return {reinterpret_cast<const char*>(&v), sizeof v}; }
std::string key_address(const ip_address& a) {
  auto* p = reinterpret_cast<const char*>(a.octets().data());
  return a.is_v4() ? std::string(p + 12, 4) : std::string(p, 16);
}

void put_value(writer& w, std::uint16_t attribute, std::string_view data) {
  writer::nest n(w, attribute);
  w.put(NFTA_DATA_VALUE, data);
}

void put_verdict(writer& w, std::uint16_t attribute, const verdict& v) {
  writer::nest n(w, attribute);
  writer::nest inner(w, NFTA_DATA_VERDICT);
  w.put_be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(v.code));
  if (!v.chain.empty()) w.put_text(NFTA_VERDICT_CHAIN, v.chain);
}

rule& rule::meta(std::uint32_t key, reg into) {
  one(writer_, "meta").be32(NFTA_META_KEY, key).be32(NFTA_META_DREG, into);
  return *this;
}

rule& rule::payload(std::uint32_t base, unsigned offset, unsigned length, reg into) {
  one(writer_, "payload")
      .be32(NFTA_PAYLOAD_DREG, into)
      .be32(NFTA_PAYLOAD_BASE, base)
      .be32(NFTA_PAYLOAD_OFFSET, offset)
      .be32(NFTA_PAYLOAD_LEN, length);
  return *this;
}
rule& rule::source(bool v4, reg into) { return payload(NFT_PAYLOAD_NETWORK_HEADER, v4 ? 12 : 8, v4 ? 4 : 16, into); }
rule& rule::destination(bool v4, reg into) {
  return payload(NFT_PAYLOAD_NETWORK_HEADER, v4 ? 16 : 24, v4 ? 4 : 16, into);
}

rule& rule::ct(std::uint32_t key, reg into) {
  one(writer_, "ct").be32(NFTA_CT_KEY, key).be32(NFTA_CT_DREG, into);
  return *this;
}

rule& rule::ct(std::uint32_t key, std::uint8_t direction, reg into) {
  one e(writer_, "ct");
  e.be32(NFTA_CT_KEY, key).be32(NFTA_CT_DREG, into);
  writer_.put_u8(NFTA_CT_DIRECTION, direction);
  return *this;
}

rule& rule::destination_type(reg into) {
  one(writer_, "fib")
      .be32(NFTA_FIB_DREG, into)
      .be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
      .be32(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
  return *this;
}

rule& rule::source_type(reg into) {
  one(writer_, "fib")
      .be32(NFTA_FIB_DREG, into)
      .be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
      .be32(NFTA_FIB_FLAGS, NFTA_FIB_F_SADDR);
  return *this;
}

rule& rule::random(std::uint32_t below, reg into) {
  one(writer_, "numgen")
      .be32(NFTA_NG_DREG, into)
      .be32(NFTA_NG_MODULUS, below)
      .be32(NFTA_NG_TYPE, NFT_NG_RANDOM)
      .be32(NFTA_NG_OFFSET, 0);
  return *this;
}

rule& rule::constant(std::string_view data, reg into) {
  one e(writer_, "immediate");
  e.be32(NFTA_IMMEDIATE_DREG, into);
  put_value(writer_, NFTA_IMMEDIATE_DATA, data);
  return *this;
}

rule& rule::bits(reg r, std::string_view mask, std::string_view flip) {
  one e(writer_, "bitwise");
  e.be32(NFTA_BITWISE_SREG, r)
      .be32(NFTA_BITWISE_DREG, r)
      .be32(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()));
  put_value(writer_, NFTA_BITWISE_MASK, mask);
  put_value(writer_, NFTA_BITWISE_XOR, flip);
  return *this;
}

rule& rule::compare(reg r, std::uint32_t operation, std::string_view data) {
  one e(writer_, "cmp");
  e.be32(NFTA_CMP_SREG, r).be32(NFTA_CMP_OP, operation);
  put_value(writer_, NFTA_CMP_DATA, data);
  return *this;
}

rule& rule::within(reg r, const ip_range& range, bool inside) {
  std::string mask(range.is_v4() ? 4 : 16, '\0');
  for (unsigned bit = 0; bit < range.prefix(); ++bit)
    mask[bit / 8] = static_cast<char>(mask[bit / 8] | 0x80 >> bit % 8);
  bits(r, mask, std::string(mask.size(), '\0'));
  return compare(r, inside ? NFT_CMP_EQ : NFT_CMP_NEQ, key_address(range.network()));
}

rule& rule::in_set(const std::string& set, reg key, bool inside) {
  one e(writer_, "lookup");
  writer_.put_text(NFTA_LOOKUP_SET, set);
  e.be32(NFTA_LOOKUP_SREG, key).be32(NFTA_LOOKUP_FLAGS, inside ? 0 : NFT_LOOKUP_F_INV);
  return *this;
}

rule& rule::find(const std::string& map, reg key, reg into) {
  one e(writer_, "lookup");
  writer_.put_text(NFTA_LOOKUP_SET, map);
  e.be32(NFTA_LOOKUP_SREG, key).be32(NFTA_LOOKUP_DREG, into);
  return *this;
}

rule& rule::decide(const std::string& verdict_map, reg key) { return find(verdict_map, key, NFT_REG_VERDICT); }

rule& rule::go(const verdict& v) {
  one e(writer_, "immediate");
  e.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
  put_verdict(writer_, NFTA_IMMEDIATE_DATA, v);
  return *this;
}

rule& rule::mark(std::uint32_t set_bits) {
  meta(NFT_META_MARK, at(0)).bits(at(0), key_u32(~set_bits), key_u32(set_bits));
  one(writer_, "meta").be32(NFTA_META_KEY, NFT_META_MARK).be32(NFTA_META_SREG, at(0));
  return *this;
}
rule& rule::unmark(std::uint32_t clear_bits) {
  meta(NFT_META_MARK, at(0)).bits(at(0), key_u32(~clear_bits), key_u32(0));
  one(writer_, "meta").be32(NFTA_META_KEY, NFT_META_MARK).be32(NFTA_META_SREG, at(0));
  return *this;
}

rule& rule::dnat(bool v4, reg address, reg port) {
  one e(writer_, "nat");
  e.be32(NFTA_NAT_TYPE, NFT_NAT_DNAT)
      .be32(NFTA_NAT_FAMILY, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6)
      .be32(NFTA_NAT_REG_ADDR_MIN, address);
  if (port) e.be32(NFTA_NAT_REG_PROTO_MIN, port);
  return *this;
}

rule& rule::masquerade() {
  one(writer_, "masq").be32(NFTA_MASQ_FLAGS, 0x10);  // NF_NAT_RANGE_PROTO_RANDOM_FULLY
  return *this;
}

rule& rule::reject(bool v4) {
  one e(writer_, "reject");
  e.be32(NFTA_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
  writer_.put_u8(NFTA_REJECT_ICMP_CODE, v4 ? 3 : 4);  // ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH
  return *this;
}

rule& rule::reset() {
  one e(writer_, "reject");
  e.be32(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST);
  return *this;
}

rule& rule::remember(const std::string& map, reg key, reg value, std::uint64_t timeout_ms) {
  one e(writer_, "dynset");
  writer_.put_text(NFTA_DYNSET_SET_NAME, map);
  e.be32(NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE).be32(NFTA_DYNSET_SREG_KEY, key).be32(NFTA_DYNSET_SREG_DATA, value);
  writer_.put_be64(NFTA_DYNSET_TIMEOUT, timeout_ms);
  return *this;
}

rule& rule::forget(const std::string& map, reg key, reg value) {
  one e(writer_, "dynset");
  writer_.put_text(NFTA_DYNSET_SET_NAME, map);
  e.be32(NFTA_DYNSET_OP, NFT_DYNSET_OP_DELETE).be32(NFTA_DYNSET_SREG_KEY, key).be32(NFTA_DYNSET_SREG_DATA, value);
  return *this;
}

}  // namespace kedge::node::nft
