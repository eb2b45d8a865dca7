#include "node/volumes/csi_volumes.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/write.h"
#include "node/pods/files.h"
#include "node/pods/volumes.h"
#include "node/runtime/pod_runtime.h"
#include "node/volumes/block_device.h"
#include "node/volumes/expansion.h"
#include "node/volumes/limits.h"
#include "pod/amounts.h"
#include "reactor/loop.h"
#include "reactor/offload.h"
#include "reactor/scope.h"
#include "reactor/turn.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;
using reactor::loop;

// The kubelet's plugin says its name in front of what it says.
constexpr std::string_view says = "kubernetes.io/csi: ";

csi_texts texts_of(const value& v) {
  csi_texts out;
  if (auto* all = v.object())
    for (auto& [key, text] : *all)
      if (text.is_string()) out.emplace(key, text.as_string());
  return out;
}

std::string unique_name(const csi_volume_data& d) { return fmt::format("kubernetes.io/csi/{}^{}", d.driver, d.handle); }

mount_failure failure(std::string_view step, std::string_view volume, std::string_view why,
                      std::string reason = "FailedMount") {
  return {.reason = std::move(reason),
          .message = fmt::format("{} failed for volume {} : {}", step, quote(volume), why)};
}

// What a driver said, as the kubelet prints it; what we say, as it is.
std::string text_of(const error& e) { return rpc_text(e); }

template <typename F>
task<result<void>> off_loop(F f) {
  auto done = co_await reactor::offload(std::move(f));
  if (!done) co_return fail(std::move(done).error());
  co_return *std::move(done);
}

}  // namespace

// A pod's volume with what the cluster says of it.
struct csi_volumes::wanted {
  value pod;
  volume_to_mount volume;
  value driver;  // CSIDriver; null: there is none
  csi_volume_data data;
  bool is_block = false;

  const value& csi() const { return volume.source["csi"]; }
  std::string uid() const { return std::string(pod["metadata"]["uid"].as_string()); }
  std::string ns() const { return std::string(pod["metadata"]["namespace"].as_string()); }
  bool has_driver() const { return driver.is_object(); }
  bool needs_attachment() const { return driver["spec"]["attachRequired"].as_bool(true); }
  bool is_read_only() const { return data.ephemeral ? csi()["readOnly"].as_bool() : volume.read_only; }
  bool is_published_again() const { return driver["spec"]["requiresRepublish"].as_bool(); }

  csi_access access(std::optional<std::int64_t> group) const {
    csi_access a{.access_mode = "ReadWriteOnce",
                 .block = is_block,
                 .fs_type = std::string(csi()["fsType"].as_string()),
                 .mount_flags = {},
                 .group = group};
    auto& modes = volume.volume["spec"]["accessModes"];
    if (!modes.empty()) a.access_mode = modes[0].as_string();
    auto& flags = volume.volume["spec"]["mountOptions"];
    for (std::size_t i = 0; i < flags.size() && !is_block; ++i) a.mount_flags.emplace_back(flags[i].as_string());
    return a;
  }

  // Whether the node gives the volume to the pod's group.
  bool takes_group() const {
    if (is_read_only()) return false;
    auto policy = driver["spec"]["fsGroupPolicy"].as_string("ReadWriteOnceWithFSType");
    if (policy == "None") return false;
    if (policy == "File") return true;
    if (csi()["fsType"].as_string().empty()) return false;
    if (data.ephemeral) return true;
    auto& modes = volume.volume["spec"]["accessModes"];
    for (std::size_t i = 0; i < modes.size(); ++i)
      if (auto m = modes[i].as_string(); m == "ReadWriteOnce" || m == "ReadWriteOncePod") return true;
    return false;
  }

