#include "server/key_changes.h"

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "crypto/bootstrap_record.h"

namespace kedge::server {

std::vector<control::peer> key_changes::others() const {
  auto* all = servers_();
  return all ? all->living() : std::vector<control::peer>();
}

void key_changes::tell_others() {
  if (auto* all = servers_()) all->tell();
}

task<result<void>> key_changes::start() {
  auto& home = shared_.home();
  lock_.emplace(supervisor::cluster_lock::parts{.objects = identity_.objects(),
                                                .row = "/kedge/secrets-encrypt",
                                                .address = shared_.settings.own_address(),
                                                .identity = shared_.process,
                                                .lives = [this](std::string_view process) {
                                                  return std::ranges::any_of(others(), [&](const control::peer& p) {
                                                    return p.identity == process;
                                                  });
                                                }});
  identity_.encryption().serve({.objects = identity_.objects(),
                                .record = identity_.record(),
                                .lock = *lock_,
                                .password = [this] { return identity_.credentials().password(); },
                                .others =
                                    [this] {
                                      auto* all = servers_();
                                      return all ? all->encryption_hashes()
                                                 : std::vector<std::pair<std::string, std::string>>();
                                    }});
  shared_.encryption_status = [this, &home]() -> task<json::value> {
    co_return co_await reactor::call_on(home,
                                        [this]() -> task<json::value> { co_return identity_.encryption().status(); });
  };
  shared_.change_encryption = [this, &home](json::value request) -> task<result<void>> {
    co_return co_await reactor::call_on(home, [this, request = std::move(request)]() mutable {
      return identity_.encryption().change(std::move(request));
    });
  };
  rotation_.emplace(supervisor::token_rotation::parts{.objects = identity_.objects(),
                                                      .record = identity_.record(),
                                                      .identity = identity_.credentials(),
                                                      .lock = *lock_,
                                                      .address = shared_.settings.own_address(),
                                                      .others = [this] { return others(); },
                                                      .changed = [this] { tell_others(); }});
  shared_.token_stands = [this, &home]() { return reactor::call_on(home, [this] { return rotation_->stands(); }); };
  shared_.rotate_token = [this, &home](std::string wanted) {
    return reactor::call_on(
        home, [this, wanted = std::move(wanted)]() mutable { return rotation_->rotate(std::move(wanted)); });
  };
  co_return result<void>();
}

void key_changes::follow() {
  following_.spawn(follow_record());
  following_.spawn(rotation_->keep());
}

// What another server changes in the record, encryption keys above all, is taken over.
task<void> key_changes::follow_record() {
  auto& own = identity_.credentials();
  auto& encryption = identity_.encryption();
  reactor::event changed;
  reactor::scope watching;
  watching.spawn(
      control::follow(identity_.objects(), std::string(crypto::bootstrap_prefix), [&](const store::event& e) {
        if (e.type != store::event_type::deleted && e.object->key() == crypto::bootstrap_key(own.password()))
          changed.set();
      }));
  for (;;) {
    co_await changed.wait();
    changed.reset();
    if (encryption.changing()) continue;  // by this server
    auto files = co_await identity_.record().refresh(own.password());
    if (!files) {
      log::error("the cluster's files in the datastore were changed, and can't be taken over: {}",
                 files.error().message);
      continue;
    }
    if (files->empty()) continue;
    log::info("taken from the datastore: {}", join(*files, ", "));
    if (auto keys = co_await encryption.reload(); !keys)
      log::error("the encryption keys from the datastore can't be used: {}", keys.error().message);
    tell_others();
  }
}

task<void> key_changes::stop() {
  following_.cancel();
  identity_.encryption().stop();
  if (lock_) lock_->stop();
  co_return;
}

}  // namespace kedge::server
