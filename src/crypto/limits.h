// limits.h: bounds on what this folder reads from files, peers and the datastore.
#pragma once

#include <cstddef>

namespace kedge::crypto {

// A PEM text: the largest honest one is a bundle of public CAs (about 250 KiB).
inline constexpr std::size_t pem_max_bytes = 1 << 20;
// Blocks in one PEM text; a bundle of all public CAs has about 150.
inline constexpr std::size_t pem_blocks_max = 1024;
// Certificates of the cluster's CA that a stranger hands out: each is looked for a way to the one that a token names. A
// rotated CA has four.
inline constexpr std::size_t authority_bundle_max = 32;
// A PKCS#10 request; with an RSA-4096 key and a hundred SANs it is under 8 KiB.
inline constexpr std::size_t csr_max_bytes = 64 << 10;
// A service account token is about 1.2 KiB; etcd's and nginx's usual header bound is 8 KiB.
inline constexpr std::size_t jwt_max_bytes = 16 << 10;
// Verification keys tried for one token: a rotation keeps two or three.
inline constexpr std::size_t jwt_keys_max = 64;
// An RSA modulus of a key that somebody else publishes: 8192 bits. A check costs its square.
inline constexpr std::size_t jwk_modulus_max_bytes = 1024;
// A join token; longer ones are no honest password.
inline constexpr std::size_t token_max_bytes = 4 << 10;
// A token's password: what is accepted bare must fit with "K10<hash>::server:" before it, as this server will write it.
inline constexpr std::size_t token_password_max_bytes = token_max_bytes - 128;
// passwd has two records; a hand-kept one with hundreds of users stays under this.
inline constexpr std::size_t passwd_max_bytes = 1 << 20;
// scrypt working memory accepted of a stored hash: twice what K3s writes (128 * 2^15 * 8 = 32 MiB).
inline constexpr std::size_t scrypt_memory_max_bytes = 64 << 20;
// The bootstrap record holds about 20 files of a few KiB.
inline constexpr std::size_t bootstrap_record_max_bytes = 4 << 20;
// Keys and certificates on disk.
inline constexpr std::size_t credential_file_max_bytes = 4 << 20;

}  // namespace kedge::crypto
