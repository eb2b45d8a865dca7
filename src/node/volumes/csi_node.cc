#include "node/volumes/csi_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/volumes/limits.h"
#include "reactor/turn.h"

namespace kedge::node {

namespace {

using json::array;
using json::object;
using json::value;

constexpr std::string_view ids_note = "csi.volume.kubernetes.io/nodeid",
                           migrated_note = "storage.alpha.kubernetes.io/migrated-plugins",
                           collection = "/apis/storage.k8s.io/v1/csinodes";
// CSI drivers took these over, for good.
constexpr std::string_view migrated_plugins =
    "kubernetes.io/aws-ebs,kubernetes.io/azure-disk,kubernetes.io/azure-file,kubernetes.io/cinder,"
    "kubernetes.io/gce-pd,kubernetes.io/portworx-volume,kubernetes.io/vsphere-volume";

array drivers_of(const value& csi_node) {
  auto* list = csi_node["spec"]["drivers"].array();
  return list ? *list : array();
}

array keys_of(const csi_texts& topology) {
  array out;
  for (auto& [key, text] : topology) out.emplace_back(key);  // a map: sorted
  return out;
}

value driver_entry(std::string_view driver, const csi_node_info& info) {
  value out(object{{"name", driver}, {"nodeID", info.id}, {"topologyKeys", keys_of(info.topology)}});
  if (info.volumes_max > 0)
    out.set("allocatable",
            object{{"count", std::min<std::int64_t>(info.volumes_max, std::numeric_limits<std::int32_t>::max())}});
  return out;
}

bool says_the_same(const value& entry, std::string_view driver, const csi_node_info& info) {
  auto wanted = driver_entry(driver, info);
  auto* keys = entry["topologyKeys"].array();
  auto sorted = keys ? *keys : array();
  std::ranges::sort(sorted, {}, [](const value& v) { return v.as_string(); });
  return entry["nodeID"].as_string() == info.id && value(std::move(sorted)) == wanted["topologyKeys"] &&
         entry["allocatable"]["count"] == wanted["allocatable"]["count"];
}

result<value> ids_of(const value& node) {
  auto text = node["metadata"]["annotations"][ids_note].as_string();
  if (text.empty()) return value(object{});
  auto ids = json::parse(text);
  if (!ids || !ids->is_object())
    return fail(errc::invalid,
                fmt::format("failed to parse node's {} annotation value ({})", quote(ids_note), quote(text)));
  std::ranges::sort(*ids->object(), {}, [](auto& m) { return m.name; });
  return ids;
}

value annotation_patch(const value& ids) {
  return object{
      {"metadata",
       object{{"annotations", object{{std::string(ids_note), ids.empty() ? value() : value(json::write(ids))}}}}}};
}

}  // namespace

value csi_node_object(std::string_view node_name, std::string_view node_uid) {
  value out(
      object{{"apiVersion", "storage.k8s.io/v1"},
             {"kind", "CSINode"},
             {"metadata",
              object{{"name", node_name},
                     {"ownerReferences",
                      array{object{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node_name}, {"uid", node_uid}}}}}},
             {"spec", object{{"drivers", array{}}}}});
  put_migrated_plugins(out);
  return out;
}

bool is_csi_node_of(const value& csi_node, std::string_view node_name, std::string_view node_uid) {
  auto& owners = csi_node["metadata"]["ownerReferences"];
  for (std::size_t i = 0; i < owners.size(); ++i)
    if (owners[i]["kind"].as_string() == "Node" && owners[i]["name"].as_string() == node_name &&
        owners[i]["uid"].as_string() == node_uid)
      return true;
  return false;
}

bool put_migrated_plugins(value& csi_node) {
  if (csi_node["metadata"]["annotations"][migrated_note].as_string() == migrated_plugins) return false;
  csi_node.member("metadata").member("annotations").set(migrated_note, migrated_plugins);
  return true;
}

bool put_csi_driver(value& csi_node, std::string_view driver, const csi_node_info& info) {
  auto drivers = drivers_of(csi_node);
  auto known = std::ranges::find_if(drivers, [&](auto& d) { return d["name"].as_string() == driver; });
  if (known != drivers.end()) {
    if (says_the_same(*known, driver, info)) return false;
    drivers.erase(known);
  }
  drivers.push_back(driver_entry(driver, info));
  csi_node.member("spec").set("drivers", std::move(drivers));
  return true;
}

bool take_csi_driver(value& csi_node, std::string_view driver) {
  auto drivers = drivers_of(csi_node);
  if (std::erase_if(drivers, [&](auto& d) { return d["name"].as_string() == driver; }) == 0) return false;
  csi_node.member("spec").set("drivers", std::move(drivers));
  return true;
}

