// serving_certificate.h: the one certificate of port 6443, which grows by the names under which clients reach the
// server.
//
// Kept as K3s's dynamiclistener keeps it: a v1 Secret as JSON in $D/server/tls/dynamic-cert.json, one annotation per
// name. The key stays; each new name re-signs. `server/tls/dynamic-cert-regenerate` at start forces a new key.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "crypto/certificate.h"
#include "json/value.h"

namespace kedge::supervisor {

class serving_certificate {
 public:
  // Loads what is on disk, and makes or renews what is missing, wrong or near its end. Blocking: at start.
  static result<serving_certificate> open(std::string tls_dir, crypto::authority ca, std::vector<std::string> names,
                                          wall_time now, random_source& random);

  const std::string& chain_pem() const noexcept { return chain_; }
  const std::string& key_pem() const noexcept { return key_; }
  const std::set<std::string>& names() const noexcept { return names_; }
  bool covers(std::string_view name) const;

  // From now on this authority signs; signs anew and saves where it isn't what signed before. Blocking, as grow().
  result<void> sign_by(crypto::authority ca, wall_time now, random_source& random);

  // Adds names, signs anew and saves; false when all were there. Blocking (a file is written): on the offload pool.
  result<bool> grow(const std::vector<std::string>& names, wall_time now, random_source& random);
  // Becomes one with what other servers have put into kube-system/k3s-serving: their key, everybody's names. What isn't
  // valid now is signed anew instead of being taken over, without losing a name. Blocking.
  enum class merged : unsigned char {
    same,     // nothing to do
    adopted,  // this certificate is now the Secret's
    grown,    // this certificate is a new one (or the Secret's is none), and the Secret shall be it
  };
  result<merged> merge(const json::value& secret, wall_time now, random_source& random);

  // The Secret's JSON (also kube-system/k3s-serving).
  json::value to_secret() const;

 private:
  serving_certificate(std::string tls_dir, crypto::authority ca) : tls_dir_(std::move(tls_dir)), ca_(std::move(ca)) {}
  bool good(wall_time now) const;
  result<void> sign(wall_time now, random_source& random);
  result<merged> take(std::string chain, std::string key, const json::value* as_it_is);
  crypto::leaf_request wanted() const;

  std::string tls_dir_;
  crypto::authority ca_;
  std::set<std::string> names_;
  std::string chain_, key_;
  std::string refused_;   // a chain that was told of as not valid
  bool new_key_ = false;  // made on demand (dynamic-cert-regenerate): it replaces the other servers'
};

// The annotation that stands for a name: listener.cattle.io/cn-<name>, shortened by hash where Kubernetes' grammar or
// length forbids it.
std::string name_annotation(std::string_view name);

}  // namespace kedge::supervisor
