#include "crypto/aead.h"

#include <sodium.h>

#include "base/bytes.h"
#include "crypto/openssl.h"

namespace kedge::crypto {

namespace {

constexpr std::size_t gcm_tag_bytes = 16, aes_block_bytes = 16;
constexpr std::size_t text_max_bytes = std::size_t(1) << 30;  // OpenSSL counts in int

const EVP_CIPHER* gcm_of(std::size_t key_bytes) {
  return key_bytes == 16   ? EVP_aes_128_gcm()
         : key_bytes == 24 ? EVP_aes_192_gcm()
         : key_bytes == 32 ? EVP_aes_256_gcm()
                           : nullptr;
}
const EVP_CIPHER* cbc_of(std::size_t key_bytes) {
  return key_bytes == 16   ? EVP_aes_128_cbc()
         : key_bytes == 24 ? EVP_aes_192_cbc()
         : key_bytes == 32 ? EVP_aes_256_cbc()
                           : nullptr;
}

std::unexpected<error> cipher_failed() { return fail(ossl::last_error(errc::internal, "AES")); }
std::unexpected<error> not_opened() {
  (void)ossl::last_error(errc::internal, {});  // empties the queue
  return fail(errc::unauthenticated, "the text was not encrypted with this key, or was changed");
}

// Runs the whole text through a prepared cipher. False: the final step failed (tag or padding).
bool run(EVP_CIPHER_CTX* c, std::string_view in, std::string& out) {
  out.resize(in.size() + aes_block_bytes);
  int n = 0, last = 0;
  if (EVP_CipherUpdate(c, ossl::u8(out), &n, ossl::u8(as_bytes(in)), static_cast<int>(in.size())) != 1) return false;
  if (EVP_CipherFinal_ex(c, ossl::u8(out) + n, &last) != 1) return false;
  out.resize(static_cast<std::size_t>(n + last));
  return true;
}

bool start(EVP_CIPHER_CTX* c, const EVP_CIPHER* kind, std::string_view key, std::string_view nonce, bool encrypt) {
  return c && EVP_CipherInit_ex2(c, kind, ossl::u8(as_bytes(key)), ossl::u8(as_bytes(nonce)), encrypt, nullptr) == 1;
}

bool associate(EVP_CIPHER_CTX* c, std::string_view data) {
  int n = 0;
  return data.empty() || EVP_CipherUpdate(c, nullptr, &n, ossl::u8(as_bytes(data)), static_cast<int>(data.size())) == 1;
}

result<void> check(const EVP_CIPHER* kind, bool nonce_fits, std::size_t size) {
  if (!kind) return fail(errc::invalid, "an AES key has 16, 24 or 32 bytes");
  if (!nonce_fits) return fail(errc::invalid, "the nonce has another length than the cipher's");
  if (size > text_max_bytes) return fail(errc::too_large, "text to encrypt is larger than 1 GiB");
  return {};
}

result<void> check_secretbox(std::string_view key) {
  // Thread-safe and idempotent; picks the implementation for this CPU.
  if (sodium_init() < 0) return fail(errc::internal, "libsodium can't start");
  if (key.size() != crypto_secretbox_KEYBYTES) return fail(errc::invalid, "a secretbox key has 32 bytes");
  return {};
}

static_assert(secretbox_nonce_bytes == crypto_secretbox_NONCEBYTES);

}  // namespace

result<std::string> gcm_seal(std::string_view key, std::string_view nonce, std::string_view plain,
                             std::string_view associated) {
  auto* kind = gcm_of(key.size());
  KEDGE_CHECK(check(kind, nonce.size() == gcm_nonce_bytes, plain.size()));
  ossl::cipher_context c(EVP_CIPHER_CTX_new());
  std::string body, tag(gcm_tag_bytes, '\0');
  if (!start(c.get(), kind, key, nonce, true) || !associate(c.get(), associated) || !run(c.get(), plain, body) ||
      EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_AEAD_GET_TAG, gcm_tag_bytes, tag.data()) != 1)
    return cipher_failed();
  return std::string(nonce) + body + tag;
}

