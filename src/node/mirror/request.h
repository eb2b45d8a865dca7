// request.h: what a request of the OCI distribution specification (§ Pull) asks for, as containerd sends it to a
// mirror: /v2/<repository>/manifests|blobs/<reference>?ns=<registry>. Pure.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "node/runtime/registries.h"

namespace kedge::node {

struct mirror_request {
  std::string registry;    // "docker.io"
  std::string repository;  // "library/busybox"
  std::string tag;         // "1.36"; empty: by its digest
  std::string digest;      // "sha256:…"; empty: by its tag
  bool manifest = false;   // else a blob, which has a digest

  // As containerd names the image: "docker.io/library/busybox:1.36".
  std::string image_name() const { return registry + "/" + repository + ":" + tag; }
  // The same question to another mirror.
  std::string target() const;
};
// errc::not_found: a mirror has nothing of the kind: uploads, lists, other digests than SHA-256.
result<mirror_request> parse_mirror_request(std::string_view path, std::string_view query);

// "sha256:" and 64 lower-case hexadecimal digits.
bool is_sha256_digest(std::string_view text);

// The registries whose images nodes give each other: those with an entry among the mirrors, but for this machine's own.
class shared_registries {
 public:
  explicit shared_registries(const registries& r);
  bool empty() const noexcept { return !all_ && names_.empty(); }
  bool has(std::string_view registry) const;
  // What a metric calls it: with "*" anybody can make up names.
  std::string_view label(std::string_view registry) const;

 private:
  bool all_ = false;  // "*"
  std::set<std::string, std::less<>> names_;
};

}  // namespace kedge::node
