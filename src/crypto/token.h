// token.h: join tokens, as K3s reads and writes them.
//
//   short       any text                                   the password itself
//   bootstrap   abcdef.0123456789abcdef                    kubeadm's form: a bearer token
//   full        K10<CA hash>::<user>:<password>            or K10<CA hash>::<bootstrap token>
//
// The CA hash lets a node that knows only the token trust the server's CA: see ca_hash.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/random.h"
#include "base/time.h"

namespace kedge::crypto {

struct token {
  std::string ca_hash;   // 64 hexadecimal digits, or empty: the CA can't be checked
  std::string user;      // empty for short and bootstrap tokens, until the caller says who it is
  std::string password;  // empty for bootstrap tokens
  std::string bearer;    // the bootstrap token, else empty

  // The value of an Authorization header: `Bearer <id>.<secret>`, `Basic <base64>` when there is a user, else empty.
  std::string authorization() const;
  // The full form; without a hash `K10::…`.
  std::string format() const;
  friend bool operator==(const token&, const token&) = default;
};

// `[a-z0-9]{6}.[a-z0-9]{16}`.
bool is_bootstrap_token(std::string_view text);

// K3s's algorithm with its error texts (errc::invalid): "token must not be empty", "invalid token CA hash length",
// "invalid token format". Passwords may contain ':' and '::'.
result<token> parse_token(std::string_view text);
// The same for who is asking: agents are "node" and joining servers "server", whatever the token says.
result<token> parse_token(std::string_view text, std::string_view user);

// The password that the datastore's bootstrap key derives from: the token's password part. A bootstrap token has none
// that every server knows: errc::invalid.
result<std::string> normalize_token(std::string_view text);

// What passwd holds of a configured token: without a leading `K10…::<user>:`, else the text as it stands.
std::string_view password_of_token(std::string_view text, std::string_view user);

// 16 random bytes as 32 hexadecimal digits.
std::string generate_token(random_source& random);
// A new bootstrap token (`k3s token create`).
std::string generate_bootstrap_token(random_source& random);

// The hash of the bytes that /cacerts serves, 64 lower-case hexadecimal digits: SHA-256 of the raw PEM text when it
// holds one certificate; of the root's DER when it holds a chain that verifies at `now`; else of the raw text.
result<std::string> ca_hash(std::string_view bundle_pem, wall_time now);

// What agents know a server's authorities by: the ETag of /cacerts, of the two bundles that agents keep.
std::string authorities_mark(std::string_view server_ca_pem, std::string_view client_ca_pem);

// Whether the CA that was downloaded is the one the token means; an empty hash in the token accepts every CA (the
// caller warns). A token from before the CA was rotated means it too, as long as the new CA leads to the old one.
// errc::unauthenticated with K3s's text otherwise.
result<void> check_ca_hash(const token& t, std::string_view bundle_pem, wall_time now);

// What of the bundle that was downloaded the token vouches for: a hash that names one certificate of it says nothing of
// what else came along. Whole when the token has no hash, or one of the very text.
result<std::string> vouched_ca(const token& t, std::string_view bundle_pem, wall_time now);

}  // namespace kedge::crypto