result<std::string> gcm_open(std::string_view key, std::string_view sealed, std::string_view associated) {
  auto* kind = gcm_of(key.size());
  KEDGE_CHECK(check(kind, true, sealed.size()));
  if (sealed.size() < gcm_nonce_bytes + gcm_tag_bytes) return fail(errc::corrupt, "encrypted text is too short");
  auto nonce = sealed.substr(0, gcm_nonce_bytes);
  auto body = sealed.substr(gcm_nonce_bytes, sealed.size() - gcm_nonce_bytes - gcm_tag_bytes);
  std::string tag(sealed.substr(sealed.size() - gcm_tag_bytes)), plain;
  ossl::cipher_context c(EVP_CIPHER_CTX_new());
  if (!start(c.get(), kind, key, nonce, false) || !associate(c.get(), associated) ||
      EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_AEAD_SET_TAG, gcm_tag_bytes, tag.data()) != 1)
    return cipher_failed();
  if (!run(c.get(), body, plain)) return not_opened();
  return plain;
}

result<std::string> cbc_seal(std::string_view key, std::string_view vector, std::string_view plain) {
  auto* kind = cbc_of(key.size());
  KEDGE_CHECK(check(kind, vector.size() == cbc_vector_bytes, plain.size()));
  ossl::cipher_context c(EVP_CIPHER_CTX_new());
  std::string body;
  if (!start(c.get(), kind, key, vector, true) || !run(c.get(), plain, body)) return cipher_failed();
  return std::string(vector) + body;
}

result<std::string> cbc_open(std::string_view key, std::string_view sealed) {
  auto* kind = cbc_of(key.size());
  KEDGE_CHECK(check(kind, true, sealed.size()));
  if (sealed.size() < cbc_vector_bytes + aes_block_bytes || sealed.size() % aes_block_bytes)
    return fail(errc::corrupt, "encrypted text is not of whole blocks");
  ossl::cipher_context c(EVP_CIPHER_CTX_new());
  std::string plain;
  if (!start(c.get(), kind, key, sealed.substr(0, cbc_vector_bytes), false)) return cipher_failed();
  if (!run(c.get(), sealed.substr(cbc_vector_bytes), plain)) return not_opened();
  return plain;
}

result<std::string> secretbox_seal(std::string_view key, std::string_view nonce, std::string_view plain) {
  KEDGE_CHECK(check_secretbox(key));
  if (nonce.size() != secretbox_nonce_bytes) return fail(errc::invalid, "a secretbox nonce has 24 bytes");
  std::string out(nonce);
  out.resize(nonce.size() + crypto_secretbox_MACBYTES + plain.size());
  crypto_secretbox_easy(ossl::u8(out) + nonce.size(), ossl::u8(as_bytes(plain)), plain.size(),
                        ossl::u8(as_bytes(nonce)), ossl::u8(as_bytes(key)));
  return out;
}

result<std::string> secretbox_open(std::string_view key, std::string_view sealed) {
  KEDGE_CHECK(check_secretbox(key));
  if (sealed.size() < secretbox_nonce_bytes + crypto_secretbox_MACBYTES)
    return fail(errc::corrupt, "encrypted text is too short");
  auto box = sealed.substr(secretbox_nonce_bytes);
  std::string plain(box.size() - crypto_secretbox_MACBYTES, '\0');
  if (crypto_secretbox_open_easy(ossl::u8(plain), ossl::u8(as_bytes(box)), box.size(), ossl::u8(as_bytes(sealed)),
                                 ossl::u8(as_bytes(key))) != 0)
    return fail(errc::unauthenticated, "the text was not encrypted with this key, or was changed");
  return plain;
}

}  // namespace kedge::crypto
