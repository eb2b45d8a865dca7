#include "api/kinds/certificates/signer_name.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::size_t domain_max = 253, name_max = domain_max + 1 + 253 + 63 + 1;

// Of labels between dots, the first that is wrong.
void check_parts(causes& out, std::string_view text, name_check rule, const place& at) {
  for (auto part : split(text, '.')) {
    auto wrong = rule(part);
    for (auto& w : wrong)
      out.push_back(invalid_value(at, text, fmt::format("validating label {}: {}", quote(part), w)));
    if (!wrong.empty()) return;
  }
}

}  // namespace

bool is_kubernetes_signer(std::string_view name) noexcept {
  auto host = name.substr(0, name.find('/'));
  return host == "kubernetes.io" || host.ends_with(".kubernetes.io");
}

void check_signer_name(causes& out, std::string_view name, const place& at) {
  if (name.empty()) return out.push_back(required(at));
  auto slash = name.find('/');
  if (slash == name.npos || name.find('/', slash + 1) != name.npos)
    return out.push_back(
        invalid_value(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"));
  auto domain = name.substr(0, slash), path = name.substr(slash + 1);
  if (domain.size() > domain_max) out.push_back(too_long(at, domain_max));
  check_parts(out, domain, check_dns1123_label, at);
  if (domain.find('.') == domain.npos)
    out.push_back(invalid_value(at, domain, "should be a domain with at least two segments separated by dots"));
  check_parts(out, path, check_dns1123_subdomain, at);
  if (name.size() > name_max) out.push_back(too_long(at, name_max));
}

std::string signer_in_bundle_name(std::string_view bundle) {
  auto end = bundle.rfind(':');
  if (end == bundle.npos) return {};
  std::string out(bundle.substr(0, end));
  std::replace(out.begin(), out.end(), ':', '/');
  return out;
}

problems check_trust_bundle_name(std::string_view name, std::string_view signer) {
  if (signer.empty()) {
    if (name.find(':') != name.npos) return {"ClusterTrustBundle without signer name must not have \":\" in its name"};
    return check_dns1123_subdomain(name);
  }
  std::string prefix(signer);
  std::replace(prefix.begin(), prefix.end(), '/', ':');
  prefix += ':';
  if (!name.starts_with(prefix))
    return {fmt::format("ClusterTrustBundle for signerName {} must be named with prefix {}", signer, prefix)};
  return check_dns1123_subdomain(name.substr(prefix.size()));
}

}  // namespace kedge::api
