// target.h: a server that others run, as a configuration names it: by URL, or as a Service of the cluster.
//
// Immutable; shared by all cores.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "json/value.h"
#include "net/tls.h"

namespace kedge::api::callout {

struct service {
  std::string ns, name;
  std::uint16_t port = 443;
};

struct target {
  std::optional<service> at;  // nullopt: the URL's host
  std::string host;           // what the certificate must be for: "svc.ns.svc", or the URL's
  std::uint16_t port = 443;
  std::string authority;  // of the Host header
  std::string path;       // begins with a slash
  std::shared_ptr<net::tls_client_context> tls;

  // "https://svc.ns.svc:443/path"
  std::string url() const { return "https://" + authority + path; }
};

// Of a clientConfig: {url | service, caBundle}. Errors are worded as kube-apiserver words them.
result<std::shared_ptr<const target>> make_target(const json::value& client_config);

}  // namespace kedge::api::callout
