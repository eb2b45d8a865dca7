// issue.cc: making certificates, and telling when one must be made anew (facts of K3s's dynamiclistener and deps).
#include <algorithm>

#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/digest.h"
#include "crypto/openssl.h"
#include "crypto/request.h"
#include "crypto/x509_parts.h"

namespace kedge::crypto {

namespace {

// RFC 5280 §4.2.1.3: the bit numbers of keyUsage.
enum : int { bit_digital_signature = 0, bit_key_encipherment = 2, bit_certificate_sign = 5 };

bool add(X509* x, int nid, void* content, bool critical) {
  return content && X509_add1_ext_i2d(x, nid, content, critical, X509V3_ADD_DEFAULT) == 1;
}

bool add_key_usage(X509* x, std::initializer_list<std::pair<int, bool>> bits) {
  ossl::bit_string usage(ASN1_BIT_STRING_new());
  bool any = false;
  for (auto [bit, on] : bits) {
    if (!on) continue;
    any = true;
    if (!usage || !ASN1_BIT_STRING_set_bit(usage.get(), bit, 1)) return false;
  }
  return !any || add(x, NID_key_usage, usage.get(), true);
}

bool add_extended_usage(X509* x, bool server, bool client) {
  ossl::key_usages usages(EXTENDED_KEY_USAGE_new());
  if (!usages) return false;
  // The objects of known NIDs are static: the stack may free them without effect.
  if (server) sk_ASN1_OBJECT_push(usages.get(), OBJ_nid2obj(NID_server_auth));
  if (client) sk_ASN1_OBJECT_push(usages.get(), OBJ_nid2obj(NID_client_auth));
  return add(x, NID_ext_key_usage, usages.get(), false);
}

bool add_constraints(X509* x, bool is_authority) {
  ossl::constraints c(BASIC_CONSTRAINTS_new());
  if (!c) return false;
  c->ca = is_authority ? 0xff : 0;
  return add(x, NID_basic_constraints, c.get(), true);
}

bool set_octets(ASN1_OCTET_STRING* s, const std::string& content) {
  return s && ASN1_OCTET_STRING_set(s, ossl::u8(content), static_cast<int>(content.size()));
}

bool add_subject_key_id(X509* x, const std::string& id) {
  ossl::octets s(ASN1_OCTET_STRING_new());
  return set_octets(s.get(), id) && add(x, NID_subject_key_identifier, s.get(), false);
}

bool add_authority_key_id(X509* x, const std::string& id) {
  if (id.empty()) return true;  // a CA without an SKI
  ossl::authority_id a(AUTHORITY_KEYID_new());
  if (!a) return false;
  a->keyid = ASN1_OCTET_STRING_new();
  return set_octets(a->keyid, id) && add(x, NID_authority_key_identifier, a.get(), false);
}

bool set_serial(X509* x, std::uint64_t serial) {
  return ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial) == 1;
}

bool set_validity(X509* x, wall_time from, wall_time until) {
  return ossl::set_time(X509_getm_notBefore(x), from) && ossl::set_time(X509_getm_notAfter(x), until);
}

// The digest that goes with the key, as Go chooses it; null for keys that hash by themselves (Ed25519).
const EVP_MD* signature_digest(const private_key& key) {
  switch (key.algorithm()) {
    case key_algorithm::ecdsa_p384: return EVP_sha384();
    case key_algorithm::ecdsa_p521: return EVP_sha512();
    case key_algorithm::other: return nullptr;
    default: return EVP_sha256();
  }
}

result<certificate> sign(X509* x, const private_key& key) {
  if (!X509_sign(x, key.native(), signature_digest(key)))
    return fail(ossl::last_error(errc::internal, "sign a certificate"));
  return certificate::from_der(as_bytes(ossl::to_der(i2d_X509, x)));
}

// The earliest that it can be: a clock that stands before the authority's begin is wrong.
wall_time clock_of(const certificate& signer, wall_time now) { return std::max(now, signer.not_before()); }

constexpr auto request_backdate = std::chrono::minutes(5);
constexpr auto short_lifetime = std::chrono::hours(8);

struct leaf_parts {
  X509_NAME* name;
  GENERAL_NAMES* names;
  wall_time from, until;
  bool client, server, digital_signature, key_encipherment;
  bool constrained = false;  // basicConstraints say that it is no CA
};

result<certificate> make_leaf(const authority& ca, const public_key& key, const leaf_parts& p, random_source& random) {
  auto& signer = ca.signer();
  ossl::x509 x(X509_new());
  // RFC 5280 §4.2.1.6: without a subject the names are critical.
  const bool nameless = X509_NAME_entry_count(p.name) == 0;
  bool good =
      x && X509_set_version(x.get(), X509_VERSION_3) && set_serial(x.get(), random.next() >> 1) &&
      X509_set_subject_name(x.get(), p.name) && X509_set_issuer_name(x.get(), X509_get_subject_name(signer.native())) &&
      set_validity(x.get(), p.from, p.until) && X509_set_pubkey(x.get(), key.native()) &&
      add_key_usage(x.get(),
                    {{bit_digital_signature, p.digital_signature}, {bit_key_encipherment, p.key_encipherment}}) &&
      add_extended_usage(x.get(), p.server, p.client) && (!p.constrained || add_constraints(x.get(), false)) &&
      add_authority_key_id(x.get(), signer.subject_key_id()) &&
      (sk_GENERAL_NAME_num(p.names) == 0 || add(x.get(), NID_subject_alt_name, p.names, nameless));
  if (!good) return fail(ossl::last_error(errc::internal, "make a certificate"));
  return sign(x.get(), ca.key());
}

bool contains(const std::vector<std::string>& all, std::string_view one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

}  // namespace

result<authority> authority::create(std::string_view prefix, wall_time now) {
  KEDGE_TRY(auto key, private_key::generate(key_kind::ecdsa_p256));
  auto seconds = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  return create(std::string(prefix) + "@" + std::to_string(seconds), key, now);
}

result<authority> authority::create(std::string_view common_name, const private_key& key, wall_time now) {
  ossl::x509 x(X509_new());
  KEDGE_TRY(auto name, ossl::make_name(common_name, {}));
  bool good =
      x && X509_set_version(x.get(), X509_VERSION_3) && set_serial(x.get(), 0) &&
      X509_set_subject_name(x.get(), name.get()) && X509_set_issuer_name(x.get(), name.get()) &&
      set_validity(x.get(), now - authority_backdate, now - authority_backdate + authority_lifetime) &&
      X509_set_pubkey(x.get(), key.native()) &&
      add_key_usage(x.get(),
                    {{bit_digital_signature, true}, {bit_key_encipherment, true}, {bit_certificate_sign, true}}) &&
      add_constraints(x.get(), true) && add_subject_key_id(x.get(), key.public_part().key_identifier());
  if (!good) return fail(ossl::last_error(errc::internal, "make a certificate authority"));
  KEDGE_TRY(auto made, sign(x.get(), key));
  return authority({std::move(made)}, key);
}

result<authority> authority::from_pem(std::string_view bundle, std::string_view key) {
  KEDGE_TRY(auto certificates, parse_bundle(bundle));
  KEDGE_TRY(auto secret, private_key::from_pem(key));
  if (certificates.front().key() != secret.public_part())
    return fail(errc::invalid, "the private key does not belong to the CA certificate \"" +
                                   certificates.front().subject().user + "\"");
  return authority(std::move(certificates), std::move(secret));
}

result<certificate> cross_sign(const authority& by, const certificate& of, random_source& random) {
  auto& signer = by.signer();
  ossl::x509 x(X509_new());
  bool good =
      x && X509_set_version(x.get(), X509_VERSION_3) && set_serial(x.get(), random.next() >> 1) &&
      X509_set_subject_name(x.get(), X509_get_subject_name(of.native())) &&
      X509_set_issuer_name(x.get(), X509_get_subject_name(signer.native())) &&
      set_validity(x.get(), std::max(signer.not_before(), of.not_before()),
                   std::min(signer.not_after(), of.not_after())) &&
      X509_set_pubkey(x.get(), of.key().native()) &&
      add_key_usage(x.get(),
                    {{bit_digital_signature, true}, {bit_key_encipherment, true}, {bit_certificate_sign, true}}) &&
      add_constraints(x.get(), true) &&
      (of.subject_key_id().empty() || add_subject_key_id(x.get(), of.subject_key_id())) &&
      add_authority_key_id(x.get(), signer.subject_key_id());
  if (!good) return fail(ossl::last_error(errc::internal, "cross-sign a certificate authority"));
  return sign(x.get(), by.key());
}

result<certificate> issue(const authority& ca, const public_key& key, const leaf_request& r, wall_time now,
                          random_source& random) {
  if (r.common_name.empty()) return fail(errc::invalid, "must specify a CommonName");
  if (!r.client && !r.server) return fail(errc::invalid, "must specify at least one ExtKeyUsage");
  auto& signer = ca.signer();
  KEDGE_TRY(auto name, ossl::make_name(r.common_name, r.organizations));
  KEDGE_TRY(auto names, ossl::make_names({r.dns_names, r.addresses, {}, {}}));
  return make_leaf(ca, key,
                   {.name = name.get(),
                    .names = names.get(),
                    .from = signer.not_before(),
                    .until = clock_of(signer, now) + r.lifetime,
                    .client = r.client,
                    .server = r.server,
                    .digital_signature = r.digital_signature,
                    .key_encipherment = r.key_encipherment},
                   random);
}

result<certificate> sign_request(const authority& ca, const certificate_request& r, const signing_terms& t,
                                 wall_time now, random_source& random) {
  auto& signer = ca.signer();
  const auto end = signer.not_after();
  if (now >= end)
    return fail(errc::expired,
                "refusing to sign a certificate that expired in the past: NotAfter=" + format_rfc3339(end));
  auto* at = ossl::u8(r.subject_der);
  ossl::x509_name name(d2i_X509_NAME(nullptr, &at, static_cast<long>(r.subject_der.size())));
  if (!name) return fail(ossl::last_error(errc::invalid, "a request's subject can't be parsed"));
  KEDGE_TRY(auto names, ossl::make_names({r.dns_names, r.addresses, r.emails, r.uris}));
  const auto began = clock_of(signer, now);
  // What is short-lived gets all of its time.
  const auto until = began + t.lifetime - (t.lifetime < short_lifetime ? duration::zero() : duration(request_backdate));
  return make_leaf(ca, r.key,
                   {.name = name.get(),
                    .names = names.get(),
                    .from = clock_of(signer, now - request_backdate),
                    .until = std::min<wall_time>(until, end),
                    .client = t.client,
                    .server = t.server,
                    .digital_signature = t.digital_signature,
                    .key_encipherment = t.key_encipherment,
                    .constrained = true},
                   random);
}

std::string chain_pem(const certificate& leaf, const authority& ca) { return leaf.pem() + ca.bundle_pem(); }

bool carries_bundle(std::span<const certificate> chain, const authority& ca) {
  return !chain.empty() && std::ranges::equal(chain.subspan(1), ca.bundle());
}

std::optional<std::string> reason_invalid(const certificate& leaf, wall_time now) {
  auto here = " (it is " + format_rfc3339(now) + " here)";
  if (now < leaf.not_before()) return "it is not valid yet, before " + format_rfc3339(leaf.not_before()) + here;
  if (now > leaf.not_after()) return "it ended at " + format_rfc3339(leaf.not_after()) + here;
  return std::nullopt;
}

std::optional<std::string> reason_to_renew(const certificate& leaf, const certificate& signer,
                                           const leaf_request& wanted, wall_time clock) {
  auto now = clock_of(signer, clock);
  if (auto invalid = reason_invalid(leaf, now)) return invalid;
  if (leaf.not_after() - now < renewal_window) return "it ends at " + format_rfc3339(leaf.not_after());
  if (leaf.subject().user != wanted.common_name)
    return "its common name is " + quote(leaf.subject().user) + " instead of " + quote(wanted.common_name);
  // A subject's O values are a set: DER sorts those of one RDN.
  auto has = leaf.subject().groups, wants = wanted.organizations;
  std::sort(has.begin(), has.end());
  std::sort(wants.begin(), wants.end());
  if (has != wants) return "its organizations differ";
  for (auto& name : wanted.dns_names)
    if (!contains(leaf.dns_names(), name)) return "it lacks the name " + quote(name);
  for (auto& address : wanted.addresses)
    if (auto text = ossl::canonical_address(address); text && !contains(leaf.addresses(), *text))
      return "it lacks the address " + *text;
  if (leaf.authority_key_id() != signer.subject_key_id()) return "another authority signed it";
  return std::nullopt;
}

}  // namespace kedge::crypto
