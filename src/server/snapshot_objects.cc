#include "server/snapshot_objects.h"

#include <fmt/format.h>

#include <cctype>
#include <map>
#include <utility>

#include "api/registry/registry.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/plan.h"
#include "crypto/digest.h"
#include "json/parse.h"
#include "json/write.h"
#include "meta/names.h"

namespace kedge::server {

namespace {

const api::resource_id files{"k3s.cattle.io", "v1", "etcdsnapshotfiles"}, config_maps{"", "v1", "configmaps"};
constexpr auto system_namespace = "kube-system", list_name = "k3s-etcd-snapshots";
constexpr auto look_again = std::chrono::seconds(1);           // for the definition, which another part makes
constexpr auto failure_told = std::chrono::hours(24);          // K3s's errorTTL
constexpr auto bucket_patience = std::chrono::minutes(1);      // K3s's: another server may be uploading it just now
constexpr std::size_t name_bytes_max = 253, name_around = 13;  // "local-" and "-012345"
constexpr std::string_view bucket_node = "s3";

bool is_in_bucket(const json::value& object) {
  return object["metadata"]["labels"][snapshot_storage_label].as_string() == bucket_node;
}

// Whether `there` says what `here` does; what the API adds doesn't count.
bool says_the_same(const json::value& there, const json::value& here) {
  return there["spec"] == here["spec"] && there["status"] == here["status"];
}

// One that is not to go although it isn't there.
bool stays(const json::value& object, wall_time now) {
  auto& error = object["status"]["error"];
  auto failed = parse_rfc3339(error["time"].as_string());
  if (failed) return now - *failed < failure_told;
  auto made = parse_rfc3339(object["metadata"]["creationTimestamp"].as_string());
  return is_in_bucket(object) && made && now - *made < bucket_patience;
}

control::notice notice_of(const json::value& object) {
  auto name = object["spec"]["snapshotName"].as_string();
  auto node = object["spec"]["nodeName"].as_string();
  auto& error = object["status"]["error"];
  if (!error.is_null())
    return {control::reference_to(object), true, "ETCDSnapshotFailed",
            fmt::format("Failed to save snapshot {} on {}: {}", name, node, error["message"].as_string())};
  return {control::reference_to(object), false, "ETCDSnapshotCreated",
          fmt::format("Snapshot {} saved on {}", name, node)};
}

// Its line there: a key that a ConfigMap may have, and K3s's File of it.
std::pair<std::string, std::string> described(const json::value& object) {
  auto& spec = object["spec"];
  auto& status = object["status"];
  auto name = std::string(spec["snapshotName"].as_string());
  auto key = "local-" + name;
  for (char& c : key)
    if (!std::isalnum(static_cast<unsigned char>(c)) && !std::string_view("-._").contains(c)) c = '_';
  return {std::move(key), json::write(json::object{{"name", name},
                                                   {"location", spec["location"]},
                                                   {"metadata", base64(as_bytes(json::write(spec["metadata"])))},
                                                   {"nodeName", spec["nodeName"]},
                                                   {"createdAt", status["creationTime"]},
                                                   {"size", parse_int(status["size"].as_string()).value_or(0)},
                                                   {"status", "successful"},
                                                   {"compressed", name.ends_with(".zip")}})};
}

}  // namespace

std::string snapshot_object_name(const json::value& object) {
  auto& spec = object["spec"];
  auto node = std::string(spec["nodeName"].as_string());
  auto name = lower(spec["snapshotName"].as_string());
  if (!api::check_dns1123_subdomain(name).empty() || name.size() + name_around > name_bytes_max) {
    auto created = parse_rfc3339(object["status"]["creationTime"].as_string());
    auto seconds = created ? std::chrono::floor<std::chrono::seconds>(*created).time_since_epoch().count() : 0;
    name = fmt::format("etcd-snapshot-{}-{}{}", node.substr(0, node.find('.')), seconds,
                       spec["snapshotName"].as_string().ends_with(".zip") ? ".zip" : "");
  }
  auto digest = crypto::sha256_hex(as_bytes(node + std::string(spec["location"].as_string())));
  return fmt::format("{}-{}-{}", is_in_bucket(object) ? "s3" : "local", name, digest.substr(0, 6));
}

task<result<void>> snapshot_objects::start() {
  client_ =
      fronts_.own().client({.name = "system:k3s-supervisor", .groups = {"system:masters", "system:authenticated"}},
                           "etcd-snapshots@" + shared_.settings.cluster.node_name);
  recorder_ = std::make_unique<control::event_recorder>(*client_, "k3s-supervisor");
  running_.spawn(recorder_->run());
  running_.spawn(keep());
  co_return result<void>();
}

task<void> snapshot_objects::stop() {
  running_.cancel();
  co_return;
}

task<void> snapshot_objects::keep() {
  while (!client_->resources()->find(files.group, files.version, files.plural)) co_await reactor::sleep_for(look_again);
  auto& changed = backups_.changed_event();
  for (std::string told;;) {
    changed.reset();
    auto done = co_await reconcile();
    auto problem = done ? std::string() : done.error().message;
    if (!problem.empty() && problem != told) log::warning("snapshots can't be shown as objects: {}", problem);
    told = std::move(problem);
    co_await changed.wait_until(reactor::loop::current().now() + shared_.settings.snapshots.reconcile);
  }
}

task<result<void>> snapshot_objects::reconcile() {
  auto began = reactor::loop::current().now();
  KEDGE_CO_TRY(auto found, co_await backups_.found());
  std::map<std::string, json::value, std::less<>> here;
  const auto now = reactor::loop::current().wall_now();
  for (auto& object : found.objects) {
    if (!object["status"]["error"].is_null() && !stays(object, now)) continue;
    auto name = snapshot_object_name(object);
    object.member("metadata").set("name", name);
    here.emplace(std::move(name), object);
  }
  for (auto& there : client_->list(files)) {
    auto storage = there["metadata"]["labels"][snapshot_storage_label].as_string();
    if (storage != shared_.settings.cluster.node_name && !(storage == bucket_node && found.knows_bucket)) continue;
    auto wanted = here.extract(std::string(there["metadata"]["name"].as_string()));
    if (wanted.empty()) {
      if (!stays(there, now)) co_await drop(there);
    } else if (!says_the_same(there, wanted.mapped())) {
      auto changed = co_await client_->modify(files, {}, wanted.key(), [&](json::value& v) {
        v.set("spec", wanted.mapped()["spec"]);
        v.set("status", wanted.mapped()["status"]);
        return true;
      });
      if (!changed && changed.error().code != 404) co_return fail(errc::unavailable, changed.error().message);
    }
  }
  for (auto& [name, object] : here) {
    auto made = co_await client_->create(files, {}, object);
    if (!made && made.error().code != 409) co_return fail(errc::unavailable, made.error().message);
    if (made) recorder_->tell(notice_of(*made));
  }
  co_await list_described(found.objects);
  backups_.observe("reconcile", true, reactor::loop::current().now() - began);
  co_return result<void>();
}

// K3s's older list, which has those alone that users have said something of. Each server keeps its own lines.
task<void> snapshot_objects::list_described(const std::vector<json::value>& objects) {
  auto& node = shared_.settings.cluster.node_name;
  std::map<std::string, std::string> lines;
  for (auto& object : objects)
    if (!object["spec"]["metadata"].empty() && object["status"]["error"].is_null()) {
      auto [key, line] = described(object);
      lines.emplace(std::move(key), std::move(line));
    }
  auto is_own = [&](const json::value& line) {
    auto read = json::parse(line.as_string());
    return read && (*read)["nodeName"].as_string() == node;
  };
  auto edit = [&](json::value& map) {
    auto before = map["data"];
    auto& data = map.member("data").make_object();
    std::vector<std::string> gone;
    for (auto& [key, line] : data)
      if (!lines.contains(key) && is_own(line)) gone.push_back(key);
    for (auto& key : gone) data.erase(key);
    for (auto& [key, line] : lines) data.set(key, line);
    return !(before == map["data"]);
  };
  auto there = client_->get(config_maps, system_namespace, list_name);
  if (!there && lines.empty()) co_return;
  if (!there) {
    json::value map = json::object{{"apiVersion", "v1"},
                                   {"kind", "ConfigMap"},
                                   {"metadata", json::object{{"name", list_name}, {"namespace", system_namespace}}}};
    edit(map);
    (void)co_await client_->create(config_maps, system_namespace, std::move(map));
    co_return;
  }
  auto done = co_await client_->modify(config_maps, system_namespace, list_name, edit);
  if (!done) log::warning("ConfigMap {} can't be kept: {}", list_name, done.error().message);
}

task<void> snapshot_objects::drop(const json::value& object) {
  auto gone = co_await client_->remove(files, {}, std::string(object["metadata"]["name"].as_string()));
  if (!gone) co_return;
  recorder_->tell({control::reference_to(object), false, "ETCDSnapshotDeleted",
                   fmt::format("Snapshot {} deleted", object["spec"]["snapshotName"].as_string())});
}

}  // namespace kedge::server
