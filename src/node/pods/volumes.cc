#include "node/pods/volumes.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "crypto/files.h"
#include "json/write.h"
#include "node/pods/trust_anchors.h"
#include "pod/amounts.h"
#include "reactor/loop.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;
using pod_volume_result = std::expected<pod_volumes, volume_problem>;

constexpr std::int64_t token_life_seconds = 3600;
constexpr unsigned credential_mode = 0600;

const json::array& list_of(const value& v) {
  static const json::array none;
  auto* all = v.array();
  return all ? *all : none;
}

unsigned mode_of(const value& item, const value& source) {
  auto& own = item["mode"];
  return static_cast<unsigned>(own.is_integer() ? own.as_integer() : source["defaultMode"].as_integer(0644));
}

using value_getter = std::optional<std::string> (*)(const value&, std::string_view);

// The files that a ConfigMap or Secret gives: all keys, or those of `items`.
result<void> add_keys(const value& object, std::string_view kind, const value& source, unsigned mode, value_getter get,
                      std::vector<volume_file>& out) {
  auto& items = list_of(source["items"]);
  if (items.empty()) {
    for (auto* part : {"data", "binaryData"})
      if (auto* all = object[part].object())
        for (auto& [key, v] : *all)
          if (auto text = get(object, key)) out.push_back({key, *std::move(text), mode});
    return {};
  }
  for (auto& item : items) {
    auto key = item["key"].as_string();
    auto text = get(object, key);
    if (!text && source["optional"].as_bool()) continue;
    if (!text)
      return fail(errc::not_found,
                  fmt::format("{}references non-existent {} key: {}", kind == "config" ? "configmap " : "", kind, key));
    out.push_back({std::string(item["path"].as_string()), *std::move(text),
                   item["mode"].is_integer() ? static_cast<unsigned>(item["mode"].as_integer()) : mode});
  }
  return {};
}

result<void> add_downward(const value& pod, const value& source, unsigned mode, const std::vector<std::string>& ips,
                          const node_view& node, std::vector<volume_file>& out) {
  for (auto& item : list_of(source["items"])) {
    std::string text;
    if (auto& field = item["fieldRef"]; field.is_object()) {
      KEDGE_TRY(text, field_value(pod, field["fieldPath"].as_string(), ips, node));
    } else {
      auto& ref = item["resourceFieldRef"];
      KEDGE_TRY(text, resource_value(container_named(pod, ref["containerName"].as_string()), ref, node));
    }
    out.push_back({std::string(item["path"].as_string()), std::move(text),
                   item["mode"].is_integer() ? static_cast<unsigned>(item["mode"].as_integer()) : mode});
  }
  return {};
}

// The user whom all of a pod's containers run as; nullopt: they differ, or leave it to their images.
std::optional<std::int64_t> only_user(const value& pod) {
  std::optional<std::int64_t> user;
  for (auto* list : {"containers", "initContainers"})
    for (auto& c : list_of(pod["spec"][list])) {
      auto& own = c["securityContext"]["runAsUser"];
      auto& u = own.is_integer() ? own : pod["spec"]["securityContext"]["runAsUser"];
      if (!u.is_integer() || (user && *user != u.as_integer())) return std::nullopt;
      user = u.as_integer();
    }
  return user;
}

bool is_protected(const value& claim) {
  for (auto& f : list_of(claim["metadata"]["finalizers"]))
    if (f.as_string() == "kubernetes.io/pvc-protection") return true;
  return false;
}

bool belongs_to(const value& claim, const value& pod) {
  for (auto& owner : list_of(claim["metadata"]["ownerReferences"]))
    if (owner["controller"].as_bool() && owner["uid"] == pod["metadata"]["uid"]) return true;
  return false;
}

// One pod's volumes, one after another.
class gathering {
 public:
  gathering(const value& pod, time_point since, const std::vector<std::string>& ips, const pod_settings& s,
            pod_cluster& cluster, issued_credentials& issued)
      : pod_(pod),
        since_(since),
        ips_(ips),
        settings_(s),
        cluster_(cluster),
        issued_(issued),
        ns_(pod["metadata"]["namespace"].as_string()),
        folder_(s.folder_of(pod["metadata"]["uid"].as_string()) + "/volumes") {}

