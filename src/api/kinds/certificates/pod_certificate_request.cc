// pod_certificate_request.cc: PodCertificateRequest: what a kubelet asks of a signer for a pod, and what may be
// answered.
#include <fmt/format.h>

#include "api/kinds/certificates/signer_name.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/pem.h"
#include "crypto/request.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::size_t uid_max = 128, request_max_bytes = 10 * 1024, chain_max_bytes = 100 * 1024;
constexpr std::int64_t hour = 3600, kubernetes_max = 24 * hour, others_max = 91 * 24 * hour;
constexpr auto refresh_margin = std::chrono::minutes(10);

void check_names(causes& out, const json::value& spec, const place& at) {
  constexpr std::pair<const char*, const char*> who[] = {
      {"podName", "podUID"}, {"serviceAccountName", "serviceAccountUID"}, {"nodeName", "nodeUID"}};
  for (auto& [name, uid] : who) {
    add_problems(out, place(at, name), spec[name].as_string(), check_dns1123_subdomain(spec[name].as_string()));
    auto text = spec[uid].as_string();
    if (text.empty()) out.push_back(invalid_value(place(at, uid), text, "must not be empty"));
    if (text.size() > uid_max) out.push_back(too_long(place(at, uid), uid_max));
  }
}

void check_request(causes& out, const json::value& spec, const place& at) {
  const place here(at, "stubPKCS10Request");
  auto der = unbase64(spec["stubPKCS10Request"].as_string());
  if (!der || der->empty())
    return out.push_back(
        invalid_whatever(at, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"));
  if (der->size() > request_max_bytes) return out.push_back(too_long(here, request_max_bytes));
  if (!crypto::public_key_of_request(as_bytes(*der)))
    return out.push_back(invalid_whatever(here, "must be a valid PKCS#10 CSR"));
  if (!crypto::parse_request(crypto::request_pem(as_bytes(*der))))
    out.push_back(invalid_whatever(here, "invalid signature"));
}

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  const place at("spec");
  auto signer = spec["signerName"].as_string();
  check_signer_name(out, signer, place(at, "signerName"));
  if (auto notes = spec["unverifiedUserAnnotations"].object())
    check_user_annotations(out, *notes, place(at, "unverifiedUserAnnotations"));
  check_names(out, spec, at);
  auto& seconds = spec["maxExpirationSeconds"];
  if (seconds.is_null()) return out.push_back(required(place(at, "maxExpirationSeconds"), "must be set"));
  const auto most = is_kubernetes_signer(signer) ? kubernetes_max : others_max;
  if (seconds.as_integer() < hour || seconds.as_integer() > most)
    out.push_back(invalid_value(place(at, "maxExpirationSeconds"), seconds,
                                fmt::format("must be in the range [{}, {}]", hour, most)));
  check_request(out, spec, at);
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  if (o["spec"] == old["spec"]) return;
  auto shown = internal_form("certificates/v1.PodCertificateRequestSpec", o["spec"]);
  // Members of a version that is gone stand in there still.
  json::object with_gone;
  for (auto& m : *shown.object()) {
    if (m.name == "StubPKCS10Request")
      for (auto gone : {"PKIXPublicKey", "ProofOfPossession"}) with_gone.set(gone, nullptr);
    with_gone.set(m.name, m.value);
  }
  out.push_back(invalid_value("spec", std::move(with_gone), "field is immutable"));
}

bool has_condition(const json::value& o, std::string_view type) {
  auto& list = o["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return true;
  return false;
}

bool is_decided(const json::value& o) {
  return has_condition(o, "Issued") || has_condition(o, "Denied") || has_condition(o, "Failed");
}

void check_known_conditions(causes& out, const json::value& list, const place& at) {
  std::size_t known = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto index = fmt::format("[{}]", i);  // which stands between dots in the real server's path
    const place of_condition(at, index);
    auto type = list[i]["type"].as_string();
    if (type != "Issued" && type != "Denied" && type != "Failed") {
      out.push_back(not_supported(place(of_condition, "type"), type, {"Issued", "Denied", "Failed"}));
      continue;
    }
    if (++known > 1)
      out.push_back(
          invalid_value(place(of_condition, "type"), type,
                        "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\""));
    if (auto status = list[i]["status"].as_string(); status != "True")
      out.push_back(not_supported(place(of_condition, "status"), status, {"True"}));
  }
}

std::optional<wall_time> time_of(const json::value& v) {
  auto t = parse_rfc3339(v.as_string());
  return t ? std::optional(*t) : std::nullopt;
}

void check_times(causes& out, const json::value& o, const crypto::certificate& leaf) {
  auto& status = o["status"];
  const place at("status"), of_chain(at, "certificateChain");
  const auto before = out.size();
  for (auto member : {"notBefore", "notAfter"})
    if (status[member].is_null())
      out.push_back(required(place(at, member), "must be present and consistent with the issued certificate"));
  if (status["beginRefreshAt"].is_null())
    out.push_back(
        required(place(at, "beginRefreshAt"), "must be present and in the range [notbefore+10min, notafter-10min]"));
  if (out.size() > before) return;
  auto begin = time_of(status["notBefore"]), end = time_of(status["notAfter"]),
       refresh = time_of(status["beginRefreshAt"]);
  if (!begin || *begin != leaf.not_before())
    return out.push_back(invalid_value(place(at, "notBefore"), status["notBefore"],
                                       "must be set to the NotBefore time encoded in the leaf certificate"));
  if (!end || *end != leaf.not_after())
    return out.push_back(invalid_value(place(at, "notAfter"), status["notAfter"],
                                       "must be set to the NotAfter time encoded in the leaf certificate"));
  const auto lifetime = std::chrono::duration_cast<std::chrono::seconds>(*end - *begin);
  const auto most = o["spec"]["maxExpirationSeconds"].as_integer();
  if (lifetime.count() < hour)
    return out.push_back(
        invalid_value(of_chain, lifetime.count() * 1'000'000'000, "leaf certificate lifetime must be >= 1 hour"));
  if (lifetime.count() > most)
    return out.push_back(
        invalid_value(of_chain, lifetime.count() * 1'000'000'000,
                      fmt::format("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({})", most)));
  if (refresh && *refresh < *begin + refresh_margin)
    out.push_back(invalid_value(place(at, "beginRefreshAt"), status["beginRefreshAt"],
                                "must be at least 10 minutes after status.notBefore"));
  else if (refresh && *refresh > *end - refresh_margin)
    out.push_back(invalid_value(place(at, "beginRefreshAt"), status["beginRefreshAt"],
                                "must be at least 10 minutes before status.notAfter"));
}

void check_chain(causes& out, const json::value& o, const json::value& old) {
  const place at("status.certificateChain");
  auto& chain = o["status"]["certificateChain"];
  auto wrong = [&](std::string_view why) { out.push_back(invalid_value(at, chain.as_string(), why)); };
  if (chain.as_string().size() > chain_max_bytes) return out.push_back(too_long(at, chain_max_bytes));
  auto blocks = crypto::parse_pem(chain.as_string());
  if (!blocks || blocks->empty()) return wrong("issued certificate chain must contain at least one certificate");
  for (auto& b : *blocks)
    if (b.type != "CERTIFICATE")
      return wrong("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
  auto leaf = crypto::certificate::from_der(as_bytes(blocks->front().der));
  if (!leaf) return wrong("leaf certificate does not parse as valid X.509");
  auto der = unbase64(old["spec"]["stubPKCS10Request"].as_string());
  auto key = crypto::public_key_of_request(as_bytes(der ? *der : std::string()));
  if (!key || !(*key == leaf->key())) return wrong("leaf certificate was not issued to the requested public key");
  check_times(out, o, *leaf);
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  const place at("status"), of_conditions(at, "conditions");
  auto &status = o["status"], &before = old["status"];
  const auto start = out.size();
  check_known_conditions(out, status["conditions"], of_conditions);
  check_standard_conditions(out, status["conditions"], of_conditions);
  if (out.size() > start) return;
  if (is_decided(old)) {
    if (!(status == before))
      out.push_back(invalid_whatever(at, "immutable after PodCertificateRequest is issued, denied, or failed"));
  } else if (has_condition(o, "Denied") || has_condition(o, "Failed")) {
    for (auto member : {"certificateChain", "notBefore", "notAfter", "beginRefreshAt"})
      if (!status[member].is_null())
        return out.push_back(invalid_whatever(
            at, "non-condition status fields must be empty when denying or failing the PodCertificateRequest"));
  } else if (has_condition(o, "Issued")) {
    check_chain(out, o, old);
  }
}

}  // namespace

const kind_rules kinds::pod_certificate_requests{.group = "certificates.k8s.io",
                                                 .resource = "podcertificaterequests",
                                                 .unconditional_update = false,
                                                 .metadata_stands = true,
                                                 .validate = validate,
                                                 .validate_update = validate_update,
                                                 .validate_part = validate_part};

}  // namespace kedge::api
