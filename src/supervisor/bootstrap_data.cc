#include "supervisor/bootstrap_data.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "crypto/key.h"
#include "crypto/passwd.h"
#include "crypto/token.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/offload.h"
#include "supervisor/ca_rotation.h"

namespace kedge::supervisor {

namespace {

constexpr auto newer_allowed = std::chrono::seconds(3);   // K3s's: clocks, and copies that took their time
constexpr auto hold_time_max = std::chrono::seconds(15);  // making the files takes one; who needs longer has died
constexpr auto look_again = std::chrono::milliseconds(250);
constexpr std::size_t rotations_kept_max = 16;  // rows of a hundred bytes, for servers that were away

constexpr std::string_view sealed_by_ca = "byClientCA";

// In one form, whatever the file's text is; empty without one.
std::string key_in(const crypto::bootstrap_files& files) {
  auto found = files.find("ClientCAKey");
  auto key = found == files.end() ? result<crypto::private_key>(fail(errc::not_found, ""))
                                  : crypto::private_key::from_pem(found->second.content);
  return key ? key->pem() : std::string();
}

struct row {
  const char *name, *path;
};
constexpr row table[] = {{"ETCDServerCA", "tls/etcd/server-ca.crt"},
                         {"ETCDServerCAKey", "tls/etcd/server-ca.key"},
                         {"ETCDPeerCA", "tls/etcd/peer-ca.crt"},
                         {"ETCDPeerCAKey", "tls/etcd/peer-ca.key"},
                         {"ServerCA", "tls/server-ca.crt"},
                         {"ServerCAKey", "tls/server-ca.key"},
                         {"ClientCA", "tls/client-ca.crt"},
                         {"ClientCAKey", "tls/client-ca.key"},
                         {"ServiceKey", "tls/service.key"},
                         {"PasswdFile", "cred/passwd"},
                         {"RequestHeaderCA", "tls/request-header-ca.crt"},
                         {"RequestHeaderCAKey", "tls/request-header-ca.key"},
                         {"IPSECKey", "cred/ipsec.psk"},
                         {"EncryptionConfig", "cred/encryption-config.json"},
                         {"EncryptionHash", "cred/encryption-state.json"}};

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Times of files don't count: only a change of content is one.
bool same_content(const crypto::bootstrap_files& a, const crypto::bootstrap_files& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](auto& x, auto& y) {
           return x.first == y.first && x.second.content == y.second.content;
         });
}

error other_token() {
  return {errc::invalid,
          "bootstrap data already found and encrypted with different token: the datastore belongs to a cluster; start "
          "this server with "
          "that cluster's --token (it stands in server/token in the data directory of any of its servers)"};
}

// What the record says once the token is another: the agents' follows where it was the same.
result<crypto::bootstrap_files> with_token(crypto::bootstrap_files files, const std::string& old_password,
                                           const std::string& new_password) {
  auto passwd = files.find("PasswdFile");
  if (passwd == files.end()) return files;
  KEDGE_TRY(auto accounts, crypto::passwd::parse(passwd->second.content));
  auto* agents = accounts.find("node");
  bool follows = !agents || agents->password == old_password;
  if (follows) accounts.ensure("node", "k3s:agent", new_password);
  accounts.ensure("server", "k3s:server", new_password);
  // Later than what it replaces, whatever this machine's clock says: a server that starts takes the later of two.
  auto later = passwd->second.modified + std::chrono::seconds(1);
  passwd->second = {.modified = std::max(reactor::loop::current().wall_now(), later), .content = accounts.write()};
  return files;
}

}  // namespace

std::string token_id(std::string_view password) {
  return crypto::bootstrap_key(password).substr(crypto::bootstrap_prefix.size());
}

std::string rotation_key(std::string_view password) { return std::string(rotation_prefix) + token_id(password); }

