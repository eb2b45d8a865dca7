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
  explicit sealing(const std::vector<rule_settings>& settings, reactor::network* network = nullptr);
  ~sealing();

  // Waits until the plugins that write are well: without them nothing could be kept.
  task<void> wait_for_writers();
  // The store's options with this before what they had: `before` opens what no rule knows.
  store::store_options around(store::store_options before);
  // Once the store is there: the newest revision that it has.
  void serve(std::function<store::revision()> newest) { newest_ = std::move(newest); }

  // Another configuration, once its plugins are well: errc::unavailable when they aren't in time, and nothing changes.
  task<result<void>> use(std::vector<rule_settings> next, duration patience = reload_patience);

  // From any core. Whether all plugins are well; whether an object is stored otherwise than it would be written now.
  result<void> well() const;
  bool is_old(const store::object& o) const;
  bool has_plugins() const { return !rules_.load()->plugins().empty(); }

 private:
  std::shared_ptr<kms_provider> make_plugin(const kms_settings& s);
  task<void> prepare(const datastore::entry& e);
  void all_is_old();

  reactor::network* network_;
  // Swapped as a whole, read by every core: an atomic pointer to what never changes.
  std::atomic<std::shared_ptr<const rules>> rules_;
  std::function<store::revision()> newest_;
  // What is no newer, and a rule's, may be sealed in another way than now.
  std::atomic<store::revision> old_upto_ = 0;
};

}  // namespace kedge::api::encryption
