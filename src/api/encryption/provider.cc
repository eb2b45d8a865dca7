#include "api/encryption/provider.h"

#include <fmt/format.h>

#include <vector>

#include "base/bytes.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "reactor/loop.h"

namespace kedge::api::encryption {
namespace {

constexpr std::size_t seed_bytes = 32;

// Ids of keys are nobody's business.
std::string hash_of(std::string_view id) {
  return id.empty() ? std::string() : "sha256:" + crypto::sha256_hex(as_bytes(id));
}

std::string new_uid() { return reactor::loop::current().random().uuid(); }

bool may_be_better_later(const error& e) {
  return e.os_error != 0 || e.code == errc::unavailable || e.code == errc::timeout || e.code == errc::closed ||
         e.code == errc::refused || e.code == errc::exhausted || e.code == errc::io;
}

struct released {
  reactor::semaphore& of;
  ~released() { of.release(); }
};

}  // namespace

plugin_health::plugin_health() { found(fail(errc::unavailable, "it has not been asked yet")); }

void plugin_health::found(const result<void>& seen) {
  ill_ = seen ? nullptr : std::make_shared<const error>(seen.error());
}

result<void> plugin_health::well() const {
  auto ill = ill_.load();
  if (!ill) return {};
  return fail(*ill);
}

kms_provider::kms_provider(kms_settings s, std::function<void()> key_changed, reactor::network* network,
                           kms_observer* told)
    : settings_(std::move(s)),
      key_changed_(std::move(key_changed)),
      told_(told),
      plugin_(settings_, network, told),
      health_(std::make_shared<plugin_health>()) {}
kms_provider::~kms_provider() = default;

task<result<void>> kms_provider::look() {
  co_await turn_.acquire();
  released after{turn_};
  auto seen = co_await look_once();
  health_->found(seen);
  co_return seen;
}

task<result<void>> kms_provider::look_once() {
  auto said = co_await plugin_.status();
  if (!said)
    co_return fail(said.error().code,
                   fmt::format("failed to perform status section of the healthz check for KMS Provider {}, error: {}",
                               settings_.name, said.error().message));
  std::vector<std::string> wrong;
  if (said->health != "ok") wrong.push_back("got unexpected healthz status: " + said->health);
  if (said->version != "v2" && said->version != "v2beta1") {
    wrong.push_back("expected KMSv2 API version v2, got " + said->version);
  } else {
    if (version_.empty()) version_ = said->version;
    if (version_ != said->version)
      wrong.push_back(
          fmt::format("KMSv2 API version should not change after the initial status response version {}, "
                      "got {}",
                      version_, said->version));
  }
  const bool no_key = said->key_id.empty(), too_long = said->key_id.size() > key_id_max_bytes;
  if (told_) told_->told(settings_.name, said->key_id, no_key ? "empty" : too_long ? "too_long" : "");
  if (no_key || too_long)
    wrong.push_back(fmt::format("got invalid KMSv2 KeyID hash {}: keyID is {}", quote(hash_of(said->key_id)),
                                said->key_id.empty() ? "empty" : "too long"));
  else if (auto taken = co_await take_key(said->key_id); !taken)
    wrong.push_back(taken.error().message);
  if (wrong.empty()) co_return result<void>();
  co_return fail(errc::unavailable, fmt::format("kmsv2 Provider {} is not healthy, error: {}", settings_.name,
                                                wrong.size() == 1 ? wrong[0] : "[" + join(wrong, ", ") + "]"));
}

// The seed of the key that the plugin writes with. What there was stays until another can be had, for a while.
task<result<void>> kms_provider::take_key(std::string key_id) {
  const auto until = reactor::loop::current().wall_now() + seed_write_time;
  if (writes_ && writes_->key_id == key_id) {
    writes_until_ = until;
    co_return result<void>();
  }
  auto seed = crypto::random_bytes(reactor::loop::current().random(), seed_bytes);
  auto made = co_await plugin_.encrypt(new_uid(), seed);
  if (made)
    if (auto good = made->check(); !good) made = fail(std::move(good).error());
  if (!made)
    co_return fail(errc::unavailable, fmt::format("failed to rotate DEK, errGen=failed to encrypt DEK, error: {}, "
                                                  "statusKeyIDHash={}",
                                                  made.error().message, quote(hash_of(key_id))));
  if (made->key_id != key_id)
    co_return fail(errc::unavailable,
                   fmt::format("failed to rotate DEK, errGen=<nil>, statusKeyIDHash={}, encryptKeyIDHash={}",
                               quote(hash_of(key_id)), quote(hash_of(made->key_id))));
  const bool another = writes_.has_value();
  remember(*made, std::move(seed));
  writes_ = *std::move(made);
  writes_until_ = until;
  if (another) {
    log::info("the key of KMS provider {} is another now", quote(settings_.name));
    key_changed_();
  }
  co_return result<void>();
}

void kms_provider::keep() { looking_.spawn(look_on()); }

task<void> kms_provider::look_on() {
  for (bool told = false;;) {
    auto seen = co_await look();
    if (!seen && !std::exchange(told, true)) log::error("{}", seen.error().message);
    if (seen && std::exchange(told, false)) log::info("KMS provider {} is well again", quote(settings_.name));
    co_await reactor::sleep_for(seen ? plugin_look_again : plugin_look_again_ill);
  }
}

void kms_provider::remember(const encrypted_seed& seed, std::string opened) {
  if (opened_.size() >= seeds_max) std::erase_if(opened_, [&](auto& one) { return !writes_ || one.first != *writes_; });
  refused_.erase(seed);
  opened_.insert_or_assign(seed, std::move(opened));
  if (told_) told_->holds(settings_.name, opened_.size());
}

result<std::string> kms_provider::seal(std::string_view plain, std::string_view datastore_key) const {
  auto& loop = reactor::loop::current();
  auto found = writes_ ? opened_.find(*writes_) : opened_.end();
  if (found == opened_.end()) {
    auto seen = health_->well();
    return fail(errc::unavailable, fmt::format("KMS provider {} has given no key to write with yet{}",
                                               quote(settings_.name), seen ? "" : ": " + seen.error().message));
  }
  if (const auto now = loop.wall_now(); now > writes_until_)
    return fail(errc::unavailable,
                fmt::format("encryptedDEKSource with keyID hash {} expired at {} (current time is {})",
                            quote(hash_of(writes_->key_id)), format_rfc3339(writes_until_), format_rfc3339(now)));
  auto sealed = seal_envelope(*writes_, found->second, plain, datastore_key, loop.random());
  if (told_ && sealed) told_->used(settings_.name, writes_->key_id, true);
  return sealed;
}

result<std::string> kms_provider::open(std::string_view sealed, std::string_view datastore_key) const {
  KEDGE_TRY(auto read, envelope::read(sealed));
  if (auto known = opened_.find(read.seed); known != opened_.end()) {
    if (told_) told_->used(settings_.name, read.seed.key_id, false);
    return open_envelope(read, known->second, datastore_key);
  }
  if (auto refused = refused_.find(read.seed); refused != refused_.end())
    return fail(errc::unauthenticated, "failed to decrypt DEK, error: " + refused->second.why.message);
  return fail(errc::unavailable, "failed to decrypt DEK, error: the plugin has not been asked yet");
}

task<void> kms_provider::fetch(std::string sealed) {
  auto read = envelope::read(sealed);
  if (!read || opened_.contains(read->seed)) co_return;
  const auto seed = read->seed;
  int refused_now = 0;
  for (bool told = false;;) {
    bool later = true;
    {
      co_await turn_.acquire();
      released after{turn_};
      if (opened_.contains(seed)) co_return;
      const auto now = reactor::loop::current().now();
      if (auto refused = refused_.find(seed); refused != refused_.end()) {
        if (now - refused->second.at < plugin_look_again_ill) co_return;
        refused_.erase(refused);
        refused_now = refused_tries - 1;  // it has been asked often
      }
      auto opened = co_await plugin_.decrypt(new_uid(), seed);
      if (opened) co_return remember(seed, *std::move(opened));
      later = may_be_better_later(opened.error());
      if (!later && ++refused_now == refused_tries) {
        if (refused_.size() >= seeds_max) refused_.clear();
        refused_.insert_or_assign(seed, refusal{std::move(opened).error(), now});
        co_return;
      }
      if (later && !std::exchange(told, true))
        log::error("KMS provider {} is needed to read the datastore, and can't be asked: {}; waiting for it",
                   quote(settings_.name), opened.error().message);
    }
    co_await reactor::sleep_for(later ? duration(fetch_pause) : duration(refused_pause));
  }
}

bool kms_provider::is_newest(std::string_view sealed) const {
  auto read = envelope::read(sealed);
  return read && writes_ && read->seed.key_id == writes_->key_id && read->seed.kind == writes_->kind;
}

}  // namespace kedge::api::encryption
