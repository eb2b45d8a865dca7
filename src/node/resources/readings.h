// readings.h: what is left of a machine's memory, disks and process numbers, for eviction.h. Blocking.
#pragma once

#include <string>

#include "node/resources/eviction.h"

namespace kedge::node {

// `node_folder` is on the file system of pods' volumes and logs, `image_folder` on that of images. What can't be read
// is left out.
readings read_readings(const std::string& node_folder, const std::string& image_folder);

struct disk_use {
  std::uint64_t bytes = 0, files = 0;
};
// Of all in `folder`, on its file system alone, following no link; at most `disk_entries_max` entries are counted.
disk_use measure_folder(const std::string& folder);
// How many processes run in a cgroup, "/kubepods/pod…", in whichever hierarchy counts them; 0: nobody knows.
std::uint64_t processes_of(const std::string& cgroup);

}  // namespace kedge::node
