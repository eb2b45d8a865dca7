#include "cli/commands/certificate.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "crypto/certificate.h"
#include "temporary.h"

using namespace kedge;
using namespace kedge::cli::commands;
using words = std::vector<std::string>;

namespace {

void write_certificate(const temporary_folder& folder, const std::string& stem, const crypto::authority& ca,
                       const crypto::leaf_request& request, wall_time now) {
  const auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
  REQUIRE(key);
  const auto leaf = crypto::issue(ca, key->public_part(), request, now, system_random());
  REQUIRE(leaf);
  folder.write(stem + ".crt", crypto::chain_pem(*leaf, ca));
  folder.write(stem + ".key", "key");
}

}  // namespace

TEST_CASE("certificates are read with their service, subject, uses and state") {
  const temporary_folder folder;
  const auto now = system_wall_time();
  const auto ca = crypto::authority::create("k3s-client-ca", now);
  REQUIRE(ca);
  write_certificate(folder, "server/tls/client-admin", *ca,
                    {.common_name = "system:admin", .organizations = {"system:masters"}, .client = true}, now);
  write_certificate(folder, "agent/serving-kubelet", *ca, {.common_name = "edge-7", .server = true}, now);

  const auto all = read_certificates(folder.path, {}, now);
  REQUIRE(all);
  REQUIRE(all->size() == 4);  // each with its CA behind it
  CHECK((*all)[0].service == "admin");
  CHECK((*all)[0].subject == "CN=system:admin,O=system:masters");
  CHECK((*all)[0].usages == "ClientAuth");
  CHECK((*all)[0].status == "OK");
  CHECK((*all)[1].usages == "CertSign");
  CHECK((*all)[2].usages == "ServerAuth");

  const words kubelet = {"kubelet"};
  CHECK(read_certificates(folder.path, kubelet, now)->size() == 2);
  CHECK(read_certificates(folder.path, kubelet, now + std::chrono::days(300))->at(0).status == "WARNING");
  CHECK(read_certificates(folder.path, kubelet, now + std::chrono::days(400))->at(0).status == "EXPIRED");
  CHECK(read_certificates(folder.path, kubelet, now - std::chrono::days(400))->at(0).status == "NOT YET VALID");
  CHECK(read_certificates(folder.path, words{"scheduler"}, now).error().code == errc::not_found);
  CHECK(read_certificates(folder.path, words{"nobody"}, now)
            .error()
            .message.starts_with("--service: \"nobody\" is none of admin, "));
  folder.write("agent/client-kubelet.crt", "no certificate");
  CHECK(!read_certificates(folder.path, {}, now));
}

TEST_CASE("rotation keeps a copy and removes only what was asked") {
  const temporary_folder folder;
  const auto now = system_wall_time();
  for (const char* name :
       {"server/tls/client-admin.crt", "server/tls/client-admin.key", "server/tls/client-scheduler.crt",
        "server/tls/server-ca.crt", "server/tls/server-ca.key", "agent/client-kubelet.crt", "agent/client-kubelet.key"})
    folder.write(name, name);
  const auto exists = [&](const std::string& name) { return std::filesystem::exists(folder.path + '/' + name); };

  const auto copies = set_certificates_aside(folder.path, words{"admin"}, now);
  REQUIRE(copies);
  REQUIRE(copies->size() == 2);
  CHECK(std::filesystem::exists((*copies)[0] + "/client-admin.crt"));
  CHECK(std::filesystem::exists((*copies)[1] + "/client-kubelet.key"));
  CHECK(!exists("server/tls/client-admin.crt"));
  CHECK(!exists("server/tls/client-admin.key"));
  CHECK(exists("server/tls/client-scheduler.crt"));
  CHECK(!exists("server/tls/dynamic-cert-regenerate"));
  CHECK(set_certificates_aside(folder.path, {}, now).error().code == errc::already_exists);  // no copy is written over

  REQUIRE(set_certificates_aside(folder.path, {}, now + std::chrono::seconds(1)));
  CHECK(!exists("server/tls/client-scheduler.crt"));
  CHECK(!exists("agent/client-kubelet.crt"));
  CHECK(exists("server/tls/server-ca.crt"));  // the CA stays
  CHECK(exists("server/tls/dynamic-cert-regenerate"));
  CHECK(set_certificates_aside(folder.path + "/none", {}, now).error().code == errc::not_found);
}