rotation read_rotation(std::string_view row, std::string_view password, std::string_view ca_key) {
  rotation out;
  auto told = json::parse(row);
  if (!told) return out;
  out.by = (*told)["by"].as_string();
  if (auto at = parse_rfc3339((*told)["at"].as_string())) out.at = *at;
  // A row that neither opens is somebody else's word for it: nothing is taken over from it.
  struct seal {
    std::string_view name, key;
  };
  for (auto& s : {seal{"sealed", password}, seal{sealed_by_ca, ca_key}}) {
    auto sealed = (*told)[s.name].as_string();
    if (sealed.empty() || s.key.empty() || out.password) continue;
    if (auto opened = crypto::decrypt_bootstrap(sealed, s.key)) out.password = *std::move(opened);
  }
  return out;
}

std::optional<rotation> rotation_of(const store::snapshot& s, std::string_view password, std::string_view ca_key) {
  auto row = s.find(rotation_key(password));
  return row ? std::optional(read_rotation(row->bytes(), password, ca_key)) : std::nullopt;
}

std::string text_of(const rotation& r) {
  return "the cluster's token was rotated at " + format_rfc3339(r.at) + " by the server at " + r.by;
}

result<crypto::bootstrap_files> read_bootstrap_files(const std::string& server_dir) {
  crypto::bootstrap_files out;
  for (auto& r : table) {
    auto path = server_dir + "/" + r.path;
    auto content = crypto::read_file(path);
    if (!content && content.error().code == errc::not_found) continue;
    if (!content) return fail(std::move(content).error());
    KEDGE_TRY(auto modified, crypto::modified_time(path));
    out[r.name] = {modified, std::move(*content)};
  }
  return out;
}

result<std::vector<std::string>> write_bootstrap_files(const std::string& server_dir,
                                                       const crypto::bootstrap_files& files, bool compare) {
  KEDGE_TRY(auto now, read_bootstrap_files(server_dir));
  std::vector<std::string> changed, newer;
  for (auto& r : table) {
    auto wanted = files.find(r.name);
    if (wanted == files.end()) continue;
    auto standing = now.find(r.name);
    if (standing != now.end() && standing->second.content == wanted->second.content) continue;
    if (compare && standing != now.end() && standing->second.modified - wanted->second.modified >= newer_allowed)
      newer.push_back(server_dir + "/" + r.path);
    changed.emplace_back(r.name);
  }
  if (!newer.empty())
    return fail(errc::conflict, join(newer, ", ") +
                                    " newer than datastore and could cause a cluster outage. Remove the file(s) from "
                                    "disk; the next start recreates them from the datastore.");
  for (auto& r : table) {
    if (std::find(changed.begin(), changed.end(), r.name) == changed.end()) continue;
    auto& f = files.find(r.name)->second;
    auto path = server_dir + "/" + r.path;
    KEDGE_CHECK(crypto::make_folder(path.substr(0, path.rfind('/')), 0700));
    crypto::write_options options;
    if (std::string_view(r.path).ends_with(".crt")) options.mode = 0644;
    if (f.modified != wall_time{}) options.modified = f.modified;
    KEDGE_CHECK(crypto::write_file(path, f.content, options));
  }
  return changed;
}

result<std::optional<std::string>> known_password(const config& c, bool given) {
  if (given && !c.token.empty()) {
    KEDGE_TRY(auto password, crypto::normalize_token(c.token));
    return password;
  }
  if (auto text = crypto::read_file(c.server_dir() + "/cred/passwd")) {
    KEDGE_TRY(auto recorded, crypto::passwd::parse(*text));
    if (auto* server = recorded.find("server")) return server->password;
  }
  if (auto text = crypto::read_file(c.server_dir() + "/token")) {
    KEDGE_TRY(auto password, crypto::normalize_token(trim(*text)));
    return password;
  }
  return std::nullopt;
}

