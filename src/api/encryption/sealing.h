// sealing.h: encryption at rest by a user's EncryptionConfiguration, while a server runs.
//
//   file ─▶ rule_settings ─▶ rules, plugins that are looked after ─▶ the store's seal and open, its log
//   the file again ─▶ plugins that are well ─▶ other rules; what was written before is old
//
// On the loop that owns the store, but for what says otherwise.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "api/encryption/rules.h"
#include "datastore/log.h"
#include "store/open.h"

namespace kedge::api::encryption {

class sealing {
 public:
  // `told` what becomes of plugins, which it outlives; null: nobody.
  explicit sealing(const std::vector<rule_settings>& settings, reactor::network* network = nullptr,
                   kms_observer* told = nullptr);
  ~sealing();

  // Waits until the plugins that write are well: without them nothing could be kept.
  task<void> wait_for_writers();
  // The store's options with this before what they had: `before` opens what no rule knows.
  store::store_options around(store::store_options before);
  // Another configuration, once its plugins are well: errc::unavailable when they aren't in time, and nothing changes.
  task<result<void>> use(std::vector<rule_settings> next, duration patience = reload_patience);

  // From any core. Whether all plugins are well; whether an object is stored otherwise than it would be written now.
  result<void> well() const;
  bool is_old(const store::object& o) const;
  bool has_plugins() const { return !shown_.load()->plugins.empty(); }

 private:
  std::shared_ptr<kms_provider> make_plugin(const kms_settings& s);
  task<void> prepare(const datastore::entry& e);
  void note(std::string_view key, std::string_view stored, store::revision at);
  void all_is_old();
  void take(std::shared_ptr<const rules> now);

  reactor::network* network_;
  kms_observer* told_;
  std::shared_ptr<const rules> rules_;
  // Swapped as a whole, read by every core: an atomic pointer to what never changes.
  std::atomic<std::shared_ptr<const rules_summary>> shown_;
  store::revision seen_ = 0;  // the newest of the values that came through the log
  // What is no newer, and a rule's, may be sealed in another way than now.
  std::atomic<store::revision> old_upto_ = 0;
};

}  // namespace kedge::api::encryption