  task<pod_volume_result> run() {
    pod_volumes out;
    for (std::size_t i = 0; i < list_of(pod_["spec"]["volumes"]).size(); ++i) {
      auto& spec = list_of(pod_["spec"]["volumes"])[i];
      auto one = co_await make(spec);
      if (!one)
        co_return std::unexpected(
            volume_problem{.volume = std::string(spec["name"].as_string()),
                           .why = std::move(one).error(),
                           .unprocessed = spec["persistentVolumeClaim"].is_object() || spec["ephemeral"].is_object()});
      out.push_back(*std::move(one));
    }
    co_return out;
  }

 private:
  std::string place(std::string_view plugin, std::string_view name) const {
    return fmt::format("{}/kubernetes.io~{}/{}", folder_, plugin, name);
  }

  // No container writes into these, whatever its mount says: the node writes them again and again, as root
  // (CVE-2017-1002102).
  pod_volume with_files(std::string_view plugin, std::string_view name, bool in_memory) const {
    return {.name = std::string(name),
            .kind = pod_volume::content::files,
            .path = place(plugin, name),
            .host_path_type = {},
            .in_memory = in_memory,
            .files = {},
            .read_only = true};
  }

  task<result<pod_volume>> make(const value& spec) {
    auto name = spec["name"].as_string();
    if (auto& v = spec["hostPath"]; v.is_object())
      co_return pod_volume{.name = std::string(name),
                           .kind = pod_volume::content::host_path,
                           .path = std::string(v["path"].as_string()),
                           .host_path_type = std::string(v["type"].as_string()),
                           .files = {}};
    if (auto& v = spec["emptyDir"]; v.is_object()) {
      pod_volume out{.name = std::string(name),
                     .kind = pod_volume::content::folder,
                     .path = place("empty-dir", name),
                     .host_path_type = {},
                     .in_memory = v["medium"].as_string() == "Memory",
                     .files = {}};
      out.size_bytes = static_cast<std::uint64_t>(pod::amount_of(v["sizeLimit"]).value());
      co_return out;
    }
    if (auto& v = spec["configMap"]; v.is_object()) {
      auto out = with_files("configmap", name, false);
      KEDGE_CO_CHECK(co_await add_config_map(v, v["name"], mode_of({}, v), out.files));
      co_return out;
    }
    if (auto& v = spec["secret"]; v.is_object()) {
      auto out = with_files("secret", name, true);
      KEDGE_CO_CHECK(co_await add_secret(v, v["secretName"], mode_of({}, v), out.files));
      co_return out;
    }
    if (auto& v = spec["downwardAPI"]; v.is_object()) {
      auto out = with_files("downward-api", name, true);
      KEDGE_CO_CHECK(add_downward(pod_, v, mode_of({}, v), ips_, settings_.node, out.files));
      co_return out;
    }
    if (auto& v = spec["projected"]; v.is_object()) {
      auto out = with_files("projected", name, true);
      for (std::size_t i = 0; i < list_of(v["sources"]).size(); ++i)
        KEDGE_CO_CHECK(co_await add_source(v["sources"][i], fmt::format("{}\n{}", name, i), mode_of({}, v), out.files));
      co_return out;
    }
    if (auto& v = spec["persistentVolumeClaim"]; v.is_object())
      co_return co_await claimed(std::string(name), std::string(v["claimName"].as_string()), v["readOnly"].as_bool());
    // A claim that was made for this pod.
    if (spec["ephemeral"].is_object())
      co_return co_await claimed(std::string(name), fmt::format("{}-{}", pod_["metadata"]["name"].as_string(), name),
                                 false, true);
    if (is_served_by_others(spec)) co_return mounted_by_others(std::string(name), spec, {}, {}, false);
    if (spec["image"].is_object()) {
      auto out = mounted_by_others(std::string(name), spec, {}, {}, true);
      out.kind = pod_volume::content::image;
      co_return out;
    }
    co_return fail(errc::unsupported, "no volume plugin matched: volumes of this kind are not served by this node");
  }

  task<result<void>> add_config_map(const value& source, const value& name, unsigned mode,
                                    std::vector<volume_file>& out) {
    KEDGE_CO_TRY(auto object, co_await cluster_.config_map(ns_, std::string(name.as_string()), since_));
    if (!object && source["optional"].as_bool()) co_return result<void>();
    if (!object) co_return fail(errc::not_found, fmt::format("configmap \"{}\" not found", name.as_string()));
    co_return add_keys(*object, "config", source, mode, config_map_value, out);
  }
  task<result<void>> add_secret(const value& source, const value& name, unsigned mode, std::vector<volume_file>& out) {
    KEDGE_CO_TRY(auto object, co_await cluster_.secret(ns_, std::string(name.as_string()), since_));
    if (!object && source["optional"].as_bool()) co_return result<void>();
    if (!object) co_return fail(errc::not_found, fmt::format("secret \"{}\" not found", name.as_string()));
    co_return add_keys(*object, "secret", source, mode, secret_value, out);
  }