result<value> node_patch_for(const value& node, std::string_view driver, const csi_node_info& info) {
  value patch;
  KEDGE_TRY(auto ids, ids_of(node));
  if (ids[driver].as_string() != info.id) {
    ids.set(driver, info.id);
    std::ranges::sort(*ids.object(), {}, [](auto& m) { return m.name; });
    patch = annotation_patch(ids);
  }
  for (auto& [key, text] : info.topology) {
    auto& now = node["metadata"]["labels"][key];
    if (now.is_string() && now.as_string() != text)
      return fail(errc::conflict,
                  fmt::format("detected topology value collision: driver reported {}:{} but existing label is {}:{}",
                              quote(key), quote(text), quote(key), quote(now.as_string())));
    if (!now.is_string()) patch.member("metadata").member("labels").set(key, text);
  }
  return patch;
}

result<value> node_patch_without(const value& node, std::string_view driver) {
  KEDGE_TRY(auto ids, ids_of(node));
  if (!ids.erase(driver)) return value();
  return annotation_patch(ids);
}

// --- at the API

namespace {

template <typename Try>
task<result<void>> several_times(Try try_once) {
  for (int i = 1;; ++i) {
    auto done = co_await try_once();
    if (done || i == csi_node_tries) co_return done;
    co_await reactor::sleep_for(csi_node_pause * (1 << i));
  }
}

}  // namespace

template <typename Change>
task<result<void>> csi_node::change_csi_node(Change change) {
  co_return co_await several_times([this, &change]() -> task<result<void>> {
    KEDGE_CO_TRY(auto node, co_await api_.get("/api/v1/nodes/" + percent_encode(name_)));
    auto uid = node["metadata"]["uid"].as_string();
    auto path = std::string(collection) + "/" + percent_encode(name_);
    auto found = co_await api_.get(path);
    if (found && !is_csi_node_of(*found, name_, uid)) {
      KEDGE_CO_CHECK(co_await api_.remove(path, object{{"apiVersion", "v1"}, {"kind", "DeleteOptions"}}));
      found = fail(errc::not_found, {});
    }
    if (!found && found.error().code != errc::not_found) co_return fail(std::move(found).error());
    if (!found) {
      auto made = csi_node_object(name_, uid);
      change(made);
      KEDGE_CO_CHECK(co_await api_.create(std::string(collection), made));
    } else if (const bool annotated = put_migrated_plugins(*found); change(*found) || annotated) {
      KEDGE_CO_CHECK(co_await api_.update(path, *found));
    }
    co_return result<void>();
  });
}

template <typename Patch>
task<result<void>> csi_node::patch_node(Patch patch) {
  co_return co_await several_times([this, &patch]() -> task<result<void>> {
    auto path = "/api/v1/nodes/" + percent_encode(name_);
    KEDGE_CO_TRY(auto node, co_await api_.get(path));
    KEDGE_CO_TRY(auto change, patch(node));
    if (change.is_null()) co_return result<void>();
    // Of the Node as it was: another driver's id may have come meanwhile.
    change.member("metadata").set("resourceVersion", node["metadata"]["resourceVersion"]);
    KEDGE_CO_CHECK(co_await api_.merge_patch(path, change));
    co_return result<void>();
  });
}

task<result<void>> csi_node::begin() {
  co_await turn_.acquire();
  reactor::turn mine(turn_);
  co_return co_await change_csi_node([](value&) { return false; });
}

task<result<void>> csi_node::install(std::string driver, csi_node_info info) {
  co_await turn_.acquire();
  reactor::turn mine(turn_);
  if (info.id.empty())
    co_return fail(errc::invalid, "error adding CSI driver node info: driverNodeID must not be empty");
  auto patched = co_await patch_node([&](const value& node) { return node_patch_for(node, driver, info); });
  if (!patched)
    co_return fail(std::move(patched).error().with("error updating Node object with CSI driver node info: "));
  auto put = co_await change_csi_node([&](value& csi_node) { return put_csi_driver(csi_node, driver, info); });
  if (!put) co_return fail(std::move(put).error().with("error updating CSINode object with CSI driver node info: "));
  co_return result<void>();
}

task<result<void>> csi_node::uninstall(std::string driver) {
  co_await turn_.acquire();
  reactor::turn mine(turn_);
  auto taken = co_await change_csi_node([&](value& csi_node) { return take_csi_driver(csi_node, driver); });
  if (!taken) co_return fail(std::move(taken).error().with("error uninstalling CSI driver from CSINode object: "));
  auto patched = co_await patch_node([&](const value& node) { return node_patch_without(node, driver); });
  if (!patched)
    co_return fail(std::move(patched).error().with("error removing CSI driver node info from Node object: "));
  co_return result<void>();
}

}  // namespace kedge::node
