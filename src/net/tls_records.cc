#include "net/tls_records.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>

#include <atomic>
#include <cstring>

#include "base/assert.h"

namespace kedge::net {

struct tls_records::suite {
  std::uint32_t number;
  EVP_CIPHER* cipher;
  const EVP_MD* hash;
  std::size_t key_bytes, secret_bytes;
};

namespace {

using context_ptr = std::unique_ptr<EVP_CIPHER_CTX, decltype([](EVP_CIPHER_CTX* c) { EVP_CIPHER_CTX_free(c); })>;

// Setting a key up costs as much as a short record. Connections that are busy find theirs here, until another takes its
// place or its direction is done with it. Ids come in turn, so the last ones are side by side.
struct keyed_context {
  std::uint64_t id = 0;
  context_ptr context;
};
thread_local std::array<keyed_context, tls_keyed_contexts> keyed;

std::uint64_t fresh_id() noexcept {
  static std::atomic<std::uint64_t> last = 0;
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

unsigned char* bytes_at(std::byte* p) noexcept { return reinterpret_cast<unsigned char*>(p); }
const unsigned char* bytes_at(const std::byte* p) noexcept { return reinterpret_cast<const unsigned char*>(p); }

int digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// How many bytes it has; 0 when it is none.
std::size_t read_secret(std::string_view text, tls_secret& to) noexcept {
  if (text.size() % 2 || text.size() > 2 * to.size()) return 0;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return 0;
    to[i / 2] = static_cast<unsigned char>(high << 4 | low);
  }
  return text.size() / 2;
}

}  // namespace

tls_secrets::~tls_secrets() {
  OPENSSL_cleanse(client.data(), client.size());
  OPENSSL_cleanse(server.data(), server.size());
}

void tls_secrets::note(std::string_view line) noexcept {
  auto last = line.rfind(' ');
  if (last == std::string_view::npos) return;
  auto secret = line.substr(last + 1);
  if (line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) client_bytes = read_secret(secret, client);
  if (line.starts_with("SERVER_TRAFFIC_SECRET_0 ")) server_bytes = read_secret(secret, server);
}

// RFC 8446 §B.4. Fetched once: OpenSSL would look each up again at every use of its name.
const tls_records::suite* tls_records::find(std::uint32_t number) {
  static const suite all[] = {
      {0x1301, EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr), EVP_sha256(), 16, 32},
      {0x1302, EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr), EVP_sha384(), 32, 48},
      {0x1303, EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr), EVP_sha256(), 32, 32},
  };
  for (auto& s : all)
    if (s.number == number && s.cipher) return &s;
  return nullptr;
}

std::unique_ptr<tls_records> tls_records::make(std::uint32_t suite_number, bool server, const tls_secrets& secrets,
                                               std::uint64_t sent) {
  auto* s = find(suite_number);
  if (!s || secrets.client_bytes != s->secret_bytes || secrets.server_bytes != s->secret_bytes) return nullptr;
  std::unique_ptr<tls_records> out(new tls_records(*s));
  out->begin(out->out_, server ? secrets.server : secrets.client);
  out->begin(out->in_, server ? secrets.client : secrets.server);
  out->out_.number = sent;
  return out;
}

tls_records::~tls_records() {
  forget(in_);
  forget(out_);
  OPENSSL_cleanse(&in_, sizeof in_);
  OPENSSL_cleanse(&out_, sizeof out_);
}

// HKDF-Expand-Label (§7.1) without context. What is wanted is never longer than the hash, so one round of HKDF's is
// all.
void tls_records::expand(const tls_secret& secret, std::string_view label, std::span<unsigned char> to) const noexcept {
  kedge_assert(to.size() <= suite_.secret_bytes);
  unsigned char info[64];
  std::size_t n = 0;
  info[n++] = 0;
  info[n++] = static_cast<unsigned char>(to.size());
  constexpr std::string_view prefix = "tls13 ";
  info[n++] = static_cast<unsigned char>(prefix.size() + label.size());
  for (auto text : {prefix, label}) {
    std::memcpy(info + n, text.data(), text.size());
    n += text.size();
  }
  info[n++] = 0;  // the context
  info[n++] = 1;  // HKDF's round
  unsigned char out[EVP_MAX_MD_SIZE];
  auto* made = HMAC(suite_.hash, secret.data(), static_cast<int>(suite_.secret_bytes), info, n, out, nullptr);
  kedge_assert(made);  // fails only without memory
  std::memcpy(to.data(), out, to.size());
  OPENSSL_cleanse(out, sizeof out);
}

void tls_records::begin(direction& d, const tls_secret& secret) noexcept {
  d.secret = secret;
  expand(secret, "key", std::span(d.key).first(suite_.key_bytes));
  expand(secret, "iv", d.iv);
  d.number = 0;
  d.id = fresh_id();
}