  // "": the driver serves such volumes.
  std::string why_not_such() const {
    auto mode = data.ephemeral ? std::string_view("Ephemeral") : "Persistent";
    if (!has_driver())
      return data.ephemeral ? fmt::format("volume mode {} not supported by driver {} (no CSIDriver object)",
                                          quote(mode), data.driver)
                            : std::string();
    std::vector<std::string> quoted;
    auto& modes = driver["spec"]["volumeLifecycleModes"];
    for (std::size_t i = 0; i < modes.size(); ++i) {
      if (modes[i].as_string() == mode) return {};
      quoted.push_back(quote(modes[i].as_string()));
    }
    return fmt::format("volume mode {} not supported by driver {} (only supports [{}])", quote(mode), data.driver,
                       join(quoted, " "));
  }

  // Of the pod, for drivers that ask for it.
  void add_pod(csi_texts& context) const {
    if (!driver["spec"]["podInfoOnMount"].as_bool()) return;
    auto& m = pod["metadata"];
    context["csi.storage.k8s.io/pod.name"] = m["name"].as_string();
    context["csi.storage.k8s.io/pod.namespace"] = m["namespace"].as_string();
    context["csi.storage.k8s.io/pod.uid"] = m["uid"].as_string();
    context["csi.storage.k8s.io/serviceAccount.name"] = pod["spec"]["serviceAccountName"].as_string();
    context["csi.storage.k8s.io/ephemeral"] = data.ephemeral ? "true" : "false";
  }
};

// --- what there is

std::string csi_volumes::target_of(const wanted& w) const {
  return w.is_block ? at_.block_link(w.uid(), w.data.name) : at_.published(w.uid(), w.data.name);
}

task<bool> csi_volumes::is_there(std::string target, bool is_block) {
  auto there = co_await reactor::offload(
      [target, is_block] { return is_block ? is_block_device(target) : is_mount_point(target); });
  co_return there && *there;
}

csi_volumes::device& csi_volumes::device_of(const csi_volume_data& d, bool is_block) {
  auto& one = devices_[unique_name(d)];
  if (!one) {
    one = std::make_unique<device>();
    one->data = d;
    one->is_block = is_block;
  }
  return *one;
}

task<void> csi_volumes::begin() {
  auto found = co_await reactor::offload([at = at_] { return find_csi_volumes(at); });
  if (!found) co_return;
  for (auto& v : *found) {
    if (v.data.ephemeral) continue;
    auto& d = device_of(v.data, v.is_block);
    if (v.pod_uid.empty())
      d.is_staged = true;
    else
      d.pods.try_emplace(v.pod_uid);
  }
  unused_.set();
}

std::vector<std::string> csi_volumes::in_use(const value& before) const {
  auto was_told = [&](const std::string& name) {
    auto& list = before["status"]["volumesInUse"];
    for (std::size_t i = 0; i < list.size(); ++i)
      if (list[i].as_string() == name) return true;
    return false;
  };
  std::vector<std::string> out;
  for (auto& [name, d] : devices_)
    if (d->attachable ? *d->attachable : was_told(name)) out.push_back(name);
  return out;
}

// --- mounting

task<mount_result> csi_volumes::mount(value pod, volume_to_mount v) {
  wanted w{.pod = std::move(pod), .volume = std::move(v), .driver = {}, .data = {}};
  auto& csi = w.csi();
  auto name = w.volume.spec_name();
  w.data = {.driver = std::string(csi["driver"].as_string()),
            .handle = std::string(csi["volumeHandle"].as_string()),
            .name = name,
            .node = parts_.node_name,
            .attachment = {},
            .ephemeral = w.volume.volume.is_null()};
  if (w.data.ephemeral) w.data.handle = inline_handle(w.uid(), name);
  w.data.attachment = attachment_name(w.data.handle, w.data.driver, parts_.node_name);
  w.is_block = w.data.is_block = w.volume.volume["spec"]["volumeMode"].as_string() == "Block";
  auto driver = co_await parts_.cluster.object("/apis/storage.k8s.io/v1/csidrivers/" + percent_encode(w.data.driver));
  if (!driver) {
    // A pod that has it keeps it while no server answers.
    auto target = target_of(w);
    if (co_await is_there(target, w.is_block)) co_return mounted_volume{target, w.is_block};
    co_return std::unexpected(failure("MountVolume.SetUp", name, driver.error().message));
  }
  if (*driver) w.driver = **std::move(driver);
  if (auto why = w.why_not_such(); !why.empty())
    co_return std::unexpected(
        failure("MountVolume.SetUp", name,
                fmt::format("{}mounter.SetupAt failed to check volume lifecycle mode: {}", says, why)));
  if (w.data.ephemeral) co_return co_await mount_inline(w);
  auto& d = device_of(w.data, w.is_block);
  // From here on it isn't unstaged until unmount() says so.
  auto [known, is_new] = d.pods.try_emplace(w.uid());
  if (known->second.claim.empty()) mounted_.set();
  known->second = {w.volume.name, w.ns(), std::string(w.volume.claim["metadata"]["name"].as_string())};
  const bool was_known = d.attachable.has_value();
  d.attachable = w.needs_attachment();
  if (*d.attachable && (is_new || !was_known)) parts_.in_use_changed();
  if (auto problem = co_await attach(w, d)) co_return std::unexpected(*std::move(problem));
  co_await d.turn.acquire();
  reactor::turn mine(d.turn);
  if (w.is_block) co_return co_await mount_block(w, d);
  co_return co_await mount_folder(w, d);
}

