#include "api/encryption/envelope.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/encryption/limits.h"
#include "base/bytes.h"
#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "meta/names.h"

namespace kedge::api::encryption {
namespace {

constexpr std::size_t seed_bytes = 32, info_bytes = 32;

// RFC 5869 §2.3, as far as one block goes.
result<std::string> derived_key(std::string_view seed, std::string_view info) {
  if (seed.size() < seed_bytes)
    return fail(errc::invalid, fmt::format("invalid seed length {} used for key generation", seed.size()));
  return crypto::hmac_sha256(as_bytes(seed), as_bytes(std::string(info) + '\x01'));
}

bool read_annotation(std::string_view entry, std::map<std::string, std::string>& into) {
  std::string key, value;
  wire::fields in(entry);
  while (in.next()) {
    if (in.field() == 1) key = in.bytes();
    if (in.field() == 2) value = in.bytes();
  }
  into[std::move(key)] = std::move(value);
  return in.ok();
}

}  // namespace

result<void> encrypted_seed::check() const {
  if (kind != seed_kind::key_itself && kind != seed_kind::derived)
    return fail(errc::corrupt, fmt::format("unknown encryptedDEKSourceType: {}", static_cast<int>(kind)));
  if (text.empty())
    return fail(errc::corrupt, "failed to validate encrypted DEK source: encrypted DEK source is empty");
  if (text.size() > encrypted_seed_max_bytes)
    return fail(errc::corrupt, fmt::format("failed to validate encrypted DEK source: encrypted DEK source is {} bytes, "
                                           "which exceeds the max size of {}",
                                           text.size(), encrypted_seed_max_bytes));
  if (key_id.empty()) return fail(errc::corrupt, "failed to validate key id: keyID is empty");
  if (key_id.size() > key_id_max_bytes)
    return fail(errc::corrupt,
                fmt::format("failed to validate key id: keyID is {} bytes, which exceeds the max size of {}",
                            key_id.size(), key_id_max_bytes));
  std::size_t total = 0;
  for (auto& [key, value] : annotations) {
    total += key.size() + value.size();
    // Fully qualified: a domain with a dot in it.
    if (key.find('.') == key.npos ||
        !check_dns1123_subdomain(key.ends_with('.') ? key.substr(0, key.size() - 1) : key).empty())
      return fail(errc::corrupt,
                  fmt::format("failed to validate annotations: annotations: Invalid value: {}: should be "
                              "a domain with at least two segments separated by dots",
                              quote(key)));
  }
  if (total > annotations_max_bytes)
    return fail(errc::corrupt, fmt::format("failed to validate annotations: total size of annotations is {}, which "
                                           "exceeds the max size of {}",
                                           total, annotations_max_bytes));
  return {};
}

result<envelope> envelope::read(std::string_view text) {
  envelope out;
  out.seed.kind = seed_kind::key_itself;
  bool good = true;
  wire::fields in(text);
  while (in.next()) switch (in.field()) {
      case 1: out.data = in.bytes(); break;
      case 2: out.seed.key_id = in.bytes(); break;
      case 3: out.seed.text = in.bytes(); break;
      case 4: good = read_annotation(in.bytes(), out.seed.annotations) && good; break;
      case 5: out.seed.kind = static_cast<seed_kind>(in.number()); break;
      default: break;
    }
  if (!good || !in.ok()) return fail(errc::corrupt, "it is no EncryptedObject");
  if (out.data.empty()) return fail(errc::corrupt, "encrypted data is empty");
  KEDGE_CHECK(out.seed.check());
  return out;
}

result<std::string> seal_envelope(const encrypted_seed& seed, std::string_view opened_seed, std::string_view plain,
                                  std::string_view datastore_key, random_source& random) {
  auto data = crypto::random_bytes(random, info_bytes);
  KEDGE_TRY(auto key, derived_key(opened_seed, data));
  KEDGE_TRY(auto sealed,
            crypto::gcm_seal(key, crypto::random_bytes(random, crypto::gcm_nonce_bytes), plain, datastore_key));
  data += sealed;
  std::string out;
  wire::put_bytes(1, data, out);
  wire::put_bytes(2, seed.key_id, out);
  wire::put_bytes(3, seed.text, out);
  for (auto& [name, value] : seed.annotations) {
    std::string entry;
    wire::put_bytes(1, name, entry);
    wire::put_bytes(2, value, entry);
    wire::put_bytes(4, entry, out);
  }
  wire::put_number(5, static_cast<std::uint64_t>(seed.kind), out);
  return out;
}

result<std::string> open_envelope(const envelope& e, std::string_view opened_seed, std::string_view datastore_key) {
  if (e.seed.kind == seed_kind::key_itself) return crypto::gcm_open(opened_seed, e.data, datastore_key);
  if (e.data.size() < info_bytes) return fail(errc::corrupt, "the stored data was shorter than the required size");
  KEDGE_TRY(auto key, derived_key(opened_seed, e.data.substr(0, info_bytes)));
  return crypto::gcm_open(key, e.data.substr(info_bytes), datastore_key);
}

}  // namespace kedge::api::encryption
