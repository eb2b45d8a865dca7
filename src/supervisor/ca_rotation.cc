#include "supervisor/ca_rotation.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/jwt.h"
#include "crypto/limits.h"

namespace kedge::supervisor {

namespace {

using crypto::authority;
using crypto::certificate;

constexpr std::string_view service_key = "ServiceKey";

struct pair {
  std::string_view certificate, key, file;
  bool for_servers;  // signs what servers show
};
constexpr pair pairs[] = {{"ServerCA", "ServerCAKey", "server-ca", true},
                          {"ClientCA", "ClientCAKey", "client-ca", false},
                          {"RequestHeaderCA", "RequestHeaderCAKey", "request-header-ca", false},
                          {"ETCDServerCA", "ETCDServerCAKey", "etcd/server-ca", true},
                          {"ETCDPeerCA", "ETCDPeerCAKey", "etcd/peer-ca", true}};

const std::string& content(const crypto::bootstrap_files& files, std::string_view name) {
  static const std::string none;
  auto found = files.find(name);
  return found == files.end() ? none : found->second.content;
}

bool contains(std::span<const certificate> all, const certificate& one) {
  return std::ranges::find(all, one) != all.end();
}

// Where the way from the signer upwards ends within the bundle.
std::size_t top_of(std::span<const certificate> bundle) {
  std::size_t at = 0;
  for (std::size_t steps = 0; steps < bundle.size(); ++steps) {
    auto& id = bundle[at].authority_key_id();
    if (id.empty() || id == bundle[at].subject_key_id()) return at;
    auto next = std::ranges::find_if(bundle, [&](const certificate& c) { return c.subject_key_id() == id; });
    if (next == bundle.end()) return at;
    at = static_cast<std::size_t>(next - bundle.begin());
  }
  return at;
}

// With the top signed by what stands, before its own form: who knows the old one alone finds the way first.
result<std::vector<certificate>> bridged(std::vector<certificate> bundle, const authority& standing,
                                         random_source& random) {
  const auto top = top_of(bundle);
  KEDGE_TRY(auto bridge, crypto::cross_sign(standing, bundle[top], random));
  bundle.insert(bundle.begin() + static_cast<std::ptrdiff_t>(top), std::move(bridge));
  return bundle;
}

result<void> check_authority(const authority& a, wall_time now) {
  auto& signer = a.signer();
  if (signer.subject().user.empty()) return fail(errc::invalid, "its first certificate has no common name");
  if (!signer.is_authority())
    return fail(errc::invalid, "its first certificate, " + quote(signer.subject().user) + ", is not a CA's");
  if (auto invalid = crypto::reason_invalid(signer, now)) return fail(errc::invalid, *invalid);
  if (a.bundle().size() > crypto::authority_bundle_max)
    return fail(errc::too_large, "it has more than " + std::to_string(crypto::authority_bundle_max) + " certificates");
  return {};
}

// Whether what `by` signs is good to who trusts `anchors`: found out by doing it.
result<void> try_out(const authority& by, std::span<const certificate> anchors, bool for_servers, wall_time now,
                     random_source& random) {
  constexpr auto name = "try-out";
  KEDGE_TRY(auto key, crypto::private_key::generate(crypto::key_kind::ecdsa_p256));
  KEDGE_TRY(auto leaf,
            crypto::issue(by, key.public_part(),
                          {.common_name = name, .dns_names = {name}, .client = true, .server = true}, now, random));
  std::vector<certificate> chain{leaf};
  chain.insert(chain.end(), by.bundle().begin(), by.bundle().end());
  KEDGE_TRY(auto trust, crypto::trust::from_bundle(anchors));
  return for_servers ? trust.verify_server(chain, name, now) : trust.verify_client(chain, now);
}

class planner {
 public:
  planner(const crypto::bootstrap_files& standing, const crypto::bootstrap_files& given, bool force, wall_time now,
          random_source& random)
      : standing_(standing), given_(given), force_(force), now_(now), random_(random) {}

  result<ca_change> plan() {
    for (auto& p : pairs)
      if (auto done = rotate(p); !done)
        return fail(std::move(done).error().with("tls/" + std::string(p.file) + ".crt: "));
    if (auto done = rotate_service_key(); !done) return fail(std::move(done).error().with("tls/service.key: "));
    if (out_.files.empty())
      return fail(errc::invalid, given_any_ ? "the cluster has these authorities and keys already"
                                            : "there is nothing to rotate to: give tls/server-ca.crt with "
                                              "tls/server-ca.key, client-ca, request-header-ca or tls/service.key");
    return std::move(out_);
  }

 private:
  // What may not be forced is an error; what may, one only without force.
  result<void> unless_forced(std::string what, std::string reason) {
    if (!force_) return fail(errc::invalid, std::move(reason));
    out_.warnings.push_back(std::move(what) + ": " + std::move(reason));
    return {};
  }

