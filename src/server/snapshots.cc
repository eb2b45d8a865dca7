#include "server/snapshots.h"

#include <algorithm>
#include <utility>

#include "backup/folder.h"
#include "base/log.h"
#include "base/strings.h"
#include "json/parse.h"
#include "meta/cron.h"
#include "reactor/offload.h"

namespace kedge::server {

namespace {

constexpr auto tell_interval = std::chrono::seconds(5);  // of a save that takes long
constexpr unsigned saves_waiting_max = 8;                // one after the other
constexpr std::string_view on_demand = "on-demand";      // K3s's

json::array names_of(const std::vector<std::string>& names) {
  json::array out;
  for (auto& n : names) out.emplace_back(n);
  return out;
}

// As K3s answers save, prune and delete.
json::value changed(const std::vector<std::string>& created, const std::vector<std::string>& deleted) {
  return json::object{{"created", names_of(created)}, {"deleted", names_of(deleted)}};
}

json::value file_object(const backup::listed& l) {
  json::object status{{"size", std::to_string(l.bytes)},
                      {"creationTime", format_rfc3339(l.created)},
                      {"readyToUse", l.problem.empty()}};
  if (!l.problem.empty()) status.set("error", json::object{{"message", l.problem}});
  return json::object{
      {"metadata", json::object{{"name", l.name}}},
      {"spec", json::object{{"snapshotName", l.name}, {"nodeName", l.node}, {"location", "file://" + l.path}}},
      {"status", std::move(status)}};
}

json::value bucket_object(const backup::s3::item& i, const std::string& location) {
  return json::object{{"metadata", json::object{{"name", "s3-" + i.name}}},
                      {"spec", json::object{{"snapshotName", i.name}, {"nodeName", "s3"}, {"location", location}}},
                      {"status", json::object{{"size", std::to_string(i.bytes)},
                                              {"creationTime", format_rfc3339(i.modified)},
                                              {"readyToUse", true}}}};
}

}  // namespace

// Nothing without --etcd-s3. A Secret may say where and how, as K3s has it.
task<result<std::optional<backup::s3::bucket>>> snapshots::open_bucket() const {
  auto s3 = shared_.settings.snapshots.s3;
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

task<result<void>> snapshots::upload(std::string path, std::string name, const backup::header& about) const {
  KEDGE_CO_TRY(auto bucket, co_await open_bucket());
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
           .keep_in_bucket = 0};
  w.keep_in_bucket = request["retention"].is_integer() ? w.keep : set.s3.retention;
  if (w.folder.empty()) w.folder = set.folder;
  KEDGE_CHECK(backup::check_name(w.base));
  if (!w.folder.starts_with('/')) return fail(errc::invalid, "dir: " + quote(w.folder) + " is not an absolute path");
  return w;
}

task<result<json::value>> snapshots::answer(json::value request) {
  KEDGE_CO_TRY(auto w, read(request));
  if (request["s3"].is_object() && !shared_.settings.snapshots.s3.enabled)
    co_return fail(errc::invalid, "this server keeps no snapshots in S3: start it with --etcd-s3 and its settings");
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

task<result<json::value>> snapshots::save(wanted w) {
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
  if (!done) {
    log::error("snapshot {}: {}", path, done.error().message);
    shared_.measures.counter("kedge_snapshots_failed_total", "Snapshots that could not be saved.", "").add();
    co_return fail(std::move(done).error());
  }
  shared_.measures.gauge("kedge_snapshot_last_saved_seconds", "When the last snapshot was saved, in Unix time.", "")
      .set(std::chrono::floor<std::chrono::seconds>(loop.wall_now()).time_since_epoch().count());
  log::info("saved {}: {} objects at revision {}, {} bytes, in {}", path, done->objects, done->revision, done->bytes,
            format_duration(std::chrono::floor<std::chrono::milliseconds>(loop.now() - began)));
  if (auto sent = co_await upload(path, name, about); !sent) {
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
  for (auto& l : **found) items.push_back(file_object(l));
  KEDGE_CO_TRY(auto bucket, co_await open_bucket());
  if (bucket) {
    KEDGE_CO_TRY(auto there, co_await bucket->list(""));
    for (auto& i : there) items.push_back(bucket_object(i, bucket->location(i.name)));
  }
  co_return json::value(json::object{{"kind", "ETCDSnapshotFileList"},
                                     {"apiVersion", "k3s.cattle.io/v1"},
                                     {"metadata", json::object{}},
                                     {"items", std::move(items)}});
}

task<result<json::value>> snapshots::prune(wanted w) {
  auto gone = co_await reactor::offload(
      [folder = w.folder, prefix = prefix_of(w), keep = w.keep] { return backup::prune(folder, prefix, keep); });
  if (!gone) co_return fail(std::move(gone).error());
  KEDGE_CO_CHECK(*gone);
  for (auto& n : **gone) log::info("removed the snapshot {}/{}", w.folder, n);
  KEDGE_CO_TRY(auto bucket, co_await open_bucket());
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
  if (!gone) co_return fail(std::move(gone).error());
  KEDGE_CO_CHECK(*gone);
  KEDGE_CO_TRY(auto bucket, co_await open_bucket());
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
    wanted w{.base = set.base, .folder = set.folder, .keep = set.retention, .keep_in_bucket = set.s3.retention};
    if (auto done = co_await save(w); !done) continue;  // told already
    if (auto done = co_await prune(std::move(w)); !done)
      log::warning("old snapshots can't be removed: {}", done.error().message);
  }
}

}  // namespace kedge::server
