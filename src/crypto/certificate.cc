#include "crypto/certificate.h"

#include "base/assert.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/openssl.h"
#include "crypto/pem.h"
#include "crypto/x509_parts.h"

namespace kedge::crypto {

struct certificate::state {
  ossl::x509 native;
  std::string der;
  crypto::subject subject;
  std::string issuer_name;
  ossl::alternative_names names;
  wall_time not_before, not_after;
  bool is_authority = false;
  bool for_client = true, for_server = true;
  std::string subject_key_id, authority_key_id;
  std::shared_ptr<EVP_PKEY> key;
};

namespace {

std::string copy_of(const ASN1_OCTET_STRING* s) {
  if (!s) return {};
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)), static_cast<std::size_t>(ASN1_STRING_length(s))};
}

bool allows(std::uint32_t usages, std::uint32_t wanted) { return usages & (wanted | XKU_ANYEKU); }

}  // namespace

result<certificate> certificate::from_der(bytes der) {
  auto s = std::make_shared<state>();
  auto* at = ossl::u8(der);
  s->native.reset(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (!s->native || at != ossl::u8(der) + der.size())
    return fail(ossl::last_error(errc::invalid, "certificate can't be parsed"));
  auto* x = s->native.get();
  // Decodes and caches the extensions now, so that later reads from several threads change nothing.
  X509_check_purpose(x, -1, 0);
  auto flags = X509_get_extension_flags(x);
  if (flags & EXFLAG_INVALID)
    return fail(ossl::last_error(errc::invalid, "certificate has an extension that can't be parsed"));

  s->der = std::string(as_text(der));
  s->subject = ossl::read_subject(X509_get_subject_name(x));
  s->issuer_name = ossl::read_subject(X509_get_issuer_name(x)).user;
  ossl::general_names names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(x, NID_subject_alt_name, nullptr, nullptr)));
  s->names = ossl::read_names(names.get());
  KEDGE_TRY(s->not_before, ossl::read_time(X509_get0_notBefore(x)));
  KEDGE_TRY(s->not_after, ossl::read_time(X509_get0_notAfter(x)));
  s->is_authority = flags & EXFLAG_CA;
  if (flags & EXFLAG_XKUSAGE) {
    auto usages = X509_get_extended_key_usage(x);
    s->for_client = allows(usages, XKU_SSL_CLIENT);
    s->for_server = allows(usages, XKU_SSL_SERVER);
  }
  s->subject_key_id = copy_of(X509_get0_subject_key_id(x));
  s->authority_key_id = copy_of(X509_get0_authority_key_id(x));
  s->key = {X509_get_pubkey(x), EVP_PKEY_free};
  if (!s->key) return fail(ossl::last_error(errc::invalid, "certificate's public key can't be parsed"));
  return certificate(std::move(s));
}

const std::string& certificate::der() const { return state_->der; }
std::string certificate::pem() const { return write_pem("CERTIFICATE", as_bytes(der())); }
const crypto::subject& certificate::subject() const { return state_->subject; }
const std::string& certificate::issuer_name() const { return state_->issuer_name; }
const std::vector<std::string>& certificate::dns_names() const { return state_->names.dns_names; }
const std::vector<std::string>& certificate::addresses() const { return state_->names.addresses; }
wall_time certificate::not_before() const { return state_->not_before; }
wall_time certificate::not_after() const { return state_->not_after; }
bool certificate::is_authority() const { return state_->is_authority; }
bool certificate::for_client() const { return state_->for_client; }
bool certificate::for_server() const { return state_->for_server; }
const std::string& certificate::subject_key_id() const { return state_->subject_key_id; }
const std::string& certificate::authority_key_id() const { return state_->authority_key_id; }
public_key certificate::key() const { return public_key(state_->key); }
x509_st* certificate::native() const { return state_->native.get(); }

std::string certificate::fingerprint_sha1() const {
  auto text = hex(as_bytes(sha1(as_bytes(der()))));
  for (auto& c : text)
    if (c >= 'a') c = static_cast<char>(c - 'a' + 'A');
  return text;
}
std::string certificate::fingerprint_sha256() const { return sha256_hex(as_bytes(der())); }

result<std::vector<certificate>> parse_bundle(std::string_view pem) {
  KEDGE_TRY(auto blocks, parse_pem(pem));
  std::vector<certificate> out;
  for (auto& block : blocks) {
    if (block.type != "CERTIFICATE") continue;
    KEDGE_TRY(auto one, certificate::from_der(as_bytes(block.der)));
    out.push_back(std::move(one));
  }
  if (out.empty()) return fail(errc::invalid, "no certificate found in the PEM text");
  return out;
}

std::string write_bundle(std::span<const certificate> bundle) {
  std::string out;
  for (auto& one : bundle) out += one.pem();
  return out;
}

}  // namespace kedge::crypto
