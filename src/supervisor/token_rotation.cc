#include "supervisor/token_rotation.h"

#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "crypto/files.h"
#include "crypto/token.h"
#include "json/parse.h"
#include "reactor/offload.h"
#include "reactor/scope.h"

namespace kedge::supervisor {

namespace {

constexpr auto own_wait = std::chrono::seconds(30);     // for this server's files; the datastore may be slow
constexpr auto others_wait = std::chrono::seconds(10);  // a living server has it within a second
constexpr auto sealed_time_max = std::chrono::seconds(60);
constexpr auto look_again = std::chrono::milliseconds(100);
constexpr auto retry_pause = std::chrono::seconds(1);

bool is_sealed(std::string_view row) {
  auto told = json::parse(row);
  return told && told->find("sealed");
}

}  // namespace

// The servers that live and don't go by that token.
std::vector<std::string> token_rotation::without(std::string_view token) const {
  std::vector<std::string> out;
  for (auto& p : parts_.others())
    if (p.token_id != token) out.push_back(p.address);
  return out;
}

task<result<std::vector<std::string>>> token_rotation::rotate(std::string wanted) {
  auto& loop = reactor::loop::current();
  auto password = wanted.empty() ? crypto::generate_token(loop.random()) : std::string();
  if (!wanted.empty()) {
    KEDGE_CO_TRY(auto parsed, crypto::parse_token(wanted, "server"));
    if (parsed.password.empty())
      co_return fail(errc::invalid, "a server's token can't be a bootstrap token: it would end");
    password = std::move(parsed.password);
  }
  auto before = parts_.identity.password();
  if (password == before) co_return fail(errc::invalid, "that is the cluster's token already");
  KEDGE_CO_CHECK(co_await parts_.lock.take("rotates the cluster's token"));
  auto begun = co_await parts_.record.rotate(before, password, parts_.address());
  // It is done; what follows, any server would do as well.
  auto own_until = loop.now() + own_wait;
  while (begun && parts_.identity.password() != password && loop.now() < own_until) {
    taken_.reset();
    co_await taken_.wait_until(own_until);
  }
  auto id = token_id(password);
  auto others_until = loop.now() + others_wait;
  auto behind = begun ? without(id) : std::vector<std::string>();
  for (; !behind.empty() && loop.now() < others_until; behind = without(id)) co_await reactor::sleep_for(look_again);
  co_await parts_.lock.give_back();
  if (!begun) co_return fail(std::move(begun).error());
  if (parts_.identity.password() != password)
    co_return fail(errc::unavailable,
                   "the token is rotated, and the old one opens nothing any more, but this server could not take the "
                   "new one over yet; see its log");
  log::info("the cluster's token was rotated{}{}", behind.empty() ? "" : "; these don't have it: ", join(behind, ", "));
  co_return behind;
}

task<result<bool>> token_rotation::stands() {
  KEDGE_CO_TRY(auto now, co_await parts_.objects.latest());
  auto password = parts_.identity.password();
  if (now.find(rotation_key(password))) co_return false;
  // A cluster that is being made has no record yet.
  co_return now.find(crypto::bootstrap_key(password)) || now.count(crypto::bootstrap_prefix) == 0;
}

task<result<void>> token_rotation::take_over(std::string password) {
  auto before = parts_.identity.password();
  KEDGE_CO_CHECK(co_await parts_.record.finish_rotation(before, password));
  auto used = co_await reactor::offload(
      [id = parts_.identity.shared_from_this(), password] { return id->use_token(password); });
  if (!used) co_return fail(used.error());
  KEDGE_CO_CHECK(*used);
  log::info(
      "this server goes by the cluster's new token, which stands in server/token of its data directory; where the old "
      "one is given by "
      "--token or K3S_TOKEN, change it");
  offered_.clear();
  parts_.changed();
  taken_.set();
  co_return result<void>();
}

// One look at what the datastore says of this server's token.
task<void> token_rotation::look() {
  auto password = parts_.identity.password();
  auto now = parts_.objects.current();
  const auto ca_key = parts_.identity.client_ca().key().pem();
  auto rotated = rotation_of(now, password, ca_key);
  if (!rotated && now.find(crypto::bootstrap_key(password))) {
    told_.clear();
    co_return;
  }
  if (rotated && !rotated->password && !offered_.empty()) rotated = read_rotation(offered_, password, ca_key);
  auto fresh = rotated && rotated->password ? *rotated->password : co_await in_token_file(now);
  const auto what = rotated ? text_of(*rotated) : "the cluster's token was rotated by another server";
  if (!fresh.empty()) {
    if (auto done = co_await take_over(std::move(fresh)); !done) {
      log::warning("{}; taking the new one over: {}", what, done.error().message);
      co_await reactor::sleep_for(retry_pause);
    }
    changed_.set();  // that one may have been rotated, too
    co_return;
  }
  if (std::exchange(told_, password) == password) co_return;
  log::error("{}; this server doesn't know the new one, and takes no joins until it does: write it to {}", what,
             parts_.identity.token_file());
}

// What a person has written there, when it is the cluster's; empty: nothing new.
task<std::string> token_rotation::in_token_file(const store::snapshot& now) const {
  auto text = co_await reactor::offload([path = parts_.identity.token_file()] { return crypto::read_file(path); });
  if (!text || !*text) co_return std::string();
  auto password = crypto::normalize_token(trim(**text));
  const bool is_it = password && *password != parts_.identity.password() && now.find(crypto::bootstrap_key(*password));
  co_return is_it ? *std::move(password) : std::string();
}

// What is sealed goes as soon as nobody needs it.
task<void> token_rotation::clear_sealed() {
  auto now = reactor::loop::current().now();
  auto own = rotation_key(parts_.identity.password());
  auto all_have_it = without(token_id(parts_.identity.password())).empty();
  std::vector<std::string> over;
  for (auto& [key, since] : sealed_)
    if (key != own && (all_have_it || now - since >= sealed_time_max)) over.push_back(key);
  for (auto& key : over) {
    if (auto done = co_await parts_.record.forget_sealed(key); !done)
      log::warning("the token that stands sealed in the datastore: {}", done.error().message);
    else
      sealed_.erase(key);
  }
}

task<void> token_rotation::keep() {
  auto& loop = reactor::loop::current();
  reactor::scope following;
  following.spawn(control::follow(parts_.objects, std::string(rotation_prefix), [this, &loop](const store::event& e) {
    auto key = std::string(e.object->key());
    bool sealed = e.type != store::event_type::deleted && is_sealed(e.object->bytes());
    if (sealed)
      sealed_.try_emplace(key, loop.now());
    else
      sealed_.erase(key);
    // Kept beside: when a server has slept, the row that it finds may say less by now.
    if (sealed && key == rotation_key(parts_.identity.password())) offered_ = e.object->bytes();
    changed_.set();
  }));
  following.spawn(control::follow(parts_.objects, std::string(crypto::bootstrap_prefix), [this](const store::event& e) {
    if (e.type == store::event_type::deleted) changed_.set();
  }));
  for (;;) {
    changed_.reset();
    co_await look();
    co_await clear_sealed();
    if (sealed_.empty() && told_.empty())
      co_await changed_.wait();
    else
      co_await changed_.wait_until(loop.now() + retry_pause);
  }
}

}  // namespace kedge::supervisor
