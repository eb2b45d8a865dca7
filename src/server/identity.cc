#include "server/identity.h"

#include "api/custom/upgrade.h"
#include "api/registry/imported.h"
#include "api/registry/indexes.h"
#include "backup/restore.h"
#include "base/log.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "schema/protobuf.h"
#include "server/database_wait.h"
#include "server/instance.h"

namespace kedge::server {

namespace {

// A K3s database holds protobuf; the store wants canonical JSON.
result<std::string> json_of_stored(std::string_view key, std::string_view raw) {
  KEDGE_TRY(auto v, schema::decode_object(raw));
  return api::imported_text(key, std::move(v));
}

// A cluster is known by the namespace that every one has.
std::string cluster_of(const store::snapshot& now) {
  auto o = now.find("/registry/namespaces/kube-system");
  auto v = o ? json::parse(o->bytes()) : result<json::value>(fail(errc::not_found, ""));
  return v ? std::string((*v)["metadata"]["uid"].as_string()) : std::string();
}

}  // namespace

task<result<void>> identity::start() {
  auto& loop = reactor::loop::current();
  KEDGE_CO_CHECK(co_await take_record());
  KEDGE_CO_TRY(credentials_, supervisor::credentials::open(shared_.settings.cluster, loop.wall_now(), loop.random()));
  // Another server that starts waits for it; alone, nobody does (readiness.cc).
  if (shared_.settings.shared_datastore())
    KEDGE_CO_CHECK(co_await wait_out_database("the cluster's record", [this] { return save_record(); }));
  KEDGE_CO_CHECK(use_signing_key());
  co_return read_trust();
}

// Where another server was quicker, what it made is this server's identity, too.
task<result<void>> identity::save_record() {
  auto saved = co_await record_->save(credentials_->password());
  if (saved || saved.error().code != errc::conflict) co_return saved;
  log::warning("{}; they are taken over", saved.error().message);
  auto& loop = reactor::loop::current();
  record_.emplace(shared_.settings.cluster, *objects_, shared_.settings.shared_datastore());
  KEDGE_CO_CHECK(co_await record_->refresh(credentials_->password()));
  KEDGE_CO_TRY(credentials_, supervisor::credentials::open(shared_.settings.cluster, loop.wall_now(), loop.random()));
  co_return co_await record_->save(credentials_->password());
}

// The cluster's files from the datastore. Reading what is encrypted there needs keys that may be among them: then the
// store, which couldn't read some values, is opened once more.
task<result<void>> identity::take_record() {
  auto& cluster = shared_.settings.cluster;
  KEDGE_CO_CHECK(backup::check_restored(cluster.server_dir()));
  KEDGE_CO_CHECK(encryption_.read());
  KEDGE_CO_CHECK(co_await wait_for_store());
  KEDGE_CO_CHECK(backup::check_restored(objects_->current()));
  record_.emplace(cluster, *objects_, shared_.settings.shared_datastore());
  KEDGE_CO_CHECK(co_await wait_out_database("the cluster's record", [this] { return record_->load(); }));
  if (record_->token_outdated()) cluster.token.clear();  // what it wrote to this server's files counts
  KEDGE_CO_TRY(auto others_keys, encryption_.read());
  if (others_keys) {
    co_await objects_->close();
    objects_.reset();
    KEDGE_CO_CHECK(co_await wait_for_store());
    record_.emplace(cluster, *objects_, shared_.settings.shared_datastore());
  }
  co_return encryption_.make(reactor::loop::current().random());
}

std::string identity::password() const {
  if (credentials_) return credentials_->password();
  return supervisor::known_password(shared_.settings.cluster).value_or(std::nullopt).value_or("");
}

// A file that another process holds was waited for already.
task<result<void>> identity::wait_for_store() {
  if (!shared_.settings.shared_datastore()) return open_store();
  return wait_out_database("the datastore", [this] { return open_store(); });
}

task<result<void>> identity::open_store() {
  KEDGE_CO_CHECK(crypto::make_folder(shared_.settings.cluster.server_dir() + "/db"));
  KEDGE_CO_TRY(auto log, shared_.settings.open_log());
  store::store_options s{.log = std::move(log),
                         .loops = shared_.all_loops(),
                         .decode = &json_of_stored,
                         .upgrade = &api::custom::upgrade_stored};
  s.indexes = api::builtin_indexes();
  s.resource_size = &api::resource_size;
  if (shared_.settings.history_bytes) s.history_bytes = shared_.settings.history_bytes;
  s.leads = leads_;
  s.transform = encryption_.transform([this] { return password(); });
  s.seen_file = shared_.settings.cluster.server_dir() + "/db/seen.json";
  s.accept_data_loss = shared_.settings.accept_data_loss;
  s.cluster_of = &cluster_of;
  // What clients hold can't be gone on with, so neither can this process: a new one reads the database as it is now.
  loss_accepted_ |= shared_.settings.accept_data_loss;
  s.on_lost_history = [this](const error&) {
    shared_.begin_anew = loss_accepted_;
    if (loss_accepted_) log::warning("--accept-data-loss is given: this server begins anew with what the database has");
    shared_.fail();
  };
  if (auto& files = shared_.settings.files; files && !files->encryption.empty() && !shared_.sealing) {
    if (shared_.settings.cluster.secrets_encryption)
      log::warning(
          "--secrets-encryption has no effect beside --kube-apiserver-arg=encryption-provider-config: what that file "
          "says is done, and `secrets-encrypt` changes nothing of it");
    shared_.kms = std::make_unique<kms_metrics>(shared_.measures, label_hash(instance_of(shared_.process)));
    shared_.sealing =
        std::make_unique<api::encryption::sealing>(files->encryption, shared_.where.network, shared_.kms.get());
  }
  if (shared_.sealing) {
    co_await shared_.sealing->wait_for_writers();
    s = shared_.sealing->around(std::move(s));
  }
  KEDGE_CO_TRY(objects_, co_await store::open_store(std::move(s)));
  shared_.settings.accept_data_loss = false;  // once: the store may be opened again
  co_return result<void>();
}

result<void> identity::read_trust() {
  auto& own = *credentials_;
  KEDGE_TRY(auto client_ca, crypto::trust::from_bundle(own.client_ca().bundle()));
  shared_.self.client_ca = std::make_shared<const crypto::trust>(std::move(client_ca));
  KEDGE_TRY(auto front_ca, crypto::trust::from_bundle(own.request_header_ca().bundle()));
  shared_.self.request_header_ca = std::make_shared<const crypto::trust>(std::move(front_ca));
  KEDGE_TRY(shared_.self.token_keys, crypto::parse_public_keys(own.service_keys_pem()));
  return read_clients();
}

result<void> identity::use_signing_key() {
  KEDGE_TRY(auto signing, crypto::private_key::from_pem(credentials_->service_keys_pem()));
  shared_.self.signing_key.emplace(std::move(signing));
  return {};
}

result<void> identity::read_clients() {
  auto& own = *credentials_;
  auto tls_as = [&own](const std::string& stem) -> result<std::shared_ptr<net::tls_client_context>> {
    KEDGE_TRY(auto pair, own.client(stem));
    return net::tls_client_context::make({.ca_pem = own.server_ca().bundle_pem(),
                                          .chain_pem = std::move(pair.first),
                                          .key_pem = std::move(pair.second),
                                          .alpn = {"http/1.1"}});
  };
  KEDGE_TRY(shared_.self.to_kubelets, tls_as("client-kube-apiserver"));
  KEDGE_TRY(shared_.self.to_servers, tls_as("client-supervisor"));
  KEDGE_TRY(auto proxy, own.client("client-auth-proxy"));
  shared_.self.as_front_proxy = {.chain_pem = std::move(proxy.first), .key_pem = std::move(proxy.second)};
  return {};
}

task<void> identity::stop() {
  if (objects_) co_await objects_->close();
  shared_.sealing.reset();
}

}  // namespace kedge::server
