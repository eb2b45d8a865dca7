// provider.h: a KMS plugin as a provider: the seed that values are sealed with, and those that were found.
//
//   look ─▶ Status ─▶ the plugin's key is another ─▶ a new seed, Encrypt ─▶ what is written from now on
//   a value under a seed that isn't known ─▶ fetch: Decrypt ─▶ open
//
// Values are sealed and opened at once, with seeds in memory; the plugin is asked before. On the loop that it began on,
// where it also ends: other cores hold its health alone.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "api/encryption/plugin.h"
#include "base/time.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::api::encryption {

// What the last look at a plugin found. Outlives it, for whoever still asks.
class plugin_health {
 public:
  plugin_health();
  void found(const result<void>& seen);
  result<void> well() const;  // from any core

 private:
  std::atomic<std::shared_ptr<const error>> ill_;  // null: well. Swapped as a whole
};

class kms_provider {
 public:
  // `key_changed`: values under the key before are old from now on.
  // `told` what becomes of it; null: nobody.
  kms_provider(kms_settings s, std::function<void()> key_changed, reactor::network* network = nullptr,
               kms_observer* told = nullptr);
  ~kms_provider();

  const kms_settings& settings() const noexcept { return settings_; }

  // Looks whether the plugin is well, and takes over another key of its.
  task<result<void>> look();
  // The same again and again, until this is dropped. Once.
  void keep();
  const std::shared_ptr<plugin_health>& health() const noexcept { return health_; }

  // What stands behind the value's prefix. errc::unavailable: there is no seed to write with, or none any more.
  result<std::string> seal(std::string_view plain, std::string_view datastore_key) const;
  result<std::string> open(std::string_view sealed, std::string_view datastore_key) const;
  // Has the seed of a value opened, so that open() can; waits for a plugin that can't be reached, however long. What it
  // refuses is left to open(), which says so.
  task<void> fetch(std::string sealed);
  // Whether it is sealed under the plugin's key of now.
  bool is_newest(std::string_view sealed) const;

 private:
  struct refusal {
    error why;
    time_point at;
  };
  task<result<void>> look_once();
  task<result<void>> take_key(std::string key_id);
  task<void> look_on();
  void remember(const encrypted_seed& seed, std::string opened);

  const kms_settings settings_;
  std::function<void()> key_changed_;
  kms_observer* told_;
  plugin plugin_;
  std::string version_;                   // that the plugin said first
  std::optional<encrypted_seed> writes_;  // nullopt: there was none yet
  wall_time writes_until_{};
  std::map<encrypted_seed, std::string> opened_;
  std::map<encrypted_seed, refusal> refused_;
  reactor::semaphore turn_{1};
  std::shared_ptr<plugin_health> health_;
  reactor::scope looking_;
};

}  // namespace kedge::api::encryption
