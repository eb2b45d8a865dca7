// archive.h: an archive of images, as `docker save`, `ctr images export` and others write them: from its files' names
// and digests to the images in it. Pure; importer.h moves the bytes.
//
//   OCI layout: index.json ─▶ manifests, by digest ─▶ blobs/sha256/…
//   Docker:     manifest.json ─▶ a configuration and layers, by name ─▶ a manifest that is made here
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace kedge::node {

struct blob {
  std::string digest;  // sha256:…
  std::uint64_t size = 0;
  bool gzip = false, zstd = false;
  std::string text;  // of small ones that can be JSON
};

struct archive_files {
  std::map<std::string, blob, std::less<>> blobs;         // by name in the archive
  std::map<std::string, std::string, std::less<>> links;  // name → what it names
};

struct image_target {
  std::string media_type, digest;
  std::uint64_t size = 0;
};

struct archive_image {
  std::string name;  // docker.io/library/busybox:1.36
  image_target target;
};

struct archive_content {
  std::vector<archive_image> images;
  // What must be kept as long as what names it: digest → digests.
  std::map<std::string, std::vector<std::string>> children;
  // Manifests that aren't in the archive, to be written too: digest → bytes.
  std::map<std::string, std::string> made;
  std::vector<std::string> problems;  // of images that can't be had
};

// errc::invalid: it has no images, or can't be read.
result<archive_content> read_archive(const archive_files& files);

// What is to be known of each digest's origin: registry → repositories, of the images that it is of, as they are
// called.
std::map<std::string, std::map<std::string, std::vector<std::string>>> origins(
    const archive_content& content, const std::vector<std::string>& extra_registries);

// "busybox" → "docker.io/library/busybox:latest", as containerd's CRI knows images.
std::string full_image_name(std::string_view name);
// "docker.io/library/busybox:1.36" and "docker.io/library/busybox@sha256:…" are of "docker.io/library/busybox".
std::string_view repository_of(std::string_view image_name);

}  // namespace kedge::node