// The record under `key`; nothing when this server holds its place now, and is to fill it.
task<result<std::optional<store::object_ref>>> bootstrap_data::find_or_hold(std::string key) {
  auto& loop = reactor::loop::current();
  auto until = loop.now() + (shared_ ? duration(hold_time_max) : duration::zero());
  bool told = false;
  for (;;) {
    KEDGE_CO_TRY(auto now, co_await store_.latest());
    if (auto own = now.find(key)) {
      if (!own->bytes().empty()) co_return std::optional(own);
      // Another server makes the files, or died while it did.
      if (loop.now() < until) {
        if (!std::exchange(told, true))
          log::info("another server is making the cluster's certificates; waiting for it");
        co_await reactor::sleep_for(look_again);
        continue;
      }
      if (shared_)
        log::warning("the server that began to make the cluster's certificates has not finished; taking over");
      auto taken =
          co_await store_.write({.kind = store::write_kind::remove, .key = key, .value = {}, .expected = own->mod()});
      if (!taken && taken.error().code != errc::conflict && taken.error().code != errc::not_found)
        co_return fail(std::move(taken).error());
      until = loop.now() + hold_time_max;
      continue;
    }
    if (now.count(crypto::bootstrap_prefix)) co_return fail(other_token());
    auto made = co_await store_.write({.kind = store::write_kind::create, .key = key, .value = {}});
    if (made) {
      held_ = made->at;
      co_return std::optional<store::object_ref>();
    }
    if (made.error().code != errc::already_exists) co_return fail(std::move(made).error());
  }
}

// Records of old K3s servers: under the key of the empty string, or of the token as it was given.
task<result<void>> bootstrap_data::adopt_older_form(const store::snapshot& now, const std::string& password) {
  auto key = crypto::bootstrap_key(password);
  if (now.find(key)) co_return result<void>();
  for (auto& old : {std::string(), settings_.token}) {
    if (old == password) continue;
    auto record = now.find(crypto::bootstrap_key(old));
    if (!record || record->bytes().empty()) continue;
    KEDGE_CO_TRY(auto plain, crypto::decrypt_bootstrap(record->bytes(), old));
    KEDGE_CO_TRY(auto value, crypto::encrypt_bootstrap(plain, password, reactor::loop::current().random()));
    auto made = co_await store_.write({.kind = store::write_kind::create, .key = key, .value = std::move(value)});
    if (!made && made.error().code != errc::already_exists) co_return fail(std::move(made).error());
    auto gone = co_await store_.write(
        {.kind = store::write_kind::remove, .key = std::string(record->key()), .value = {}, .expected = record->mod()});
    if (!gone && gone.error().code != errc::not_found && gone.error().code != errc::conflict)
      co_return fail(std::move(gone).error());
    log::info("the bootstrap data was encrypted anew, under the token's password");
  }
  co_return result<void>();
}

task<result<void>> bootstrap_data::adopt(store::object_ref record, std::string password, bool compare) {
  KEDGE_CO_TRY(auto plain, crypto::decrypt_bootstrap(record->bytes(), password));
  KEDGE_CO_TRY(auto files, crypto::parse_bootstrap_files(plain));
  auto dir = settings_.server_dir();
  // A server without an identity of its own takes everything.
  bool fresh = !exists(dir + "/tls/server-ca.crt") || !exists(dir + "/cred/passwd");
  KEDGE_CO_TRY(auto changed, write_bootstrap_files(dir, files, compare && !fresh));
  if (!changed.empty()) log::info("taken from the datastore: {}", join(changed, ", "));
  co_return result<void>();
}

// The password that stands for `password` now: rotations that it has missed are followed, as far as it still can.
task<result<std::string>> bootstrap_data::present_password(std::string password) {
  KEDGE_CO_TRY(auto kept, known_password(settings_, false));
  KEDGE_CO_TRY(auto files, read_bootstrap_files(settings_.server_dir()));
  const auto ca_key = key_in(files);
  for (;;) {
    KEDGE_CO_TRY(auto now, co_await store_.latest());
    auto rotated = rotation_of(now, password, ca_key);
    if (!rotated) co_return password;
    token_outdated_ = !settings_.token.empty();
    if (rotated->password) {
      KEDGE_CO_CHECK(co_await finish_rotation(password, *rotated->password));
      password = *std::move(rotated->password);
      continue;
    }
    if (!kept || *kept == password)
      co_return fail(errc::invalid, text_of(*rotated) +
                                        " while this one was away: start it with the new --token (it stands in "
                                        "server/token in the data directory of any other server)");
    password = *std::exchange(kept, std::nullopt);
  }
}

