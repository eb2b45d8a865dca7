// certificate.h: X.509 certificates: reading, issuing as K3s does, renewal, and trust.
//
// A certificate is a handle to an immutable, parsed one: cheap to copy, safe to share between cores.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/random.h"
#include "base/time.h"
#include "crypto/key.h"

struct x509_st;        // OpenSSL's X509
struct x509_store_st;  // OpenSSL's X509_STORE

namespace kedge::crypto {

// Who a subject names, as Kubernetes reads it: CN is the user, each O a group.
struct subject {
  std::string user;                 // CN; the last one, as Go
  std::vector<std::string> groups;  // every O, in order
  std::string uid;                  // OID 1.3.6.1.4.1.57683.2, usually empty
  friend bool operator==(const subject&, const subject&) = default;
};

class certificate {
 public:
  static result<certificate> from_der(bytes der);

  const std::string& der() const;
  std::string pem() const;

  const crypto::subject& subject() const;
  const std::string& issuer_name() const;             // the issuer's CN
  const std::vector<std::string>& dns_names() const;  // of the SANs; the CN is none
  const std::vector<std::string>& addresses() const;  // of the SANs, in inet_ntop's form
  wall_time not_before() const;
  wall_time not_after() const;
  bool is_authority() const;                    // basicConstraints say CA
  bool for_client() const;                      // EKU clientAuth or any; true without EKU
  bool for_server() const;                      // EKU serverAuth or any; true without EKU
  const std::string& subject_key_id() const;    // raw; empty when absent
  const std::string& authority_key_id() const;  // raw; empty when absent
  public_key key() const;

  std::string fingerprint_sha1() const;    // 40 upper-case hexadecimal digits (K3s: SHA1=<this>)
  std::string fingerprint_sha256() const;  // 64 lower-case ones (Kubernetes: X509SHA256=<this>)

  x509_st* native() const;
  friend bool operator==(const certificate& a, const certificate& b) { return a.der() == b.der(); }

 private:
  struct state;
  explicit certificate(std::shared_ptr<const state> s) : state_(std::move(s)) {}
  std::shared_ptr<const state> state_;  // never null
};

// Every "CERTIFICATE" block in order. None, or one that doesn't parse: errc::invalid.
result<std::vector<certificate>> parse_bundle(std::string_view pem);
std::string write_bundle(std::span<const certificate> bundle);

// A CA and its private key: bundle.front() signs, the others (intermediates, roots) ride along behind each leaf.
class authority {
 public:
  // errc::invalid when the key isn't that of the first certificate.
  static result<authority> from_pem(std::string_view bundle, std::string_view key);

  // A self-signed CA as K3s makes it: CN `<prefix>@<unix seconds of now>`, serial 0, valid for 10 x 365 days from an
  // hour before now, ECDSA P-256.
  static result<authority> create(std::string_view prefix, wall_time now);
  // The same with a given key and full common name (renewal under the same key; tests).
  static result<authority> create(std::string_view common_name, const private_key& key, wall_time now);

  const certificate& signer() const { return bundle_.front(); }
  const std::vector<certificate>& bundle() const { return bundle_; }
  const private_key& key() const { return key_; }
  std::string bundle_pem() const { return write_bundle(bundle_); }

 private:
  authority(std::vector<certificate> bundle, private_key key) : bundle_(std::move(bundle)), key_(std::move(key)) {}
  std::vector<certificate> bundle_;  // never empty
  private_key key_;
};

inline constexpr auto leaf_lifetime = std::chrono::days(365);
inline constexpr auto authority_lifetime = std::chrono::days(10 * 365);
// How long before now a new CA begins, for peers whose clock is behind.
inline constexpr auto authority_backdate = std::chrono::hours(1);
// Certificates are renewed when they end sooner than this (K3s: 120 days).
inline constexpr auto renewal_window = std::chrono::days(120);

// What a leaf shall be. CN and at least one of client and server are required, as by K3s.
struct leaf_request {
  std::string common_name;
  std::vector<std::string> organizations;
  std::vector<std::string> dns_names;
  std::vector<std::string> addresses;  // IPv4 or IPv6 text
  bool client = false;                 // EKU clientAuth
  bool server = false;                 // EKU serverAuth
  bool digital_signature = true;
  bool key_encipherment = true;
  duration lifetime = leaf_lifetime;
};

// A leaf for `key` with a random 63-bit serial. It begins when the CA does: a signer whose clock is fast makes nothing
// that others take for not yet valid, and whoever trusts the CA at his time may trust its leaf.
result<certificate> issue(const authority& ca, const public_key& key, const leaf_request& request, wall_time now,
                          random_source& random);

// The leaf followed by the whole CA bundle: the content of every .crt file that K3s writes or answers.
std::string chain_pem(const certificate& leaf, const authority& ca);

// The authority `of` (its subject, key and key id) signed by another: who trusts that one trusts what the first signs.
// It lasts for as long as both do.
result<certificate> cross_sign(const authority& by, const certificate& of, random_source& random);

// Whether what follows the leaf in a chain is the authority's whole bundle, as chain_pem() has it.
bool carries_bundle(std::span<const certificate> chain, const authority& ca);

// Why a certificate isn't valid at `now`, in words for the log: not yet, or no longer. nullopt: it is.
std::optional<std::string> reason_invalid(const certificate& c, wall_time now);

// Why a leaf on disk must be made anew, in words for the log: it isn't valid yet, it ends within the renewal window,
// its CN or O differ, a SAN is missing, or another CA signed it (AKI != SKI). nullopt: it may stay. More SANs than
// wanted are no reason. A clock that stands before the CA's begin is wrong, and taken for that time: signing anew would
// not help.
std::optional<std::string> reason_to_renew(const certificate& leaf, const certificate& signer,
                                           const leaf_request& wanted, wall_time clock);

// Certificates trusted to sign, for verification without I/O. Every one is an anchor, intermediates too, as in Go's
// client CA pool. Immutable after construction and safe to share between cores; OpenSSL's store has a lock inside, so a
// core that verifies often keeps a trust of its own.
class trust {
 public:
  static result<trust> from_bundle(std::span<const certificate> anchors);

  // Whether the chain is good at `now` for that use: signatures, validity, CA flags, extended key usage. `chain` is
  // what the peer sent, leaf first. errc::expired when only time is wrong, else errc::unauthenticated. A client
  // certificate's user is then `chain[0].subject()`.
  result<void> verify_client(std::span<const certificate> chain, wall_time now) const;
  // The same for a server, which must also carry `name` (a DNS name or an address) as a SAN.
  result<void> verify_server(std::span<const certificate> chain, std::string_view name, wall_time now) const;

  x509_store_st* native() const { return store_.get(); }  // for TLS contexts; they take a reference of their own

 private:
  explicit trust(std::shared_ptr<x509_store_st> store) : store_(std::move(store)) {}
  std::shared_ptr<x509_store_st> store_;
};

// Whether bundle.front() leads to one of `anchors` through the rest of the bundle, whatever it is for.
bool leads_to(std::span<const certificate> bundle, std::span<const certificate> anchors, wall_time now);

// The root that verifies bundle.front() through the rest, where certificates without an AKI, or with AKI == SKI, count
// as roots, and those with extended key usages must allow serverAuth. nullopt: no chain verifies. For token.h's CA
// hash.
std::optional<certificate> root_of(std::span<const certificate> bundle, wall_time now);

}  // namespace kedge::crypto
