#include "supervisor/serving_certificate.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/ip.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::supervisor {

namespace {

constexpr std::size_t names_max = 512;  // a certificate of some 20 KiB; more is somebody's scan, not a name
constexpr std::string_view name_prefix = "listener.cattle.io/cn-";
constexpr std::string_view fingerprint_key = "listener.cattle.io/fingerprint";
constexpr std::string_view static_key =
    "listener.cattle.io/static";  // "true": a person's own certificate, not to be grown

struct kept {
  std::string chain, key;
  std::vector<crypto::certificate> parsed;
  std::set<std::string> names;
  const crypto::certificate& leaf() const { return parsed.front(); }
};

// What a Secret holds, when it is a certificate with its key.
std::optional<kept> read_secret(const json::value& secret) {
  auto chain = unbase64(secret["data"]["tls.crt"].as_string());
  auto key = unbase64(secret["data"]["tls.key"].as_string());
  if (!chain || !key) return {};
  auto parsed = crypto::parse_bundle(*chain);
  auto own = crypto::private_key::from_pem(*key);
  if (!parsed || !own || !(own->public_part() == parsed->front().key())) return {};
  kept k{*std::move(chain), *std::move(key), *std::move(parsed), {}};
  for (auto& n : k.leaf().dns_names()) k.names.insert(n);
  for (auto& n : k.leaf().addresses()) k.names.insert(n);
  return k;
}

}  // namespace

std::string name_annotation(std::string_view name) {
  std::string key(name_prefix);
  key += name;
  if (key.size() < 64 && name.find_first_of(":*") == std::string_view::npos) return key;
  auto digest = crypto::sha256_hex(as_bytes(key)).substr(0, 6);
  for (auto& c : key)
    if (c == ':' || c == '*') c = '_';
  return key.substr(0, 56) + "-" + digest;
}

bool serving_certificate::covers(std::string_view name) const { return names_.contains(std::string(name)); }

crypto::leaf_request serving_certificate::wanted() const {
  crypto::leaf_request r{.common_name = "k3s", .organizations = {"k3s"}, .server = true};
  for (auto& n : names_) (ip_address::parse(n) ? r.addresses : r.dns_names).push_back(n);
  return r;
}

result<void> serving_certificate::sign(wall_time now, random_source& random) {
  KEDGE_TRY(auto key, crypto::private_key::from_pem(key_));
  KEDGE_TRY(auto leaf, crypto::issue(ca_, key.public_part(), wanted(), now, random));
  chain_ = crypto::chain_pem(leaf, ca_);
  return crypto::write_file(tls_dir_ + "/dynamic-cert.json", json::write(to_secret()));
}

result<serving_certificate> serving_certificate::open(std::string tls_dir, crypto::authority ca,
                                                      std::vector<std::string> names, wall_time now,
                                                      random_source& random) {
  serving_certificate s(std::move(tls_dir), std::move(ca));
  auto regenerate = s.tls_dir_ + "/dynamic-cert-regenerate";
  bool forced = ::access(regenerate.c_str(), F_OK) == 0;
  if (auto text = crypto::read_file(s.tls_dir_ + "/dynamic-cert.json"); text && !forced) {
    // A damaged file only costs a new certificate: nobody pins it.
    auto secret = json::parse(*text);
    if (auto found = secret ? read_secret(*secret) : std::nullopt) {
      s.names_ = std::move(found->names);
      s.chain_ = std::move(found->chain);
      s.key_ = std::move(found->key);
      s.names_.insert(names.begin(), names.end());
      if (auto reason = crypto::reason_to_renew(found->leaf(), s.ca_.signer(), s.wanted(), now))
        log::info("signing the serving certificate anew: {}", *reason);
    }
  }
  s.names_.insert(names.begin(), names.end());
  if (s.key_.empty()) {
    KEDGE_TRY(auto key, crypto::private_key::generate(crypto::key_kind::ecdsa_p256));
    s.key_ = key.pem();
  }
  if (!s.good(now)) KEDGE_CHECK(s.sign(now, random));
  if (forced) ::unlink(regenerate.c_str());
  s.new_key_ = forced;
  return s;
}