task<result<void>> bootstrap_data::load() {
  KEDGE_CO_TRY(auto password, known_password(settings_));
  if (!password) {
    // A first server makes its own token. A later one can't guess the cluster's.
    KEDGE_CO_TRY(auto now, co_await store_.latest());
    if (now.count(crypto::bootstrap_prefix)) co_return fail(other_token());
    token_made_ = true;
    co_return result<void>();
  }
  KEDGE_CO_TRY(password, co_await present_password(*std::move(password)));
  if (token_outdated_)
    log::warning(
        "--token is one from before a rotation of the cluster's token; this server goes on with the present one, which "
        "stands in {}/token: "
        "give it that, or none",
        settings_.server_dir());
  KEDGE_CO_TRY(auto now, co_await store_.latest());
  KEDGE_CO_CHECK(co_await adopt_older_form(now, *password));
  KEDGE_CO_TRY(auto record, co_await find_or_hold(crypto::bootstrap_key(*password)));
  if (!record) co_return result<void>();
  co_return co_await adopt(*record, *password, true);
}

task<result<void>> bootstrap_data::save(std::string password) {
  auto files = co_await reactor::offload([dir = settings_.server_dir()] { return read_bootstrap_files(dir); });
  if (!files) co_return fail(files.error());
  KEDGE_CO_CHECK(*files);
  auto key = crypto::bootstrap_key(password);
  for (;;) {
    KEDGE_CO_TRY(auto now, co_await store_.latest());
    auto own = now.find(key);
    if (held_ && (!own || own->mod() != *held_))
      co_return fail(errc::conflict, "another server made the cluster's certificates, because this one took too long");
    if (!own && now.count(crypto::bootstrap_prefix)) co_return fail(other_token());
    if (own && !own->bytes().empty()) {
      KEDGE_CO_TRY(auto plain, crypto::decrypt_bootstrap(own->bytes(), password));
      KEDGE_CO_TRY(auto recorded, crypto::parse_bootstrap_files(plain));
      // What a K3s server keeps and this one doesn't have stays.
      auto merged = recorded;
      // And authorities change by a rotation alone: another server's may lie in the record, and not here yet.
      for (auto& [name, f] : **files)
        if (!is_rotated(name) || !merged.contains(name)) merged[name] = f;
      if (same_content(merged, recorded)) co_return result<void>();
      **files = std::move(merged);
    }
    KEDGE_CO_TRY(auto value, crypto::encrypt_bootstrap(crypto::write_bootstrap_files(**files), password,
                                                       reactor::loop::current().random()));
    auto written = co_await store_.write({.kind = own ? store::write_kind::update : store::write_kind::create,
                                          .key = key,
                                          .value = std::move(value),
                                          .expected = own ? own->mod() : 0});
    if (written) break;
    if (written.error().code != errc::conflict && written.error().code != errc::already_exists &&
        written.error().code != errc::not_found)
      co_return fail(std::move(written).error());
  }
  bool first = std::exchange(token_made_, false);
  held_.reset();
  if (!first) co_return result<void>();
  // Two first servers that each made a token: the earlier record is the cluster.
  KEDGE_CO_TRY(auto now, co_await store_.latest());
  auto own = now.find(key);
  bool earlier = false;
  now.scan(crypto::bootstrap_prefix, "", [&](const store::object_ref& o) {
    earlier = earlier || (own && o->key() != key && o->created() < own->created());
    return !earlier;
  });
  if (!earlier) co_return result<void>();
  (void)co_await store_.write({.kind = store::write_kind::remove, .key = key, .value = {}, .expected = own->mod()});
  co_return fail(other_token());
}

