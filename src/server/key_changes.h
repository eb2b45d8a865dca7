// key_changes.h: the part that serves changes of what all servers share, while they run: encryption keys and the token;
// and that takes over what other servers change.
#pragma once

#include <optional>

#include "control/server_endpoints.h"
#include "server/identity.h"
#include "server/part.h"
#include "supervisor/cluster_lock.h"
#include "supervisor/token_rotation.h"

namespace kedge::server {

class key_changes final : public part {
 public:
  // `servers`: who lives; null until this server is one of them.
  key_changes(shared& s, identity& i, std::function<control::server_endpoints*()> servers)
      : shared_(s), identity_(i), servers_(std::move(servers)) {}

  std::string_view name() const noexcept override { return "key changes"; }
  task<result<void>> start() override;
  task<void> stop() override;
  // Follows what others change, until this part stops. Once this server is one of the servers. `authorities_changed`:
  // other CAs or service account keys stand in the files, and are to be used.
  void follow(std::function<task<result<void>>()> authorities_changed);

 private:
  task<void> follow_record();
  task<bool> use(const std::vector<std::string>& files);
  task<result<void>> rotate_authorities(crypto::bootstrap_files given, bool force);
  std::vector<control::peer> others() const;
  void tell_others();

  shared& shared_;
  identity& identity_;
  std::function<control::server_endpoints*()> servers_;
  std::function<task<result<void>>()> authorities_changed_;
  reactor::event record_changed_;
  std::optional<supervisor::cluster_lock> lock_;
  std::optional<supervisor::token_rotation> rotation_;
  reactor::scope following_;
};

}  // namespace kedge::server