  // `which` of the pod's sources it is.
  task<result<void>> add_source(const value& source, std::string which, unsigned mode, std::vector<volume_file>& out) {
    if (auto& v = source["configMap"]; v.is_object()) co_return co_await add_config_map(v, v["name"], mode, out);
    if (auto& v = source["secret"]; v.is_object()) co_return co_await add_secret(v, v["name"], mode, out);
    if (auto& v = source["downwardAPI"]; v.is_object())
      co_return add_downward(pod_, v, mode, ips_, settings_.node, out);
    if (auto& v = source["serviceAccountToken"]; v.is_object()) co_return co_await add_token(v, mode, out);
    if (auto& v = source["clusterTrustBundle"]; v.is_object()) co_return co_await add_trust_bundle(v, mode, out);
    if (auto& v = source["podCertificate"]; v.is_object())
      co_return co_await add_certificate(v, std::move(which), mode, out);
    co_return fail(errc::unsupported, "a source of a projected volume is not served by this node");
  }

  task<result<void>> add_token(const value& source, unsigned mode, std::vector<volume_file>& out) {
    auto audience = std::string(source["audience"].as_string());
    auto seconds = source["expirationSeconds"].as_integer(token_life_seconds);
    auto key = fmt::format("{}\n{}", audience, seconds);
    auto now = reactor::loop::current().wall_now();
    auto known = issued_.tokens.find(key);
    if (known == issued_.tokens.end() || known->second.renew_at <= now) {
      auto& m = pod_["metadata"];
      object spec{
          {"expirationSeconds", seconds},
          {"boundObjectRef", object{{"apiVersion", "v1"}, {"kind", "Pod"}, {"name", m["name"]}, {"uid", m["uid"]}}}};
      if (!audience.empty()) spec.set("audiences", json::array{audience});
      auto account = std::string(pod_["spec"]["serviceAccountName"].as_string("default"));
      auto status = co_await cluster_.token(ns_, account.empty() ? "default" : account, value(std::move(spec)));
      if (!status) {
        // An old one is good until it ends: better than none while no server answers.
        if (known == issued_.tokens.end()) co_return fail(std::move(status).error().with("failed to fetch token: "));
      } else {
        auto ends = parse_rfc3339((*status)["expirationTimestamp"].as_string());
        auto life = ends ? *ends - now : duration(std::chrono::seconds(seconds));
        known =
            issued_.tokens
                .insert_or_assign(key, issued_token{std::string((*status)["token"].as_string()), now + life * 4 / 5})
                .first;
      }
    }
    out.push_back(credential(source["path"], known->second.token, mode));
    co_return result<void>();
  }

  // Who alone uses it owns it, and then nobody else reads it.
  volume_file credential(const value& path, std::string text, unsigned mode) const {
    auto user = only_user(pod_);
    const bool is_private = user || ownership_of(pod_).group;
    return {std::string(path.as_string()), std::move(text), is_private ? credential_mode : mode, user};
  }

  task<result<void>> add_trust_bundle(const value& source, unsigned mode, std::vector<volume_file>& out) {
    KEDGE_CO_TRY(auto anchors, co_await trust_anchors_for(source, cluster_));
    out.push_back(credential(source["path"], std::move(anchors), mode));
    co_return result<void>();
  }

  task<result<void>> add_certificate(const value& source, std::string which, unsigned mode,
                                     std::vector<volume_file>& out) {
    auto& state = issued_.certificates[std::move(which)];
    KEDGE_CO_TRY(auto bundle, co_await certificate_for(pod_, source, settings_.node.name, cluster_, state));
    const std::pair<const char*, std::string> files[] = {{"credentialBundlePath", bundle.key + bundle.chain},
                                                         {"keyPath", bundle.key},
                                                         {"certificateChainPath", bundle.chain}};
    for (auto& [where, text] : files)
      if (auto& path = source[where]; !path.as_string().empty()) out.push_back(credential(path, text, mode));
    co_return result<void>();
  }

