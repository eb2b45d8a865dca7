// folder.h: the files of a manifests' folder, and what each is to be: applied, left alone, or gone. Blocking; on the
// offload pool.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::control::addons {

// Which version of a file it is: another one when its content may be another.
struct file_stamp {
  std::int64_t modified_ns = 0, changed_ns = 0;
  std::uint64_t size = 0, inode = 0;
  auto operator<=>(const file_stamp&) const = default;
};

struct manifest_file {
  enum class fate : unsigned char {
    apply,
    skip,    // a file NAME.skip stands beside it, or it is hidden or no manifest: what was applied stays
    remove,  // --disable names it, or a folder that it is in: its objects go, and it
  };
  std::string path;      // as it is called, through links
  std::string relative;  // below the folder: "metrics-server/resource-reader.yaml"
  fate what = fate::apply;
  bool own = true;  // not behind a link to a folder: may be removed
  file_stamp stamp = {};
};

struct folder_look {
  std::vector<manifest_file> files;   // by path; none of those to be skipped
  std::vector<std::string> folders;   // where changes may happen: to be watched
  std::vector<std::string> problems;  // what couldn't be looked at
};

// Links to folders are followed once, as K3s does, from the folder's own tree and no deeper. A folder that isn't there
// is an empty one.
folder_look look_at(const std::string& folder, const std::set<std::string, std::less<>>& disabled);

// The content; errc::too_large beyond manifest_max_bytes, errc::invalid for what is no regular file.
result<std::string> read_manifest_file(const std::string& path);

// Whether "a/b/c.yaml" is left out: "a", "a/b" or "c" is named.
bool is_disabled(std::string_view relative, const std::set<std::string, std::less<>>& disabled);

// "metrics" of "/x/metrics.v2.yaml": the AddOn that a file belongs to.
std::string addon_name(std::string_view path);

}  // namespace kedge::control::addons
