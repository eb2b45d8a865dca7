// forward_plugin.h: CoreDNS' plugins forward and cache, as a configuration writes them: whom to ask about which names,
// how, and how long to remember it. What of it isn't obeyed is told.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "node/dns/corefile.h"
#include "node/dns/forward.h"

namespace kedge::node::dns {

using tell_problem = std::function<void(std::string)>;

struct forward_rule {
  std::string from;
  std::vector<std::string> except;
  std::shared_ptr<forwarder> to;  // null: the machine's resolvers
};

// A line of `cache`, of a block that is for `zone`.
cache_options read_cache_line(const corefile_line& line, const tell_problem& tell);

struct forward_reading {
  const std::vector<ip_address>& own;  // addresses at which this is the resolver itself
  const std::shared_ptr<tls_trust>& trust;
  const cache_options& cache;
};
struct read_forward {
  forward_rule rule;
  std::optional<forward_options> machine;  // how the machine's resolvers are to be asked, where the rule has them alone
};
// nullopt: it asks nobody.
std::optional<read_forward> read_forward_line(const corefile_line& line, const forward_reading& r,
                                              const tell_problem& tell);

}  // namespace kedge::node::dns
