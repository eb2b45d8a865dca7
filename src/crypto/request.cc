#include "crypto/request.h"

#include "crypto/limits.h"
#include "crypto/openssl.h"
#include "crypto/pem.h"
#include "crypto/x509_parts.h"

namespace kedge::crypto {

namespace {

result<ossl::x509_request> decode(bytes der) {
  if (der.size() > csr_max_bytes) return fail(errc::too_large, "certificate request is larger than 64 KiB");
  auto* at = ossl::u8(der);
  ossl::x509_request request(d2i_X509_REQ(nullptr, &at, static_cast<long>(der.size())));
  if (!request || at != ossl::u8(der) + der.size())
    return fail(ossl::last_error(errc::invalid, "certificate request can't be parsed"));
  return request;
}

result<public_key> key_of(X509_REQ* request) {
  auto* key = X509_REQ_get_pubkey(request);
  if (!key) return fail(ossl::last_error(errc::invalid, "certificate request's public key can't be parsed"));
  return public_key(std::shared_ptr<EVP_PKEY>(key, EVP_PKEY_free));
}

ossl::alternative_names names_of(X509_REQ* request) {
  ossl::extension_stack extensions(X509_REQ_get_extensions(request));
  if (!extensions) return {};
  ossl::general_names names(
      static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions.get(), NID_subject_alt_name, nullptr, nullptr)));
  return ossl::read_names(names.get());
}

bool add_names(X509_REQ* request, GENERAL_NAMES* names) {
  if (sk_GENERAL_NAME_num(names) == 0) return true;
  STACK_OF(X509_EXTENSION)* raw = nullptr;
  bool good = X509V3_add1_i2d(&raw, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
  ossl::extension_stack extensions(raw);
  return good && X509_REQ_add_extensions(request, extensions.get());
}

}  // namespace

result<public_key> public_key_of_request(bytes der) {
  KEDGE_TRY(auto request, decode(der));
  return key_of(request.get());
}

result<certificate_request> parse_request(std::string_view pem) {
  KEDGE_TRY(auto blocks, parse_pem(pem));
  if (blocks.empty() || blocks.front().type != "CERTIFICATE REQUEST")
    return fail(errc::invalid, "PEM block type must be CERTIFICATE REQUEST");
  KEDGE_TRY(auto request, decode(as_bytes(blocks.front().der)));
  KEDGE_TRY(auto key, key_of(request.get()));
  if (X509_REQ_verify(request.get(), key.native()) != 1)
    return fail(ossl::last_error(errc::invalid, "certificate request's signature does not match its key"));
  auto names = names_of(request.get());
  KEDGE_TRY(auto subject, ossl::standard_name(X509_REQ_get_subject_name(request.get())));
  return certificate_request{ossl::read_subject(X509_REQ_get_subject_name(request.get())),
                             std::move(names.dns_names),
                             std::move(names.addresses),
                             std::move(names.emails),
                             std::move(names.uris),
                             std::move(key),
                             ossl::to_der(i2d_X509_NAME, subject.get())};
}

namespace {
// EdDSA hashes as a part of signing.
bool has_own_digest(const private_key& key) { return EVP_PKEY_is_a(key.native(), "ED25519"); }
}  // namespace

result<std::string> make_request(const private_key& key, const request_options& options) {
  ossl::x509_request request(X509_REQ_new());
  KEDGE_TRY(auto name, ossl::make_name(options.common_name, options.organizations));
  KEDGE_TRY(auto names, ossl::make_names({options.dns_names, options.addresses, {}, {}}));
  bool good = request && X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) &&
              X509_REQ_set_subject_name(request.get(), name.get()) &&
              X509_REQ_set_pubkey(request.get(), key.native()) && add_names(request.get(), names.get()) &&
              X509_REQ_sign(request.get(), key.native(), has_own_digest(key) ? nullptr : EVP_sha256());
  if (!good) return fail(ossl::last_error(errc::internal, "make a certificate request"));
  return ossl::to_der(i2d_X509_REQ, request.get());
}

std::string request_pem(bytes der) { return write_pem("CERTIFICATE REQUEST", der); }

}  // namespace kedge::crypto
