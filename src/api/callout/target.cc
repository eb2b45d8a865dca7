#include "api/callout/target.h"

#include <map>
#include <mutex>
#include <vector>

#include "base/strings.h"
#include "net/http/client.h"

namespace kedge::api::callout {
namespace {

// TLS settings by the authorities that they trust: to load the system's takes milliseconds, and connections are kept by
// them. The mutex is taken when a configuration changes, never on a request's way; entries keep nothing alive.
class shared_trust {
 public:
  result<std::shared_ptr<net::tls_client_context>> get(const std::string& pem) {
    std::lock_guard lock(mutex_);
    std::erase_if(known_, [](auto& e) { return e.second.expired(); });
    auto& entry = known_[pem];
    if (auto made = entry.lock()) return made;
    net::tls_client_options options{.alpn = {"http/1.1"}};
    if (!pem.empty()) options.ca_pem = pem;
    auto made = net::tls_client_context::make(options);
    if (!made) return fail(errc::invalid, "unable to load root certificates: unable to parse bytes as PEM block");
    entry = *made;
    return made;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<net::tls_client_context>> known_;
};

// As Go's path.Join makes it: one slash between steps, none at the end.
std::string clean_path(std::string_view text) {
  std::vector<std::string_view> steps;
  for (auto step : split(text, '/')) {
    if (step.empty() || step == ".") continue;
    if (step == "..") {
      if (!steps.empty()) steps.pop_back();
    } else {
      steps.push_back(step);
    }
  }
  std::string out;
  for (auto step : steps) (out += '/') += step;
  return out.empty() ? "/" : out;
}

result<std::shared_ptr<net::tls_client_context>> trust_of(const json::value& bundle) {
  static shared_trust one;
  auto pem = unbase64(bundle.as_string());
  if (!pem) return fail(errc::invalid, "the CA bundle is no base64 text: " + pem.error().message);
  return one.get(trim(*pem).empty() ? std::string() : *pem);
}

}  // namespace

result<std::shared_ptr<const target>> make_target(const json::value& config) {
  auto out = std::make_shared<target>();
  KEDGE_TRY(out->tls, trust_of(config["caBundle"]));
  if (auto& s = config["service"]; s.is_object()) {
    service at{.ns = std::string(s["namespace"].as_string()), .name = std::string(s["name"].as_string())};
    if (auto port = s["port"].as_integer(); port > 0 && port < 65536) at.port = static_cast<std::uint16_t>(port);
    out->port = at.port;
    out->host = at.name + "." + at.ns + ".svc";
    out->authority = out->host + ":" + std::to_string(at.port);
    out->path = clean_path(s["path"].as_string());
    out->at = std::move(at);
    return out;
  }
  auto url = config["url"].as_string();
  if (url.empty()) return fail(errc::invalid, "webhook configuration must have either service or URL");
  auto parsed = net::http::parse_url(url, out->tls);
  if (!parsed) return fail(errc::invalid, "Unparsable URL: " + parsed.error().message);
  auto& [to, path] = *parsed;
  out->host = to.host;
  out->port = to.at.port;
  auto rest = url.substr(url.find("://") + 3);
  out->authority = rest.substr(0, rest.find_first_of("/?#"));
  out->path = clean_path(path.substr(0, path.find('?')));
  return out;
}

}  // namespace kedge::api::callout
