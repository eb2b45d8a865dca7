// aggregated_servers.h: the way to API servers behind this one (api/aggregation/backend.h).
//
//   request ─▶ an endpoint of the service ─▶ node_dialer ─▶ TLS, known as <service>.<namespace>.svc ─▶ forward.h
//
// This server shows the front proxy's client certificate and says in headers who asks; what the client says of that is
// left out. One object a core.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/aggregation/backend.h"
#include "api/objects.h"
#include "supervisor/pod_network.h"

namespace kedge::supervisor {

// Who this server is to those that trust it to say who asks: PEM.
struct front_proxy {
  std::string chain_pem, key_pem;
};

class aggregated_servers final : public api::aggregation::backend {
 public:
  aggregated_servers(node_dialer& dialer, api::objects& objects, front_proxy self);

  // From now on, on new connections: the certificate was renewed.
  void use(front_proxy self);

  task<int> forward(net::http::exchange& e, api::aggregation::api_service_ref to, own_part own) override;
  result<api::aggregation::endpoint_address> resolve(const api::aggregation::api_service& to) override;
  task<result<net::http::client_response>> get(api::aggregation::api_service_ref to,
                                               api::aggregation::endpoint_address at, std::string path,
                                               net::http::headers headers, api::user_ref as,
                                               std::size_t body_most) override;

 private:
  using context = std::shared_ptr<net::tls_client_context>;
  // Equal for equal ones, so that connections are shared.
  result<context> tls_for(const api::aggregation::api_service& to, bool upgrade);
  result<net::http::target> target_of(const api::aggregation::api_service& to,
                                      const api::aggregation::endpoint_address& at, bool upgrade);

  api::objects& objects_;
  front_proxy self_;
  pod_network network_;
  net::http::client http_;
  std::map<std::string, context> contexts_;
};

// The headers that say who asks. errc::invalid: names that a header can't tell as they are, of which its reader would
// make another's (control characters, blanks around it).
result<net::http::headers> remote_headers(const api::user_info& who);

}  // namespace kedge::supervisor