// Until servers say that it is attached, or for some time.
task<std::optional<mount_failure>> csi_volumes::attach(const wanted& w, device& d) {
  if (!*d.attachable || co_await is_there(target_of(w), w.is_block)) co_return std::nullopt;
  auto& here = loop::current();
  auto path = "/apis/storage.k8s.io/v1/volumeattachments/" + w.data.attachment;
  const auto until = here.now() + attach_wait;
  for (auto pause = attach_poll_first; here.now() < until; pause = std::min(pause * 2, attach_poll_most)) {
    if (parts_.is_told(unique_name(w.data))) {
      auto attachment = co_await parts_.cluster.object(path);
      if (attachment && *attachment && (**attachment)["status"]["attached"].as_bool() &&
          (**attachment)["metadata"]["deletionTimestamp"].is_null())
        co_return std::nullopt;
    }
    co_await reactor::sleep_for(pause);
  }
  co_return mount_failure{.reason = {}, .message = {}, .awaits_attachment = true};
}

task<result<csi_texts>> csi_volumes::publish_context(const wanted& w) {
  if (w.data.ephemeral || !w.needs_attachment()) co_return csi_texts();
  KEDGE_CO_TRY(auto attachment,
               co_await parts_.cluster.object("/apis/storage.k8s.io/v1/volumeattachments/" + w.data.attachment));
  if (!attachment)
    co_return fail(errc::not_found,
                   fmt::format("volumeattachments.storage.k8s.io {} not found", quote(w.data.attachment)));
  co_return texts_of((*attachment)["status"]["attachmentMetadata"]);
}

task<result<csi_texts>> csi_volumes::secrets(value reference, std::string_view member, std::string ns) {
  csi_texts out;
  if (!reference.is_object()) co_return out;
  std::string name(reference["name"].as_string());
  if (reference["namespace"].is_string()) ns = reference["namespace"].as_string();
  auto found = co_await parts_.cluster.secret(ns, name, reactor::loop::current().now());
  if (found && !*found) found = fail(errc::not_found, fmt::format("secrets {} not found", quote(name)));
  if (!found)
    co_return fail(
        found.error().code,
        fmt::format("fetching {} {}/{} failed: {}failed to find the secret {} in the namespace {} with error: {}",
                    member, ns, name, says, name, ns, found.error().message));
  if (auto* data = (**found)["data"].object())
    for (auto& [key, text] : *data)
      if (auto bytes = secret_value(**found, key)) out.emplace(key, *std::move(bytes));
  co_return out;
}