  // In "volumeMounts" or "volumeDevices" of a container.
  bool is_used_as(const char* how, std::string_view volume) const {
    for (auto* list : {"containers", "initContainers", "ephemeralContainers"})
      for (auto& c : list_of(pod_["spec"][list]))
        for (auto& use : list_of(c[how]))
          if (use["name"].as_string() == volume) return true;
    return false;
  }
  static bool is_served_by_others(const value& source) {
    return source["csi"].is_object() || source["nfs"].is_object();
  }
  static pod_volume mounted_by_others(std::string name, value source, value claim, value volume, bool read_only) {
    const bool is_device = volume["spec"]["volumeMode"].as_string() == "Block";
    pod_volume out{.name = name, .kind = pod_volume::content::mounted, .path = {}, .host_path_type = {}, .files = {}};
    out.read_only = read_only;
    out.is_device = is_device;
    out.to_mount = {.name = std::move(name),
                    .source = std::move(source),
                    .claim = std::move(claim),
                    .volume = std::move(volume),
                    .read_only = read_only};
    return out;
  }

  // A claim's volume: a path of this node, or what others serve. `own`: it has to be one that was made for this pod.
  task<result<pod_volume>> claimed(std::string name, std::string claim_name, bool read_only, bool own = false) {
    auto refuse = [&](errc code, std::string_view why) {
      return fail(code, fmt::format("error processing PVC {}/{}: {}", ns_, claim_name, why));
    };
    auto claim =
        co_await cluster_.object(fmt::format("/api/v1/namespaces/{}/persistentvolumeclaims/{}", ns_, claim_name));
    if (claim && !*claim)
      claim = fail(errc::not_found, fmt::format("persistentvolumeclaims \"{}\" not found", claim_name));
    if (!claim) co_return refuse(claim.error().code, "failed to fetch PVC from API server: " + claim.error().message);
    auto& c = **claim;
    if (!c["metadata"]["deletionTimestamp"].is_null() && !is_protected(c))
      co_return refuse(errc::conflict, "PVC is being deleted");
    auto volume_name = std::string(c["spec"]["volumeName"].as_string());
    if (c["status"]["phase"].as_string() != "Bound") co_return refuse(errc::unavailable, "PVC is not bound");
    if (volume_name.empty()) co_return refuse(errc::unavailable, "PVC has empty pvc.Spec.VolumeName");
    if (own && !belongs_to(c, pod_))
      co_return fail(errc::conflict, fmt::format("PVC {}/{} was not created for pod {}/{} (pod is not owner)", ns_,
                                                 claim_name, ns_, pod_["metadata"]["name"].as_string()));
    auto volume = co_await cluster_.object("/api/v1/persistentvolumes/" + percent_encode(volume_name));
    if (volume && !*volume)
      volume = fail(errc::not_found, fmt::format("persistentvolumes \"{}\" not found", volume_name));
    if (!volume)
      co_return refuse(volume.error().code,
                       fmt::format("failed to fetch PV {} from API server: {}", volume_name, volume.error().message));
    // Who makes a claim may write any volume's name into it.
    auto &by = (**volume)["spec"]["claimRef"], &uid = c["metadata"]["uid"];
    if (!by.is_object())
      co_return refuse(errc::conflict, fmt::format("found PV object {} but it has a nil pv.Spec.ClaimRef indicating it "
                                                   "is not yet bound to the claim",
                                                   volume_name));
    if (by["uid"] != uid)
      co_return refuse(errc::conflict,
                       fmt::format("found PV object {} but its pv.Spec.ClaimRef.UID {} does not point to "
                                   "claim.UID {}",
                                   volume_name, by["uid"].as_string(), uid.as_string()));
    const auto mode = (**volume)["spec"]["volumeMode"].as_string("Filesystem");
    for (auto [uses, right] : {std::pair("volumeMounts", "Filesystem"), std::pair("volumeDevices", "Block")})
      if (mode != right && is_used_as(uses, name))
        co_return fail(errc::invalid,
                       fmt::format("volume {} has volumeMode {}, but is specified in {}", name, mode, uses));
    auto& spec = (**volume)["spec"];
    if (is_served_by_others(spec)) {
      value source = spec;
      co_return mounted_by_others(std::move(name), std::move(source), **std::move(claim), **std::move(volume),
                                  read_only);
    }
    auto& by_path = spec["hostPath"].is_object() ? spec["hostPath"] : spec["local"];
    if (!by_path.is_object())
      co_return fail(errc::unsupported,
                     fmt::format("volume {} is of a kind that is not served by this node", volume_name));
    pod_volume out{.name = std::move(name),
                   .kind = pod_volume::content::claim,
                   .path = std::string(by_path["path"].as_string()),
                   .host_path_type = std::string(by_path["type"].as_string()),
                   .must_exist = !spec["hostPath"].is_object(),
                   .files = {},
                   .read_only = read_only};
    out.is_device = mode == "Block";
    out.to_mount.volume = **std::move(volume);
    co_return out;
  }

