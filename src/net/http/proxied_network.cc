#include "net/http/proxied_network.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "net/http/client.h"
#include "reactor/sync.h"

namespace kedge::net::http {

namespace {

constexpr auto connect_time = std::chrono::seconds(10);  // K3s's, for the proxy and what is behind it

class proxied_network final : public reactor::network {
 public:
  proxied_network(target proxy, std::string authorization, proxy_settings s, reactor::network& below)
      : proxy_(std::move(proxy)), authorization_(std::move(authorization)), settings_(std::move(s)), below_(below) {}

  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override {
    if (to.is_unix || (settings_.directly && settings_.directly(to))) co_return co_await below_.connect(std::move(to));
    auto deadline = reactor::loop::current().now() + connect_time;
    auto there = co_await reactor::with_deadline(tunnel(to), deadline);
    if (!there && there.error().code == errc::timeout)
      co_return fail(errc::timeout, fmt::format("the proxy at {} gives no way to {} within {} s", proxy_.authority(),
                                                to.text(), connect_time.count()));
    co_return there;
  }
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint& at,
                                                    const reactor::listen_options& options) override {
    return below_.listen(at, options);
  }

 private:
  task<result<std::unique_ptr<reactor::stream>>> tunnel(reactor::endpoint to) {
    client through(&below_);
    client_request r{.to = proxy_, .method = "CONNECT", .path = to.text(), .headers = {}, .body = {}};
    if (!authorization_.empty()) r.headers.add("Proxy-Authorization", authorization_);
    r.fresh = true;
    auto x = co_await through.open(std::move(r));
    if (!x) co_return fail(std::move(x).error().with("the proxy at " + proxy_.authority() + ": "));
    auto head = co_await (*x)->head();
    if (!head) co_return fail(std::move(head).error().with("the proxy at " + proxy_.authority() + ": "));
    auto status = (*head)->status;
    if (status == 407)
      co_return fail(errc::refused,
                     fmt::format("the proxy at {} {}: give it in {}, as http://user:password@{}", proxy_.authority(),
                                 authorization_.empty() ? "wants a password" : "does not accept the password",
                                 settings_.named_by, proxy_.authority()));
    if (status / 100 != 2)
      co_return fail(errc::refused, fmt::format("the proxy at {} refuses a way to {}: it answers {}",
                                                proxy_.authority(), to.text(), status));
    co_return (*x)->upgraded();
  }

  target proxy_;
  std::string authorization_;
  proxy_settings settings_;
  reactor::network& below_;
};

}  // namespace

result<std::unique_ptr<reactor::network>> make_proxied_network(proxy_settings s, reactor::network& below) {
  std::string_view text = s.url;
  std::string scheme = "http://";
  if (auto at = text.find("://"); at != std::string_view::npos) {
    scheme = lower(text.substr(0, at + 3));
    text.remove_prefix(at + 3);
  }
  if (scheme != "http://" && scheme != "https://")
    return fail(errc::unsupported, s.named_by + ": the proxy must be an http:// or https:// one");
  std::string authorization;
  if (auto at = text.rfind('@'); at != std::string_view::npos) {
    auto decoded = percent_decode(text.substr(0, at), false);
    if (!decoded) return fail(errc::invalid, s.named_by + ": its user and password can't be read");
    authorization = "Basic " + base64(as_bytes(*decoded));
    text.remove_prefix(at + 1);
  }
  std::shared_ptr<tls_client_context> tls;
  if (scheme == "https://") { KEDGE_TRY(tls, tls_client_context::make({.alpn = {"http/1.1"}})); }
  auto where = parse_url(scheme + std::string(text), std::move(tls));
  if (!where || text.empty() || text.find_first_of(" \t") != std::string_view::npos)
    return fail(errc::invalid, s.named_by + " is not a proxy such as http://10.0.0.5:3128");
  return std::make_unique<proxied_network>(std::move(where->first), std::move(authorization), std::move(s), below);
}

}  // namespace kedge::net::http