task<result<void>> csi_volumes::add_tokens(const wanted& w, csi_request& r) {
  auto& asked = w.driver["spec"]["tokenRequests"];
  if (asked.empty()) co_return result<void>();
  object tokens;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    auto& m = w.pod["metadata"];
    std::string audience(asked[i]["audience"].as_string());
    object spec{
        {"boundObjectRef", object{{"apiVersion", "v1"}, {"kind", "Pod"}, {"name", m["name"]}, {"uid", m["uid"]}}},
        {"audiences", audience.empty() ? json::array() : json::array{audience}}};
    if (asked[i]["expirationSeconds"].is_integer()) spec.set("expirationSeconds", asked[i]["expirationSeconds"]);
    auto account = std::string(w.pod["spec"]["serviceAccountName"].as_string("default"));
    KEDGE_CO_TRY(auto status, co_await parts_.cluster.token(w.ns(), std::move(account), value(std::move(spec))));
    tokens.set(audience, object{{"token", status["token"]}, {"expirationTimestamp", status["expirationTimestamp"]}});
  }
  std::ranges::sort(tokens, {}, [](auto& one) { return one.name; });
  auto& to = w.driver["spec"]["serviceAccountTokenInSecrets"].as_bool() ? r.secrets : r.volume_context;
  to["csi.storage.k8s.io/serviceAccount.tokens"] = json::write(std::move(tokens));
  co_return result<void>();
}

task<std::optional<mount_failure>> csi_volumes::stage(const wanted& w, device& d, csi_driver& driver,
                                                      const csi_capabilities& has) {
  if (!has.stage || d.staged_here) co_return std::nullopt;
  const auto step = w.is_block ? std::string_view("MapVolume.SetUpDevice") : "MountVolume.MountDevice";
  auto fail_with = [&](std::string_view why) {
    return failure(step, w.data.name, why, w.is_block ? "FailedMapVolume" : "FailedMount");
  };
  csi_request r{
      .volume_id = w.data.handle,
      .staging_path = w.is_block ? at_.block_staged(w.data.name) : at_.global_mount(w.data.driver, w.data.handle),
      .target_path = {},
      .volume_context = texts_of(w.csi()["volumeAttributes"]),
      .access = w.access(has.mount_group && !w.is_block ? ownership_of(w.pod).group : std::nullopt)};
  auto context = co_await publish_context(w);
  if (!context) co_return fail_with(context.error().message);
  r.publish_context = *std::move(context);
  auto secret = co_await secrets(w.csi()["nodeStageSecretRef"], "NodeStageSecretRef", w.ns());
  if (!secret) co_return fail_with(secret.error().message);
  r.secrets = *std::move(secret);
  auto data = w.data;
  data.is_global = !w.is_block;
  auto folder =
      w.is_block ? at_.block_folder(w.data.name) + "/data" : r.staging_path.substr(0, r.staging_path.find_last_of('/'));
  auto prepared = co_await off_loop([path = r.staging_path, folder, data]() -> result<void> {
    KEDGE_CHECK(crypto::make_folder(path, 0750));
    return save_volume_data(folder, data);
  });
  if (!prepared) co_return fail_with(prepared.error().message);
  auto path = r.staging_path;
  // Whatever comes of it: it is unstaged when nobody has it.
  d.is_staged = true;
  auto staged = co_await driver.stage(std::move(r));
  d.staged_here = staged.has_value();
  if (staged) co_return std::nullopt;
  if (is_final(staged.error())) {
    d.is_staged = false;
    (void)co_await off_loop([path, block = w.is_block] { return block ? result<void>() : remove_mount_folder(path); });
  }
  co_return fail_with(text_of(staged.error()));
}

