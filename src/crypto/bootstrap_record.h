// bootstrap_record.h: what servers share of the cluster's identity, encrypted under the token, in the datastore.
//
//   key    /bootstrap/<first 12 hex digits of SHA-256(password)>
//   value  <salt>:<base64(nonce || AES-256-GCM(JSON of the files) || tag)>, key = PBKDF2-HMAC-SHA1(password, salt)
//
// `password` is the normalised token (token.h). An empty value is a lock: its owner is making the files.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/random.h"
#include "base/time.h"

namespace kedge::crypto {

inline constexpr std::string_view bootstrap_prefix = "/bootstrap/";

std::string bootstrap_key(std::string_view password);

// 4096 rounds of PBKDF2: a few milliseconds, at start only.
result<std::string> encrypt_bootstrap(std::string_view plain, std::string_view password, random_source& random);
// With given salt (16 characters) and nonce (12 bytes); a nonce must never be used twice with one salt and password.
result<std::string> encrypt_bootstrap(std::string_view plain, std::string_view password, std::string_view salt,
                                      std::string_view nonce);
// errc::unauthenticated: another password, or a damaged value. errc::corrupt: not of this form.
result<std::string> decrypt_bootstrap(std::string_view value, std::string_view password);

struct bootstrap_file {
  wall_time modified{};  // the file's mtime; the epoch when the record is of the older form without times
  std::string content;
  friend bool operator==(const bootstrap_file&, const bootstrap_file&) = default;
};
// By K3s's name of the file: "ServerCA", "ServerCAKey", "ClientCA", "PasswdFile", … in the order that Go writes.
using bootstrap_files = std::map<std::string, bootstrap_file, std::less<>>;

// {"ServerCA":{"Timestamp":"…","Content":"<base64>"},…}: also the answer of /v1-k3s/server-bootstrap.
std::string write_bootstrap_files(const bootstrap_files& files);
// That, or the older form (name: base64 text).
result<bootstrap_files> parse_bootstrap_files(std::string_view json);

}  // namespace kedge::crypto
