#include "crypto/hasher.h"

#include <openssl/evp.h>

#include "base/assert.h"
#include "base/strings.h"

namespace kedge::crypto {

struct sha256_hasher::state {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  state() { begin(); }
  state(const state&) = delete;
  state& operator=(const state&) = delete;
  ~state() { EVP_MD_CTX_free(context); }
  void begin() { kedge_assert(context && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1); }
};

sha256_hasher::sha256_hasher() : state_(std::make_unique<state>()) {}
sha256_hasher::sha256_hasher(sha256_hasher&&) noexcept = default;
sha256_hasher& sha256_hasher::operator=(sha256_hasher&&) noexcept = default;
sha256_hasher::~sha256_hasher() = default;

void sha256_hasher::update(std::string_view piece) {
  kedge_assert(EVP_DigestUpdate(state_->context, piece.data(), piece.size()) == 1);
}

std::string sha256_hasher::hex() {
  std::string out(EVP_MAX_MD_SIZE, '\0');
  unsigned size = 0;
  kedge_assert(EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(out.data()), &size) == 1);
  out.resize(size);
  state_->begin();
  return kedge::hex(as_bytes(out));
}

}  // namespace kedge::crypto