task<std::optional<mount_failure>> csi_volumes::publish(const wanted& w, csi_driver& driver,
                                                        const csi_capabilities& has, bool again) {
  auto fail_with = [&](std::string_view why) {
    return w.is_block ? failure("MapVolume.MapPodDevice", w.data.name, why, "FailedMapVolume")
                      : failure("MountVolume.SetUp", w.data.name, why);
  };
  const auto who = ownership_of(w.pod);
  csi_request r{
      .volume_id = w.data.handle,
      .staging_path = {},
      .target_path = w.is_block ? at_.block_published(w.data.name, w.uid()) : at_.published(w.uid(), w.data.name),
      .volume_context = texts_of(w.csi()["volumeAttributes"]),
      .access = w.access(has.mount_group && !w.is_block ? who.group : std::nullopt),
      .read_only = w.is_read_only()};
  if (w.is_block)
    r.staging_path = at_.block_staged(w.data.name);
  else if (has.stage && !w.data.ephemeral)
    r.staging_path = at_.global_mount(w.data.driver, w.data.handle);
  auto context = co_await publish_context(w);
  if (!context)
    co_return fail_with(
        fmt::format("{}mounter.SetUpAt failed to fetch publishContext: {}", says, context.error().message));
  r.publish_context = *std::move(context);
  auto secret = co_await secrets(w.csi()["nodePublishSecretRef"], "NodePublishSecretRef", w.ns());
  if (!secret) co_return fail_with(secret.error().message);
  r.secrets = *std::move(secret);
  w.add_pod(r.volume_context);
  if (auto added = co_await add_tokens(w, r); !w.is_block && !added)
    co_return fail_with(fmt::format("{}mounter.SetUpAt failed to get service accoount token attributes: {}", says,
                                    added.error().message));
  auto path = r.target_path;
  auto above = path.substr(0, path.find_last_of('/'));
  auto prepared = co_await off_loop(
      [above, data = w.data, folder = w.is_block ? at_.block_folder(w.data.name) + "/data" : above]() -> result<void> {
        KEDGE_CHECK(crypto::make_folder(above, 0750));
        return save_volume_data(folder, data);
      });
  if (!prepared)
    co_return fail_with(
        fmt::format("{}mounter.SetUpAt failed to save volume info data: {}", says, prepared.error().message));
  auto published = co_await driver.publish(std::move(r));
  if (!published) {
    // A pod that has it already goes on with what it has.
    if (is_final(published.error()) && !again && !w.is_block)
      (void)co_await off_loop([path] { return remove_mount_folder(path); });
    co_return fail_with(text_of(published.error()));
  }
  if (w.is_block || again || has.mount_group || !who.group || !w.takes_group()) co_return std::nullopt;
  auto given = co_await off_loop([path, who] { return give_to_group(path, who); });
  if (!given)
    co_return fail_with(fmt::format("applyFSGroup failed for vol {}: {}", w.data.handle, given.error().message));
  co_return std::nullopt;
}

task<mount_result> csi_volumes::mount_inline(wanted& w) {
  auto path = at_.published(w.uid(), w.data.name);
  const bool again = co_await is_there(path, false);
  if (again && !w.is_published_again()) co_return mounted_volume{path};
  auto driver = parts_.drivers.find(w.data.driver);
  if (!driver)
    co_return std::unexpected(
        failure("MountVolume.SetUp", w.data.name,
                fmt::format("{}mounter.SetUpAt failed to get CSI client: {}", says, driver.error().message)));
  auto has = co_await (*driver)->capabilities();
  if (!has) co_return std::unexpected(failure("MountVolume.SetUp", w.data.name, text_of(has.error())));
  if (auto problem = co_await publish(w, **driver, *has, again)) co_return std::unexpected(*std::move(problem));
  co_return mounted_volume{path};
}

task<mount_result> csi_volumes::mount_folder(wanted& w, device& d) {
  auto path = at_.published(w.uid(), w.data.name);
  const bool again = co_await is_there(path, false);
  if (!again || w.is_published_again()) {
    auto driver = parts_.drivers.find(w.data.driver);
    if (!driver)
      co_return std::unexpected(failure(
          "MountVolume.MountDevice", w.data.name,
          fmt::format("{}attacher.MountDevice failed to create newCsiDriverClient: {}", says, driver.error().message)));
    auto has = co_await (*driver)->capabilities();
    if (!has) co_return std::unexpected(failure("MountVolume.MountDevice", w.data.name, text_of(has.error())));
    if (!again)
      if (auto problem = co_await stage(w, d, **driver, *has)) co_return std::unexpected(*std::move(problem));
    if (auto problem = co_await publish(w, **driver, *has, again)) co_return std::unexpected(*std::move(problem));
  }
  co_await grow(w, d);
  co_return mounted_volume{path};
}

