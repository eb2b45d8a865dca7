#include "crypto/bootstrap_record.h"

#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/limits.h"
#include "crypto/openssl.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::crypto {

namespace {

constexpr int rounds = 4096;
constexpr std::size_t key_bytes = 32, salt_hex_bytes = 8;

result<std::string> derive(std::string_view password, std::string_view salt) {
  std::string key(key_bytes, '\0');
  // The salt's hexadecimal text is the salt, as K3s has it.
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), ossl::u8(as_bytes(salt)),
                        static_cast<int>(salt.size()), rounds, EVP_sha1(), static_cast<int>(key.size()),
                        ossl::u8(key)) != 1)
    return fail(ossl::last_error(errc::internal, "derive the bootstrap key"));
  return key;
}

result<bootstrap_file> parse_file(const json::value& v, std::string_view name) {
  auto* coded = v.is_string() ? &v : v.find("Content");
  if (!coded || !(coded->is_string() || coded->is_null()))
    return fail(errc::corrupt, "bootstrap data of " + quote(name) + " has no content");
  auto content = unbase64(coded->as_string());
  if (!content) return fail(errc::corrupt, "bootstrap data of " + quote(name) + " is not base64");
  bootstrap_file out{.content = std::move(*content)};
  // Go's zero time (year 1), of records that were migrated, is before our clock's range: it stays the epoch.
  if (auto text = v["Timestamp"].as_string(); !text.empty() && !text.starts_with("0001-")) {
    auto t = parse_rfc3339(text);
    if (!t) return fail(errc::corrupt, "bootstrap data of " + quote(name) + ": " + t.error().message);
    out.modified = *t;
  }
  return out;
}

}  // namespace

std::string bootstrap_key(std::string_view password) {
  return std::string(bootstrap_prefix) + sha256_hex(as_bytes(password)).substr(0, 12);
}

result<std::string> encrypt_bootstrap(std::string_view plain, std::string_view password, random_source& random) {
  return encrypt_bootstrap(plain, password, random.hex_text(salt_hex_bytes), random_bytes(random, gcm_nonce_bytes));
}

result<std::string> encrypt_bootstrap(std::string_view plain, std::string_view password, std::string_view salt,
                                      std::string_view nonce) {
  KEDGE_TRY(auto key, derive(password, salt));
  KEDGE_TRY(auto sealed, gcm_seal(key, nonce, plain, {}));
  return std::string(salt) + ":" + base64(as_bytes(sealed));
}

result<std::string> decrypt_bootstrap(std::string_view value, std::string_view password) {
  if (value.size() > bootstrap_record_max_bytes) return fail(errc::too_large, "bootstrap record is larger than 4 MiB");
  auto colon = value.find(':');
  if (colon == std::string_view::npos || value.find(':', colon + 1) != std::string_view::npos)
    return fail(errc::corrupt, "invalid cipher text, not : delimited");
  auto sealed = unbase64(value.substr(colon + 1));
  if (!sealed) return fail(errc::corrupt, "bootstrap record is not base64");
  KEDGE_TRY(auto key, derive(password, value.substr(0, colon)));
  auto plain = gcm_open(key, *sealed, {});
  if (!plain) return fail(std::move(plain).error().with("decrypt the bootstrap record: "));
  return plain;
}

std::string write_bootstrap_files(const bootstrap_files& files) {
  json::object out;
  for (auto& [name, file] : files) {
    json::object one;
    one.set("Timestamp", format_rfc3339_nano(file.modified));
    one.set("Content", base64(as_bytes(file.content)));
    out.set(name, std::move(one));
  }
  return json::write(json::value(std::move(out))) + "\n";  // as Go's encoder ends a document
}

result<bootstrap_files> parse_bootstrap_files(std::string_view text) {
  KEDGE_TRY(auto document, json::parse(text));
  auto* names = document.object();
  if (!names) return fail(errc::corrupt, "bootstrap data is not a JSON object");
  bootstrap_files out;
  for (auto& [name, v] : *names) {
    KEDGE_TRY(auto file, parse_file(v, name));
    out.insert_or_assign(name, std::move(file));
  }
  return out;
}

}  // namespace kedge::crypto
