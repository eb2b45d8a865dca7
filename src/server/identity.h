// identity.h: the part that opens the store and takes from it who this cluster is: record, keys, credentials.
//
//   files of $D/server ─▶ encryption keys ─▶ store ─▶ the cluster's record ─▶ files ─▶ (keys among them: the store once
//   more) ─▶ credentials
#pragma once

#include <memory>
#include <optional>

#include "server/part.h"
#include "server/shared.h"
#include "store/open.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/credentials.h"
#include "supervisor/encryption.h"

namespace kedge::server {

class identity final : public part {
 public:
  // `leads`: whether this server does what is to be done once in a cluster.
  identity(shared& s, std::function<bool()> leads)
      : shared_(s), leads_(std::move(leads)), encryption_(s.settings.cluster) {}

  std::string_view name() const noexcept override { return "identity"; }
  task<result<void>> start() override;
  // Closes the store: after everything that uses it.
  task<void> stop() override;

  // While it stands.
  store::store& objects() noexcept { return *objects_; }
  supervisor::bootstrap_data& record() noexcept { return *record_; }
  supervisor::credentials& credentials() noexcept { return *credentials_; }
  std::shared_ptr<supervisor::credentials> credentials_ptr() const { return credentials_; }
  // Who this server is to kubelets and other servers (shared.h), read anew. Blocking.
  result<void> read_clients();
  // Whom it believes, too, after the authorities are others. The key that signs tokens stays, until use_signing_key().
  result<void> read_trust();
  result<void> use_signing_key();
  supervisor::encryption& encryption() noexcept { return encryption_; }

 private:
  task<result<void>> wait_for_store();
  task<result<void>> open_store();
  task<result<void>> take_record();
  task<result<void>> save_record();
  std::string password() const;

  shared& shared_;
  std::function<bool()> leads_;
  supervisor::encryption encryption_;
  std::unique_ptr<store::store> objects_;
  bool loss_accepted_ = false;  // --accept-data-loss was given
  std::optional<supervisor::bootstrap_data> record_;
  std::shared_ptr<supervisor::credentials> credentials_;
};

}  // namespace kedge::server