task<mount_result> csi_volumes::mount_block(wanted& w, device& d) {
  auto link = at_.block_link(w.uid(), w.data.name);
  if (!co_await is_there(link, true)) {
    auto fail_with = [&](std::string_view why) {
      return std::unexpected(failure("MapVolume.SetUpDevice", w.data.name, why, "FailedMapVolume"));
    };
    auto driver = parts_.drivers.find(w.data.driver);
    if (!driver)
      co_return fail_with(
          fmt::format("{}blockMapper.SetUpDevice failed to get CSI client: {}", says, driver.error().message));
    auto has = co_await (*driver)->capabilities();
    if (!has) co_return fail_with(text_of(has.error()));
    if (auto problem = co_await stage(w, d, **driver, *has)) co_return std::unexpected(*std::move(problem));
    if (auto problem = co_await publish(w, **driver, *has, false)) co_return std::unexpected(*std::move(problem));
    auto published = at_.block_published(w.data.name, w.uid());
    auto folder = at_.block_folder(w.data.name) + "/dev";
    auto mapped = co_await off_loop(
        [published, map = folder + "/" + w.uid(), link] { return map_block_device(published, map, link); });
    if (!mapped)
      co_return std::unexpected(
          failure("MapVolume.MapBlockVolume", w.data.name, mapped.error().message, "FailedMapVolume"));
    auto tell = [&](std::string_view which, std::string_view where) {
      parts_.cluster.tell(
          w.pod, {}, false, "SuccessfulMountVolume",
          fmt::format("MapVolume.MapPodDevice succeeded for volume {} {} {}", quote(w.data.name), which, quote(where)));
    };
    tell("globalMapPath", folder);
    tell("volumeMapPath", link.substr(0, link.find_last_of('/')));
  }
  co_await grow(w, d);
  co_return mounted_volume{link, true};
}

// Its file system, once it is larger below. What goes wrong is told, and tried again with the next look at the volume.
task<void> csi_volumes::grow(const wanted& w, device& d) {
  auto& claim = w.volume.claim;
  const auto size = pod::amount_of(w.volume.volume["spec"]["capacity"]["storage"]).value();
  auto growth = growth_of(claim, w.volume.volume, d.bytes);
  if (d.bytes == 0) d.bytes = size;
  if (!growth) co_return;
  auto tell = [&](bool warning, std::string reason, std::string message) {
    parts_.cluster.tell(w.pod, {}, warning, reason, message);
    if (reason.starts_with("FileSystemResize"))
      parts_.cluster.tell(claim, {}, warning, std::move(reason), std::move(message));
  };
  if (w.volume.read_only)
    co_return tell(true, "FileSystemResizeFailed",
                   fmt::format("MountVolume.NodeExpandVolume failed for volume {} requested read-only file system",
                               quote(w.data.name)));
  auto fail_with = [&](std::string_view why) {
    tell(true, "VolumeResizeFailed",
         fmt::format("NodeExpandVolume.NodeExpandVolume failed for volume {} : {}", quote(w.data.name), why));
  };
  auto driver = parts_.drivers.find(w.data.driver);
  if (!driver) co_return fail_with(driver.error().message);
  auto has = co_await (*driver)->capabilities();
  if (!has) co_return fail_with(text_of(has.error()));
  if (!has->expand) {
    if (!growth->claim_is_done) fail_with("NodeExpand is not supported by the CSI driver " + w.data.driver);
    d.bytes = size;
    co_return;
  }
  auto now = claim;
  if (!growth->claim_is_done) {
    auto begun = co_await parts_.cluster.patch_claim_status(now, growth_begun(now));
    if (!begun) co_return fail_with(begun.error().message);
    now = *std::move(begun);
  }
  csi_expansion e{
      .volume_id = w.data.handle,
      .volume_path = w.is_block ? at_.block_link(w.uid(), w.data.name) : at_.published(w.uid(), w.data.name),
      .staging_path = w.is_block   ? at_.block_staged(w.data.name)
                      : has->stage ? at_.global_mount(w.data.driver, w.data.handle)
                                   : std::string(),
      .bytes = growth->bytes,
      .access = w.access({}),
      .secrets = {}};
  auto secret = co_await secrets(w.csi()["nodeExpandSecretRef"], "NodeExpandSecretRef", w.ns());
  if (!secret) co_return fail_with(secret.error().message);
  e.secrets = *std::move(secret);
  auto grown = co_await (*driver)->expand(std::move(e));
  if (!grown) {
    auto why = fmt::format("Expander.NodeExpand failed to expand the volume {}{}",
                           is_infeasible(grown.error()) ? "" : ": ", text_of(grown.error()));
    if (is_final(grown.error()) && !growth->claim_is_done)
      (void)co_await parts_.cluster.patch_claim_status(
          now, growth_failed(now, why, is_infeasible(grown.error()), format_rfc3339(loop::current().wall_now())));
    co_return fail_with(why);
  }
  d.bytes = size;
  tell(false, "FileSystemResizeSuccessful",
       fmt::format("MountVolume.NodeExpandVolume succeeded for volume {} {}", quote(w.data.name), parts_.node_name));
  if (growth->claim_is_done) co_return;
  auto done = co_await parts_.cluster.patch_claim_status(now, growth_done(now));
  if (!done) fail_with(fmt::format("mountVolume.NodeExpandVolume update pvc status failed: {}", done.error().message));
}

