#include "control/addons/deployer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "api/registry/registry.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/addons/limits.h"
#include "control/addons/manifest.h"
#include "crypto/digest.h"
#include "json/write.h"
#include "reactor/offload.h"
#include "reactor/scope.h"

namespace kedge::control::addons {

namespace {

const api::resource_id addons{"k3s.cattle.io", "v1", "addons"};
constexpr auto system_namespace = "kube-system";
constexpr std::string_view kinds_note = "addon.k3s.cattle.io/gvks";

set_owner owner_of(const json::value& addon) {
  return {.id = "",
          .what = {"k3s.cattle.io/v1", "Addon"},
          .ns = system_namespace,
          .name = std::string(addon["metadata"]["name"].as_string())};
}

std::vector<versioned_kind> kinds_noted(const json::value& addon) {
  std::vector<versioned_kind> out;
  for (auto text : split(addon["metadata"]["annotations"][kinds_note].as_string(), ';'))
    if (auto k = versioned_kind::parse(text); !k.kind.empty()) out.push_back(std::move(k));
  return out;
}

std::string text_of(const std::vector<versioned_kind>& kinds) {
  std::vector<std::string> all;
  for (auto& k : kinds) all.push_back(k.text());
  return join(all, ";");
}

// What a file has, read and taken apart where that may take its time.
struct content {
  std::string checksum;
  manifest what;
};
task<result<content>> read(std::string path) {
  KEDGE_CO_TRY(auto done, co_await reactor::offload([path = std::move(path)]() -> result<content> {
                 KEDGE_TRY(auto text, read_manifest_file(path));
                 return content{crypto::sha256_hex(as_bytes(text)), read_manifest(text)};
               }));
  co_return std::move(done);
}

}  // namespace

deployer::deployer(api::objects& client, deploy_settings settings)
    : client_(client), settings_(std::move(settings)), recorder_(client, "deploy") {}

void deployer::tell(const json::value& addon, bool warning, std::string reason, std::string message) {
  recorder_.tell({reference_to(addon), warning, std::move(reason), std::move(message)});
}

task<void> deployer::run() {
  reactor::named_activity a("manifests");
  reactor::scope telling;
  telling.spawn(recorder_.run());
  for (;;) {
    co_await pass();
    co_await changes_.wait(next_look());
  }
}

time_point deployer::next_look() const {
  auto now = reactor::loop::current().now();
  auto next = now + slow_look;
  if (!packaged_) next = std::min(next, packaged_again_);
  for (auto& [path, k] : known_)
    if (k.pause > duration{}) next = std::min(next, k.again);
  return std::max(next, now);
}

task<bool> deployer::pass() {
  bool good = packaged_ || co_await bring_packaged();
  auto looked = co_await reactor::offload(
      [folder = settings_.folder, disabled = settings_.disabled] { return look_at(folder, disabled); });
  if (!looked) co_return false;
  changes_.watch(looked->folders);
  if (looked->problems != told_)
    for (auto& p : looked->problems) log::warning("manifests: {}", p);
  told_ = looked->problems;
  std::map<std::string, std::string> by_addon;
  for (auto& [file, objects] : settings_.packaged) by_addon.emplace(addon_name(file), settings_.folder + "/" + file);
  // Of several files with one name that which had it first, else the first by path.
  for (bool had : {true, false})
    for (auto& f : looked->files) {
      auto k = known_.find(f.path);
      if (f.what == manifest_file::fate::apply && (k != known_.end() && k->second.checked) == had)
        by_addon.emplace(addon_name(f.path), f.path);
    }
  for (auto& f : looked->files) good &= co_await one_file(f, by_addon);

  std::vector<std::string> gone;
  for (auto& [path, k] : known_)
    if (std::ranges::none_of(looked->files, [&](auto& f) { return f.path == path; })) gone.push_back(path);
  for (auto& path : gone) {
    // With a .skip beside it, it is left alone, and not gone.
    const bool pruned = settings_.prune_files && known_[path].checked && ::access(path.c_str(), F_OK) != 0;
    if (pruned && !co_await remove(path, false))
      good = false;
    else
      known_.erase(path);
  }
  co_return good;
}

// A file that is as it was is left alone. One that failed is tried again in its time, or when it changes.
task<bool> deployer::one_file(const manifest_file& f, const std::map<std::string, std::string>& by_addon) {
  if (f.what == manifest_file::fate::remove) {
    known_.erase(f.path);
    co_return co_await remove(f.path, f.own);
  }
  if (settings_.packaged.contains(f.relative)) {
    if (!skipped_.insert(f.path).second) co_return true;
    auto message = fmt::format("Manifest at {} isn't applied: this component comes with Kedge", quote(f.path));
    log::info("{}", message);
    if (auto there = client_.get(addons, system_namespace, addon_name(f.path)))
      tell(*there, false, "SkippedManifest", std::move(message));
    co_return true;
  }
  auto now = reactor::loop::current().now();
  auto before = known_[f.path];
  const bool same = before.stamp == f.stamp;
  if (same && (before.applied || now < before.again)) co_return before.applied;
  bool good = false;
  if (auto first = by_addon.find(addon_name(f.path)); first != by_addon.end() && first->second != f.path) {
    if (!same)
      log::warning("manifest {}: its AddOn {} is that of {}; nothing of it is applied", f.path, first->first,
                   first->second);
  } else {
    good = co_await deploy(f.path, !before.checked);
    if (!good && !same) log::warning("manifest {}: not applied, or not in full; see the events of its AddOn", f.path);
  }
  auto& k = known_[f.path];
  k.stamp = f.stamp;
  k.applied = good;
  k.checked |= good;
  k.pause = good                           ? duration{}
            : same && k.pause > duration{} ? std::min<duration>(2 * k.pause, slow_look)
                                           : duration(retry_first);
  k.again = reactor::loop::current().now() + k.pause;
  co_return good;
}

task<api::api_result<json::value>> deployer::addon_of(const std::string& path) {
  auto name = addon_name(path);
  auto there = client_.get(addons, system_namespace, name);
  if (there || there.error().code != 404 || !client_.resources()->find(addons.group, addons.version, addons.plural))
    co_return there;
  co_return co_await client_.create(
      addons, system_namespace,
      json::object{{"apiVersion", "k3s.cattle.io/v1"},
                   {"kind", "Addon"},
                   {"metadata", json::object{{"name", std::move(name)}, {"namespace", system_namespace}}},
                   {"spec", json::object{{"source", path}}}});
}

task<bool> deployer::deploy(const std::string& path, bool force) {
  auto addon = co_await addon_of(path);
  if (!addon) {
    log::warning("manifest {}: {}", path, addon.error().message);
    co_return false;
  }
  auto has = co_await read(path);
  if (!has) {
    tell(*addon, true, "ReadManifestFailed",
         fmt::format("Read manifest at {} failed: {}", quote(path), has.error().message));
    co_return false;
  }
  if (!force && (*addon)["spec"]["checksum"].as_string() == has->checksum) co_return true;
  co_return co_await apply(*std::move(addon), std::move(has->what.objects), std::move(has->what.problems), path,
                           std::move(has->checksum));
}

task<bool> deployer::apply(json::value addon, std::vector<json::value> objects, std::vector<std::string> problems,
                           std::string path, std::string checksum) {
  if (!problems.empty())
    tell(addon, true, "ParseManifestFailed",
         fmt::format("Parse manifest at {} failed: {}", quote(path), join(problems, ", ")));
  auto kinds = text_of(kinds_of(objects));
  tell(addon, false, "ApplyingManifest", fmt::format("Applying manifest at {}", quote(path)));
  // What a document that can't be read had isn't known, so nothing is taken for missing.
  auto failed = co_await apply_set(client_, {.owner = owner_of(addon),
                                             .objects = std::move(objects),
                                             .kinds = kinds_noted(addon),
                                             .prune = problems.empty()});
  if (!failed.empty()) {
    if (failed.size() > problems_max) failed.resize(problems_max);
    tell(addon, true, "ApplyManifestFailed",
         fmt::format("Applying manifest at {} failed: {}", quote(path), join(failed, ", ")));
  }
  if (!failed.empty() || !problems.empty()) co_return false;
  tell(addon, false, "AppliedManifest", fmt::format("Applied manifest at {}", quote(path)));
  auto written = co_await client_.modify(addons, system_namespace, std::string(addon["metadata"]["name"].as_string()),
                                         [&](json::value& a) {
                                           a.member("spec").set("source", path);
                                           a.member("spec").set("checksum", checksum);
                                           a.member("metadata").member("annotations").set(kinds_note, kinds);
                                           return true;
                                         });
  if (!written) log::warning("AddOn of {}: {}", path, written.error().message);
  co_return written.has_value();
}

// All that the file brought, by its AddOn; then the file itself, when it is to go, and the AddOn.
task<bool> deployer::remove(const std::string& path, bool unlink) {
  auto addon = co_await addon_of(path);
  if (!addon) {
    log::warning("manifest {}: {}", path, addon.error().message);
    co_return false;
  }
  auto kinds = kinds_noted(*addon);
  if (unlink) {
    // Another server's AddOn of this name may not have said yet what it has.
    if (auto has = co_await read(path))
      for (auto& k : kinds_of(has->what.objects)) kinds.push_back(std::move(k));
    else
      tell(*addon, true, "ReadManifestFailed",
           fmt::format("Read manifest at {} failed: {}", quote(path), has.error().message));
  }
  auto failed = co_await apply_set(client_, {.owner = owner_of(*addon), .objects = {}, .kinds = std::move(kinds)});
  if (failed.empty() && unlink)
    if (auto done = co_await reactor::offload([path] { return ::unlink(path.c_str()) == 0 ? 0 : errno; });
        !done || (*done != 0 && *done != ENOENT))
      failed.push_back(done ? os_error(*done, "remove " + path).message : done.error().message);
  if (!failed.empty()) {
    log::warning("manifest {}: {}", path, join(failed, ", "));
    co_return false;
  }
  tell(*addon, false, "DeletingManifest", fmt::format("Deleting manifest at {}", quote(path)));
  auto gone = co_await client_.remove(addons, system_namespace, addon_name(path));
  co_return gone || gone.error().code == 404;
}

task<bool> deployer::bring_packaged() {
  auto& loop = reactor::loop::current();
  if (loop.now() < packaged_again_) co_return packaged_pause_ == duration{};
  if (!settings_.brings_packaged()) {
    packaged_again_ = loop.now() + slow_look;
    co_return true;
  }
  bool good = true;
  for (auto& [file, objects] : settings_.packaged) good &= co_await bring(file, objects);
  packaged_ = good;
  packaged_pause_ = good                           ? duration{}
                    : packaged_pause_ > duration{} ? std::min<duration>(2 * packaged_pause_, slow_look)
                                                   : duration(retry_first);
  packaged_again_ = loop.now() + packaged_pause_;
  co_return good;
}

// A packaged component as its AddOn: what K3s brought for it and Kedge doesn't goes as any object that left its file.
task<bool> deployer::bring(const std::string& file, const std::vector<json::value>& objects) {
  auto path = settings_.folder + "/" + file;
  const bool there = client_.get(addons, system_namespace, addon_name(file)).has_value();
  if (is_disabled(file, settings_.disabled)) co_return !there || co_await remove(path, false);
  if (objects.empty() && !there) co_return true;
  // As K3s leaves its own file of that name out.
  auto skipped = co_await reactor::offload([skip = path + ".skip"] { return ::access(skip.c_str(), F_OK) == 0; });
  if (!skipped || *skipped) co_return skipped.has_value();
  auto addon = co_await addon_of(path);
  if (!addon) co_return false;
  co_return co_await apply(*std::move(addon), objects, {}, path,
                           crypto::sha256_hex(as_bytes(json::write(json::array(objects)))));
}

}  // namespace kedge::control::addons
