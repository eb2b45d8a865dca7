// egress.h: how this server reaches webhooks: through the tunnels of nodes where --egress-selector-mode says so.
#pragma once

#include "api/callout/egress.h"
#include "supervisor/node_dialer.h"

namespace kedge::server {

class egress final : public api::callout::egress {
 public:
  // Before the first call. It outlives this.
  void lead_through(supervisor::node_dialer& dialer) { dialer_ = &dialer; }

  task<result<std::unique_ptr<reactor::stream>>> to_endpoint(std::string address, std::uint16_t port,
                                                             std::string node) override;
  task<result<std::unique_ptr<reactor::stream>>> to_host(std::string host, std::uint16_t port) override;

 private:
  supervisor::node_dialer* dialer_ = nullptr;
};

}  // namespace kedge::server