  const value& pod_;
  time_point since_;
  const std::vector<std::string>& ips_;
  const pod_settings& settings_;
  pod_cluster& cluster_;
  issued_credentials& issued_;
  const std::string ns_, folder_;
};

// The names that an expression refers to and `env` hasn't, with commas.
std::string left_open(std::string_view text, const variables& env) {
  std::set<std::string> missing;
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] != '$') continue;
    if (auto end = text[++i] == '(' ? text.find(')', i) : std::string_view::npos; end != std::string_view::npos) {
      auto name = text.substr(i + 1, end - i - 1);
      if (!env.find(name)) missing.emplace(name);
      i = end;
    }
  }
  return join(std::vector<std::string>(missing.begin(), missing.end()), ", ");
}

bool leads_out(std::string_view path) {
  for (auto part : split(path, '/'))
    if (part == "..") return true;
  return false;
}

result<bool> make_one(const pod_volume& v, const ownership& who) {
  switch (v.kind) {
    case pod_volume::content::image:
    case pod_volume::content::mounted: return false;
    case pod_volume::content::host_path: KEDGE_CHECK(check_host_path(v.path, v.host_path_type)); return false;
    case pod_volume::content::claim:
      if (v.must_exist && !crypto::modified_time(v.path))
        return fail(errc::not_found, fmt::format("path \"{}\" does not exist", v.path));
      KEDGE_CHECK(check_host_path(v.path, v.is_device ? "BlockDevice" : v.host_path_type));
      if (!v.read_only && !v.is_device) KEDGE_CHECK(give_to_group(v.path, who));
      return false;
    case pod_volume::content::folder:
    case pod_volume::content::files: break;
  }
  if (!v.in_memory || !is_mount_point(v.path)) KEDGE_CHECK(make_pod_folder(v.path, 0777));
  if (v.in_memory) KEDGE_CHECK(mount_tmpfs(v.path, v.size_bytes));
  if (v.kind == pod_volume::content::files) {
    KEDGE_TRY(auto written, write_atomically(v.path, v.files, who));
    if (written) KEDGE_CHECK(give_to_group(v.path, {.group = who.group, .only_readable = true}));
    return written;
  }
  KEDGE_CHECK(give_to_group(v.path, {.group = who.group, .only_on_mismatch = true}));
  return false;
}

}  // namespace

ownership ownership_of(const value& pod) {
  auto& sc = pod["spec"]["securityContext"];
  ownership out;
  if (sc["fsGroup"].is_integer()) out.group = sc["fsGroup"].as_integer();
  out.only_on_mismatch = sc["fsGroupChangePolicy"].as_string() == "OnRootMismatch";
  return out;
}

task<pod_volume_result> gather_volumes(value pod, time_point since, std::vector<std::string> ips,
                                       const pod_settings& settings, pod_cluster& cluster, issued_credentials& issued) {
  gathering g(pod, since, ips, settings, cluster, issued);
  co_return co_await g.run();
}

std::expected<bool, volume_problem> make_volumes(const pod_volumes& volumes, const ownership& who) {
  bool any = false;
  for (auto& v : volumes) {
    auto made = make_one(v, who);
    if (!made) {
      const bool is_local = v.kind == pod_volume::content::claim && v.must_exist;
      return std::unexpected(volume_problem{.volume = v.to_mount.volume.is_null() ? v.name : v.to_mount.spec_name(),
                                            .why = std::move(made).error(),
                                            .step = is_local && made.error().code == errc::not_found
                                                        ? "MountVolume.NewMounter initialization failed"
                                                        : "MountVolume.SetUp failed"});
    }
    any |= *made;
  }
  return any;
}