  result<void> rotate(const pair& p) {
    auto& new_bundle = content(given_, p.certificate);
    auto& new_key = content(given_, p.key);
    if (new_bundle.empty() && new_key.empty()) return {};
    given_any_ = true;
    auto& old_bundle = content(standing_, p.certificate);
    if (old_bundle.empty()) {
      out_.warnings.push_back("tls/" + std::string(p.file) + ".crt: left out, for this cluster has no such authority");
      return {};
    }
    KEDGE_TRY(auto before, authority::from_pem(old_bundle, content(standing_, p.key)));
    KEDGE_TRY(auto next, authority::from_pem(new_bundle.empty() ? old_bundle : new_bundle,
                                             new_key.empty() ? content(standing_, p.key) : new_key));
    if (next.bundle() == before.bundle()) return {};
    KEDGE_CHECK(check_authority(next, now_));
    KEDGE_TRY(auto bundle, succession(p, before, next));
    KEDGE_TRY(auto made, authority::from_pem(crypto::write_bundle(bundle), next.key().pem()));
    if (auto good = try_out(made, bundle, p.for_servers, now_, random_); !good)
      return fail(errc::invalid, "what it signs would not be good: " + good.error().message);
    if (auto good = try_out(made, before.bundle(), p.for_servers, now_, random_); !good)
      KEDGE_CHECK(unless_forced("tls/" + std::string(p.file) + ".crt",
                                "who trusts the present CA would not trust what it signs: " + good.error().message));
    put(p.certificate, crypto::write_bundle(bundle));
    put(p.key, new_key.empty() ? content(standing_, p.key) : new_key);
    return {};
  }

  result<std::vector<certificate>> succession(const pair& p, const authority& before, const authority& next) {
    auto bundle = next.bundle();
    const bool same_key = next.signer().key() == before.signer().key();
    auto wanting = [&]() -> std::string {
      if (!same_key && bundle.size() == 1)
        return "new CA bundle contains only a single certificate but should include root or intermediate CA "
               "certificates";
      if (!crypto::leads_to(bundle, before.bundle(), now_)) return "new CA cert cannot be verified using old CA chain";
      return {};
    }();
    if (!wanting.empty()) {
      KEDGE_CHECK(unless_forced("tls/" + std::string(p.file) + ".crt", std::move(wanting)));
      if (!same_key) { KEDGE_TRY(bundle, bridged(std::move(bundle), before, random_)); }
    }
    // What was signed so far stays good, until the same authority is given without the old one.
    if (!same_key)
      for (auto& one : before.bundle())
        if (!contains(bundle, one)) bundle.push_back(one);
    return bundle;
  }

  result<void> rotate_service_key() {
    auto text = content(given_, service_key);
    if (text.empty()) return {};
    given_any_ = true;
    auto& old_text = content(standing_, service_key);
    if (text == old_text) return {};
    KEDGE_TRY(auto keys, crypto::parse_private_keys(text));
    KEDGE_CHECK(crypto::token_signer::create(keys.front()));
    if (!old_text.empty()) {
      KEDGE_TRY(auto old_keys, crypto::parse_private_keys(old_text));
      KEDGE_TRY(auto verifying, crypto::parse_public_keys(text));
      if (std::ranges::find(verifying, old_keys.front().public_part()) == verifying.end()) {
        KEDGE_CHECK(
            unless_forced("tls/service.key", "old ServiceAccount signing key not in new ServiceAccount key list"));
        if (!text.ends_with('\n')) text += '\n';
        text += old_keys.front().pem();
      }
    }
    KEDGE_TRY(auto all, crypto::parse_public_keys(text));
    KEDGE_CHECK(crypto::token_verifier::create(all));
    put(service_key, std::move(text));
    return {};
  }

  // Later than what it replaces, whatever this machine's clock says: a server that starts takes the later of two.
  void put(std::string_view name, std::string text) {
    auto before = standing_.find(name);
    if (before != standing_.end() && before->second.content == text) return;
    auto later = before == standing_.end() ? wall_time{} : before->second.modified + std::chrono::seconds(1);
    out_.files[std::string(name)] = {.modified = std::max(now_, later), .content = std::move(text)};
  }

  const crypto::bootstrap_files &standing_, &given_;
  const bool force_;
  const wall_time now_;
  random_source& random_;
  bool given_any_ = false;
  ca_change out_;
};

}  // namespace

bool is_rotated(std::string_view name) {
  return name == service_key ||
         std::ranges::any_of(pairs, [&](const pair& p) { return p.certificate == name || p.key == name; });
}

result<ca_change> plan_ca_rotation(const crypto::bootstrap_files& standing, const crypto::bootstrap_files& given,
                                   bool force, wall_time now, random_source& random) {
  return planner(standing, given, force, now, random).plan();
}

}  // namespace kedge::supervisor
