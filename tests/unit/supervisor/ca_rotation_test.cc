#include "supervisor/ca_rotation.h"

#include <doctest/doctest.h>

#include "crypto/certificate.h"
#include "crypto/token.h"

using namespace kedge;
using namespace kedge::supervisor;
using crypto::authority;
using crypto::certificate;

namespace {

const wall_time now = system_wall_time();
random_source& random_bytes = system_random();

authority made(std::string_view name) { return authority::create(name, now).value(); }

crypto::bootstrap_files files_of(const std::string& server_bundle, const std::string& server_key,
                                 const std::string& service_key = {}) {
  crypto::bootstrap_files out;
  if (!server_bundle.empty()) out["ServerCA"] = {now, server_bundle};
  if (!server_key.empty()) out["ServerCAKey"] = {now, server_key};
  if (!service_key.empty()) out["ServiceKey"] = {now, service_key};
  return out;
}
crypto::bootstrap_files files_of(const authority& a) { return files_of(a.bundle_pem(), a.key().pem()); }

// The error's text; or how many files change.
std::string outcome(const crypto::bootstrap_files& standing, const crypto::bootstrap_files& given, bool force = false) {
  auto planned = plan_ca_rotation(standing, given, force, now, random_bytes);
  return planned ? std::to_string(planned->files.size()) : planned.error().message;
}

std::vector<certificate> bundle_of(const ca_change& c) {
  return crypto::parse_bundle(c.files.at("ServerCA").content).value();
}

// Whether what `by` signs, with its bundle behind it, is good to who believes `anchors`.
bool believed(const authority& by, std::span<const certificate> anchors) {
  auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
  auto leaf =
      crypto::issue(by, key.public_part(), {.common_name = "x", .dns_names = {"x"}, .server = true}, now, random_bytes)
          .value();
  std::vector<certificate> chain{leaf};
  chain.insert(chain.end(), by.bundle().begin(), by.bundle().end());
  return crypto::trust::from_bundle(anchors).value().verify_server(chain, "x", now).has_value();
}

authority after(const ca_change& c) {
  return authority::from_pem(c.files.at("ServerCA").content, c.files.at("ServerCAKey").content).value();
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

}  // namespace

TEST_CASE("rotate-ca: an unrelated authority is forced, and then whoever knows one believes the other") {
  const auto old = made("old"), fresh = made("fresh");
  CHECK(contains(outcome(files_of(old), files_of(fresh)), "contains only a single certificate"));
  auto planned = plan_ca_rotation(files_of(old), files_of(fresh), true, now, random_bytes);
  REQUIRE(planned);
  CHECK(planned->warnings.size() == 1);
  const auto next = after(*planned);
  CHECK(next.bundle().size() == 3);
  CHECK(next.signer().key() == fresh.key().public_part());
  CHECK(believed(next, old.bundle()));    // a client of before, of a server of now
  CHECK(believed(next, fresh.bundle()));  // one that was given the new authority alone
  CHECK(believed(old, next.bundle()));    // a server of before, of a client of now
  // The same once more, alone: the old one has ended.
  auto ended = plan_ca_rotation(planned->files, files_of(fresh), false, now, random_bytes);
  REQUIRE(ended);
  CHECK(ended->warnings.empty());
  CHECK(bundle_of(*ended) == fresh.bundle());
  CHECK(!believed(old, bundle_of(*ended)));
  CHECK(contains(outcome(files_of(fresh), files_of(fresh)), "already"));
}

TEST_CASE("rotate-ca: K3s's rotated authorities, which the old one has signed, need no force") {
  const auto old = made("old"), root = made("root"), middle = made("middle");
  const auto signed_middle = crypto::cross_sign(root, middle.signer(), random_bytes).value();
  const auto signed_root = crypto::cross_sign(old, root.signer(), random_bytes).value();
  // As contrib/util/rotate-default-ca-certs.sh puts them together; what stood may be left out.
  for (bool with_old : {true, false}) {
    std::vector<certificate> bundle{signed_middle, root.signer(), signed_root};
    if (with_old) bundle.push_back(old.signer());
    auto planned = plan_ca_rotation(files_of(old), files_of(crypto::write_bundle(bundle), middle.key().pem()), false,
                                    now, random_bytes);
    REQUIRE_MESSAGE(planned, planned.error().message);
    const auto next = after(*planned);
    CHECK(next.bundle().size() == 4);
    CHECK(believed(next, old.bundle()));
    CHECK(believed(next, root.bundle()));
    CHECK(believed(old, next.bundle()));
  }
  // Not when the old one has signed nothing of it.
  CHECK(contains(outcome(files_of(old), files_of(signed_middle.pem() + root.bundle_pem(), middle.key().pem())),
                 "new CA cert cannot be verified using old CA chain"));
}

TEST_CASE("rotate-ca: what can't work is refused with the file and the reason, forced or not") {
  const auto old = made("old"), fresh = made("fresh");
  auto leaf = crypto::issue(old, fresh.key().public_part(), {.common_name = "leaf", .server = true}, now, random_bytes);
  const auto ended = authority::create("ended", now - crypto::authority_lifetime - std::chrono::hours(2)).value();
  const auto early = authority::create("early", now + std::chrono::hours(3)).value();
  for (bool force : {false, true}) {
    CHECK(contains(outcome(files_of(old), files_of(fresh.bundle_pem(), old.key().pem()), force),
                   "tls/server-ca.crt: the private key does not belong to the CA certificate"));
    CHECK(contains(outcome(files_of(old), files_of(leaf->pem() + old.bundle_pem(), fresh.key().pem()), force),
                   "is not a CA's"));
    CHECK(contains(outcome(files_of(old), files_of(ended), force), "it ended at"));
    CHECK(contains(outcome(files_of(old), files_of(early), force), "not valid yet"));
    CHECK(contains(outcome(files_of(old), files_of("nonsense", fresh.key().pem()), force), "no certificate"));
    CHECK(contains(outcome(files_of(old), {}, force), "nothing to rotate to"));
    CHECK(contains(outcome(files_of(old), files_of("", "", "nonsense"), force), "tls/service.key: "));
  }
}

TEST_CASE("rotate-ca: a service account key that signed goes on verifying") {
  auto key = [] { return crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value().pem(); };
  const auto old = key(), fresh = key();
  const auto standing = files_of("", "", old);
  CHECK(outcome(standing, files_of("", "", fresh))
            .ends_with("old ServiceAccount signing key not in new ServiceAccount key list"));
  CHECK(outcome(standing, files_of("", "", fresh + old)) == "1");
  auto forced = plan_ca_rotation(standing, files_of("", "", fresh), true, now, random_bytes);
  REQUIRE(forced);
  CHECK(forced->files.at("ServiceKey").content == fresh + old);
  CHECK(forced->files.at("ServiceKey").modified > now);
}

TEST_CASE("a token from before a rotation vouches for what its authority leads to, and for nothing beside it") {
  const auto old = made("old"), fresh = made("fresh"), strange = made("strange");
  auto planned = plan_ca_rotation(files_of(old), files_of(fresh), true, now, random_bytes);
  REQUIRE(planned);
  const auto text = planned->files.at("ServerCA").content;
  const crypto::token before{
      .ca_hash = crypto::ca_hash(old.bundle_pem(), now).value(), .user = "node", .password = "p", .bearer = {}};
  CHECK(crypto::check_ca_hash(before, text, now));
  CHECK(crypto::parse_bundle(crypto::vouched_ca(before, text, now).value()).value().size() == 3);
  const auto padded = crypto::vouched_ca(before, text + strange.bundle_pem(), now);
  REQUIRE(padded);
  CHECK(!contains(*padded, strange.signer().pem()));
  // The old one merely lying beside a stranger's is no way to it.
  CHECK(!crypto::check_ca_hash(before, strange.bundle_pem() + old.bundle_pem(), now));
  CHECK(!crypto::check_ca_hash(before, fresh.bundle_pem(), now));
}
