#include "node/join/http_proxy.h"

#include "base/ip.h"
#include "base/strings.h"
#include "net/http/proxied_network.h"

namespace kedge::node {

namespace {

bool is_true(std::string_view text) {
  auto t = lower(text);
  return t == "1" || t == "t" || t == "true";
}

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
  return net::http::make_proxied_network(
      {.url = e.proxy,
       .named_by = "HTTPS_PROXY",
       .directly = [no_proxy = e.no_proxy](
                       const reactor::endpoint& to) { return goes_directly(to.address, to.port, no_proxy); }},
      below);
}

}  // namespace kedge::node
