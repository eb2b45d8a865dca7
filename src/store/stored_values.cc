#include "store/stored_values.h"

#include <fmt/format.h>

#include <limits>

#include "base/log.h"
#include "store/text.h"

namespace kedge::store {

namespace {

// What kube-apiserver keeps for itself beside the objects: its own allocators' bitmaps and its servers' marks. Here
// they are not needed, and not worth a word.
bool is_servers_own(std::string_view key) {
  return key.starts_with("/registry/ranges/") || key.starts_with("/registry/masterleases/") ||
         key.starts_with("/registry/peerserverleases/");
}

}  // namespace

result<std::string> stored_values::plain(std::string_view key, std::string_view raw) const {
  std::string opened;
  if (raw.size() > value_bytes_max) return fail(errc::too_large, fmt::format("it has {} bytes", raw.size()));
  if (!is_api_key(key)) return std::string(raw);
  if (is_sealed(raw)) {
    if (!options_.transform.open)
      return fail(errc::unsupported, "it is encrypted, and encryption of secrets is not set up");
    KEDGE_TRY(opened, options_.transform.open(key, raw));
    raw = opened;
  }
  if (raw.starts_with('{')) {
    if (!is_whole_object(trim(raw))) return fail(errc::corrupt, "it is not whole JSON");
    if (options_.upgrade)
      if (auto newer = options_.upgrade(key, raw)) return *std::move(newer);
    if (find_layout(raw)) return std::string(raw);
    auto text = canonical_text(raw);
    return text ? std::move(*text) : std::string(raw);
  }
  if (!options_.decode) return fail(errc::unsupported, "it is not JSON");
  return options_.decode(key, raw);
}

std::optional<std::string> stored_values::take(const datastore::entry& e) {
  note_keys(e.at, e.kind, e.name);
  if (e.kind == datastore::change::remove) {
    forget(e.name);
    return std::nullopt;
  }
  if (!is_api_key(e.name) && options_.transform.seen) options_.transform.seen(e.name, e.value);
  auto text = plain(e.name, e.value);
  if (text) {
    forget(e.name);
    return *std::move(text);
  }
  // One line a key, for the first few: a file of which nothing can be read would fill the log.
  auto& why = text.error().message;
  const bool fresh = unreadable_.insert_or_assign(e.name, why).second;
  if (is_sealed(e.value)) unopened_.insert(e.name);
  if (is_servers_own(e.name)) {
    log::debug("{}: {} at revision {} is left as it is: {}", options_.log->description(), quote(e.name), e.at, why);
  } else if (fresh && unreadable_.size() <= unreadable_logged_max) {
    log::warning("{}: the value of {} at revision {} can't be read and is left as it is: {}",
                 options_.log->description(), quote(e.name), e.at, why);
  }
  return std::nullopt;
}

void stored_values::forget(std::string_view key) {
  if (unreadable_.empty()) return;
  if (auto u = unreadable_.find(key); u != unreadable_.end()) unreadable_.erase(u);
  if (auto u = unopened_.find(key); u != unopened_.end()) unopened_.erase(u);
}

void stored_values::forget() noexcept {
  unreadable_.clear();
  unopened_.clear();
}

void stored_values::note_keys(revision at, datastore::change kind, std::string_view key) {
  auto& prefix = options_.transform.keys_prefix;
  if (kind == datastore::change::create || prefix.empty() || !key.starts_with(prefix)) return;
  key_changes_.insert(at);
  // The first ones bound compaction.
  if (key_changes_.size() > key_changes_max) key_changes_.erase(std::prev(key_changes_.end()));
}

revision stored_values::compaction_bound() const noexcept {
  return !unopened_.empty() && !key_changes_.empty() ? *key_changes_.begin() - 1 : std::numeric_limits<revision>::max();
}

task<result<void>> stored_values::read_key_rows(revision after, revision upto,
                                                std::function<void(const datastore::past_change&)> visit) {
  auto& loop = reactor::loop::current();
  auto prefix = options_.transform.keys_prefix;
  if (prefix.empty()) co_return result<void>();
  while (after < upto) {
    auto began = loop.now();
    KEDGE_CO_TRY(auto page, co_await options_.log->past({.after = after, .upto = upto, .prefix = prefix}));
    for (auto& c : page.changes) {
      note_keys(c.what.at, c.what.kind, c.what.name);
      if (visit) visit(c);
    }
    after = page.at;
    if (!visit) co_await reactor::sleep_for(loop.now() - began);
  }
  co_return result<void>();
}

error stored_values::unopened() const {
  auto one = unreadable_.find(*unopened_.begin());
  return {
      errc::corrupt,
      fmt::format(
          "the stored value of {} can't be opened ({}): the key that it was encrypted with is missing here. Until it "
          "is back, or the row is gone, this server is not ready",
          one->first, one->second)};
}

const std::string* stored_values::unreadable(std::string_view key) const noexcept {
  if (unreadable_.empty()) return nullptr;
  auto found = unreadable_.find(key);
  return found == unreadable_.end() ? nullptr : &found->second;
}

void stored_values::tell_unreadable() const {
  if (unreadable_.size() <= unreadable_logged_max) return;
  log::warning("{}: {} stored values can't be read and are left as they are", options_.log->description(),
               unreadable_.size());
}

void stored_values::forget_all_but(const std::unordered_set<std::string>& names) {
  std::erase_if(unreadable_, [&](auto& u) { return !names.contains(u.first); });
  std::erase_if(unopened_, [&](auto& key) { return !names.contains(key); });
}

}  // namespace kedge::store
