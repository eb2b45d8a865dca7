#include "node/images/archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "crypto/digest.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::node {

namespace {

using json::array;
using json::object;
using json::value;

constexpr std::string_view docker_manifest = "application/vnd.docker.distribution.manifest.v2+json",
                           docker_config = "application/vnd.docker.container.image.v1+json",
                           docker_layer = "application/vnd.docker.image.rootfs.diff.tar",
                           oci_zstd_layer = "application/vnd.oci.image.layer.v1.tar+zstd";
constexpr int links_max = 16, depth_max = 8;

// "a/./b/../c" → "a/c"; what would leave the archive's root doesn't.
std::string cleaned(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    auto slash = std::min(path.find('/'), path.size());
    auto part = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
  }
  std::string out;
  for (auto part : parts) {
    if (!out.empty()) out += '/';
    out += part;
  }
  return out;
}

const blob* find_blob(const archive_files& files, std::string_view name) {
  auto path = cleaned(name);
  for (int i = 0; i < links_max; ++i) {
    if (auto found = files.blobs.find(path); found != files.blobs.end()) return &found->second;
    auto link = files.links.find(path);
    if (link == files.links.end()) return nullptr;
    // A hard link names a path of the archive, a symbolic one a path from where it stands.
    auto slash = path.rfind('/');
    auto beside = slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
    auto there = cleaned(link->second);
    path = files.blobs.contains(there) || files.links.contains(there) ? there : cleaned(beside + link->second);
  }
  return nullptr;
}

const blob* by_digest(const archive_files& files, std::string_view digest) {
  auto colon = digest.find(':');
  if (colon == std::string_view::npos) return nullptr;
  auto found = files.blobs.find(fmt::format("blobs/{}/{}", digest.substr(0, colon), digest.substr(colon + 1)));
  // What lies there under another's digest is nothing.
  return found == files.blobs.end() || found->second.digest != digest ? nullptr : &found->second;
}

result<value> json_of(const archive_files& files, std::string_view name) {
  auto* b = find_blob(files, name);
  if (!b) return fail(errc::not_found, fmt::format("it has no {}", name));
  auto parsed = json::parse(b->text);
  if (!parsed) return fail(errc::invalid, fmt::format("{}: {}", name, parsed.error().message));
  return parsed;
}

// --- OCI

// The digests that a manifest or an index names, down to layers; false when one that must be there isn't.
bool gather(const archive_files& files, const value& descriptor, archive_content& out, int depth) {
  auto digest = std::string(descriptor["digest"].as_string());
  auto* b = by_digest(files, digest);
  if (!b || depth > depth_max) return false;
  if (out.children.contains(digest)) return true;
  auto v = json::parse(b->text);
  if (!v) return false;
  auto& children = out.children[digest];
  if (auto* manifests = (*v)["manifests"].array()) {
    // Of an index's platforms the archive may have some.
    bool any = false;
    std::vector<std::string> there;
    for (auto& m : *manifests)
      if (gather(files, m, out, depth + 1)) {
        any = true;
        there.emplace_back(m["digest"].as_string());
      }
    out.children[digest] = std::move(there);
    return any;
  }
  children.emplace_back((*v)["config"]["digest"].as_string());
  if (auto* layers = (*v)["layers"].array())
    for (auto& l : *layers) children.emplace_back(l["digest"].as_string());
  for (auto& child : std::vector(children))
    if (!by_digest(files, child)) {
      out.children.erase(digest);
      return false;
    }
  return true;
}

void read_layout(const archive_files& files, const value& index, archive_content& out) {
  auto* manifests = index["manifests"].array();
  if (!manifests) return;
  for (auto& m : *manifests) {
    auto& notes = m["annotations"];
    auto name = std::string(
        notes["io.containerd.image.name"].as_string(notes["org.opencontainers.image.ref.name"].as_string()));
    auto digest = m["digest"].as_string();
    if (name.empty() || (!name.contains('/') && !notes["io.containerd.image.name"].is_string())) {
      out.problems.push_back(fmt::format("the image {} has no name", digest));
      continue;
    }
    if (!gather(files, m, out, 0)) {
      out.problems.push_back(fmt::format("the image {} isn't all there", name));
      continue;
    }
    out.images.push_back(
        {full_image_name(name),
         {std::string(m["mediaType"].as_string()), std::string(digest), by_digest(files, digest)->size}});
  }
}

// --- Docker

