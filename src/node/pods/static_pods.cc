#include "node/pods/static_pods.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/limits.h"
#include "schema/decode.h"
#include "schema/defaults.h"
#include "schema/types.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;

value marks(const value& pod, std::string_view hash) {
  value out = pod["metadata"]["annotations"].is_object() ? pod["metadata"]["annotations"] : value(object{});
  out.set(note_config_source, "file");
  out.set(note_config_hash, hash);
  return out;
}

}  // namespace

bool is_mirror(const value& pod) { return pod["metadata"]["annotations"][note_config_mirror].is_string(); }

result<value> static_pod(value pod, const std::string& path, const std::string& node_name) {
  if (pod["kind"].as_string() != "Pod" || pod["apiVersion"].as_string() != "v1")
    return fail(errc::invalid, "it is no Pod of v1");
  auto* type = schema::find_kind("v1", "Pod");
  if (!type) return fail(errc::internal, "no schema of pods");
  KEDGE_CHECK(schema::decode(*type, pod));
  auto& m = pod.member("metadata");
  if (m["name"].as_string().empty()) return fail(errc::invalid, "it has no metadata.name");
  if (pod["spec"]["containers"].empty()) return fail(errc::invalid, "it has no spec.containers");
  schema::apply_defaults(*type, pod);
  // Another content is another pod: the old one ends, and this one begins.
  auto hash = crypto::sha256_hex(as_bytes(fmt::format("host:{}\nfile:{}\n{}", node_name, path, json::write(pod))))
                  .substr(0, 32);
  auto& meta = pod.member("metadata");
  meta.set("uid", hash);
  meta.set("name", lower(fmt::format("{}-{}", meta["name"].as_string(), node_name)));
  if (meta["namespace"].as_string().empty()) meta.set("namespace", "default");
  meta.set("annotations", marks(pod, hash));
  auto& spec = pod.member("spec");
  spec.set("nodeName", node_name);
  spec.member("tolerations").push_back(object{{"operator", "Exists"}, {"effect", "NoExecute"}});
  pod.set("status", object{{"phase", "Pending"}});
  return pod;
}

manifests read_manifests(const std::string& folder, const std::string& node_name) {
  manifests out;
  std::vector<std::string> files;
  std::error_code problem;
  for (auto it = std::filesystem::directory_iterator(folder, problem);
       !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
    std::error_code ignored;
    if (!it->path().filename().string().starts_with('.') && it->is_regular_file(ignored))
      files.push_back(it->path().string());
    if (files.size() == static_pods_max) break;
  }
  std::sort(files.begin(), files.end());
  for (auto& file : files) {
    auto one = [&]() -> result<value> {
      KEDGE_TRY(auto text, crypto::read_file(file, manifest_bytes_max));
      KEDGE_TRY(auto v, json::parse_yaml(text));
      return static_pod(std::move(v), file, node_name);
    }();
    if (one)
      out.pods.push_back(*std::move(one));
    else
      out.problems.push_back(file + ": " + one.error().message);
  }
  return out;
}

value mirror_of(const value& pod, const value& node) {
  auto& m = pod["metadata"];
  object metadata{{"name", m["name"]}, {"namespace", m["namespace"]}};
  if (m["labels"].is_object()) metadata.set("labels", m["labels"]);
  value annotations = m["annotations"];
  annotations.set(note_config_mirror, m["uid"]);
  metadata.set("annotations", std::move(annotations));
  metadata.set("ownerReferences", json::array{object{{"apiVersion", "v1"},
                                                     {"kind", "Node"},
                                                     {"name", node["metadata"]["name"]},
                                                     {"uid", node["metadata"]["uid"]},
                                                     {"controller", true}}});
  return object{{"apiVersion", "v1"}, {"kind", "Pod"}, {"metadata", std::move(metadata)}, {"spec", pod["spec"]}};
}

}  // namespace kedge::node
