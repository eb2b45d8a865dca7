// custom.h: what users change about the cluster's DNS, as K3s has it: ConfigMap kube-system/coredns-custom, and lines
// of their own in NodeHosts of kube-system/coredns.
//
//   *.override ─▶ the block for everything: tried before the cluster's names, and then where to ask
//   *.server   ─▶ zones of their own, which get nothing but their block has
//
// Of CoreDNS' plugins hosts, forward, rewrite (of names), template, cache, log and errors do what they do there; what
// is always so here (reload, loop, loadbalance) needs no word. Everything else is told (`problems`), and the rest of
// the text holds.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/dns/answer_template.h"
#include "node/dns/corefile.h"
#include "node/dns/forward.h"

namespace kedge::node::dns {

struct name_rewrite {
  enum class kind : unsigned char { exact, prefix, suffix, substring, regex } how = kind::exact;
  std::string from, to;       // with the last dot, in all kinds: parts are whole labels at their end, as in CoreDNS
  pattern matches = nullptr;  // of a regex; `to` has its groups as {1}
  bool goes_on = false;       // the next ones apply as well
};

// Addresses by name, and names by address.
struct host_table {
  std::vector<std::string> zones;  // about which it knows all; none: the block's
  std::map<std::string, std::vector<ip_address>> addresses;
  std::map<ip_address, std::vector<std::string>> names;
  std::uint32_t ttl = 3600;
  bool goes_on = false;  // what it doesn't know is asked elsewhere
};

struct forward_rule {
  std::string from;
  std::vector<std::string> except;
  std::shared_ptr<forwarder> to;  // null: the machine's resolvers
};

class custom_zone {
 public:
  std::string name;  // empty: everything
  std::vector<name_rewrite> rewrites;
  std::vector<answer_template> templates;
  std::optional<host_table> hosts;
  std::vector<forward_rule> forwards;
  bool log = false, errors = false;

  // The name as the rules make it.
  std::string rewritten(std::string asked) const;
  // What the templates say, and the hosts; nullopt: nothing, go on.
  std::optional<dns::answer> find_template(const query& q) const;
  std::optional<dns::answer> find_host(const query& q) const;
  const forward_rule* forward_of(std::string_view asked) const;
};

struct custom_config {
  custom_zone everything;
  std::vector<custom_zone> zones;
  std::vector<std::string> problems;  // each for a person: "stub.server: plugin kubernetes isn't known here"
  const custom_zone& zone_of(std::string_view asked) const;
};

using config_texts = std::map<std::string, std::string>;  // key of the ConfigMap → text
// `own`: the addresses that this is the resolver at, which it doesn't ask. What is more than limits.h has is told, and
// left out.
custom_config read_custom(const config_texts& custom, std::string_view node_hosts, const std::vector<ip_address>& own);

}  // namespace kedge::node::dns
