#include "server/egress.h"

#include "base/ip.h"
#include "base/strings.h"
#include "reactor/offload.h"

namespace kedge::server {

task<result<std::unique_ptr<reactor::stream>>> egress::to_endpoint(std::string address, std::uint16_t port,
                                                                   std::string node) {
  return dialer_->dial_proxied(std::move(address), port, std::move(node));
}

task<result<std::unique_ptr<reactor::stream>>> egress::to_host(std::string host, std::uint16_t port) {
  if (ip_address::parse(host)) co_return co_await dialer_->dial_address(std::move(host), port);
  KEDGE_CO_TRY(auto addresses, co_await reactor::resolve(host));
  error last{errc::not_found, "dial tcp: lookup " + host + ": no such host"};
  for (auto& a : addresses) {
    auto s = co_await dialer_->dial_address(a, port);
    if (s) co_return s;
    last = std::move(s).error();
  }
  co_return fail(std::move(last));
}

}  // namespace kedge::server