// --- taking away

task<result<void>> csi_volumes::unmount(std::string pod_uid) {
  auto found = co_await reactor::offload([at = at_, pod_uid] { return find_pod_csi_volumes(at, pod_uid); });
  if (!found) co_return fail(std::move(found).error());
  result<void> out;
  {
    reactor::scope together;
    for (auto& v : *found) together.spawn(let_go(std::move(v), out));
    co_await together.join();
  }
  if (!out) co_return out;
  for (auto& [name, d] : devices_) leave(*d, pod_uid);
  co_return out;
}

void csi_volumes::leave(device& d, const std::string& pod_uid) {
  if (d.pods.erase(pod_uid) > 0 && is_unused(d)) unused_.set();
}

// Each for itself: a driver that hangs or has gone keeps no other's volume here. `out` is what went wrong first.
task<void> csi_volumes::let_go(found_csi_volume v, result<void>& out) {
  auto done = co_await unpublish(v);
  if (!done) {
    if (out) out = std::move(done);
    co_return;
  }
  auto known = v.data.ephemeral ? devices_.end() : devices_.find(unique_name(v.data));
  if (known != devices_.end()) leave(*known->second, v.pod_uid);
}

task<result<void>> csi_volumes::unpublish(found_csi_volume v) {
  auto known = v.data.ephemeral ? devices_.end() : devices_.find(unique_name(v.data));
  std::optional<reactor::turn> mine;
  if (known != devices_.end()) {
    auto& turn = known->second->turn;
    co_await turn.acquire();
    mine.emplace(turn);
  }
  auto name = std::string_view(v.data.name);
  auto why = [&](const error& e) {
    return fail(e.code, fmt::format("UnmountVolume.TearDown failed for volume {} : {}Unmounter.TearDownAt failed: {}",
                                    quote(name), says, text_of(e)));
  };
  auto driver = parts_.drivers.find(v.data.driver);
  if (!driver)
    co_return fail(
        errc::unavailable,
        fmt::format("UnmountVolume.TearDown failed for volume {} : {}Unmounter.TearDownAt failed to get CSI client: {}",
                    quote(name), says, driver.error().message));
  if (!v.is_block) {
    auto path = at_.published(v.pod_uid, name);
    if (auto done = co_await (*driver)->unpublish(v.data.handle, path); !done) co_return why(done.error());
    co_return co_await off_loop([path] { return remove_mount_folder(path); });
  }
  auto map = fmt::format("{}/dev/{}", at_.block_folder(name), v.pod_uid);
  KEDGE_CO_CHECK(co_await off_loop([map] { return unmap_block_device(map); }));
  if (auto done = co_await (*driver)->unpublish(v.data.handle, at_.block_published(name, v.pod_uid)); !done)
    co_return why(done.error());
  co_return co_await off_loop([link = at_.block_link(v.pod_uid, name)]() -> result<void> {
    if (::unlink(link.c_str()) != 0 && errno != ENOENT) return fail(os_error(errno, "remove " + link));
    return {};
  });
}

