// kube_proxy_arguments.cc: --kube-proxy-arg, as far as it means something here. A setting that works is set; one that
// kube-proxy knows and that means nothing here is warned of; any other is an error, as it is with kube-proxy.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/strings.h"
#include "cli/options_load.h"

namespace kedge::cli {

namespace {

using node::kube_proxy_settings;

result<void> boolean(std::string_view text, bool& to) {
  if (text != "true" && text != "false") return fail(errc::invalid, quote(text) + " is neither true nor false");
  to = text == "true";
  return {};
}

result<void> number(std::string_view text, std::uint32_t& to) {
  auto n = parse_uint(text);
  if (!n || *n > std::numeric_limits<std::int32_t>::max())
    return fail(errc::invalid, quote(text) + " is not a number from 0 to 2147483647");
  to = static_cast<std::uint32_t>(*n);
  return {};
}

result<void> seconds(std::string_view text, std::chrono::seconds& to) {
  KEDGE_TRY(auto d, parse_duration(text));
  if (d < duration(0)) return fail(errc::invalid, quote(text) + " is less than nothing");
  to = std::chrono::duration_cast<std::chrono::seconds>(d);
  return {};
}

struct setting {
  std::string_view name;
  result<void> (*read)(kube_proxy_settings& to, std::string_view text);
};

const setting table[] = {
    {"conntrack-max-per-core", [](auto& to, auto text) { return number(text, to.conntrack_per_processor); }},
    {"conntrack-min", [](auto& to, auto text) { return number(text, to.conntrack_min); }},
    {"conntrack-tcp-be-liberal", [](auto& to, auto text) { return boolean(text, to.tcp_be_liberal); }},
    {"conntrack-tcp-timeout-close-wait", [](auto& to, auto text) { return seconds(text, to.tcp_close_wait); }},
    {"conntrack-tcp-timeout-established", [](auto& to, auto text) { return seconds(text, to.tcp_established); }},
    {"conntrack-udp-timeout", [](auto& to, auto text) { return seconds(text, to.udp); }},
    {"conntrack-udp-timeout-stream", [](auto& to, auto text) { return seconds(text, to.udp_stream); }},
    {"masquerade-all", [](auto& to, auto text) { return boolean(text, to.masquerade_all); }},
};

constexpr std::string_view own_way = "Kedge's node sets the rules of Services itself, in nftables";
constexpr std::string_view not_yet = "Kedge's node doesn't do this yet";

// What else kube-proxy 1.37 knows, and why it means nothing here.
struct meaningless {
  std::string_view name, reason;
};
constexpr meaningless no_meaning[] = {
    {"bind-address", not_yet},
    {"bind-address-hard-fail", not_yet},
    {"cleanup", own_way},
    {"cluster-cidr", own_way},
    {"config", not_yet},
    {"config-sync-period", own_way},
    {"detect-local-mode", not_yet},
    {"feature-gates", own_way},
    {"healthz-bind-address", not_yet},
    {"healthz-port", not_yet},
    {"hostname-override", own_way},
    {"init-only", own_way},
    {"iptables-localhost-nodeports", own_way},
    {"iptables-masquerade-bit", own_way},
    {"iptables-min-sync-period", own_way},
    {"iptables-sync-period", own_way},
    {"ipvs-exclude-cidrs", own_way},
    {"ipvs-min-sync-period", own_way},
    {"ipvs-scheduler", own_way},
    {"ipvs-strict-arp", own_way},
    {"ipvs-sync-period", own_way},
    {"ipvs-tcp-timeout", own_way},
    {"ipvs-tcpfin-timeout", own_way},
    {"ipvs-udp-timeout", own_way},
    {"kube-api-burst", own_way},
    {"kube-api-content-type", own_way},
    {"kube-api-qps", own_way},
    {"kubeconfig", own_way},
    {"master", own_way},
    {"metrics-bind-address", not_yet},
    {"metrics-port", not_yet},
    {"nodeport-addresses", not_yet},
    {"oom-score-adj", own_way},
    {"pod-bridge-interface", own_way},
    {"pod-interface-name-prefix", own_way},
    {"profiling", not_yet},
    {"proxy-mode", own_way},
    {"show-hidden-metrics-for-version", not_yet},
    {"v", own_way},
    {"write-config-to", own_way},
};

}  // namespace

result<kube_proxy_settings> read_kube_proxy_arguments(std::span<const std::string> arguments,
                                                      std::vector<std::string>& warnings) {
  kube_proxy_settings read;
  for (std::string_view text : arguments) {
    while (text.starts_with('-')) text.remove_prefix(1);
    const auto equals = text.find('=');
    const auto name = text.substr(0, equals);
    if (auto s = std::ranges::find(table, name, &setting::name); s != std::end(table)) {
      if (auto done = s->read(read, text.substr(equals + 1)); !done)
        return fail(std::move(done).error().with(fmt::format("--kube-proxy-arg={}: ", name)));
    } else if (auto m = std::ranges::find(no_meaning, name, &meaningless::name); m != std::end(no_meaning)) {
      warnings.push_back(fmt::format("--kube-proxy-arg={} has no effect: {}", name, m->reason));
    } else {
      return fail(errc::invalid, fmt::format("--kube-proxy-arg={}: kube-proxy has no such setting", name));
    }
  }
  return read;
}

}  // namespace kedge::cli
