// credentials.h: the cluster's identity on this server's disk: CAs, client certificates, tokens, kubeconfigs, in the
// files, names and modes of a K3s server, so that either takes over the other's data directory.
//
//   $D/server/tls/…        CAs, certificates of the server's own clients, service.key, the serving certificate
//   $D/server/cred/…       passwd, ipsec.psk, kubeconfigs of the components
//   $D/server/token        K10<hash of the CA>::server:<password>; node-token and agent-token beside it
//   /etc/rancher/k3s/k3s.yaml  the administrator's kubeconfig
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "crypto/certificate.h"
#include "crypto/passwd.h"
#include "reactor/stream.h"
#include "supervisor/config.h"
#include "supervisor/serving_certificate.h"

namespace kedge::supervisor {

// Shared with what the offload pool still does with it when the server has ended.
class credentials : public std::enable_shared_from_this<credentials> {
 public:
  // Reads what is there and makes what is missing or near its end. Blocking: at start. Errors name the file.
  static result<std::shared_ptr<credentials>> open(const config& c, wall_time now, random_source& random);

  // Makes what open() wrote durable. Blocking, once, on the offload pool; no other call of it at the same time.
  result<void> sync();

  // The authorities, as copies (handles of what doesn't change): reload() puts others in their place. Any thread.
  crypto::authority server_ca() const { return authorities()->server; }
  crypto::authority client_ca() const { return authorities()->client; }
  crypto::authority request_header_ca() const { return authorities()->request_header; }
  std::string service_keys_pem() const { return authorities()->service_keys; }

  // Immutable after open: from every core.
  const std::string& ipsec_psk() const noexcept { return ipsec_psk_; }
  std::string token_file() const { return settings_.server_dir() + "/token"; }
  const std::string& admin_kubeconfig_path() const noexcept { return kubeconfig_path_; }
  // The certificate and key (PEM) of a client of the server's own, by its file stem: "client-kube-apiserver" …
  result<std::pair<std::string, std::string>> client(const std::string& stem) const;
  // Why no certificate of this cluster can be good at `now`: the clock, or an authority that has ended. nullopt: they
  // can.
  std::optional<std::string> clock_problem(wall_time now) const;
  // The same where the clock stands before the cluster's begin: a server with such a clock can tell nobody from a
  // stranger, and is no one to be sent to.
  std::optional<std::string> not_begun(wall_time now) const;
  // The key that agents without a request of their own share. Blocking.
  result<std::string> legacy_key(const std::string& stem) const;

  // These change while the server runs; each call gives a copy. Any thread.
  std::string password() const;  // the server token's
  std::string full_token() const;
  std::string agent_token() const;
  bool agents_have_own_token() const;  // --agent-token: it stays when the servers' is rotated
  std::shared_ptr<const crypto::passwd> passwd_table() const;
  std::vector<std::string> serving_names() const;
  std::pair<std::string, std::string> serving_identity() const;  // chain and key, PEM
  json::value serving_secret() const;

  // Blocking, on the offload pool, one at a time. Whether renew() has something to do at once: a certificate was set
  // aside.
  bool is_set_aside() const;
  // Makes what is missing or near its end, as open() does; the names of what was made.
  result<std::vector<std::string>> renew(wall_time now, random_source& random);

  // The authorities and service account keys that stand in the files now (a rotation put them there), and all of the
  // server's own certificates and files that follow from them. Done in part, it is done again by the next call, or the
  // next start.
  result<void> reload(wall_time now, random_source& random);

  // Blocking: on the offload pool.
  result<void> use_token(const std::string& password);  // the server token's is this from now on
  // Adds names, and merges with the Secret of all servers (null: there is none yet).
  result<serving_certificate::merged> merge_serving(const std::vector<std::string>& names, const json::value& secret,
                                                    wall_time now);

 private:
  struct authority_set {
    crypto::authority server, client, request_header;
    std::string service_keys;
  };
  credentials(const config& c, authority_set all, serving_certificate serving)
      : settings_(c),
        authorities_(std::make_shared<const authority_set>(std::move(all))),
        serving_(std::move(serving)) {}
  std::shared_ptr<const authority_set> authorities() const {
    std::lock_guard lock(mutex_);
    return authorities_;
  }
  static result<authority_set> read_authorities(const config& c, wall_time now);
  result<void> write_clients(wall_time now, random_source& random);
  result<std::vector<std::string>> ensure_leaves(wall_time now, random_source& random) const;
  result<void> write_tokens(random_source& random);
  result<void> save_tokens();
  result<void> write_kubeconfigs();
  void link_kubeconfig(const std::string& usual) const;

  config settings_;
  std::vector<std::string> unsynced_;
  std::string ipsec_psk_, kubeconfig_path_;
  std::mutex making_;         // of files: renew() and reload()
  mutable std::mutex mutex_;  // rare: tokens, names and authorities change by hand, or with a new address
  std::shared_ptr<const authority_set> authorities_;  // replaced, never changed
  std::string password_, agent_password_;
  crypto::passwd passwd_;
  std::shared_ptr<const crypto::passwd> passwd_shared_;  // as requests read it; replaced, never changed
  serving_certificate serving_;
};

// CAs, members' and clients' certificates of an etcd of the cluster's own, in $D/server/tls/etcd: what is missing or
// near its end is made. Blocking: at start.
result<void> make_etcd_certificates(const config& c, wall_time now, random_source& random);

// The names that the serving certificate has from the start.
std::vector<std::string> initial_names(const config& c);

// A kubeconfig with one cluster, context and user, credentials embedded as base64.
std::string embedded_kubeconfig(const std::string& name, const std::string& server_url, const std::string& ca_pem,
                                const std::string& certificate_pem, const std::string& key_pem);

}  // namespace kedge::supervisor
