#include "node/pods/pod_certificates.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/strings.h"
#include "crypto/key.h"
#include "crypto/pem.h"
#include "crypto/request.h"
#include "reactor/loop.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;
using reactor::loop;

// Pods of one template don't ask together.
constexpr duration renewal_spread = std::chrono::minutes(5);
// After so long a renewal that is due is told to be late.
constexpr duration overdue_after = std::chrono::minutes(10);

result<crypto::key_kind> kind_named(std::string_view name) {
  using crypto::key_kind;
  static constexpr std::array<std::pair<std::string_view, key_kind>, 6> kinds = {{{"RSA3072", key_kind::rsa_3072},
                                                                                  {"RSA4096", key_kind::rsa_4096},
                                                                                  {"ECDSAP256", key_kind::ecdsa_p256},
                                                                                  {"ECDSAP384", key_kind::ecdsa_p384},
                                                                                  {"ECDSAP521", key_kind::ecdsa_p521},
                                                                                  {"ED25519", key_kind::ed25519}}};
  for (auto& [known, kind] : kinds)
    if (known == name) return kind;
  return fail(errc::invalid, fmt::format("while generating keypair: unknown key type \"{}\"", name));
}

result<pod_certificate::key_and_proof> make_key(crypto::key_kind kind) {
  KEDGE_TRY(auto key, crypto::private_key::generate(kind));
  KEDGE_TRY(auto request, crypto::make_request(key));
  return pod_certificate::key_and_proof{key.pkcs8_pem(), std::move(request)};
}

task<result<value>> uid_at(std::string path, std::string_view what, pod_cluster& cluster) {
  auto found = co_await cluster.object(std::move(path));
  if (!found) co_return fail(std::move(found).error().with(fmt::format("while fetching {}: ", what)));
  if (!*found) co_return fail(errc::not_found, fmt::format("while fetching {}: there is none", what));
  co_return value((**found)["metadata"]["uid"]);
}

// Blocks between certificates, and what stands between blocks, are no part of a chain.
result<std::string> chain_of(std::string_view text) {
  KEDGE_TRY(auto blocks, crypto::parse_pem(text));
  std::string out;
  for (auto& block : blocks) out += crypto::write_pem("CERTIFICATE", as_bytes(block.der));
  return out;
}

// Steps of one source's certificate.
class certificate_step {
 public:
  certificate_step(const value& pod, const value& source, const std::string& node, pod_cluster& cluster,
                   pod_certificate& state)
      : pod_(pod), source_(source), node_(node), cluster_(cluster), state_(state) {}

  task<result<void>> run() {
    if (state_.refused) co_return result<void>();
    const bool is_due = !state_.issued || wall_now() >= state_.renew_at;
    if (!is_due) co_return result<void>();
    if (state_.issued) tell_of_delay();
    if (!state_.asked.empty()) co_return co_await look();
    co_return co_await ask();
  }

 private:
  static wall_time wall_now() { return loop::current().wall_now(); }
  std::string ns() const { return std::string(pod_["metadata"]["namespace"].as_string()); }

  void tell_of_delay() {
    if (!std::exchange(state_.overdue_told, state_.overdue_told || wall_now() >= state_.renew_at + overdue_after) &&
        state_.overdue_told)
      cluster_.tell(pod_, {}, true, "CertificateOverdueForRefresh", "PodCertificate refresh overdue");
    if (!std::exchange(state_.end_told, state_.end_told || wall_now() >= state_.ends_at) && state_.end_told)
      cluster_.tell(pod_, {}, true, "CertificateExpired", "PodCertificate expired");
  }

