#include "node/identity_keeper.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "node/limits.h"
#include "node/machine/certificates.h"
#include "node/machine/system_info.h"
#include "reactor/offload.h"

namespace kedge::node {

identity_keeper::seen identity_keeper::look_at(const agent_config& c, const parts& p, wall_time now) {
  auto why = reason_to_ask_again(c.data_dir, now);
  seen s{.reason = std::move(why.text), .missing = why.missing, .addresses = {}};
  if (p.follows_addresses)
    if (auto found = p.addresses()) s.addresses = *std::move(found);
  return s;
}

task<void> identity_keeper::run() {
  auto& loop = reactor::loop::current();
  for (auto report_at = loop.now();;) {
    if (loop.now() >= report_at) {
      co_await report();
      report_at = loop.now() + certificate_report_interval;
    }
    (void)co_await asked_.wait_until(loop.now() + identity_look_interval);
    asked_.reset();
    if (auto why = std::exchange(ask_for_, {}); !why.empty())
      co_await renew(std::move(why));
    else
      co_await look();
  }
}

void identity_keeper::ask_again(std::string why) {
  ask_for_ = std::move(why);
  asked_.set();
}

task<void> identity_keeper::look() {
  auto now = reactor::loop::current().wall_now();
  auto found = co_await reactor::offload([c = parts_.config, p = parts_, now] { return look_at(c, p, now); });
  if (!found) co_return;
  auto why = std::move(found->reason);
  auto addresses = std::move(found->addresses), current = parts_.config.node_ips;
  std::ranges::sort(addresses);
  std::ranges::sort(current);
  // A machine between two addresses has none, or one for a moment: what is seen twice counts.
  bool moved = !addresses.empty() && addresses != current && addresses == last_;
  last_ = addresses;
  if (moved) {
    log::info("this machine's addresses are {} now, and were {}", join(addresses, ", "), join(current, ", "));
    parts_.moved(addresses);
    why = "the node's addresses changed";
  }
  const bool other_authorities = ++looks_ % authorities_look_every == 0 && co_await parts_.authorities_changed();
  if (other_authorities) why = "the cluster's authorities are others";
  // Where certificates are made that end sooner than the window, each new one would be asked for again.
  auto& loop = reactor::loop::current();
  if (why.empty() || (!moved && !other_authorities && !found->missing && loop.now() < again_at_)) co_return;
  co_await renew(std::move(why));
  again_at_ = loop.now() + certificate_renewal_pause;
}

task<void> identity_keeper::renew(std::string why) {
  auto config = parts_.config;
  config.start_without_server = false;
  log::info("the node's certificates are asked for again: {}", why);
  auto done = co_await register_node(std::move(config), parts_.password, parts_.network, parts_.server_ca());
  auto used = done ? co_await parts_.use(*done) : result<void>(fail(done.error()));
  if (!used) log::warning("the node's certificates can't be renewed: {}", used.error().message);
  if (used) co_await report();
}

task<void> identity_keeper::report() {
  auto now = reactor::loop::current().wall_now();
  auto said = co_await reactor::offload([dir = parts_.config.data_dir, now] { return report_certificates(dir, now); });
  if (!said) co_return;
  metrics_ = std::move(said->metrics);
  if (!said->leaves.empty())
    co_await parts_.tell("Warning", "CertificateExpirationWarning",
                         "Node certificates require attention - they are renewed while the node runs, and could not be "
                         "yet: " +
                             join(said->leaves, "; "));
  if (!said->authorities.empty())
    co_await parts_.tell("Warning", "CACertificateExpirationWarning",
                         "Certificate Authority certificates require attention - begin planning rotation: " +
                             join(said->authorities, "; "));
  if (said->leaves.empty() && said->authorities.empty() && !std::exchange(told_ok_, true))
    co_await parts_.tell("Normal", "CertificateExpirationOK",
                         "Node and Certificate Authority certificates managed by kedge are OK");
  told_ok_ = true;
}

}  // namespace kedge::node
