// custom.h: what users change about the cluster's DNS, as K3s has it: ConfigMap kube-system/coredns-custom, and the
// Corefile and lines of their own in NodeHosts of kube-system/coredns.
//
//   Corefile     ─▶ its block for "." is the one for everything, the others zones of their own; it says where the
//                   others are imported. Without one it is K3s's own:
//     *.override ─▶ the block for everything: tried before the cluster's names, and then where to ask
//     *.server   ─▶ zones of their own, which get nothing but their block has
//
// Of CoreDNS' plugins hosts, forward, rewrite (of names), template, cache, kubernetes (the cluster's names as they are
// anyway, with its ttl), log and errors do what they do there, and files are keys of coredns-custom; what is always so
// here (reload, loop, loadbalance) or is of CoreDNS' own pod (health, ready) needs no word. Everything else is told
// (`problems`), and the rest of the text holds.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/dns/answer_template.h"
#include "node/dns/corefile.h"
#include "node/dns/forward.h"
#include "node/dns/forward_plugin.h"

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
  // What it doesn't know is asked elsewhere: of all names, or of those in these zones.
  bool goes_on = false;
  std::vector<std::string> goes_on_for;
  bool goes_on_about(std::string_view name) const;
};

class custom_zone {
 public:
  std::string name;  // empty: everything
  std::vector<name_rewrite> rewrites;
  std::vector<answer_template> templates;
  std::optional<host_table> hosts;
  std::vector<forward_rule> forwards;
  bool log = false, errors = false;
  bool cluster_names = false;                  // has them too
  cache_options kept = cache_options::none();  // how long what is said of its names holds

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
  forward_options machine;  // how the machine's resolvers are asked
  std::uint32_t cluster_ttl = dns::cluster_ttl;
  std::vector<std::string> problems;  // each for a person: "stub.server: plugin autopath isn't known here"
  const custom_zone& zone_of(std::string_view asked) const;
};

using config_texts = std::map<std::string, std::string>;  // key of the ConfigMap → text

struct config_sources {
  config_texts custom = {};       // ConfigMap coredns-custom
  std::string_view node_hosts{};  // ConfigMap coredns: keys NodeHosts and Corefile; no Corefile: K3s's own
  std::string_view corefile{};
  std::string_view domain = "cluster.local";
  std::vector<ip_address> own = {};  // the addresses that this is the resolver at, which it doesn't ask
  std::shared_ptr<tls_trust> trust = std::make_shared<tls_trust>();  // of resolvers over TLS
};
// What is more than limits.h has is told, and left out.
custom_config read_custom(const config_sources& from);

}  // namespace kedge::node::dns
