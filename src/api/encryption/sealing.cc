#include "api/encryption/sealing.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/encryption/opening_log.h"
#include "base/log.h"
#include "reactor/loop.h"

namespace kedge::api::encryption {

sealing::sealing(const std::vector<rule_settings>& settings, reactor::network* network, kms_observer* told)
    : network_(network), told_(told) {
  take(std::make_shared<const rules>(settings, std::vector<std::shared_ptr<kms_provider>>(),
                                     [this](const kms_settings& s) { return make_plugin(s); }));
  for (auto& plugin : rules_->plugins()) plugin->keep();
}
sealing::~sealing() = default;

std::shared_ptr<kms_provider> sealing::make_plugin(const kms_settings& s) {
  return std::make_shared<kms_provider>(s, [this] { all_is_old(); }, network_, told_);
}

void sealing::take(std::shared_ptr<const rules> now) {
  shown_ = std::make_shared<const rules_summary>(now->summary());
  rules_ = std::move(now);
}

// What is still on its way to the datastore is noted when it lands.
void sealing::all_is_old() { old_upto_.store(seen_, std::memory_order_relaxed); }

// Whether it is one of those that want to be written anew.
void sealing::note(std::string_view key, std::string_view stored, store::revision at) {
  seen_ = std::max(seen_, at);
  if (at > old_upto_.load(std::memory_order_relaxed) && !rules_->is_newest(key, stored))
    old_upto_.store(at, std::memory_order_relaxed);
}

task<void> sealing::wait_for_writers() {
  const auto now = rules_;  // another configuration may come meanwhile
  for (auto& plugin : now->writers())
    while (!plugin->health()->well()) {
      if (auto seen = co_await plugin->look(); seen) break;
      co_await reactor::sleep_for(fetch_pause);
    }
}

store::store_options sealing::around(store::store_options options) {
  auto& t = options.transform;
  t.seal = [this](std::string_view key, std::string_view plain,
                  const store::snapshot&) -> result<std::optional<store::sealed_value>> {
    KEDGE_TRY(auto sealed, rules_->seal(key, plain));
    if (!sealed) return std::nullopt;
    return store::sealed_value{*std::move(sealed), {}};
  };
  t.open = [this, before = std::move(t.open)](std::string_view key, std::string_view stored) -> result<std::string> {
    auto opened = rules_->open(key, stored);
    if (opened || opened.error().code != errc::unsupported || !before) return opened;
    return before(key, stored);
  };
  options.log = make_opening_log(
      std::move(options.log), [this](const datastore::entry& e) { return prepare(e); },
      [this](const datastore::operation& o, datastore::revision at) {
        if (o.kind != datastore::change::remove) note(o.name, o.value, at);
      });
  return options;
}

task<void> sealing::prepare(const datastore::entry& e) {
  if (e.kind == datastore::change::remove) co_return;
  const auto now = rules_;
  std::string_view sealed;
  if (auto plugin = now->opener(e.name, e.value, sealed)) co_await plugin->fetch(std::string(sealed));
  note(e.name, e.value, e.at);
}

task<result<void>> sealing::use(std::vector<rule_settings> next, duration patience) {
  const auto before = rules_;
  auto made =
      std::make_shared<const rules>(next, before->plugins(), [this](const kms_settings& s) { return make_plugin(s); });
  const auto until = reactor::loop::current().now() + patience;
  for (auto& plugin : made->plugins())
    for (;;) {
      auto seen = co_await plugin->look();
      if (seen) break;
      if (reactor::loop::current().now() >= until)
        co_return fail(errc::unavailable, "health check for new transformers failed: " + seen.error().message);
      co_await reactor::sleep_for(std::chrono::milliseconds(100));
    }
  const bool otherwise = made->writing() != before->writing();
  for (auto& plugin : made->plugins())
    if (std::ranges::find(before->plugins(), plugin) == before->plugins().end()) plugin->keep();
  take(std::move(made));
  if (otherwise) all_is_old();
  co_return result<void>();
}

result<void> sealing::well() const {
  std::string wrong;
  const auto shown = shown_.load();
  for (auto& plugin : shown->plugins)
    if (auto seen = plugin->well(); !seen) wrong += (wrong.empty() ? "" : ", ") + seen.error().message;
  if (wrong.empty()) return {};
  return fail(errc::unavailable, wrong);
}

bool sealing::is_old(const store::object& o) const {
  return o.mod() <= old_upto_.load(std::memory_order_relaxed) && shown_.load()->is_about(o.key());
}

}  // namespace kedge::api::encryption