result<void> serving_certificate::sign_by(crypto::authority ca, wall_time now, random_source& random) {
  ca_ = std::move(ca);
  if (!good(now)) KEDGE_CHECK(sign(now, random));
  return {};
}

result<bool> serving_certificate::grow(const std::vector<std::string>& names, wall_time now, random_source& random) {
  bool grew = false;
  for (auto& n : names)
    if (names_.size() < names_max && names_.insert(n).second) grew = true;
  if (grew) KEDGE_CHECK(sign(now, random));
  return grew;
}

// Whether what this server shows is good for what it shall be: names, key, time, authority.
bool serving_certificate::good(wall_time now) const {
  auto chain = crypto::parse_bundle(chain_);
  auto key = crypto::private_key::from_pem(key_);
  return chain && key && chain->front().key() == key->public_part() && crypto::carries_bundle(*chain, ca_) &&
         !crypto::reason_to_renew(chain->front(), ca_.signer(), wanted(), now);
}

result<serving_certificate::merged> serving_certificate::take(std::string chain, std::string key,
                                                              const json::value* as_it_is) {
  if (chain == chain_) return merged::same;
  chain_ = std::move(chain);
  key_ = std::move(key);
  KEDGE_CHECK(crypto::write_file(tls_dir_ + "/dynamic-cert.json", json::write(as_it_is ? *as_it_is : to_secret())));
  return merged::adopted;
}

result<serving_certificate::merged> serving_certificate::merge(const json::value& secret, wall_time now,
                                                               random_source& random) {
  auto theirs = read_secret(secret);
  bool persons = secret["metadata"]["annotations"][static_key].as_string() == "true";
  // One of another CA (an older cluster's) counts for nothing.
  if (theirs && !persons && theirs->leaf().authority_key_id() != ca_.signer().subject_key_id()) theirs.reset();
  auto invalid =
      theirs ? crypto::reason_invalid(theirs->leaf(), std::max(now, ca_.signer().not_before())) : std::nullopt;
  if (invalid && std::exchange(refused_, theirs->chain) != theirs->chain)
    log::warning(
        "the certificate in secret kube-system/k3s-serving is not taken over: {}; the clock of this server or of the "
        "one that wrote it is wrong",
        *invalid);
  if (theirs && persons && !invalid) {
    names_ = theirs->names;
    return take(std::move(theirs->chain), std::move(theirs->key), &secret);
  }
  if (theirs && persons) {
    // It is the person's to replace. Until then clients that trust the cluster's CA are better off with this server's
    // own.
    if (!good(now)) KEDGE_CHECK(sign(now, random));
    return merged::same;
  }
  if (theirs) {
    names_.insert(theirs->names.begin(), theirs->names.end());
    if (!new_key_ && theirs->names == names_ && crypto::carries_bundle(theirs->parsed, ca_) &&
        !crypto::reason_to_renew(theirs->leaf(), ca_.signer(), wanted(), now))
      return take(std::move(theirs->chain), std::move(theirs->key), nullptr);
    if (!new_key_) key_ = std::move(theirs->key);
  }
  new_key_ = false;
  if (!good(now)) KEDGE_CHECK(sign(now, random));
  return merged::grown;
}

json::value serving_certificate::to_secret() const {
  json::object annotations;
  for (auto& n : names_) annotations.set(name_annotation(n), n);
  if (auto chain = crypto::parse_bundle(chain_))
    annotations.set(fingerprint_key, "SHA1=" + chain->front().fingerprint_sha1());
  return json::object{
      {"kind", "Secret"},
      {"apiVersion", "v1"},
      {"metadata",
       json::object{{"name", "k3s-serving"}, {"namespace", "kube-system"}, {"annotations", std::move(annotations)}}},
      {"type", "kubernetes.io/tls"},
      {"data", json::object{{"tls.crt", base64(as_bytes(chain_))}, {"tls.key", base64(as_bytes(key_))}}}};
}

}  // namespace kedge::supervisor
