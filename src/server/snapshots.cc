#include "server/snapshots.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "meta/cron.h"
#include "reactor/offload.h"

namespace kedge::server {

namespace {

constexpr auto tell_interval = std::chrono::seconds(5);  // of a save that takes long
constexpr unsigned saves_waiting_max = 8;                // one after the other
constexpr std::string_view on_demand = "on-demand";      // K3s's
constexpr std::string_view bucket_node = "s3", token_note = "etcd.k3s.cattle.io/snapshot-token-hash";
constexpr std::string_view extra_metadata = "/registry/configmaps/kube-system/k3s-etcd-snapshot-extra-metadata";
constexpr std::size_t failures_kept = 8;  // each a few hundred bytes; the log has them all
// K3s's buckets: 8 ms, doubled again and again.
constexpr double time_bounds[] = {.008,  .016,  .032,  .064,   .128,   .256,   .512,   1.024,
                                  2.048, 4.096, 8.192, 16.384, 32.768, 65.536, 131.072};

json::array names_of(const std::vector<std::string>& names) {
  json::array out;
  for (auto& n : names) out.emplace_back(n);
  return out;
}

// As K3s answers save, prune and delete.
json::value changed(const std::vector<std::string>& created, const std::vector<std::string>& deleted) {
  return json::object{{"created", names_of(created)}, {"deleted", names_of(deleted)}};
}

json::value bucket_object(const backup::s3::item& i, const std::string& location, const backup::s3::settings& s3) {
  return json::object{
      {"apiVersion", "k3s.cattle.io/v1"},
      {"kind", "ETCDSnapshotFile"},
      {"metadata", json::object{{"name", "s3-" + i.name},
                                {"labels", json::object{{std::string(snapshot_storage_label), bucket_node}}}}},
      {"spec", json::object{{"snapshotName", i.name},
                            {"nodeName", bucket_node},
                            {"location", location},
                            {"s3", json::object{{"endpoint", s3.endpoint},
                                                {"bucket", s3.bucket},
                                                {"region", s3.region},
                                                {"prefix", s3.folder},
                                                {"insecure", s3.insecure},
                                                {"skipSSLVerify", s3.skip_verify}}}}},
      {"status",
       json::object{
           {"size", std::to_string(i.bytes)}, {"creationTime", format_rfc3339(i.modified)}, {"readyToUse", true}}}};
}

// What a request says of a bucket, by K3s's names; what it leaves open is as the server's flags have it.
backup::s3::settings asked_bucket(const json::value& said, backup::s3::settings own) {
  if (!said.is_object()) return own;
  static constexpr std::pair<const char*, const char*> names[] = {
      {"endpoint", "etcd-s3-endpoint"},    {"accessKey", "etcd-s3-access-key"},
      {"secretKey", "etcd-s3-secret-key"}, {"sessionToken", "etcd-s3-session-token"},
      {"bucket", "etcd-s3-bucket"},        {"bucketLookup", "etcd-s3-bucket-lookup-type"},
      {"region", "etcd-s3-region"},        {"folder", "etcd-s3-folder"},
      {"proxy", "etcd-s3-proxy"},          {"timeout", "etcd-s3-timeout"}};
  json::object flags;
  for (auto& [theirs, ours] : names)
    if (auto text = said[theirs].as_string(); !text.empty()) flags.set(ours, text);
  for (auto& [theirs, ours] : {std::pair("insecure", "etcd-s3-insecure"), {"skipSSLVerify", "etcd-s3-skip-ssl-verify"}})
    if (said[theirs].as_bool()) flags.set(ours, "true");
  own = backup::s3::from_secret(json::value(std::move(flags)), std::move(own));
  if (auto file = said["endpointCA"].as_string(); !file.empty()) own.ca_file = file;
  if (auto secret = said["configSecret"].as_string(); !secret.empty()) own.config_secret = secret;
  own.enabled = true;
  return own;
}

}  // namespace

// Nothing without --etcd-s3. A Secret may say where and how, as K3s has it.
task<result<std::optional<backup::s3::bucket>>> snapshots::open_bucket(backup::s3::settings s3) const {
  if (!s3.enabled) co_return std::optional<backup::s3::bucket>();
  if (!s3.config_secret.empty() && s3.bucket.empty()) {
    auto found = identity_.objects().current().find("/registry/secrets/kube-system/" + s3.config_secret);
    if (!found)
      co_return fail(errc::not_found, "failed to get config from etcd-s3-config-secret " + quote(s3.config_secret) +
                                          ": there is no such Secret in kube-system");
    KEDGE_CO_TRY(auto secret, json::parse(found->bytes()));
    json::value plain;
    if (auto* data = secret["data"].object())
      for (auto& [name, value] : *data)
        if (auto text = unbase64(value.as_string())) plain.set(name, *std::move(text));
    s3 = backup::s3::from_secret(plain, std::move(s3));
  }
  auto opened = co_await reactor::offload([s3] { return backup::s3::bucket::open(s3); });
  if (!opened) co_return fail(std::move(opened).error());
  KEDGE_CO_TRY(auto bucket, *std::move(opened));
  co_return std::optional(std::move(bucket));
}

task<result<void>> snapshots::upload(backup::s3::settings s3, std::string path, std::string name,
                                     const backup::header& about) const {
  KEDGE_CO_TRY(auto bucket, co_await open_bucket(std::move(s3)));
  if (!bucket) co_return result<void>();
  auto metadata = std::vector<std::pair<std::string, std::string>>{
      {"k3s-cluster-id", about.cluster}, {"k3s-node-name", about.node}, {"k3s-token-hash", about.token_id}};
  KEDGE_CO_CHECK(co_await bucket->put(std::move(path), name, std::move(metadata)));
  log::info("uploaded the snapshot to {}", bucket->location(name));
  co_return result<void>();
}

task<result<void>> snapshots::start() {
  auto& home = shared_.home();
  shared_.snapshot_request = [this, &home](json::value request) -> task<result<json::value>> {
    co_return co_await reactor::call_on(
        home, [this, request = std::move(request)]() mutable { return answer(std::move(request)); });
  };
  (void)co_await reactor::offload([folder = shared_.settings.snapshots.folder] {
    backup::clean(folder);
    return true;
  });
  if (!shared_.settings.snapshots.disabled) running_.spawn(keep_schedule());
  co_return result<void>();
}

task<void> snapshots::stop() {
  running_.cancel();
  co_return;
}

std::string snapshots::prefix_of(const wanted& w) const {
  return w.base + "-" + shared_.settings.cluster.node_name + "-";
}

result<snapshots::wanted> snapshots::read(const json::value& request) const {
  auto& set = shared_.settings.snapshots;
  wanted w{.base = std::string(request["name"][0].as_string(on_demand)),
           .folder = std::string(request["dir"].as_string(set.folder)),
           .keep = static_cast<std::size_t>(std::max<std::int64_t>(0, request["retention"].as_integer(set.retention))),
           .keep_in_bucket = 0,
           .s3 = asked_bucket(request["s3"], set.s3)};
  w.keep_in_bucket = request["retention"].is_integer() ? w.keep : set.s3.retention;
  if (auto& keep = request["s3"]["retention"]; keep.is_integer())
    w.keep_in_bucket = static_cast<std::size_t>(std::max<std::int64_t>(0, keep.as_integer()));
  if (w.folder.empty()) w.folder = set.folder;
  KEDGE_CHECK(backup::check_name(w.base));
  if (!w.folder.starts_with('/')) return fail(errc::invalid, "dir: " + quote(w.folder) + " is not an absolute path");
  return w;
}

task<result<json::value>> snapshots::answer(json::value request) {
  KEDGE_CO_TRY(auto w, read(request));
  if (request["s3"].is_object() && w.s3.config_secret.empty()) KEDGE_CO_CHECK(backup::s3::check(w.s3));
  auto operation = std::string(request["operation"].as_string());
  if (operation == "save") {
    if (request["wait"].as_bool(true)) co_return co_await save(std::move(w));
    save_beside(std::move(w));
    co_return status();
  }
  if (operation == "status") co_return status();
  if (operation == "list") co_return co_await list(std::move(w));
  if (operation == "prune") {
    if (!request["name"][0].string()) w.base = shared_.settings.snapshots.base;
    co_return co_await prune(std::move(w));
  }
  if (operation == "delete") {
    std::vector<std::string> names;
    if (auto* all = request["name"].array())
      for (auto& n : *all) names.emplace_back(n.as_string());
    co_return co_await remove(std::move(w), std::move(names));
  }
  co_return fail(errc::invalid, "invalid snapshot operation");
}

json::value snapshots::status() const {
  json::object out{{"saving", asked_ > 0}, {"saved", last_saved_}};
  if (saving_) {
    out.set("objects", static_cast<std::int64_t>(saving_->objects.load()));
    out.set("of", static_cast<std::int64_t>(saving_->of.load()));
  }
  if (!last_failure_.empty()) out.set("error", last_failure_);
  return json::value(std::move(out));
}

void snapshots::save_beside(wanted w) {
  last_saved_.clear();
  last_failure_.clear();
  running_.spawn([](snapshots& self, wanted what) -> task<void> {
    auto done = co_await self.save(std::move(what));
    if (!done)
      self.last_failure_ = done.error().message;
    else
      self.last_saved_ = (*done)["created"][0].as_string();
  }(*this, std::move(w)));
}

void snapshots::observe(std::string_view what, bool good, duration took) const {
  shared_.measures
      .observations(fmt::format("k3s_etcd_snapshot_{}_duration_seconds", what),
                    "Total time in seconds taken, labeled by success/failure status.",
                    good ? R"(status="success")" : R"(status="error")", time_bounds)
      .observe(std::chrono::duration<double>(took).count());
}

json::value snapshots::object_of(const backup::listed& l) const {
  auto& node = shared_.settings.cluster.node_name;
  json::object status{{"size", std::to_string(l.bytes)},
                      {"creationTime", format_rfc3339(l.created)},
                      {"readyToUse", l.problem.empty()}};
  if (!l.problem.empty())
    status.set("error", json::object{{"time", format_rfc3339(l.created)}, {"message", l.problem}});
  json::object metadata{{"name", "local-" + l.name},
                        {"labels", json::object{{std::string(snapshot_storage_label), node}}}};
  if (!l.token_id.empty()) metadata.set("annotations", json::object{{std::string(token_note), l.token_id}});
  json::object spec{{"snapshotName", l.name}, {"nodeName", node}, {"location", "file://" + l.path}};
  if (auto said = json::parse(l.metadata); said && said->is_object() && !said->empty())
    spec.set("metadata", *std::move(said));
  return json::object{{"apiVersion", "k3s.cattle.io/v1"},
                      {"kind", "ETCDSnapshotFile"},
                      {"metadata", std::move(metadata)},
                      {"spec", std::move(spec)},
                      {"status", std::move(status)}};
}

void snapshots::note_failure(std::string name, const error& why) {
  backup::listed l{.name = std::move(name), .path = {}, .node = {}, .problem = why.message};
  l.created = reactor::loop::current().wall_now();
  auto object = object_of(l);
  object.member("spec").set("location", "");
  failures_.push_back(std::move(object));
  if (failures_.size() > failures_kept) failures_.pop_front();
}

// What users want to be said of each, as K3s takes it.
task<void> snapshots::keep_metadata(std::string folder, std::string name) const {
  auto map = identity_.objects().current().find(extra_metadata);
  auto read = map ? json::parse(map->bytes()) : result<json::value>(fail(errc::not_found, ""));
  if (!read || (*read)["data"].empty()) co_return;
  auto written = co_await reactor::offload(
      [folder, name, text = json::write((*read)["data"])] { return backup::write_metadata(folder, name, text); });
  if (written && !*written) log::warning("metadata of snapshot {}: {}", name, written->error().message);
}

task<result<json::value>> snapshots::save(wanted w) {
  auto began = reactor::loop::current().now();
  auto done = co_await save_now(std::move(w));
  observe("save", done.has_value(), reactor::loop::current().now() - began);
  changed_.set();
  co_return done;
}

task<result<json::value>> snapshots::save_now(wanted w) {
  if (asked_ == saves_waiting_max) co_return fail(errc::exhausted, "too many snapshots are being saved already");
  struct asking {
    snapshots& self;
    bool has_turn = false;
    explicit asking(snapshots& s) : self(s) { ++self.asked_; }
    ~asking() {
      --self.asked_;
      if (!has_turn) return;
      self.saving_.reset();
      self.turn_.release();
    }
  } here(*this);
  co_await turn_.acquire();
  here.has_turn = true;
  saving_ = std::make_shared<backup::progress>();
  auto& cluster = shared_.settings.cluster;
  auto& loop = reactor::loop::current();
  auto& own = identity_.credentials();
  // What can't be read here would be missing there, and nobody would know.
  KEDGE_CO_CHECK(identity_.objects().complete());
  KEDGE_CO_TRY(auto now, co_await identity_.objects().latest());
  auto record = now.find(supervisor::bootstrap_data::key_of(own.password()));
  if (!record || record->bytes().empty())
    co_return fail(errc::unavailable, "the datastore has no record of the cluster under this server's token yet");
  backup::save_options o{.path = {}, .password = own.password(), .about = {}};
  o.about.kedge = shared_.settings.version;
  o.about.node = cluster.node_name;
  o.about.datastore = shared_.settings.shared_datastore() ? "shared" : "SQLite";
  o.about.identity = record->bytes();
  o.about.token_id = supervisor::token_id(own.password());
  if (auto ns = now.find("/registry/namespaces/kube-system"))
    if (auto v = json::parse(ns->bytes())) o.about.cluster = (*v)["metadata"]["uid"].as_string();
  auto name = backup::file_name(w.base, cluster.node_name, loop.wall_now());
  o.path = w.folder + "/" + name;
  auto began = loop.now();
  auto path = o.path;
  auto told = saving_;
  reactor::scope telling;
  telling.spawn([](std::shared_ptr<backup::progress> p, std::string file) -> task<void> {
    for (;;) {
      co_await reactor::sleep_for(tell_interval);
      log::info("saving {}: {} of {} objects", file, p->objects.load(), p->of.load());
    }
  }(told, path));
  auto about = o.about;
  auto done = co_await backup::save(std::move(o), std::move(now), told);
  observe("save_local", done.has_value(), loop.now() - began);
  if (!done) {
    note_failure(name, done.error());
    log::error("snapshot {}: {}", path, done.error().message);
    shared_.measures.counter("kedge_snapshots_failed_total", "Snapshots that could not be saved.", "").add();
    co_return fail(std::move(done).error());
  }
  shared_.measures.gauge("kedge_snapshot_last_saved_seconds", "When the last snapshot was saved, in Unix time.", "")
      .set(std::chrono::floor<std::chrono::seconds>(loop.wall_now()).time_since_epoch().count());
  log::info("saved {}: {} objects at revision {}, {} bytes, in {}", path, done->objects, done->revision, done->bytes,
            format_duration(std::chrono::floor<std::chrono::milliseconds>(loop.now() - began)));
  co_await keep_metadata(w.folder, name);
  auto uploading = loop.now();
  auto sent = co_await upload(w.s3, path, name, about);
  if (w.s3.enabled) observe("save_s3", sent.has_value(), loop.now() - uploading);
  if (!sent) {
    note_failure(name, sent.error());
    shared_.measures.counter("kedge_snapshots_failed_total", "Snapshots that could not be saved.", "").add();
    log::error("snapshot {}: {}", path, sent.error().message);
    co_return fail(std::move(sent).error().with("it is saved as " + path + ", but not in S3: "));
  }
  co_return changed({name}, {});
}

task<result<json::value>> snapshots::list(wanted w) const {
  auto found = co_await reactor::offload([folder = w.folder] { return backup::list(folder); });
  if (!found) co_return fail(std::move(found).error());
  KEDGE_CO_CHECK(*found);
  json::array items;
  for (auto& l : **found) items.push_back(object_of(l));
  KEDGE_CO_TRY(auto bucket, co_await open_bucket(w.s3));
  if (bucket) {
    KEDGE_CO_TRY(auto there, co_await bucket->list(""));
    for (auto& i : there) items.push_back(bucket_object(i, bucket->location(i.name), w.s3));
  }
  co_return json::value(json::object{{"kind", "ETCDSnapshotFileList"},
                                     {"apiVersion", "k3s.cattle.io/v1"},
                                     {"metadata", json::object{}},
                                     {"items", std::move(items)}});
}

// What is in the bucket doesn't hide what is in the folder.
task<result<snapshots::shown>> snapshots::found() const {
  auto& set = shared_.settings.snapshots;
  auto& loop = reactor::loop::current();
  auto began = loop.now();
  auto files = co_await reactor::offload([folder = set.folder] { return backup::list(folder); });
  observe("reconcile_local", files && *files, loop.now() - began);
  if (!files) co_return fail(std::move(files).error());
  KEDGE_CO_CHECK(*files);
  shown out;
  for (auto& l : **files) out.objects.push_back(object_of(l));
  for (auto& f : failures_) out.objects.push_back(f);
  if (!set.s3.enabled) co_return out;
  began = loop.now();
  auto bucket = co_await open_bucket(set.s3);
  auto there = bucket && *bucket ? co_await (*bucket)->list("")
                                 : result<std::vector<backup::s3::item>>(fail(errc::unavailable, "there is no bucket"));
  observe("reconcile_s3", there.has_value(), loop.now() - began);
  out.knows_bucket = there.has_value();
  if (there)
    for (auto& i : *there) out.objects.push_back(bucket_object(i, (*bucket)->location(i.name), set.s3));
  co_return out;
}

task<result<json::value>> snapshots::prune(wanted w) {
  auto gone = co_await reactor::offload(
      [folder = w.folder, prefix = prefix_of(w), keep = w.keep] { return backup::prune(folder, prefix, keep); });
  if (!gone) co_return fail(std::move(gone).error());
  KEDGE_CO_CHECK(*gone);
  for (auto& n : **gone) log::info("removed the snapshot {}/{}", w.folder, n);
  changed_.set();
  KEDGE_CO_TRY(auto bucket, co_await open_bucket(w.s3));
  if (bucket) {
    KEDGE_CO_TRY(auto there, co_await bucket->prune(prefix_of(w), w.keep_in_bucket));
    for (auto& n : there) log::info("removed the snapshot {}", bucket->location(n));
    for (auto& n : there)
      if (std::ranges::find(**gone, n) == (*gone)->end()) (*gone)->push_back(n);
  }
  co_return changed({}, **gone);
}

task<result<json::value>> snapshots::remove(wanted w, std::vector<std::string> names) {
  auto gone = co_await reactor::offload([folder = w.folder, names] { return backup::remove(folder, names); });
  changed_.set();
  if (!gone) co_return fail(std::move(gone).error());
  KEDGE_CO_CHECK(*gone);
  KEDGE_CO_TRY(auto bucket, co_await open_bucket(w.s3));
  if (bucket) {
    KEDGE_CO_TRY(auto there, co_await bucket->list(""));
    for (auto& i : there) {
      if (std::ranges::find(names, i.name) == names.end()) continue;
      KEDGE_CO_CHECK(co_await bucket->remove(i.name));
      if (std::ranges::find(**gone, i.name) == (*gone)->end()) (*gone)->push_back(i.name);
    }
  }
  co_return changed({}, **gone);
}

// The times of the schedule are the machine's, as K3s's.
task<void> snapshots::keep_schedule() {
  auto& loop = reactor::loop::current();
  auto& set = shared_.settings.snapshots;
  auto schedule = api::cron_schedule::parse(set.schedule);
  if (!schedule) co_return;  // was refused on the command line
  for (;;) {
    auto next = schedule->next(loop.wall_now());
    if (!next) co_return;
    // A clock that is set meanwhile: looked at each minute.
    while (loop.wall_now() < *next)
      co_await reactor::sleep_for(std::min<duration>(*next - loop.wall_now(), std::chrono::minutes(1)));
    wanted w{.base = set.base,
             .folder = set.folder,
             .keep = set.retention,
             .keep_in_bucket = set.s3.retention,
             .s3 = set.s3};
    if (auto done = co_await save(w); !done) continue;  // told already
    if (auto done = co_await prune(std::move(w)); !done)
      log::warning("old snapshots can't be removed: {}", done.error().message);
  }
}

}  // namespace kedge::server
