#include "node/services/conntrack.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>

#include <cstdio>

namespace kedge::node {

namespace {

using netlink::attributes;
using netlink::writer;

std::uint16_t type_of(std::uint16_t message) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | message);
}
nfgenmsg header_of(bool v4) {
  return {.nfgen_family = static_cast<std::uint8_t>(v4 ? AF_INET : AF_INET6), .version = NFNETLINK_V0, .res_id = 0};
}

std::optional<ip_address> address_of(bytes b) {
  char text[INET6_ADDRSTRLEN];
  if ((b.size() != 4 && b.size() != 16) ||
      !::inet_ntop(b.size() == 4 ? AF_INET : AF_INET6, b.data(), text, sizeof text))
    return std::nullopt;
  return ip_address::parse(text);
}

std::uint16_t port_of(bytes b) { return b.size() == 2 ? load_be16(b.data()) : std::uint16_t(0); }

}  // namespace

result<std::size_t> forget_flows(bool v4, const std::function<bool(const flow&)>& gone) {
  KEDGE_TRY(auto s, netlink::socket::open(NETLINK_NETFILTER));
  writer w;
  w.begin(type_of(IPCTNL_MSG_CT_GET), NLM_F_REQUEST | NLM_F_DUMP);
  w.header(header_of(v4));
  std::vector<std::string> tuples;
  auto asked = s.ask(w, [&](const netlink::reply& r) {
    auto all = r.all<nfgenmsg>();
    attributes original(all.find(CTA_TUPLE_ORIG)), reply(all.find(CTA_TUPLE_REPLY));
    attributes original_ip(original.find(CTA_TUPLE_IP)), original_proto(original.find(CTA_TUPLE_PROTO));
    attributes reply_ip(reply.find(CTA_TUPLE_IP)), reply_proto(reply.find(CTA_TUPLE_PROTO));
    flow f;
    f.protocol = static_cast<std::uint8_t>(original_proto.u32(CTA_PROTO_NUM).value_or(0));
    if (f.protocol != IPPROTO_UDP) return;
    auto to = address_of(original_ip.find(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST)),
         from = address_of(reply_ip.find(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC));
    if (!to || !from) return;
    f.asked = *to;
    f.asked_port = port_of(original_proto.find(CTA_PROTO_DST_PORT));
    f.answers = *from;
    f.answers_port = port_of(reply_proto.find(CTA_PROTO_SRC_PORT));
    if (gone(f)) tuples.emplace_back(as_text(all.find(CTA_TUPLE_ORIG)));
  });
  // A table that changes while it is read is read as well as it can be: what began since goes the new way.
  if (!asked && asked.error().code != errc::unavailable) return fail(std::move(asked).error().with("conntrack: "));
  for (auto& t : tuples) {
    w.begin(type_of(IPCTNL_MSG_CT_DELETE), NLM_F_REQUEST | NLM_F_ACK);
    w.header(header_of(v4));
    w.put(CTA_TUPLE_ORIG | NLA_F_NESTED, t);
    auto done = s.change(w);
    if (!done && done.error().os_error != ENOENT) return fail(std::move(done).error().with("conntrack: "));
  }
  return tuples.size();
}

}  // namespace kedge::node