  task<result<void>> ask() {
    auto account = std::string(pod_["spec"]["serviceAccountName"].as_string());
    KEDGE_CO_TRY(auto account_uid,
                 co_await uid_at(fmt::format("/api/v1/namespaces/{}/serviceaccounts/{}", ns(), account),
                                 "service account", cluster_));
    KEDGE_CO_TRY(auto node_uid, co_await uid_at("/api/v1/nodes/" + node_, "node", cluster_));
    if (!state_.next) {
      KEDGE_CO_TRY(auto kind, kind_named(source_["keyType"].as_string()));
      auto made = co_await reactor::offload([kind] { return make_key(kind); });
      if (!made) co_return fail(std::move(made).error());
      if (!*made) co_return fail(std::move(*made).error().with("while generating keypair: "));
      state_.next = **std::move(made);
    }
    auto& m = pod_["metadata"];
    object spec{{"signerName", source_["signerName"]},
                {"podName", m["name"]},
                {"podUID", m["uid"]},
                {"serviceAccountName", account},
                {"serviceAccountUID", account_uid},
                {"nodeName", node_},
                {"nodeUID", node_uid},
                {"stubPKCS10Request", base64(as_bytes(state_.next->proof))}};
    for (auto [from, to] :
         {std::pair("maxExpirationSeconds", "maxExpirationSeconds"), {"userAnnotations", "unverifiedUserAnnotations"}})
      if (auto& v = source_[from]; !v.is_null()) spec.set(to, v);
    object owner{{"apiVersion", "v1"}, {"kind", "Pod"}, {"name", m["name"]}, {"uid", m["uid"]}};
    object metadata{{"namespace", ns()}, {"generateName", "req-"}, {"ownerReferences", json::array{std::move(owner)}}};
    auto answer = co_await cluster_.request_certificate(ns(), object{{"apiVersion", "certificates.k8s.io/v1"},
                                                                     {"kind", "PodCertificateRequest"},
                                                                     {"metadata", std::move(metadata)},
                                                                     {"spec", std::move(spec)}});
    if (!answer) co_return fail(std::move(answer).error().with("while creating PodCertificateRequest: "));
    state_.asked = (*answer)["metadata"]["name"].as_string();
    co_return result<void>();
  }

  task<result<void>> look() {
    auto found = co_await cluster_.certificate_request(ns(), state_.asked);
    if (!found) co_return fail(std::move(found).error().with("while getting PodCertificateRequest: "));
    if (!*found) {
      // Somebody removed it, and nobody will answer it any more.
      state_.asked.clear();
      co_return co_await ask();
    }
    co_return take(**found);
  }

  result<void> take(const value& request) {
    auto* conditions = request["status"]["conditions"].array();
    if (!conditions) return {};
    for (auto& c : *conditions) {
      auto type = c["type"].as_string();
      if (type == "Issued") return take_chain(request["status"]);
      if (type == "Denied" || type == "Failed") return refuse(type, c);
    }
    return {};
  }

  result<void> take_chain(const value& status) {
    KEDGE_TRY(auto chain, chain_of(status["certificateChain"].as_string()));
    auto renew = parse_rfc3339(status["beginRefreshAt"].as_string());
    auto ends = parse_rfc3339(status["notAfter"].as_string());
    if (!renew || !ends) return fail(errc::invalid, "the signer doesn't say when the certificate ends");
    auto spread = static_cast<std::uint64_t>(renewal_spread.count());
    auto key = std::move(state_.next->key);
    state_ = {};
    state_.issued = credential_bundle{std::move(key), std::move(chain)};
    state_.renew_at = *renew + duration(static_cast<std::int64_t>(loop::current().random().below(spread)));
    state_.ends_at = *ends;
    return {};
  }

  result<void> refuse(std::string_view type, const value& c) {
    auto said = fmt::format("reason=\"{}\", message=\"{}\"", c["reason"].as_string(), c["message"].as_string());
    cluster_.tell(pod_, {}, true, std::string(type),
                  fmt::format("PodCertificateRequest {}/{} {}, {}", ns(), state_.asked,
                              type == "Denied" ? "was denied" : "failed", said));
    state_ = {};
    auto why = fmt::format("PodCertificateRequest was permanently {}: reason=\"{}\" message=\"{}\"", lower(type),
                           c["reason"].as_string(), c["message"].as_string());
    state_.refused = error(errc::forbidden, std::move(why));
    return {};
  }

  const value& pod_;
  const value& source_;
  const std::string& node_;
  pod_cluster& cluster_;
  pod_certificate& state_;
};

}  // namespace

task<result<credential_bundle>> certificate_for(value pod, value source, std::string node, pod_cluster& cluster,
                                                pod_certificate& state) {
  certificate_step step(pod, source, node, cluster, state);
  auto done = co_await step.run();
  if (state.refused) co_return fail(error(*state.refused));
  // What was issued serves on while no other can be had.
  if (state.issued) co_return *state.issued;
  if (!done) co_return fail(std::move(done).error());
  co_return fail(errc::unavailable, "credential bundle is not issued yet");
}

}  // namespace kedge::node
