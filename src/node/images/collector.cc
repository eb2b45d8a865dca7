#include "node/images/collector.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "base/log.h"
#include "node/images/archive.h"
#include "node/limits.h"
#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

struct disk {
  std::uint64_t capacity = 0, available = 0;
};
std::optional<disk> disk_of(const std::string& folder) {
  struct statvfs fs{};
  if (::statvfs(folder.c_str(), &fs) != 0 || fs.f_blocks == 0) return std::nullopt;
  return disk{static_cast<std::uint64_t>(fs.f_blocks) * fs.f_frsize,
              static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize};
}

}  // namespace

std::vector<image_use> images_to_remove(std::vector<image_use> all, std::uint64_t bytes, duration age_min,
                                        time_point now) {
  std::erase_if(all, [&](auto& u) { return u.in_use || u.image.pinned || now - u.first_seen < age_min; });
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) {
    return a.last_used != b.last_used ? a.last_used < b.last_used : a.first_seen < b.first_seen;
  });
  std::size_t count = 0;
  for (std::uint64_t freed = 0; count < all.size() && freed < bytes; ++count) freed += all[count].image.size_bytes;
  all.resize(count);
  return all;
}

// What there is, and what of it containers are of: by whichever name they know it.
task<result<std::vector<image_use>>> image_collector::look() {
  KEDGE_CO_TRY(auto images, co_await parts_.runtime.images());
  KEDGE_CO_TRY(auto containers, co_await parts_.runtime.containers({}));
  std::set<std::string, std::less<>> used = {parts_.pause_image, full_image_name(parts_.pause_image)};
  for (auto& c : containers)
    for (auto* name : {&c.image, &c.image_ref, &c.image_id})
      if (!name->empty()) used.insert(*name);
  auto now = reactor::loop::current().now();
  std::map<std::string, image_use> next;
  for (auto& image : images) {
    auto before = known_.find(image.id);
    image_use u = before == known_.end() ? image_use{.image = {}, .first_seen = now} : before->second;
    u.in_use = used.contains(image.id) ||
               std::any_of(image.names.begin(), image.names.end(), [&](auto& name) { return used.contains(name); });
    if (u.in_use) u.last_used = now;
    u.image = std::move(image);
    next.insert_or_assign(u.image.id, std::move(u));
  }
  known_ = std::move(next);
  std::vector<image_use> out;
  for (auto& [id, u] : known_) out.push_back(u);
  co_return out;
}

task<std::uint64_t> image_collector::remove(std::vector<image_use> some) {
  std::uint64_t freed = 0;
  for (auto& u : some) {
    auto removed = co_await parts_.runtime.remove_image(u.image.id);
    if (!removed) {
      log::warning("image {} can't be removed: {}", u.image.id, rpc_description(removed.error()));
      continue;
    }
    log::info("removed image {}, which nothing uses: {} bytes",
              u.image.names.empty() ? u.image.id : u.image.names.front(), u.image.size_bytes);
    freed += u.image.size_bytes;
    known_.erase(u.image.id);
  }
  co_return freed;
}

task<std::uint64_t> image_collector::remove_unused() {
  auto all = co_await look();
  if (!all) co_return 0;
  co_return co_await remove(
      images_to_remove(*std::move(all), UINT64_MAX, parts_.settings.image_age_min, reactor::loop::current().now()));
}

task<void> image_collector::keep_disk() {
  auto all = co_await look();
  auto read = co_await reactor::offload([folder = parts_.folder] { return disk_of(folder); });
  if (!all || !read || !*read) co_return;
  auto& s = parts_.settings;
  auto now = reactor::loop::current().now();
  if (s.image_age_max > duration(0)) {
    auto old = *all;
    std::erase_if(old, [&](auto& u) {
      return now - (u.last_used == time_point() ? u.first_seen : u.last_used) < s.image_age_max;
    });
    (void)co_await remove(images_to_remove(std::move(old), UINT64_MAX, s.image_age_min, now));
  }
  auto [capacity, available] = **read;
  auto used_percent = 100 - static_cast<int>(available * 100 / capacity);
  if (used_percent < s.image_gc_high_percent) co_return;
  auto wanted = capacity * static_cast<std::uint64_t>(100 - s.image_gc_low_percent) / 100;
  if (wanted <= available) co_return;
  wanted -= available;
  auto freed = co_await remove(images_to_remove(*std::move(all), wanted, s.image_age_min, now));
  if (freed < wanted)
    parts_.tell(
        "FreeDiskSpaceFailed",
        fmt::format(
            "Failed to garbage collect required amount of images. Attempted to free {} bytes, but only found {} "
            "bytes eligible to free.",
            wanted, freed));
}

task<void> image_collector::run() {
  for (;;) {
    co_await keep_disk();
    co_await reactor::sleep_for(image_gc_interval);
  }
}

}  // namespace kedge::node
