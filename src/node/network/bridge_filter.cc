#include "node/network/bridge_filter.h"

#include "base/log.h"
#include "base/strings.h"
#include "node/network/limits.h"
#include "node/network/sysctl.h"
#include "reactor/offload.h"
#include "reactor/process.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

constexpr const char* switches[] = {"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"};

// What modprobe says against it; empty: it is loaded.
task<result<std::string>> load() {
  KEDGE_CO_TRY(auto child, reactor::process::spawn({.argv = {"modprobe", "br_netfilter"}, .capture_output = true}));
  KEDGE_CO_TRY(auto said, co_await child.output(modprobe_output_max));
  KEDGE_CO_TRY(int code, co_await child.wait());
  if (code == 0) co_return std::string();
  co_return said.empty() ? "modprobe ended with " + std::to_string(code) : std::string(trim(said));
}

}  // namespace

task<void> load_bridge_filter() {
  auto there = co_await reactor::offload([] { return has_sysctl(switches[0]); });
  if (there && *there) co_return;
  auto done = co_await reactor::with_deadline(load(), reactor::loop::current().now() + modprobe_timeout);
  auto problem = done ? *done : done.error().message;
  if (problem.empty()) {
    log::info("the kernel's module br_netfilter is loaded");
    co_return;
  }
  log::warning(
      "the kernel's module br_netfilter can't be loaded: Services and network policies don't hold between pods of this "
      "node: {}",
      problem);
}

result<void> filter_bridged_packets() {
  for (auto* name : switches) KEDGE_CHECK(write_sysctl(name, "1"));
  return {};
}

}  // namespace kedge::node