void tls_records::forget(const direction& d) noexcept {
  auto& k = keyed[d.id % keyed.size()];
  if (k.id != d.id) return;
  EVP_CIPHER_CTX_reset(k.context.get());
  k.id = 0;
}

void tls_records::advance(direction& d) noexcept {
  forget(d);
  tls_secret next{};
  expand(d.secret, "traffic upd", std::span(next).first(suite_.secret_bytes));
  begin(d, next);
  OPENSSL_cleanse(next.data(), next.size());
}

EVP_CIPHER_CTX* tls_records::context_for(direction& d, bool seals) noexcept {
  auto nonce = d.iv;
  for (std::size_t i = 0; i < 8; ++i) nonce[nonce.size() - 1 - i] ^= static_cast<unsigned char>(d.number >> 8 * i);
  auto& k = keyed[d.id % keyed.size()];
  if (!k.context) k.context.reset(EVP_CIPHER_CTX_new());
  auto* c = k.context.get();
  if (!c) return nullptr;
  auto* cipher = EVP_CIPHER_CTX_get0_cipher(c) == suite_.cipher ? nullptr : suite_.cipher;
  auto* key = k.id == d.id ? nullptr : d.key.data();
  k.id = 0;
  if (EVP_CipherInit_ex2(c, cipher, key, nonce.data(), seals, nullptr) != 1) return nullptr;
  k.id = d.id;
  return c;
}

result<std::size_t> tls_records::seal(content type, std::span<const bytes> parts, std::byte* to) noexcept {
  std::size_t size = 1 + tag_bytes;
  for (auto p : parts) size += p.size();
  kedge_assert(size <= tls_record_max_bytes + 1 + tag_bytes);
  auto* header = bytes_at(to);
  // §5.2: all look like TLS 1.2's application data.
  header[0] = static_cast<unsigned char>(content::application);
  header[1] = header[2] = 3;
  header[3] = static_cast<unsigned char>(size >> 8);
  header[4] = static_cast<unsigned char>(size);
  auto* c = context_for(out_, true);
  auto* at = header + header_bytes;
  int n = 0;
  bool done = c && EVP_CipherUpdate(c, nullptr, &n, header, header_bytes) == 1;
  for (auto p : parts) {
    if (p.empty()) continue;
    done = done && EVP_CipherUpdate(c, at, &n, bytes_at(p.data()), static_cast<int>(p.size())) == 1;
    at += p.size();
  }
  auto kind = static_cast<unsigned char>(type);
  done = done && EVP_CipherUpdate(c, at, &n, &kind, 1) == 1;
  ++at;
  done =
      done && EVP_CipherFinal_ex(c, at, &n) == 1 && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, tag_bytes, at) == 1;
  if (!done) return fail(errc::internal, "OpenSSL can't encrypt a record");
  ++out_.number;
  return header_bytes + size;
}

std::expected<std::size_t, tls_records::refused> tls_records::size_of(bytes begin) noexcept {
  if (begin.size() < header_bytes) return 0;
  auto* header = bytes_at(begin.data());
  if (header[0] != static_cast<unsigned char>(content::application))
    return std::unexpected(refused{unexpected_message, "a record that isn't encrypted"});
  std::size_t size = static_cast<std::size_t>(header[3]) << 8 | header[4];
  if (size > record_max_bytes - header_bytes) return std::unexpected(refused{record_overflow, "a record is too long"});
  if (size < 1 + tag_bytes) return std::unexpected(refused{decode_error, "a record is too short"});
  return header_bytes + size;
}

std::expected<tls_records::opened, tls_records::refused> tls_records::open(bytes record, std::byte* to) noexcept {
  kedge_assert(record.size() >= overhead_bytes && record.size() <= record_max_bytes);
  auto* header = bytes_at(record.data());
  auto size = record.size() - header_bytes - tag_bytes;
  unsigned char tag[tag_bytes];
  std::memcpy(tag, header + header_bytes + size, sizeof tag);
  auto* c = context_for(in_, false);
  int n = 0;
  bool done = c && EVP_CipherUpdate(c, nullptr, &n, header, header_bytes) == 1 &&
              EVP_CipherUpdate(c, bytes_at(to), &n, header + header_bytes, static_cast<int>(size)) == 1 &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1 &&
              EVP_CipherFinal_ex(c, bytes_at(to) + size, &n) == 1;
  if (!done) return std::unexpected(refused{bad_record_mac, "decryption failed or bad record mac"});
  ++in_.number;
  // The type stands behind the content, and zeros behind the type (§5.4).
  while (size > 0 && to[size - 1] == std::byte(0)) --size;
  if (size == 0) return std::unexpected(refused{unexpected_message, "a record without a type"});
  auto type = static_cast<content>(to[--size]);
  if (type != content::alert && type != content::handshake && type != content::application)
    return std::unexpected(refused{unexpected_message, "a record of an unknown type"});
  return opened{type, size};
}

}  // namespace kedge::net
