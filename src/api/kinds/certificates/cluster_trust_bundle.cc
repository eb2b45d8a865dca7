// cluster_trust_bundle.cc: ClusterTrustBundle.
#include <fmt/format.h>

#include <map>

#include "api/kinds/certificates/signer_name.h"
#include "api/registry/kind_rules.h"
#include "crypto/certificate.h"
#include "crypto/pem.h"

namespace kedge::api {
namespace {

constexpr std::size_t bundle_max_bytes = 1024 * 1024;

void check_bundle(causes& out, std::string_view text, const place& at) {
  if (text.size() > bundle_max_bytes) return out.push_back(too_long(at, bundle_max_bytes));
  auto wrong = [&](const std::string& why) { out.push_back(invalid_value(at, "<value omitted>", why)); };
  const auto before = out.size();
  auto blocks = crypto::parse_pem(text);
  std::map<std::string_view, std::string> where;  // indexes of equal ones
  for (std::size_t i = 0; blocks && i < blocks->size(); ++i) {
    auto& b = (*blocks)[i];
    if (b.type != "CERTIFICATE") {
      wrong(fmt::format("entry {} has bad block type: {}", i, b.type));
      continue;
    }
    auto c = crypto::certificate::from_der(as_bytes(b.der));
    if (!c) {
      wrong(fmt::format("entry {} does not parse as X.509", i));
    } else if (!c->is_authority()) {
      wrong(fmt::format("entry {} does not have the CA bit set", i));
    } else {
      auto& list = where[b.der];
      list += (list.empty() ? "" : " ") + std::to_string(i);
    }
  }
  if (out.size() > before) return;
  if (where.empty()) wrong("at least one trust anchor must be provided");
  for (auto& [der, list] : where)
    if (list.find(' ') != list.npos) wrong(fmt::format("duplicate trust anchor (indices [{}])", list));
}

void check(causes& out, const json::value& o, bool with_bundle) {
  auto signer = o["spec"]["signerName"].as_string();
  auto& name = o["metadata"]["name"];
  add_problems(out, "metadata.name", name, check_trust_bundle_name(name.as_string(), signer));
  if (!signer.empty()) check_signer_name(out, signer, "spec.signerName");
  if (with_bundle) check_bundle(out, o["spec"]["trustBundle"].as_string(), "spec.trustBundle");
}

void validate(causes& out, const json::value& o) { check(out, o, true); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto &now = o["spec"], &before = old["spec"];
  check(out, o, !(now["trustBundle"] == before["trustBundle"]));
  immutable(out, now["signerName"].as_string(), before["signerName"].as_string(), "spec.signerName");
}

}  // namespace

const kind_rules kinds::cluster_trust_bundles{.group = "certificates.k8s.io",
                                              .resource = "clustertrustbundles",
                                              .name = check_path_segment,
                                              .unconditional_update = false,
                                              .validate = validate,
                                              .validate_update = validate_update};

}  // namespace kedge::api
