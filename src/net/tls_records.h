// tls_records.h: TLS 1.3's records (RFC 8446 §5) of a connection whose handshake OpenSSL has done. Internal to net/.
//
// OpenSSL's connection holds 13 KB for as long as it lives, nearly all of it for handshakes. What records need is in
// the two secrets that a handshake ends with: a key, a nonce and a counter each way, 250 bytes. The handshake and all
// cryptography remain OpenSSL's; ours are the framing of records, and when a direction gets a new key.
//
//   secret ─▶ key, iv ─▶ AEAD(key, iv ⊕ number of the record, header, plaintext ‖ type)      one record
//     └─────▶ next secret                                                                    at a key update
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"
#include "net/limits.h"

namespace kedge::net {

using tls_secret = std::array<unsigned char, 48>;  // of a cipher suite's hash: 32 or 48 bytes of it

// What a handshake ends with, as OpenSSL's key log tells it (SSL_CTX_set_keylog_callback).
struct tls_secrets {
  tls_secret client{}, server{};
  std::size_t client_bytes = 0, server_bytes = 0;  // 0: not known
  tls_secrets() = default;
  tls_secrets(const tls_secrets&) = delete;
  ~tls_secrets();
  // "CLIENT_TRAFFIC_SECRET_0 <client random> <secret>", both in hexadecimal; other labels are ignored.
  void note(std::string_view line) noexcept;
};

class tls_records {
 public:
  enum class content : unsigned char { alert = 21, handshake = 22, application = 23 };
  // RFC 8446 §6: those that are sent from here.
  enum alert : unsigned char {
    close_notify = 0,
    unexpected_message = 10,
    bad_record_mac = 20,
    record_overflow = 22,
    illegal_parameter = 47,
    decode_error = 50,
  };
  static constexpr std::size_t header_bytes = 5, tag_bytes = 16;
  static constexpr std::size_t overhead_bytes = header_bytes + 1 + tag_bytes;
  // Of a record with header and tag, without padding beyond a full one (§5.4: more is an overflow).
  static constexpr std::size_t record_max_bytes = tls_record_max_bytes + overhead_bytes;

  // `suite` by its number (TLS_AES_128_GCM_SHA256 is 0x1301); null for one that isn't known here. `sent`: records that
  // went under the sender's secret already (a server's tickets).
  static std::unique_ptr<tls_records> make(std::uint32_t suite, bool server, const tls_secrets& secrets,
                                           std::uint64_t sent);
  tls_records(const tls_records&) = delete;
  ~tls_records();

  // One record with all of `parts`, at most tls_record_max_bytes together, at `to`: its size, overhead_bytes more than
  // theirs.
  result<std::size_t> seal(content type, std::span<const bytes> parts, std::byte* to) noexcept;

  struct opened {
    content type;
    std::size_t size;  // of the plaintext
  };
  struct refused {
    alert what;
    const char* why;
  };
  // The size of the record that begins here, header and tag with it; 0 when there is less than a header.
  static std::expected<std::size_t, refused> size_of(bytes begin) noexcept;
  // The plaintext of one whole record, at `to`, which has room for record_max_bytes - header_bytes - tag_bytes.
  std::expected<opened, refused> open(bytes record, std::byte* to) noexcept;

  // Whether the key has sealed so many records that another is due (§5.5).
  bool is_worn() const noexcept { return out_.number >= tls_key_records_max; }
  void next_send_key() noexcept { advance(out_); }
  void next_receive_key() noexcept { advance(in_); }

 private:
  struct suite;
  struct direction {
    tls_secret secret;
    std::array<unsigned char, 32> key;
    std::array<unsigned char, 12> iv;
    std::uint64_t number = 0;  // of the next record
    std::uint64_t id = 0;      // of the key, in this process
  };
  // Wipes the context that this thread may hold for the direction's key.
  static void forget(const direction& d) noexcept;
  static const suite* find(std::uint32_t number);
  explicit tls_records(const suite& s) noexcept : suite_(s) {}
  void begin(direction& d, const tls_secret& secret) noexcept;
  void advance(direction& d) noexcept;
  void expand(const tls_secret& secret, std::string_view label, std::span<unsigned char> to) const noexcept;
  // A context with the direction's key and its next record's nonce.
  EVP_CIPHER_CTX* context_for(direction& d, bool seals) noexcept;

  const suite& suite_;
  direction in_, out_;
};

}  // namespace kedge::net
