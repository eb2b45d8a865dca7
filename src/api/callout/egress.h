// egress.h: the way out, given from above: a server knows tunnels to its nodes, a test only its own machine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "reactor/stream.h"

namespace kedge::api::callout {

class egress {
 public:
  virtual ~egress() = default;
  // An endpoint of a Service, whose `node` may be empty; or the name that an ExternalName Service gives. What objects
  // say of addresses is dialled only where it may be another host's: errc::forbidden.
  virtual task<result<std::unique_ptr<reactor::stream>>> to_endpoint(std::string address, std::uint16_t port,
                                                                     std::string node) = 0;
  // The host of a URL: a name, or an address of whatever kind.
  virtual task<result<std::unique_ptr<reactor::stream>>> to_host(std::string host, std::uint16_t port) = 0;
};

}  // namespace kedge::api::callout
