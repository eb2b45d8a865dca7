#include "node/services/conntrack_limits.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "node/network/sysctl.h"

namespace kedge::node {

namespace {

constexpr std::uint64_t connections_max = 1'048'576;  // kube-proxy's; a connection is 320 bytes of the kernel's
constexpr std::uint64_t connections_a_bucket = 4;

result<void> raise(const std::string& name, std::uint64_t wanted) {
  auto now = read_sysctl(name);
  return now && *now < wanted ? write_sysctl(name, std::to_string(wanted)) : result<void>();
}

result<void> set(const std::string& name, std::int64_t value) {
  return value > 0 ? write_sysctl(name, std::to_string(value)) : result<void>();
}

}  // namespace

std::uint64_t wanted_connections(const kube_proxy_settings& s, unsigned processors) noexcept {
  if (s.conntrack_per_processor == 0) return 0;
  auto scaled = std::uint64_t(s.conntrack_per_processor) * processors;
  return scaled > connections_max ? connections_max : std::max<std::uint64_t>(scaled, s.conntrack_min);
}

result<void> apply_conntrack_limits(const kube_proxy_settings& s) {
  auto most = wanted_connections(s, static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN))));
  result<void> all;
  for (auto& done :
       {raise("netfilter/nf_conntrack_max", most), raise("netfilter/nf_conntrack_buckets", most / connections_a_bucket),
        set("netfilter/nf_conntrack_tcp_timeout_established", s.tcp_established.count()),
        set("netfilter/nf_conntrack_tcp_timeout_close_wait", s.tcp_close_wait.count()),
        set("netfilter/nf_conntrack_tcp_be_liberal", s.tcp_be_liberal ? 1 : 0),
        set("netfilter/nf_conntrack_udp_timeout", s.udp.count()),
        set("netfilter/nf_conntrack_udp_timeout_stream", s.udp_stream.count())})
    if (!done && all) all = done;
  return all;
}

std::optional<tracked_connections> read_tracked_connections() {
  auto now = read_sysctl("netfilter/nf_conntrack_count"), most = read_sysctl("netfilter/nf_conntrack_max");
  if (!now || !most || *most == 0) return std::nullopt;
  return tracked_connections{.now = *now, .most = *most};
}

std::optional<bool> conntrack_fullness::see(const tracked_connections& c) noexcept {
  // Below the whole: what the kernel drops early makes room for some more.
  const bool full = c.now * 100 >= c.most * (full_ ? 80 : 95);
  if (full == full_) return std::nullopt;
  return full_ = full;
}

}  // namespace kedge::node
