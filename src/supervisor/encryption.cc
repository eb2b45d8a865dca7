#include "supervisor/encryption.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/bootstrap_record.h"
#include "crypto/digest.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/offload.h"
#include "store/text.h"

namespace kedge::supervisor {

namespace {

constexpr std::string_view secrets = "/registry/secrets/";
constexpr auto others_wait = std::chrono::seconds(30);  // a living server tells within two renewals, 4 s
constexpr auto look_again = std::chrono::milliseconds(100);
constexpr std::size_t key_bytes = 32;
// Tells which key writes. Records come and go with the cluster's tokens, and only who has the token can read them: this
// row is for all.
constexpr std::string_view writer_row = "/kedge/secrets-encrypt-writer";

crypto::cipher kind_of(const config& c) {
  return c.secrets_encryption_provider == "secretbox" ? crypto::cipher::secretbox : crypto::cipher::aescbc;
}

std::string_view type_of(crypto::cipher c) {
  return c == crypto::cipher::secretbox ? "XSalsa20-POLY1305" : c == crypto::cipher::aescbc ? "AES-CBC" : "AES-GCM";
}

std::string stage_of(std::string_view hash) {
  auto dash = hash.rfind('-');
  return dash == std::string_view::npos ? "start" : std::string(hash.substr(0, dash));
}

}  // namespace

result<key_ring> key_ring::parse(std::string_view config) {
  KEDGE_TRY(auto document, json::parse(config));
  key_ring out;
  auto& providers = document["resources"][0]["providers"];
  for (std::size_t i = 0; i < providers.size(); ++i)
    for (auto kind : {crypto::cipher::aescbc, crypto::cipher::aesgcm, crypto::cipher::secretbox}) {
      auto& keys = providers[i][crypto::name_of(kind)]["keys"];
      for (std::size_t k = 0; k < keys.size(); ++k)
        out.keys.push_back(
            {kind, std::string(keys[k]["name"].as_string()), std::string(keys[k]["secret"].as_string())});
    }
  out.enabled = providers.size() > 0 && !providers[0].find("identity") && !out.keys.empty();
  return out;
}

std::string key_ring::write() const {
  json::array providers;
  auto identity = json::object{{"identity", json::object{}}};
  if (!enabled) providers.emplace_back(identity);
  for (std::size_t i = 0; i < keys.size();) {
    json::array group;
    auto kind = keys[i].kind;
    for (; i < keys.size() && keys[i].kind == kind; ++i)
      group.emplace_back(json::object{{"name", keys[i].name}, {"secret", keys[i].secret}});
    json::object provider;
    provider.set(crypto::name_of(kind), json::object{{"keys", std::move(group)}});
    providers.emplace_back(std::move(provider));
  }
  if (enabled) providers.emplace_back(identity);
  return json::write(
      json::object{{"kind", "EncryptionConfiguration"},
                   {"apiVersion", "apiserver.config.k8s.io/v1"},
                   {"resources", json::array{json::object{{"resources", json::array{json::value("secrets")}},
                                                          {"providers", std::move(providers)}}}}});
}

std::string key_ring::writer() const {
  if (!enabled) return "identity";
  auto& k = keys.front();
  return fmt::format("{}:{}:{}", crypto::name_of(k.kind), k.name, crypto::sha256_hex(as_bytes(k.secret)).substr(0, 16));
}

result<void> encryption::use(std::string config, std::string hash) {
  KEDGE_TRY(auto rules, crypto::encryption_config::parse(config));
  KEDGE_TRY(ring_, key_ring::parse(config));
  rules_ = std::move(rules);
  config_text_ = std::move(config);
  stage_ = stage_of(hash);
  hash_ = std::move(hash);
  return {};
}

result<encryption::texts> encryption::read_files(const std::string& folder) {
  auto config = crypto::read_file(folder + "/encryption-config.json");
  if (!config && config.error().code == errc::not_found) return texts();
  if (!config) return fail(std::move(config).error());
  auto state = crypto::read_file(folder + "/encryption-state.json");
  auto hash = state ? std::string(trim(*state)) : crypto::encryption_hash("start", *config);
  return texts{std::move(*config), std::move(hash)};
}

result<bool> encryption::read() {
  KEDGE_TRY(auto now, read_files(settings_.server_dir() + "/cred"));
  if (now.config.empty() || (now.config == config_text_ && now.hash == hash_)) return false;
  if (auto ok = use(std::move(now.config), std::move(now.hash)); !ok)
    return fail(std::move(ok).error().with(path("encryption-config.json") + ": "));
  return true;
}

task<result<void>> encryption::reload() {
  auto now = co_await reactor::offload([folder = settings_.server_dir() + "/cred"] { return read_files(folder); });
  if (!now) co_return fail(now.error());
  KEDGE_CO_CHECK(*now);
  if (changing_ || (*now)->config.empty() || ((*now)->config == config_text_ && (*now)->hash == hash_))
    co_return result<void>();
  co_return use(std::move((*now)->config), std::move((*now)->hash));
}

result<void> encryption::make(random_source& random) {
  if (!settings_.secrets_encryption || !config_text_.empty()) return {};
  auto config = crypto::make_encryption_config(kind_of(settings_), random);
  auto hash = crypto::encryption_hash("start", config);
  KEDGE_CHECK(crypto::make_folder(settings_.server_dir() + "/cred"));
  KEDGE_CHECK(crypto::write_file(path("encryption-config.json"), config));
  KEDGE_CHECK(crypto::write_file(path("encryption-state.json"), hash));
  return use(std::move(config), std::move(hash));
}

store::value_transform encryption::transform(std::function<std::string()> password) {
  store::value_transform t;
  // K3s's servers read what is encrypted, and encrypt, only with the flag.
  if (settings_.secrets_encryption)
    t.seal = [this, password](std::string_view key, std::string_view plain,
                              const store::snapshot& now) -> result<std::optional<store::sealed_value>> {
      if (!key.starts_with(secrets)) return std::nullopt;
      return seal(key, plain, now, password());
    };
  t.open = [this, password](std::string_view key, std::string_view stored) -> result<std::string> {
    auto opened = rules_.for_resource("secrets", "").open(stored, key);
    auto unknown = [&] { return !opened && opened.error().code == errc::unsupported; };
    for (auto* other : {&standing_.rules, &passed_})
      if (unknown()) opened = other->for_resource("secrets", "").open(stored, key);
    if (unknown() && !last_record_.empty()) {
      // The history holds values under keys that have been dropped since, and new ones under keys that are not in the
      // files yet. Their record came before them.
      auto plain = crypto::decrypt_bootstrap(std::exchange(last_record_, {}), password());
      auto files = plain ? crypto::parse_bootstrap_files(*plain) : result<crypto::bootstrap_files>(fail(plain.error()));
      if (files && files->contains("EncryptionConfig"))
        if (auto rules = crypto::encryption_config::parse(files->find("EncryptionConfig")->second.content)) {
          passed_ = *std::move(rules);
          opened = passed_.for_resource("secrets", "").open(stored, key);
        }
    }
    if (!opened) return fail(std::move(opened).error());
    return std::move(opened->plain);
  };
  t.seen = [this](std::string_view key, std::string_view raw) {
    if (key.starts_with(crypto::bootstrap_prefix)) last_record_ = raw;
  };
  t.keys_prefix = crypto::bootstrap_prefix;
  return t;
}

// By the record that stands, and only as long as it does.
result<store::sealed_value> encryption::seal(std::string_view key, std::string_view plain, const store::snapshot& now,
                                             std::string_view password) {
  auto record_key = crypto::bootstrap_key(password);
  auto record = now.find(record_key), writer = now.find(writer_row);
  store::sealed_value out;
  out.guards = {{record_key, record ? record->mod() : 0}, {std::string(writer_row), writer ? writer->mod() : 0}};
  auto* rules = &rules_;
  auto writes = ring_.writer();
  if (record && !record->bytes().empty()) {
    if (standing_.key != record_key || standing_.at != record->mod()) {
      KEDGE_TRY(auto text, crypto::decrypt_bootstrap(record->bytes(), password));
      KEDGE_TRY(auto files, crypto::parse_bootstrap_files(text));
      recorded read{.key = record_key, .at = record->mod(), .rules = {}, .writer = {}};
      if (auto config = files.find("EncryptionConfig"); config != files.end()) {
        KEDGE_TRY(read.rules, crypto::encryption_config::parse(config->second.content));
        KEDGE_TRY(auto ring, key_ring::parse(config->second.content));
        read.writer = ring.writer();
      }
      standing_ = std::move(read);
    }
    if (!standing_.writer.empty()) {
      rules = &standing_.rules;
      writes = standing_.writer;
    }
  }
  // Changed in a record that this server can't see, because the token was rotated. K3s's servers change the record
  // alone.
  bool known = !writer || writer->bytes() == writes || (record && record->mod() > writer->mod());
  if (!known)
    return fail(
        errc::unavailable,
        "the encryption keys were changed by another server, and the cluster's token before that; this server has not "
        "taken the new token over yet");
  KEDGE_TRY(out.stored, rules->for_resource("secrets", "").seal(plain, key, reactor::loop::current().random()));
  return out;
}

json::value encryption::status() const {
  json::object out{{"stage", stage_}, {"activekey", ""}};
  if (config_text_.empty()) {
    out.set("hashmatch", true);
    return out;
  }
  out.set("enable", ring_.enabled);
  json::array inactive;
  for (std::size_t i = 0; i < ring_.keys.size(); ++i) {
    auto text = std::string(type_of(ring_.keys[i].kind)) + " " + ring_.keys[i].name;
    if (i == 0 && ring_.enabled)
      out.set("activekey", text);
    else
      inactive.emplace_back(text);
  }
  std::string differs;
  if (parts_)
    for (auto& [address, hash] : parts_->others())
      if (hash != hash_ && differs.empty())
        differs = fmt::format("hash does not match between {} and {}", settings_.advertise_address, address);
  out.set("hashmatch", differs.empty());
  if (!differs.empty()) out.set("hasherror", differs);
  if (!inactive.empty()) out.set("inactivekeys", std::move(inactive));
  return out;
}

key_ring::key encryption::new_key(bool first) const {
  auto kind = kind_of(settings_);
  auto name = std::string(crypto::name_of(kind)) + "key";
  auto& loop = reactor::loop::current();
  if (!first) name += "-" + format_rfc3339(loop.wall_now());
  return {kind, name, base64(as_bytes(crypto::random_bytes(loop.random(), key_bytes)))};
}

// The new state on disk, in the record, and in use here.
task<result<void>> encryption::apply(key_ring ring, std::string stage) {
  KEDGE_CO_CHECK(parts_->lock.held());
  auto config = ring.write();
  auto hash = crypto::encryption_hash(stage, config);
  auto written = co_await reactor::offload(
      [=, config_path = path("encryption-config.json"), state_path = path("encryption-state.json")]() -> result<void> {
        KEDGE_CHECK(crypto::write_file(config_path, config));
        return crypto::write_file(state_path, hash);
      });
  if (!written) co_return fail(written.error());
  KEDGE_CO_CHECK(*written);
  KEDGE_CO_CHECK(co_await parts_->record.save(parts_->password()));
  KEDGE_CO_CHECK(co_await tell_writer(ring.writer()));
  co_return use(std::move(config), std::move(hash));
}

task<result<void>> encryption::tell_writer(std::string writer) {
  auto& s = parts_->objects;
  for (;;) {
    KEDGE_CO_TRY(auto now, co_await s.latest());
    auto row = now.find(writer_row);
    if (row && row->bytes() == writer) co_return result<void>();
    auto done = co_await s.write({.kind = row ? store::write_kind::update : store::write_kind::create,
                                  .key = std::string(writer_row),
                                  .value = writer,
                                  .expected = row ? row->mod() : 0});
    if (done) co_return result<void>();
    auto code = done.error().code;
    if (code != errc::conflict && code != errc::already_exists && code != errc::not_found)
      co_return fail(std::move(done).error());
  }
}

task<result<void>> encryption::wait_for_others() {
  auto& loop = reactor::loop::current();
  auto until = loop.now() + others_wait;
  for (;;) {
    std::string behind;
    for (auto& [address, hash] : parts_->others())
      if (hash != hash_) behind = address;
    if (behind.empty()) co_return result<void>();
    if (loop.now() >= until)
      co_return fail(errc::timeout, fmt::format("the server at {} has not taken over the encryption keys; see its log, "
                                                "and whether it runs with --secrets-encryption",
                                                behind));
    co_await reactor::sleep_for(look_again);
  }
}

task<result<void>> encryption::change(json::value request) {
  if (!parts_ || changing_) co_return fail(errc::unavailable, "the encryption keys are being changed; try again");
  changing_ = true;
  if (auto held = co_await parts_->lock.take("changes the encryption keys"); !held) {
    changing_ = false;
    co_return held;
  }
  auto done = co_await work(std::move(request));
  if (!running_) co_await give_back();
  co_return done;
}

task<result<void>> encryption::work(json::value request) {
  auto stage = std::string(request["stage"].as_string());
  bool force = request["force"].as_bool(false), skip = request["skip"].as_bool(false);
  auto wrong_stage = [&] {
    return fail(errc::invalid,
                fmt::format("{} is not possible in stage {}; --force does it all the same", stage, stage_));
  };
  bool idle = stage_.empty() || stage_ == "start" || stage_ == "reencrypt_finished";
  if (auto* enable = request.find("enable"); enable && enable->is_bool()) {
    bool on = enable->as_bool(false);
    auto ring = ring_;
    if (config_text_.empty() && !on) co_return fail(errc::invalid, "secrets encryption is not set up");
    // Without a configuration K3s begins with one that encrypts nothing, for the start with --secrets-encryption.
    ring.enabled = on && !ring.keys.empty();
    KEDGE_CO_CHECK(co_await apply(std::move(ring), "start"));
    if (ring_.keys.empty()) co_return result<void>();
    begin_reencryption(true, "start");
    co_return result<void>();
  }
  if (config_text_.empty() || !settings_.secrets_encryption)
    co_return fail(errc::invalid, "secrets encryption is not set up: start the servers with --secrets-encryption");
  if (stage == "prepare" || stage == "rotate_keys") {
    if (!idle && !force) co_return wrong_stage();
    KEDGE_CO_CHECK(co_await wait_for_others());
    auto ring = ring_;
    ring.keys.push_back(new_key(ring.keys.empty()));
    KEDGE_CO_CHECK(co_await apply(std::move(ring), "prepare"));
    if (stage == "prepare") co_return result<void>();
  }
  if (stage == "rotate" || stage == "rotate_keys") {
    if (stage_ != "prepare" && !force) co_return wrong_stage();
    KEDGE_CO_CHECK(co_await wait_for_others());
    auto ring = ring_;
    std::rotate(ring.keys.begin(), ring.keys.end() - 1, ring.keys.end());
    ring.enabled = true;
    KEDGE_CO_CHECK(co_await apply(std::move(ring), "rotate"));
    if (stage == "rotate") co_return result<void>();
  }
  if (stage != "reencrypt_active" && stage != "rotate_keys")
    co_return fail(errc::invalid, "unknown stage " + quote(stage));
  if (stage_ != "rotate" && !force) co_return wrong_stage();
  KEDGE_CO_CHECK(co_await wait_for_others());
  begin_reencryption(skip, skip ? "start" : "reencrypt_finished");
  co_return result<void>();
}

// Goes on after the answer, as long as it takes, and gives the lock back.
void encryption::begin_reencryption(bool keep_old, std::string end_stage) {
  running_ = true;
  work_.spawn([](encryption& self, bool keep, std::string end) -> task<void> {
    if (auto done = co_await self.reencrypt(keep, std::move(end)); !done)
      log::error("writing the Secrets with the new key: {}; `secrets-encrypt reencrypt --force` goes on",
                 done.error().message);
    self.running_ = false;
    co_await self.give_back();
  }(*this, keep_old, std::move(end_stage)));
}

task<void> encryption::give_back() {
  co_await parts_->lock.give_back();
  changing_ = false;
}

task<result<void>> encryption::reencrypt(bool keep_old, std::string end_stage) {
  KEDGE_CO_CHECK(co_await wait_for_others());
  KEDGE_CO_CHECK(co_await apply(ring_, "reencrypt_active"));
  auto& s = parts_->objects;
  KEDGE_CO_TRY(auto now, co_await s.latest());
  std::vector<std::string> keys;
  now.scan(secrets, "", [&](const store::object_ref& o) {
    keys.emplace_back(o->key());
    return true;
  });
  for (auto& key : keys)
    for (;;) {
      auto o = s.current().find(key);
      if (!o || o->mod() > now.at()) break;  // gone, or written by somebody meanwhile: with the new key
      KEDGE_CO_TRY(auto text, store::canonical_text(o->bytes()));
      auto done = co_await s.write(
          {.kind = store::write_kind::update, .key = key, .value = std::move(text), .expected = o->mod()});
      if (done) break;
      if (done.error().code != errc::conflict && done.error().code != errc::not_found)
        co_return fail(std::move(done).error());
      co_await reactor::sleep_for(look_again / 10);
    }
  auto ring = ring_;
  if (!keep_old && ring.enabled && ring.keys.size() > 1) ring.keys.resize(1);
  KEDGE_CO_CHECK(co_await apply(std::move(ring), std::move(end_stage)));
  log::info("{} Secrets were written anew", keys.size());
  co_return result<void>();
}

}  // namespace kedge::supervisor