result<bool> is_recursively_read_only(const value& mount, bool runtime_can) {
  auto mode = mount["recursiveReadOnly"].as_string("Disabled");
  if (mode == "Disabled") return false;
  auto wrong = [&](std::string_view why) {
    return fail(errc::invalid, fmt::format("volume \"{}\" requested recursive read-only mode, but it is {}",
                                           mount["name"].as_string(), why));
  };
  if (!mount["readOnly"].as_bool()) return wrong("not read-only");
  if (auto propagation = mount["mountPropagation"].as_string("None"); propagation != "None")
    return wrong(fmt::format("not compatible with propagation \"{}\"", propagation));
  if (mode == "IfPossible") return runtime_can;
  if (!runtime_can) return wrong("not supported by the runtime");
  return true;
}

namespace {

// Of what the node makes or mounts for pods, and they may write to, labels are the containers'; what is the machine's
// or a server's stays as it is.
bool is_relabelled(const pod_volume& v) {
  using enum pod_volume::content;
  switch (v.kind) {
    case folder:
    case files: return true;
    case claim: return !v.read_only;
    case mounted: return !v.read_only && !v.to_mount.source["nfs"].is_object();
    case host_path:
    case image: return false;
  }
  return false;
}

}  // namespace

result<std::vector<container_mount>> mounts_of(const value& container, const pod_volumes& volumes, const variables& env,
                                               const std::string& pod_folder, mount_abilities can,
                                               std::vector<subpath_mount>& subpaths) {
  std::vector<container_mount> out;
  auto& mounts = list_of(container["volumeMounts"]);
  bool own_hosts = false;
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    auto& m = mounts[i];
    auto name = m["name"].as_string();
    auto v = std::find_if(volumes.begin(), volumes.end(), [&](auto& one) { return one.name == name; });
    if (v == volumes.end())
      return fail(errc::not_found, fmt::format("cannot find volume \"{}\" to mount into container \"{}\"", name,
                                               container["name"].as_string()));
    auto inside = m["subPathExpr"].as_string().empty() ? std::string(m["subPath"].as_string())
                                                       : expand(m["subPathExpr"].as_string(), env);
    if (inside.starts_with('/'))
      return fail(errc::invalid, fmt::format("error SubPath `{}` must not be an absolute path", inside));
    if (leads_out(inside))
      return fail(errc::invalid, fmt::format("unable to provision SubPath `{}`: must not contain '..'", inside));
    if (auto missing = left_open(m["subPathExpr"].as_string(), env); !missing.empty())
      return fail(errc::invalid, fmt::format("missing value for {}", missing));
    container_mount one{.container_path = std::string(m["mountPath"].as_string()),
                        .host_path = v->path,
                        .read_only = m["readOnly"].as_bool() || v->read_only,
                        .selinux_relabel = can.selinux && is_relabelled(*v)};
    auto recursive = is_recursively_read_only(m, can.recursive_read_only);
    if (!recursive) return fail(std::move(recursive).error().with("failed to resolve recursive read-only mode: "));
    one.recursive_read_only = *recursive;
    if (!one.container_path.starts_with('/')) one.container_path = "/" + one.container_path;
    if (v->kind == pod_volume::content::image && v->path.empty()) {
      one.image = v->to_mount.image;
      one.user_image = v->to_mount.source["image"]["reference"].as_string();
      one.image_sub_path = std::move(inside);
    } else if (!inside.empty()) {
      one.host_path = fmt::format("{}/volume-subpaths/{}/{}/{}", pod_folder, name, container["name"].as_string(), i);
      subpaths.push_back({v->path, std::move(inside), one.host_path});
    }
    auto propagation = m["mountPropagation"].as_string();
    one.propagation = propagation == "HostToContainer" ? 1 : propagation == "Bidirectional" ? 2 : 0;
    own_hosts |= one.container_path == "/etc/hosts";
    out.push_back(std::move(one));
  }
  if (!own_hosts)
    out.push_back(
        {.container_path = "/etc/hosts", .host_path = pod_folder + "/etc-hosts", .selinux_relabel = can.selinux});
  return out;
}

result<std::vector<container_device>> devices_of(const value& container, const pod_volumes& volumes) {
  std::vector<container_device> out;
  for (auto& d : list_of(container["volumeDevices"])) {
    auto name = d["name"].as_string();
    auto v = std::ranges::find(volumes, name, &pod_volume::name);
    if (v == volumes.end() || !v->is_device)
      return fail(errc::not_found, fmt::format("cannot find volume \"{}\" to pass into container \"{}\"", name,
                                               container["name"].as_string()));
    out.push_back({std::string(d["devicePath"].as_string()), v->path, v->read_only ? "r" : "mrw"});
  }
  return out;
}

}  // namespace kedge::node
