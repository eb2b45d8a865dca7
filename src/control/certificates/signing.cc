// signing.cc: approved certificate requests get their certificates (certificatesigningrequest-signing-controller): from
// the clients' CA, kubelets' serving ones from the servers'. What its signer doesn't sign fails, with the reason.
#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "control/certificates/requests.h"
#include "control/controllers.h"
#include "control/settings.h"
#include "reactor/loop.h"

namespace kedge::control {

namespace {

constexpr duration lifetime_least = std::chrono::minutes(10);

class signer final : public controller {
 public:
  explicit signer(const settings& s)
      : clients_(s.client_authority), servers_(s.server_authority), longest_(s.cluster_signing_duration) {}

  std::vector<source> sources() override { return {{certificate_requests, living_key}}; }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    plan p;
    auto request = cluster.get(certificate_requests, key);
    if (!request || now.refused || has_certificate(*request) || !is_approved(*request)) return p;
    auto name = (*request)["spec"]["signerName"].as_string();
    auto* authority = authority_of(name);
    auto asked = authority ? request_in(*request) : std::nullopt;
    if (!asked) return p;
    auto next = *request;
    if (auto why = refusal(name, *request, *asked); !why.empty())
      fail_request(next, std::move(why), now.wall);
    else if (auto signed_one =
                 crypto::sign_request(*authority, *asked, terms(*request), now.wall, reactor::loop::current().random()))
      next.member("status").set("certificate", base64(as_bytes(signed_one->pem())));
    else
      return log::warning("certificate request {}: {}", key, signed_one.error().message), p;
    return p.write(update_of(certificate_requests, std::move(next), "status"));
  }

 private:
  static bool is_approved(const json::value& request) {
    return has_condition(request, "Approved") && !has_condition(request, "Denied") && !has_condition(request, "Failed");
  }

  const crypto::authority* authority_of(std::string_view signer_name) const {
    if (signer_name == signers::kubelet_serving) return servers_.get();
    if (signer_name == signers::api_client || signer_name == signers::kubelet_client) return clients_.get();
    return nullptr;
  }

  crypto::signing_terms terms(const json::value& request) const {
    crypto::signing_terms t;
    auto& usages = request["spec"]["usages"];
    for (std::size_t i = 0; i < usages.size(); ++i) {
      auto usage = usages[i].as_string();
      t.client = t.client || usage == "client auth";
      t.server = t.server || usage == "server auth";
      t.digital_signature = t.digital_signature || usage == "digital signature";
      t.key_encipherment = t.key_encipherment || usage == "key encipherment";
    }
    auto& seconds = request["spec"]["expirationSeconds"];
    t.lifetime = longest_;
    if (seconds.is_integer() && std::chrono::seconds(seconds.as_integer()) <= longest_)
      t.lifetime = std::max<duration>(std::chrono::seconds(seconds.as_integer()), lifetime_least);
    return t;
  }

  static void fail_request(json::value& request, std::string why, wall_time now) {
    request.member("status")
        .member("conditions")
        .push_back(json::object{{"type", "Failed"},
                                {"status", "True"},
                                {"reason", "SignerValidationFailure"},
                                {"message", std::move(why)},
                                {"lastUpdateTime", format_rfc3339(now)}});
  }

  const std::shared_ptr<const crypto::authority> clients_, servers_;
  const duration longest_;
};

}  // namespace

std::unique_ptr<controller> make_certificate_signer(const settings& s) { return std::make_unique<signer>(s); }

}  // namespace kedge::control
