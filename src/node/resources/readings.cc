#include "node/resources/readings.h"

#include <fts.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "crypto/files.h"
#include "node/limits.h"
#include "node/machine/node_stats.h"

namespace kedge::node {

namespace {

void read_disk(const std::string& folder, eviction_signal bytes, eviction_signal inodes, readings& out) {
  struct statvfs fs{};
  if (::statvfs(folder.c_str(), &fs) != 0) return;
  out[bytes] = {static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize,
                static_cast<std::uint64_t>(fs.f_blocks) * fs.f_frsize};
  // Some file systems (btrfs) have none to count.
  if (fs.f_files > 0) out[inodes] = {fs.f_ffree, fs.f_files};
}

}  // namespace

readings read_readings(const std::string& node_folder, const std::string& image_folder) {
  readings out;
  if (auto stats = read_node_stats({}, node_folder)) {
    auto total = stats->memory_total_bytes;
    out[eviction_signal::memory_available] = {total - std::min(total, stats->memory_working_set_bytes), total};
    auto most = static_cast<std::uint64_t>(std::max<std::int64_t>(stats->processes_max, 0));
    auto now = static_cast<std::uint64_t>(std::max<std::int64_t>(stats->processes, 0));
    if (most > 0) out[eviction_signal::pid_available] = {most - std::min(most, now), most};
  }
  read_disk(node_folder, eviction_signal::nodefs_available, eviction_signal::nodefs_inodes_free, out);
  read_disk(image_folder, eviction_signal::imagefs_available, eviction_signal::imagefs_inodes_free, out);
  return out;
}

disk_use measure_folder(const std::string& folder) {
  disk_use out;
  char* const paths[] = {const_cast<char*>(folder.c_str()), nullptr};
  auto* walk = ::fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, nullptr);
  if (!walk) return out;
  std::set<std::pair<dev_t, ino_t>> counted;  // of files with several names
  while (auto* entry = ::fts_read(walk)) {
    if (entry->fts_info == FTS_DP || !entry->fts_statp || entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR)
      continue;
    if (out.files >= disk_entries_max) break;
    auto& s = *entry->fts_statp;
    if (s.st_nlink > 1 && !S_ISDIR(s.st_mode) && !counted.emplace(s.st_dev, s.st_ino).second) continue;
    ++out.files;
    out.bytes += static_cast<std::uint64_t>(s.st_blocks) * 512;
  }
  ::fts_close(walk);
  return out;
}

std::uint64_t processes_of(const std::string& cgroup) {
  for (auto* root : {"/sys/fs/cgroup/pids", "/sys/fs/cgroup"})
    if (auto text = crypto::read_file(root + cgroup + "/pids.current", 64))
      if (auto n = parse_uint(trim(*text))) return *n;
  return 0;
}

}  // namespace kedge::node
