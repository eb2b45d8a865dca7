#include "node/join/http_proxy.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/strings.h"
#include "net/http/client.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

constexpr auto connect_time = std::chrono::seconds(10);  // K3s's, for the proxy and what is behind it

bool is_true(std::string_view text) {
  auto t = lower(text);
  return t == "1" || t == "t" || t == "true";
}

class proxied_network final : public reactor::network {
 public:
  proxied_network(net::http::target proxy, std::string authorization, std::string no_proxy, reactor::network& below)
      : proxy_(std::move(proxy)),
        authorization_(std::move(authorization)),
        no_proxy_(std::move(no_proxy)),
        below_(below) {}

  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override {
    if (to.is_unix || goes_directly(to.address, to.port, no_proxy_)) co_return co_await below_.connect(std::move(to));
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
    net::http::client client(&below_);
    net::http::client_request r{.to = proxy_, .method = "CONNECT", .path = to.text(), .headers = {}, .body = {}};
    if (!authorization_.empty()) r.headers.add("Proxy-Authorization", authorization_);
    r.fresh = true;
    auto x = co_await client.open(std::move(r));
    if (!x) co_return fail(std::move(x).error().with("the proxy at " + proxy_.authority() + ": "));
    auto head = co_await (*x)->head();
    if (!head) co_return fail(std::move(head).error().with("the proxy at " + proxy_.authority() + ": "));
    auto status = (*head)->status;
    if (status == 407)
      co_return fail(
          errc::refused,
          fmt::format("the proxy at {} {}: give it in HTTPS_PROXY, as http://user:password@{}", proxy_.authority(),
                      authorization_.empty() ? "wants a password" : "does not accept the password",
                      proxy_.authority()));
    if (status / 100 != 2)
      co_return fail(errc::refused, fmt::format("the proxy at {} refuses a way to {}: it answers {}",
                                                proxy_.authority(), to.text(), status));
    co_return (*x)->upgraded();
  }

  net::http::target proxy_;
  std::string authorization_, no_proxy_;
  reactor::network& below_;
};

}  // namespace

std::optional<proxy_environment> proxy_of(const std::function<std::optional<std::string>(std::string_view)>& variable) {
  if (auto allowed = variable("K3S_AGENT_HTTP_PROXY_ALLOWED"); !allowed || !is_true(*allowed)) return std::nullopt;
  auto either = [&](std::string_view upper_case) {
    auto text = variable(upper_case);
    return text && !text->empty() ? *text : variable(lower(upper_case)).value_or("");
  };
  proxy_environment e{.proxy = either("HTTPS_PROXY"), .no_proxy = either("NO_PROXY")};
  return e.proxy.empty() ? std::nullopt : std::optional(std::move(e));
}

bool goes_directly(std::string_view host, std::uint16_t port, std::string_view no_proxy) {
  auto address = ip_address::parse(host);
  auto name = lower(host);
  if (name == "localhost" || (address && address->is_loopback())) return true;
  for (auto part : split(no_proxy, ',')) {
    auto text = lower(trim(part));
    if (text.empty()) continue;
    if (text == "*") return true;
    if (auto range = ip_range::parse(text)) {
      if (address && range->contains(*address)) return true;
      continue;
    }
    // A port may stand behind it, unless it is an IPv6 address.
    if (auto colon = text.rfind(':'); colon != std::string::npos && text.find(':') == colon) {
      auto wanted = parse_uint(std::string_view(text).substr(colon + 1));
      if (!wanted || *wanted != port) continue;
      text.resize(colon);
    }
    if (auto own = ip_address::parse(text)) {
      if (address && *own == *address) return true;
      continue;
    }
    if (text.starts_with("*.")) text.erase(0, 1);
    bool below_only = text.starts_with('.');
    if (below_only ? name.ends_with(text) : name == text || name.ends_with("." + text)) return true;
  }
  return false;
}

result<std::unique_ptr<reactor::network>> make_proxied_network(const proxy_environment& e, reactor::network& below) {
  std::string_view text = e.proxy;
  std::string scheme = "http://";
  if (auto at = text.find("://"); at != std::string_view::npos) {
    scheme = lower(text.substr(0, at + 3));
    text.remove_prefix(at + 3);
  }
  if (scheme != "http://" && scheme != "https://")
    return fail(errc::unsupported, "HTTPS_PROXY: the proxy must be an http:// or https:// one");
  std::string authorization;
  if (auto at = text.rfind('@'); at != std::string_view::npos) {
    auto decoded = percent_decode(text.substr(0, at), false);
    if (!decoded) return fail(errc::invalid, "HTTPS_PROXY: its user and password can't be read");
    authorization = "Basic " + base64(as_bytes(*decoded));
    text.remove_prefix(at + 1);
  }
  std::shared_ptr<net::tls_client_context> tls;
  if (scheme == "https://") { KEDGE_TRY(tls, net::tls_client_context::make({.alpn = {"http/1.1"}})); }
  auto where = net::http::parse_url(scheme + std::string(text), std::move(tls));
  if (!where || text.empty() || text.find_first_of(" \t") != std::string_view::npos)
    return fail(errc::invalid, "HTTPS_PROXY is not a proxy such as http://10.0.0.5:3128");
  return std::make_unique<proxied_network>(std::move(where->first), std::move(authorization), e.no_proxy, below);
}

}  // namespace kedge::node