task<void> csi_volumes::unstage(device& d) {
  co_await d.turn.acquire();
  reactor::turn mine(d.turn);
  if (!is_unused(d)) co_return;
  auto problem = std::string();
  auto name = d.data.name;
  if (d.is_staged) {
    auto driver = parts_.drivers.find(d.data.driver);
    auto path = d.is_block ? at_.block_staged(name) : at_.global_mount(d.data.driver, d.data.handle);
    auto done = driver ? co_await (*driver)->unstage(d.data.handle, path) : result<void>(fail(driver.error()));
    if (done && !d.is_block) done = co_await off_loop([path] { return remove_mount_folder(path); });
    if (done)
      d.is_staged = d.staged_here = false;
    else
      problem = done.error().message;
  }
  if (problem.empty() && d.is_block)
    (void)co_await off_loop([staged = at_.block_staged(name), folder = at_.block_folder(name),
                             published = at_.block_published(name, "")]() -> result<void> {
      ::rmdir(published.c_str());
      ::rmdir(staged.c_str());
      return has_mounts(folder) ? result<void>() : remove_tree(folder);
    });
  if (!problem.empty() && problem != d.problem)
    log::warning("volume {} can't be unstaged, and is tried again: {}", unique_name(d.data), problem);
  d.problem = std::move(problem);
}

// Until it is gone, or a pod has it again.
task<void> csi_volumes::take_away(std::string name) {
  for (;;) {
    auto known = devices_.find(name);
    if (known == devices_.end()) co_return;
    auto& d = *known->second;
    co_await unstage(d);
    // Nobody waits for its turn: who does is one of its pods.
    if (!is_unused(d)) {
      d.is_leaving = false;
      co_return;
    }
    if (!d.is_staged) {
      devices_.erase(name);
      co_return parts_.in_use_changed();
    }
    co_await reactor::sleep_for(leftover_retry);
  }
}

task<void> csi_volumes::measure() {
  struct one {
    csi_volume_data data;
    bool is_block;
    std::string uid;
    use by;
  };
  for (;;) {
    std::vector<one> all;
    for (auto& [name, d] : devices_)
      for (auto& [uid, by] : d->pods)
        if (!by.claim.empty()) all.push_back({d->data, d->is_block, uid, by});
    std::vector<claim_figures> found;
    for (auto& o : all) {
      auto target = o.is_block ? at_.block_link(o.uid, o.data.name) : at_.published(o.uid, o.data.name);
      if (!co_await is_there(target, o.is_block)) continue;
      auto driver = parts_.drivers.find(o.data.driver);
      if (!driver) continue;
      auto has = co_await (*driver)->capabilities();
      if (!has || !has->stats) continue;
      auto path = o.is_block ? at_.block_published(o.data.name, o.uid) : at_.published(o.uid, o.data.name);
      auto stats = co_await (*driver)->stats(o.data.handle, std::move(path));
      if (stats)
        found.push_back({o.uid, o.by.volume, o.by.ns, o.by.claim, *std::move(stats), loop::current().wall_now()});
    }
    figures_ = std::move(found);
    // Soon for what was mounted just now, together with what is mounted then.
    if (co_await mounted_.wait_until(loop::current().now() + figures_interval))
      co_await reactor::sleep_for(figures_pause);
    mounted_.reset();
  }
}

task<void> csi_volumes::run() {
  reactor::scope leaving;  // a driver that hangs holds its own volumes
  for (;;) {
    unused_.reset();
    std::vector<std::string> unused;
    for (auto& [name, d] : devices_)
      if (is_unused(*d) && !std::exchange(d->is_leaving, true)) unused.push_back(name);
    for (auto& name : unused) leaving.spawn(take_away(name));
    co_await unused_.wait();
  }
}

}  // namespace kedge::node