value descriptor(std::string_view type, const blob& b) {
  return object{{"mediaType", type}, {"size", static_cast<std::int64_t>(b.size)}, {"digest", b.digest}};
}

void read_docker(const archive_files& files, const value& list, archive_content& out) {
  auto* all = list.array();
  if (!all) return;
  for (auto& one : *all) {
    auto* names = one["RepoTags"].array();
    if (!names || names->empty()) {
      out.problems.push_back(fmt::format("the image {} has no name", one["Config"].as_string()));
      continue;
    }
    auto* config = find_blob(files, one["Config"].as_string());
    array layers;
    std::vector<std::string> children;
    bool fine = config != nullptr;
    if (auto* paths = one["Layers"].array())
      for (auto& path : *paths) {
        auto* layer = find_blob(files, path.as_string());
        fine &= layer != nullptr;
        if (!layer) continue;
        layers.push_back(descriptor(layer->zstd   ? std::string(oci_zstd_layer)
                                    : layer->gzip ? std::string(docker_layer) + ".gzip"
                                                  : std::string(docker_layer),
                                    *layer));
        children.push_back(layer->digest);
      }
    if (!fine) {
      out.problems.push_back(fmt::format("the image {} isn't all there", (*names)[0].as_string()));
      continue;
    }
    children.insert(children.begin(), config->digest);
    auto text = json::write(object{{"schemaVersion", 2},
                                   {"mediaType", docker_manifest},
                                   {"config", descriptor(docker_config, *config)},
                                   {"layers", std::move(layers)}});
    auto digest = "sha256:" + crypto::sha256_hex(as_bytes(text));
    for (auto& name : *names)
      out.images.push_back({full_image_name(name.as_string()), {std::string(docker_manifest), digest, text.size()}});
    out.children.emplace(digest, std::move(children));
    out.made.emplace(digest, std::move(text));
  }
}

}  // namespace

std::string full_image_name(std::string_view name) {
  auto first = name.substr(0, name.find('/'));
  std::string out(name);
  const bool has_host = name.contains('/') && (first.contains('.') || first.contains(':') || first == "localhost");
  if (!has_host) out = (name.contains('/') ? "docker.io/" : "docker.io/library/") + out;
  auto last = std::string_view(out).substr(out.rfind('/') + 1);
  if (!last.contains(':') && !last.contains('@')) out += ":latest";
  return out;
}

result<archive_content> read_archive(const archive_files& files) {
  archive_content out;
  auto index = json_of(files, "index.json");
  if (index) {
    read_layout(files, *index, out);
  } else {
    auto list = json_of(files, "manifest.json");
    if (!list)
      return fail(errc::invalid, index.error().code == errc::not_found && list.error().code == errc::not_found
                                     ? std::string("it has neither index.json nor manifest.json")
                                     : (list.error().code == errc::not_found ? index : list).error().message);
    read_docker(files, *list, out);
  }
  if (out.images.empty() && out.problems.empty()) return fail(errc::invalid, "it has no images");
  return out;
}

std::string_view repository_of(std::string_view image_name) {
  if (auto at = image_name.find('@'); at != std::string_view::npos) return image_name.substr(0, at);
  auto colon = image_name.rfind(':'), slash = image_name.rfind('/');
  const bool tagged = colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash);
  return tagged ? image_name.substr(0, colon) : image_name;
}

std::map<std::string, std::map<std::string, std::vector<std::string>>> origins(
    const archive_content& content, const std::vector<std::string>& extra_registries) {
  std::map<std::string, std::map<std::string, std::vector<std::string>>> out;
  for (auto& image : content.images) {
    auto repository = repository_of(image.name);
    auto slash = repository.find('/');
    if (slash == std::string_view::npos) continue;
    std::vector<std::string> registries = extra_registries;
    registries.emplace_back(repository.substr(0, slash));
    std::string path(repository.substr(slash + 1));
    std::set<std::string> reached;
    std::vector<std::string> next = {image.target.digest};
    while (!next.empty()) {
      auto digest = std::move(next.back());
      next.pop_back();
      if (!reached.insert(digest).second) continue;
      for (auto& registry : registries)
        if (auto& all = out[digest][registry]; std::ranges::find(all, path) == all.end()) all.push_back(path);
      if (auto below = content.children.find(digest); below != content.children.end())
        next.insert(next.end(), below->second.begin(), below->second.end());
    }
  }
  return out;
}

}  // namespace kedge::node
