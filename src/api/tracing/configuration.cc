#include "api/tracing/configuration.h"

#include <fmt/format.h>

#include "api/configuration/fields.h"
#include "base/strings.h"

namespace kedge::api::tracing {
namespace {

constexpr std::int64_t all = 1'000'000;
constexpr std::uint16_t usual_port = 443;  // gRPC's, of a name without one

std::string invalid(std::string_view value, std::string_view why) {
  return fmt::format("Invalid value: {}: {}", value, why);
}

// The scheme, as kube-apiserver finds it; empty when there is none.
std::string_view scheme_of(std::string_view endpoint) {
  if (endpoint.find("//") == endpoint.npos) return {};
  return endpoint.substr(0, endpoint.find(':'));
}

bool is_known(std::string_view scheme) {
  return scheme.empty() || scheme == "dns" || scheme == "unix" || scheme == "unix-abstract";
}

}  // namespace

result<settings> parse_configuration(std::string_view text) {
  settings out;
  if (trim(text).empty()) return out;
  KEDGE_TRY(auto document, read_document(text, "TracingConfiguration",
                                         {"apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1",
                                          "apiserver.config.k8s.io/v1alpha1"}));
  findings found;
  fields f(document, "", found);
  for (auto name : {"apiVersion", "kind"}) (void)f.any(name);
  out.endpoint = f.text("endpoint", out.endpoint);
  if (const auto rate = f.number("samplingRatePerMillion")) {
    if (*rate < 0) f.wrong("samplingRatePerMillion", invalid(std::to_string(*rate), "sampling rate must be positive"));
    if (*rate > all)
      f.wrong("samplingRatePerMillion",
              invalid(std::to_string(*rate), "sampling rate per million must be less than or equal to one million"));
    out.per_million = static_cast<std::uint32_t>(*rate);
  }
  if (auto scheme = scheme_of(out.endpoint); !is_known(scheme))
    f.wrong("endpoint",
            invalid(quote(out.endpoint),
                    fmt::format("unsupported scheme: {}.  Options are none, dns, unix, or unix-abstract.  See "
                                "https://github.com/grpc/grpc/blob/master/doc/naming.md",
                                scheme)));
  else if (auto at = found.wrong.empty() ? target_of(out.endpoint) : net::http::target(); !at)
    f.wrong("endpoint", invalid(quote(out.endpoint), at.error().message));
  f.done();
  for (auto& name : found.unknown) found.wrong.push_back(name);
  KEDGE_CHECK(found.verdict());
  return out;
}

result<net::http::target> target_of(std::string_view endpoint) {
  for (auto scheme : {std::string_view("unix:"), std::string_view("unix-abstract:")}) {
    if (!endpoint.starts_with(scheme)) continue;
    auto path = endpoint.substr(scheme.size());
    if (path.starts_with("//")) path.remove_prefix(2);
    if (path.empty()) return fail(errc::invalid, "has no path");
    const bool is_abstract = scheme.size() > 5;
    return net::http::target{
        .at = reactor::endpoint::unix_path((is_abstract ? std::string(1, '\0') : std::string()) + std::string(path)),
        .host = {},
        .tls = nullptr};
  }
  if (endpoint.starts_with("dns:")) {
    endpoint.remove_prefix(4);
    // dns://who-resolves/host: which resolver is the machine's own affair here.
    if (endpoint.starts_with("//")) endpoint = endpoint.substr(std::min(endpoint.find('/', 2), endpoint.size()));
    if (endpoint.starts_with('/')) endpoint.remove_prefix(1);
  }
  auto host = endpoint;
  std::uint16_t port = usual_port;
  const auto colon = endpoint.rfind(':');
  const bool is_bare_v6 = colon != endpoint.npos && endpoint.find(':') != colon && !endpoint.starts_with('[');
  if (colon != endpoint.npos && !is_bare_v6 && !endpoint.ends_with(']')) {
    host = endpoint.substr(0, colon);
    const auto number = parse_uint(endpoint.substr(colon + 1));
    if (!number || *number == 0 || *number > 65535) return fail(errc::invalid, "has no port");
    port = static_cast<std::uint16_t>(*number);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) return fail(errc::invalid, "has no host");
  return net::http::target{.at = {{}, port}, .host = std::string(host), .tls = nullptr};
}

}  // namespace kedge::api::tracing