task<result<void>> bootstrap_data::rotate(std::string old_password, std::string new_password, std::string by) {
  auto& loop = reactor::loop::current();
  KEDGE_CO_TRY(auto now, co_await store_.latest());
  if (auto before = rotation_of(now, old_password, {})) co_return fail(errc::already_exists, text_of(*before));
  auto old = now.find(crypto::bootstrap_key(old_password));
  if (!old || old->bytes().empty())
    co_return fail(errc::not_found,
                   "the datastore's record of the cluster is not under this server's token any more; try again when "
                   "this server has taken the present one over");
  if (now.find(crypto::bootstrap_key(new_password)) || now.find(rotation_key(new_password)))
    co_return fail(errc::invalid, "that token was the cluster's before; choose another");
  // What can't be carried out must not be begun: no token would open anything.
  KEDGE_CO_TRY(auto plain, crypto::decrypt_bootstrap(old->bytes(), old_password));
  KEDGE_CO_TRY(auto recorded, crypto::parse_bootstrap_files(plain));
  const auto ca_key = key_in(recorded);
  if (auto moved = with_token(std::move(recorded), old_password, new_password); !moved)
    co_return fail(std::move(moved).error().with("the datastore's record of the cluster: "));
  KEDGE_CO_TRY(auto sealed, crypto::encrypt_bootstrap(new_password, old_password, loop.random()));
  auto row =
      json::object{{"by", std::move(by)}, {"at", format_rfc3339(loop.wall_now())}, {"sealed", std::move(sealed)}};
  if (!ca_key.empty()) {
    KEDGE_CO_TRY(auto by_ca, crypto::encrypt_bootstrap(new_password, ca_key, loop.random()));
    row.set(std::string(sealed_by_ca), std::move(by_ca));
  }
  auto made = co_await store_.write(
      {.kind = store::write_kind::create, .key = rotation_key(old_password), .value = json::write(row)});
  if (!made)
    co_return fail(made.error().code, made.error().code == errc::already_exists
                                          ? "the token was rotated by another server at the same moment"
                                          : made.error().message);
  co_return result<void>();
}

task<result<void>> bootstrap_data::finish_rotation(std::string old_password, std::string new_password) {
  auto lost = [](const result<store::commit>& w) {
    return !w && w.error().code != errc::conflict && w.error().code != errc::not_found &&
           w.error().code != errc::already_exists;
  };
  for (;;) {
    KEDGE_CO_TRY(auto now, co_await store_.latest());
    auto old = now.find(crypto::bootstrap_key(old_password)), fresh = now.find(crypto::bootstrap_key(new_password));
    if (!old) co_return result<void>();  // another server has done it
    // As long as the old record stands, the new one is nothing but what follows from it.
    KEDGE_CO_TRY(auto plain, crypto::decrypt_bootstrap(old->bytes(), old_password));
    KEDGE_CO_TRY(auto recorded, crypto::parse_bootstrap_files(plain));
    KEDGE_CO_TRY(auto files, with_token(std::move(recorded), old_password, new_password));
    bool same = false;
    if (fresh) {
      auto standing = crypto::decrypt_bootstrap(fresh->bytes(), new_password);
      auto parsed =
          standing ? crypto::parse_bootstrap_files(*standing) : result<crypto::bootstrap_files>(fail(standing.error()));
      same = parsed && same_content(*parsed, files);
    }
    if (!same) {
      KEDGE_CO_TRY(auto value, crypto::encrypt_bootstrap(crypto::write_bootstrap_files(files), new_password,
                                                         reactor::loop::current().random()));
      auto written = co_await store_.write({.kind = fresh ? store::write_kind::update : store::write_kind::create,
                                            .key = crypto::bootstrap_key(new_password),
                                            .value = std::move(value),
                                            .expected = fresh ? fresh->mod() : 0});
      if (lost(written)) co_return fail(std::move(written).error());
      if (!written) continue;
    }
    auto gone = co_await store_.write(
        {.kind = store::write_kind::remove, .key = std::string(old->key()), .value = {}, .expected = old->mod()});
    if (lost(gone)) co_return fail(std::move(gone).error());
    if (gone) co_return result<void>();
  }
}

