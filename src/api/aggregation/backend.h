// backend.h: the way to other API servers. What makes one knows nodes, tunnels and who this server is to them.
#pragma once

#include <string>

#include "api/aggregation/endpoint.h"
#include "api/aggregation/services.h"
#include "api/request/user.h"
#include "net/http/client.h"

namespace kedge::api::aggregation {

class backend {
 public:
  virtual ~backend() = default;

  // What this server adds of its own.
  struct own_part {
    user_ref as;  // who asks; what the request says of that is left out
    std::string audit_id;
    net::http::headers answer;  // of the answer's, where the service has none of that name
    net::http::headers trace;   // which the request is a part of, instead of what it says itself
  };
  // The request as it came, to the service and back. Gives the answer's code; 0: none was sent.
  virtual task<int> forward(net::http::exchange& e, api_service_ref to, own_part own) = 0;

  // One of its endpoints; choose_endpoint's errors.
  virtual result<endpoint_address> resolve(const api_service& to) = 0;
  // GET of that endpoint, in the aggregator's own name. The deadline is the caller's.
  virtual task<result<net::http::client_response>> get(api_service_ref to, endpoint_address at, std::string path,
                                                       net::http::headers headers, user_ref as,
                                                       std::size_t body_most) = 0;
};

}  // namespace kedge::api::aggregation
