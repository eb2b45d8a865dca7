#include "server/key_changes.h"

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "crypto/bootstrap_record.h"
#include "supervisor/ca_rotation.h"

namespace kedge::server {

namespace {
constexpr auto use_retry_pause = std::chrono::seconds(1);
}

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
                                                .address = [this] { return shared_.own_address(); },
                                                .identity = shared_.process,
                                                .lives =
                                                    [this](std::string_view process) {
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
                                                      .address = [this] { return shared_.own_address(); },
                                                      .others = [this] { return others(); },
                                                      .changed =
                                                          [this] {
                                                            record_changed_.set();  // under the new token
                                                            tell_others();
                                                          }});
  shared_.token_stands = [this, &home]() { return reactor::call_on(home, [this] { return rotation_->stands(); }); };
  shared_.rotate_token = [this, &home](std::string wanted) {
    return reactor::call_on(
        home, [this, wanted = std::move(wanted)]() mutable { return rotation_->rotate(std::move(wanted)); });
  };
  shared_.rotate_authorities = [this, &home](crypto::bootstrap_files given, bool force) {
    return reactor::call_on(home, [this, given = std::move(given), force]() mutable {
      return rotate_authorities(std::move(given), force);
    });
  };
  co_return result<void>();
}

task<result<void>> key_changes::rotate_authorities(crypto::bootstrap_files given, bool force) {
  KEDGE_CO_CHECK(co_await lock_->take("changes the cluster's authorities"));
  auto done =
      co_await identity_.record().rotate_authorities(identity_.credentials().password(), std::move(given), force);
  co_await lock_->give_back();
  if (!done) co_return fail(std::move(done).error());
  for (auto& warning : *done) log::warning("rotate-ca: {}", warning);
  co_return result<void>();
}

void key_changes::follow(std::function<task<result<void>>()> authorities_changed) {
  authorities_changed_ = std::move(authorities_changed);
  following_.spawn(follow_record());
  following_.spawn(rotation_->keep());
}

// What another server changes in the record, encryption keys above all, is taken over.
task<void> key_changes::follow_record() {
  auto& own = identity_.credentials();
  auto& encryption = identity_.encryption();
  reactor::scope watching;
  watching.spawn(
      control::follow(identity_.objects(), std::string(crypto::bootstrap_prefix), [&](const store::event& e) {
        if (e.type != store::event_type::deleted && e.object->key() == crypto::bootstrap_key(own.password()))
          record_changed_.set();
      }));
  std::vector<std::string> pending;  // files that aren't in use yet
  for (;;) {
    if (pending.empty())
      co_await record_changed_.wait();
    else
      co_await reactor::sleep_for(use_retry_pause);
    record_changed_.reset();
    if (encryption.changing()) continue;  // by this server
    auto files = co_await identity_.record().refresh(own.password());
    if (!files) {
      log::error("the cluster's files in the datastore were changed, and can't be taken over: {}",
                 files.error().message);
      continue;
    }
    if (!files->empty()) log::info("taken from the datastore: {}", join(*files, ", "));
    pending.insert(pending.end(), files->begin(), files->end());
    if (!pending.empty() && co_await use(pending)) pending.clear();
  }
}

// Whether all of it is in use now.
task<bool> key_changes::use(const std::vector<std::string>& files) {
  auto keys = co_await identity_.encryption().reload();
  if (!keys) log::error("the encryption keys from the datastore can't be used: {}", keys.error().message);
  tell_others();
  if (!std::ranges::any_of(files, [](const std::string& name) { return supervisor::is_rotated(name); })) co_return true;
  auto used = co_await authorities_changed_();
  if (!used) log::error("the cluster's authorities from the datastore can't be used yet: {}", used.error().message);
  co_return used.has_value();
}

task<void> key_changes::stop() {
  following_.cancel();
  identity_.encryption().stop();
  if (lock_) lock_->stop();
  co_return;
}

}  // namespace kedge::server