task<result<void>> bootstrap_data::forget_sealed(std::string sealed_row) {
  KEDGE_CO_TRY(auto now, co_await store_.latest());
  std::vector<store::object_ref> rows;
  now.scan(rotation_prefix, "", [&](const store::object_ref& o) {
    rows.push_back(o);
    return true;
  });
  if (auto row = now.find(sealed_row)) {
    auto told = json::parse(row->bytes());
    if (told && told->find("sealed")) {
      told->erase("sealed");
      auto done = co_await store_.write({.kind = store::write_kind::update,
                                         .key = std::string(row->key()),
                                         .value = json::write(*told),
                                         .expected = row->mod()});
      if (!done && done.error().code != errc::conflict && done.error().code != errc::not_found)
        co_return fail(std::move(done).error());
    }
  }
  std::ranges::sort(rows, {}, [](const store::object_ref& o) { return o->created(); });
  for (std::size_t i = 0; i + rotations_kept_max < rows.size(); ++i)
    (void)co_await store_.write({.kind = store::write_kind::remove,
                                 .key = std::string(rows[i]->key()),
                                 .value = {},
                                 .expected = rows[i]->mod()});
  co_return result<void>();
}

task<result<std::vector<std::string>>> bootstrap_data::rotate_authorities(std::string password,
                                                                          crypto::bootstrap_files given, bool force) {
  auto& loop = reactor::loop::current();
  for (;;) {
    KEDGE_CO_TRY(auto now, co_await store_.latest());
    auto own = now.find(crypto::bootstrap_key(password));
    if (!own || own->bytes().empty())
      co_return fail(errc::not_found,
                     "the datastore's record of the cluster is not under this server's token now; try again");
    KEDGE_CO_TRY(auto plain, crypto::decrypt_bootstrap(own->bytes(), password));
    KEDGE_CO_TRY(auto files, crypto::parse_bootstrap_files(plain));
    auto planned = co_await reactor::offload([files, given, force, at = loop.wall_now()] {
      return plan_ca_rotation(files, given, force, at, system_random());
    });
    if (!planned) co_return fail(planned.error());
    KEDGE_CO_TRY(auto change, *std::move(planned));
    for (auto& [name, f] : change.files) files[name] = std::move(f);
    KEDGE_CO_TRY(auto value, crypto::encrypt_bootstrap(crypto::write_bootstrap_files(files), password, loop.random()));
    auto written = co_await store_.write({.kind = store::write_kind::update,
                                          .key = std::string(own->key()),
                                          .value = std::move(value),
                                          .expected = own->mod()});
    if (written) co_return std::move(change.warnings);
    if (written.error().code != errc::conflict && written.error().code != errc::not_found)
      co_return fail(std::move(written).error());
  }
}

task<result<std::vector<std::string>>> bootstrap_data::refresh(std::string password) {
  auto record = store_.current().find(crypto::bootstrap_key(password));
  if (!record || record->bytes().empty()) co_return std::vector<std::string>();
  auto changed =
      co_await reactor::offload([record, password, dir = settings_.server_dir()]() -> result<std::vector<std::string>> {
        KEDGE_TRY(auto plain, crypto::decrypt_bootstrap(record->bytes(), password));
        KEDGE_TRY(auto files, crypto::parse_bootstrap_files(plain));
        return write_bootstrap_files(dir, files, false);
      });
  if (!changed) co_return fail(changed.error());
  co_return std::move(*changed);
}

}  // namespace kedge::supervisor
