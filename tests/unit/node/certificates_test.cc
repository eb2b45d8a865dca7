// What is said of the certificates of a machine, and when an agent asks for its own again.
#include "node/machine/certificates.h"

#include <doctest/doctest.h>
#include <malloc.h>

#include "crypto/files.h"
#include "support/temporary_folder.h"

namespace kedge::node {
namespace {

const auto now = *parse_rfc3339("2026-11-30T10:00:00Z");

struct machine {
  temporary_folder folder;
  crypto::authority ca = *crypto::authority::create("k3s-client-ca", now);

  void issue(const std::string& stem, duration lifetime = crypto::leaf_lifetime) {
    auto key = *crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
    crypto::leaf_request wanted{.common_name = "system:node:a", .organizations = {"system:nodes"}, .client = true};
    wanted.lifetime = lifetime;
    auto leaf = *crypto::issue(ca, key.public_part(), wanted, now, system_random());
    auto path = folder.path() + "/" + stem + ".crt";
    REQUIRE(crypto::make_folder(path.substr(0, path.rfind('/'))));
    REQUIRE(crypto::write_file(path, crypto::chain_pem(leaf, ca)));
  }
  void issue_agents(duration lifetime = crypto::leaf_lifetime) {
    for (auto stem : {"client-kubelet", "serving-kubelet", "client-kube-proxy", "client-k3s-controller"})
      issue(std::string("agent/") + stem, lifetime);
  }
};

TEST_CASE("an agent asks again for what is missing, damaged or near its end") {
  machine m;
  CHECK(reason_to_ask_again(m.folder.path(), now).missing);
  m.issue_agents();
  CHECK(reason_to_ask_again(m.folder.path(), now).text.empty());
  CHECK(reason_to_ask_again(m.folder.path(), now + std::chrono::days(240)).text.empty());
  auto soon = reason_to_ask_again(m.folder.path(), now + std::chrono::days(250));
  CHECK(soon.text.find("will expire within 120 days") != std::string::npos);
  CHECK_FALSE(soon.missing);
  CHECK(reason_to_ask_again(m.folder.path(), now + std::chrono::days(400)).text.find("expired at") !=
        std::string::npos);
  REQUIRE(crypto::write_file(m.folder.path() + "/agent/serving-kubelet.crt", "nonsense"));
  CHECK(reason_to_ask_again(m.folder.path(), now).missing);
}

TEST_CASE("what is kept of looking at certificates is small") {
  machine m;
  m.issue_agents();
  for (auto stem : {"admin", "kube-apiserver", "controller", "scheduler", "supervisor"})
    m.issue(std::string("server/tls/client-") + stem);
  const auto before = ::mallinfo2().uordblks;
  const auto kept = report_certificates(m.folder.path(), now);
  CHECK(reason_to_ask_again(m.folder.path(), now).text.empty());
  const auto after = ::mallinfo2().uordblks;
  CHECK_FALSE(kept.metrics.empty());
  CHECK(after <= before + 50 * 1024);
}

TEST_CASE("the report has each certificate once, with its time, and says what ends in K3s's words") {
  machine m;
  m.issue_agents();
  m.issue("server/tls/client-admin", std::chrono::days(30));
  auto r = report_certificates(m.folder.path(), now);
  REQUIRE(r.leaves.size() == 1);
  CHECK(
      r.leaves[0].starts_with("admin/client-admin.crt: certificate CN=system:node:a,O=system:nodes will expire within "
                              "120 days at 2026-12-"));
  CHECK(r.authorities.empty());
  auto first = r.metrics.find("usages=\"CertSign\"");
  REQUIRE(first != std::string::npos);
  CHECK(r.metrics.find("usages=\"CertSign\"", first + 1) == std::string::npos);
  CHECK(r.metrics.find(
            "k3s_certificate_expiration_seconds{subject=\"CN=system:node:a,O=system:nodes\",usages=\"ClientAuth\"} ") !=
        std::string::npos);
  auto later = report_certificates(m.folder.path(), now + std::chrono::days(9 * 365 + 30));
  CHECK(later.authorities.size() == 1);
  CHECK(report_certificates(m.folder.path() + "/none", now).leaves.empty());
}

}  // namespace
}  // namespace kedge::node
