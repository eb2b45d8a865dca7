#include "node/nft/batch.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "reactor/offload.h"

namespace kedge::node::nft {

using netlink::writer;

namespace {

std::uint32_t length_of(datatype t) {
  switch (t) {
    case datatype::ipv6: return 16;
    default: return 4;  // what is smaller is padded
  }
}

// Without padding: what a part of a span is compared by.
std::uint32_t bytes_of(datatype t) {
  switch (t) {
    case datatype::protocol: return 1;
    case datatype::port: return 2;
    default: return length_of(t);
  }
}

std::uint16_t type_of(std::uint16_t message) { return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message); }

nfgenmsg header_of(std::uint8_t family, std::uint16_t resource = 0) {
  return {
      .nfgen_family = family, .version = NFNETLINK_V0, .res_id = static_cast<__be16>(resource << 8 | resource >> 8)};
}

}  // namespace

std::uint32_t key_type::number() const {
  std::uint32_t n = 0;
  for (auto p : parts) n = n << 6 | static_cast<std::uint32_t>(p);
  return n;
}
std::uint32_t key_type::length() const {
  std::uint32_t n = 0;
  for (auto p : parts) n += length_of(p);
  return n;
}

batch::batch(std::uint8_t family, std::string table) : family_(family), table_(std::move(table)) {
  writer_.begin(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST);
  writer_.header(header_of(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

void batch::begin(std::uint16_t type, std::uint16_t flags) {
  // The first change of a batch answers for all.
  if (changes_++ == 0) flags |= NLM_F_ACK;
  writer_.begin(type_of(type), static_cast<std::uint16_t>(NLM_F_REQUEST | flags));
  writer_.header(header_of(family_));
}

void batch::table() {
  begin(NFT_MSG_NEWTABLE, NLM_F_CREATE);
  writer_.put_text(NFTA_TABLE_NAME, table_);
}

void batch::remove_table() {
  table();  // so that it is there
  begin(NFT_MSG_DELTABLE, 0);
  writer_.put_text(NFTA_TABLE_NAME, table_);
}

void batch::chain(const std::string& name) {
  begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
  writer_.put_text(NFTA_CHAIN_TABLE, table_);
  writer_.put_text(NFTA_CHAIN_NAME, name);
}

void batch::chain(const base_chain& c) {
  chain(c.name);
  writer_.put_text(NFTA_CHAIN_TYPE, c.type);
  writer_.put_be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
  writer::nest hook(writer_, NFTA_CHAIN_HOOK);
  writer_.put_be32(NFTA_HOOK_HOOKNUM, c.hook);
  writer_.put_be32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(c.priority));
}

void batch::flush(const std::string& chain) {
  begin(NFT_MSG_DELRULE, 0);
  writer_.put_text(NFTA_RULE_TABLE, table_);
  writer_.put_text(NFTA_RULE_CHAIN, chain);
}

void batch::remove_chain(const std::string& name) {
  begin(NFT_MSG_DELCHAIN, 0);
  writer_.put_text(NFTA_CHAIN_TABLE, table_);
  writer_.put_text(NFTA_CHAIN_NAME, name);
}

void batch::raw_rule(const std::string& chain, std::string_view expressions) {
  begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
  writer_.put_text(NFTA_RULE_TABLE, table_);
  writer_.put_text(NFTA_RULE_CHAIN, chain);
  writer_.put(NFTA_RULE_EXPRESSIONS | NLA_F_NESTED, expressions);
}

void batch::set(const std::string& name, const set_options& o) {
  std::uint32_t flags = 0;
  bool is_map = o.verdicts || !o.value.parts.empty();
  if (is_map) flags |= NFT_SET_MAP;
  if (o.dynamic) flags |= NFT_SET_EVAL;
  if (o.timeout_ms) flags |= NFT_SET_TIMEOUT;
  if (o.spans) flags |= NFT_SET_INTERVAL | NFT_SET_CONCAT;
  begin(NFT_MSG_NEWSET, NLM_F_CREATE);
  writer_.put_text(NFTA_SET_TABLE, table_);
  writer_.put_text(NFTA_SET_NAME, name);
  writer_.put_be32(NFTA_SET_FLAGS, flags);
  writer_.put_be32(NFTA_SET_KEY_TYPE, o.key.number());
  writer_.put_be32(NFTA_SET_KEY_LEN, o.key.length());
  if (o.verdicts) {
    writer_.put_be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
  } else if (is_map) {
    writer_.put_be32(NFTA_SET_DATA_TYPE, o.value.number());
    writer_.put_be32(NFTA_SET_DATA_LEN, o.value.length());
  }
  writer_.put_be32(NFTA_SET_ID, ++sets_);
  if (o.timeout_ms) writer_.put_be64(NFTA_SET_TIMEOUT, o.timeout_ms);
  if (!o.spans) return;
  writer::nest description(writer_, NFTA_SET_DESC);
  writer::nest parts(writer_, NFTA_SET_DESC_CONCAT);
  for (auto p : o.key.parts) {
    writer::nest one(writer_, NFTA_LIST_ELEM);
    writer_.put_be32(NFTA_SET_FIELD_LEN, bytes_of(p));
  }
}

void batch::remove_set(const std::string& name) {
  begin(NFT_MSG_DELSET, 0);
  writer_.put_text(NFTA_SET_TABLE, table_);
  writer_.put_text(NFTA_SET_NAME, name);
}

template <typename F>
void batch::put_element(const std::string& set, key_span key, F value, bool removes) {
  begin(removes ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM, removes ? 0 : NLM_F_CREATE);
  writer_.put_text(NFTA_SET_ELEM_LIST_TABLE, table_);
  writer_.put_text(NFTA_SET_ELEM_LIST_SET, set);
  writer::nest list(writer_, NFTA_SET_ELEM_LIST_ELEMENTS);
  writer::nest one(writer_, NFTA_LIST_ELEM);
  put_value(writer_, NFTA_SET_ELEM_KEY, key.from);
  if (!key.to.empty()) put_value(writer_, NFTA_SET_ELEM_KEY_END, key.to);
  value();
}

void batch::element(const std::string& set, key_span key) {
  put_element(set, key, [] {}, false);
}
void batch::element(const std::string& map, key_span key, std::string_view value) {
  put_element(map, key, [&] { put_value(writer_, NFTA_SET_ELEM_DATA, value); }, false);
}
void batch::element(const std::string& map, key_span key, const verdict& v) {
  put_element(map, key, [&] { put_verdict(writer_, NFTA_SET_ELEM_DATA, v); }, false);
}
void batch::remove_element(const std::string& set, key_span key) {
  put_element(set, key, [] {}, true);
}

result<void> commit(netlink::socket& s, batch& b) {
  if (b.empty()) return {};
  b.writer_.begin(NFNL_MSG_BATCH_END, NLM_F_REQUEST);
  b.writer_.header(header_of(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
  auto done = s.transact(b.writer_);
  b = batch(b.family_, std::move(b.table_));
  if (!done && done.error().os_error == EOPNOTSUPP)
    return fail(
        std::move(done).error().with("nftables: this kernel lacks what the rules of Services and policies need "
                                     "(nf_tables with nat, fib, numgen, reject): "));
  if (!done) return fail(std::move(done).error().with("nftables: "));
  return {};
}

task<result<void>> commit_apart(std::shared_ptr<netlink::socket>& s, batch b) {
  auto committed =
      co_await reactor::offload([b = std::move(b), socket = s]() mutable -> result<std::shared_ptr<netlink::socket>> {
        if (!socket) {
          KEDGE_TRY(auto fresh, netlink::socket::open(NETLINK_NETFILTER));
          socket = std::make_shared<netlink::socket>(std::move(fresh));
        }
        KEDGE_CHECK(commit(*socket, b));
        return socket;
      });
  if (!committed) co_return fail(std::move(committed).error());
  KEDGE_CO_TRY(s, std::move(*committed));
  co_return result<void>();
}

result<std::vector<element>> read_elements(netlink::socket& s, std::uint8_t family, const std::string& table,
                                           const std::string& set) {
  writer w;
  w.begin(type_of(NFT_MSG_GETSETELEM), NLM_F_REQUEST | NLM_F_DUMP);
  w.header(header_of(family));
  w.put_text(NFTA_SET_ELEM_LIST_TABLE, table);
  w.put_text(NFTA_SET_ELEM_LIST_SET, set);
  auto value_of = [](bytes data) { return std::string(as_text(netlink::attributes(data).find(NFTA_DATA_VALUE))); };
  return s.list<element>(w, [&](const netlink::reply& r, auto& out) {
    auto list = r.all<nfgenmsg>().find(NFTA_SET_ELEM_LIST_ELEMENTS);
    for (auto& item : netlink::attributes(list)) {
      netlink::attributes e(item.data);
      out.push_back({value_of(e.find(NFTA_SET_ELEM_KEY)), value_of(e.find(NFTA_SET_ELEM_DATA))});
    }
  });
}

result<std::vector<std::string>> list_tables(netlink::socket& s, std::uint8_t family) {
  writer w;
  w.begin(type_of(NFT_MSG_GETTABLE), NLM_F_REQUEST | NLM_F_DUMP);
  w.header(header_of(family));
  return s.list<std::string>(w, [](const netlink::reply& r, auto& names) {
    if (r.type == type_of(NFT_MSG_NEWTABLE)) names.push_back(r.all<nfgenmsg>().text(NFTA_TABLE_NAME));
  });
}

result<bool> has_table(netlink::socket& s, std::uint8_t family, const std::string& table) {
  writer w;
  w.begin(type_of(NFT_MSG_GETTABLE), NLM_F_REQUEST);
  w.header(header_of(family));
  w.put_text(NFTA_TABLE_NAME, table);
  auto asked = s.ask(w, [](const netlink::reply&) {});
  if (!asked && asked.error().os_error == ENOENT) return false;
  if (!asked) return fail(std::move(asked).error());
  return true;
}

result<bool> is_in_use(netlink::socket& s, std::uint8_t family, const std::string& table, const std::string& chain) {
  writer w;
  w.begin(type_of(NFT_MSG_GETCHAIN), NLM_F_REQUEST);
  w.header(header_of(family));
  w.put_text(NFTA_CHAIN_TABLE, table);
  w.put_text(NFTA_CHAIN_NAME, chain);
  bool used = false;
  auto asked = s.ask(
      w, [&](const netlink::reply& r) { used = used || ntohl(r.all<nfgenmsg>().u32(NFTA_CHAIN_USE).value_or(0)) > 0; });
  if (!asked && asked.error().os_error == ENOENT) return false;
  if (!asked) return fail(std::move(asked).error());
  return used;
}

}  // namespace kedge::node::nft
