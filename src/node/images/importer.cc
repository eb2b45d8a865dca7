#include "node/images/importer.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/images/archive_source.h"
#include "node/limits.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;
namespace fs = std::filesystem;

bool is_list_name(std::string_view name) { return lower(name).ends_with(".txt"); }

// Of the archive's own: no content of an image.
bool describes_archive(std::string_view name) {
  return name == "index.json" || name == "manifest.json" || name == "oci-layout" || name == "repositories";
}
// "blobs/sha256/<digits>" tells the digest before the bytes do.
std::string promised_digest(std::string_view name) {
  constexpr std::string_view folder = "blobs/sha256/";
  return name.starts_with(folder) ? "sha256:" + std::string(name.substr(folder.size())) : std::string();
}

// One blob on its way to containerd, or passed over.
class upload {
 public:
  task<result<void>> begin(containerd_images& images, std::string ref, std::string name) {
    writer_.reset();
    ref_ = std::move(ref);
    wanted_ = !describes_archive(name);
    if (auto digest = promised_digest(name); wanted_ && !digest.empty()) {
      KEDGE_CO_TRY(auto there, co_await images.has_content(digest));
      wanted_ = !there;
    }
    co_return result<void>();
  }
  task<result<void>> write(containerd_images& images, std::string piece) {
    if (!wanted_) co_return result<void>();
    if (!writer_) {
      KEDGE_CO_TRY(auto w, co_await images.write_content(ref_));
      writer_.emplace(std::move(w));
    }
    co_return co_await writer_->write(std::move(piece));
  }
  task<result<void>> end(std::string digest) {
    if (!writer_) co_return result<void>();
    auto committed = co_await writer_->commit(std::move(digest));
    writer_.reset();
    co_return committed;
  }

 private:
  std::string ref_;
  bool wanted_ = false;
  std::optional<content_writer> writer_;
};

// registry/path:tag for each of the registries.
std::vector<std::string> names_at(const std::string& name, const std::vector<std::string>& registries) {
  std::vector<std::string> out;
  for (auto& r : registries) out.push_back(r + name.substr(name.find('/')));
  return out;
}

}  // namespace

image_importer::files image_importer::look(const std::string& folder) {
  files out;
  std::error_code problem;
  for (auto i = fs::directory_iterator(folder, problem); !problem && i != fs::directory_iterator();
       i.increment(problem)) {
    auto name = i->path().filename().string();
    struct stat about{};
    if (name.starts_with('.') || (!is_archive_name(name) && !is_list_name(name)) || out.size() >= image_files_max)
      continue;
    if (::stat(i->path().c_str(), &about) != 0 || !S_ISREG(about.st_mode)) continue;
    out.emplace(name, stamp{static_cast<std::uint64_t>(about.st_size),
                            about.st_mtim.tv_sec * 1'000'000'000L + about.st_mtim.tv_nsec});
  }
  return out;
}

task<void> image_importer::run() {
  co_await read_record();
  for (;;) {
    if (auto socket = parts_.socket(); !socket.empty()) {
      containerd_images images(socket, parts_.network);
      co_await look_and_import(images);
    }
    co_await reactor::sleep_for(first_ ? start_image_interval : image_folder_interval);
  }
}

time_point image_importer::again_at(const std::string& name) const {
  auto failed = failed_at_.find(name);
  return failed == failed_at_.end() ? time_point() : failed->second + image_import_retry;
}

task<void> image_importer::look_and_import(containerd_images& images) {
  auto found = co_await reactor::offload([folder = parts_.folder] { return look(folder); });
  if (!found) co_return;
  auto now = *std::move(found);
  auto before = std::exchange(seen_, now);
  std::vector<std::string> due;
  for (auto& [name, s] : now) {
    auto known = done_.find(name);
    // One that is still being written changes from look to look.
    const bool settled = before.contains(name) && before[name] == s;
    const bool is_new = known == done_.end() || known->second.as_of != s;
    if (first_ || (settled && is_new && again_at(name) <= reactor::loop::current().now())) due.push_back(name);
  }
  // Archives first: what they bring, pods need not wait for any registry to have.
  std::stable_partition(due.begin(), due.end(), [](auto& name) { return !is_list_name(name); });
  if (due.empty()) {
    first_ = false;
    ready_.set();
    co_return;
  }
  auto there = co_await images.names();
  if (!there) co_return;  // not yet, or not now: looked at again
  std::set<std::string> have(there->begin(), there->end());
  bool changed = false;
  for (auto& name : due) {
    auto path = parts_.folder + "/" + name;
    if (auto known = done_.find(name); known != done_.end() && known->second.as_of == now[name] &&
                                       std::all_of(known->second.images.begin(), known->second.images.end(),
                                                   [&](auto& image) { return have.contains(image); }))
      continue;
    if (is_list_name(name)) ready_.set();
    auto began = reactor::loop::current().now();
    auto imported = co_await (is_list_name(name) ? pull_list(images, path) : import_archive(images, path));
    if (!imported) {
      log::warning("images of {} can't be imported: {}", path, imported.error().message);
      // Another look gives nothing else, until the file is another.
      const bool for_good = imported.error().code == errc::invalid || imported.error().code == errc::unsupported ||
                            imported.error().code == errc::too_large;
      if (!for_good) {
        done_.erase(name);
        failed_at_[name] = reactor::loop::current().now();
        continue;
      }
      imported = std::vector<std::string>();
    } else {
      log::info("imported {} images from {} in {}", imported->size(), path,
                format_duration(std::chrono::floor<std::chrono::milliseconds>(reactor::loop::current().now() - began)));
    }
    done_[name] = {now[name], *std::move(imported)};
    failed_at_.erase(name);
    changed = true;
  }
  std::erase_if(failed_at_, [&](auto& one) { return !now.contains(one.first); });
  std::erase_if(done_, [&](auto& one) { return !now.contains(one.first); });
  first_ = false;
  ready_.set();
  if (changed) co_await write_record();
}

task<result<std::vector<std::string>>> image_importer::import_archive(containerd_images& images, std::string path) {
  auto lease = "kedge-import-" + reactor::loop::current().random().hex_text(8);
  KEDGE_CO_CHECK(co_await images.begin_lease(lease));
  auto imported = co_await import_under_lease(images, std::move(path), lease);
  co_await images.end_lease(std::move(lease));
  co_return imported;
}

task<result<std::vector<std::string>>> image_importer::import_under_lease(containerd_images& images, std::string path,
                                                                          std::string lease) {
  KEDGE_CO_TRY(auto opened, co_await reactor::offload([path] { return archive_source::open(path); }));
  KEDGE_CO_TRY(auto owned, std::move(opened));
  std::shared_ptr<archive_source> source(std::move(owned));
  upload blob;
  std::size_t count = 0;
  for (;;) {
    KEDGE_CO_TRY(auto next, co_await reactor::offload([source] { return source->next(); }));
    KEDGE_CO_TRY(auto events, std::move(next));
    if (events.empty()) break;
    for (auto& e : events) switch (e.what) {
        case archive_event::kind::begins:
          KEDGE_CO_CHECK(co_await blob.begin(images, fmt::format("{}-{}", lease, count++), std::move(e.text)));
          break;
        case archive_event::kind::bytes: KEDGE_CO_CHECK(co_await blob.write(images, std::move(e.text))); break;
        case archive_event::kind::ends: KEDGE_CO_CHECK(co_await blob.end(std::move(e.text))); break;
      }
  }
  KEDGE_CO_TRY(auto read, co_await reactor::offload([source] { return read_archive(source->files()); }));
  KEDGE_CO_TRY(auto content, std::move(read));
  for (auto& problem : content.problems) log::warning("{}: {}", path, problem);
  for (auto& [digest, text] : content.made) {
    KEDGE_CO_CHECK(co_await blob.begin(images, fmt::format("{}-{}", lease, count++), {}));
    KEDGE_CO_CHECK(co_await blob.write(images, text));
    KEDGE_CO_CHECK(co_await blob.end(digest));
  }
  for (auto& [digest, children] : content.children) KEDGE_CO_CHECK(co_await images.label_content(digest, children));
  for (auto& [digest, from] : origins(content, parts_.extra_registries))
    KEDGE_CO_CHECK(co_await images.label_origins(digest, from));
  std::vector<std::string> names;
  for (auto& image : content.images) {
    auto all = names_at(image.name, parts_.extra_registries);
    all.push_back(image.name);
    for (auto& name : all) {
      KEDGE_CO_CHECK(co_await images.put_image({name, image.target}));
      names.push_back(std::move(name));
    }
  }
  co_return names;
}

task<result<std::vector<std::string>>> image_importer::pull_list(containerd_images& images, std::string path) {
  KEDGE_CO_TRY(auto read, co_await reactor::offload([path] { return crypto::read_file(path, image_list_bytes_max); }));
  KEDGE_CO_TRY(auto text, std::move(read));
  std::vector<std::string> wanted, out;
  for (auto line : split(text, '\n'))
    if (auto name = trim(line); !name.empty() && !name.starts_with('#')) wanted.push_back(full_image_name(name));
  std::optional<error> problem;
  for (auto& name : wanted) {
    KEDGE_CO_TRY(auto there, co_await parts_.runtime.image(name));
    if (!there) {
      log::info("pulling image {}", name);
      if (auto pulled = co_await parts_.runtime.pull(name, nullptr, {}); !pulled) {
        problem = error(pulled.error().code == errc::unavailable ? errc::unavailable : errc::not_found,
                        fmt::format("{}: {}", name, rpc_description(pulled.error())));
        log::warning("{}: image {} can't be pulled: {}", path, name, rpc_description(pulled.error()));
        continue;
      }
    }
    if (auto pinned = co_await images.pin(name); !pinned)
      log::warning("{}: image {} can't be pinned: {}", path, name, pinned.error().message);
    else
      out.push_back(name);
  }
  if (problem && out.size() < wanted.size()) co_return fail(*std::move(problem));
  co_return out;
}

task<void> image_importer::read_record() {
  auto read =
      co_await reactor::offload([file = parts_.record_file] { return crypto::read_file(file, image_list_bytes_max); });
  if (!read || !*read) co_return;
  auto v = json::parse(**read);
  if (!v || !(*v)["files"].object()) co_return;  // all are looked at again
  for (auto& [name, one] : *(*v)["files"].object()) {
    done d{.as_of = {static_cast<std::uint64_t>(one["size"].as_integer()), one["modified"].as_integer()}, .images = {}};
    if (auto* all = one["images"].array())
      for (auto& image : *all) d.images.emplace_back(image.as_string());
    // What failed is tried anew by each start.
    if (!d.images.empty()) done_.emplace(name, std::move(d));
  }
}

task<void> image_importer::write_record() {
  object all;
  for (auto& [name, d] : done_) {
    json::array images;
    for (auto& image : d.images) images.emplace_back(image);
    all.set(name, object{{"size", static_cast<std::int64_t>(d.as_of.size)},
                         {"modified", d.as_of.modified},
                         {"images", std::move(images)}});
  }
  auto text = json::write(object{{"files", std::move(all)}});
  auto written =
      co_await reactor::offload([file = parts_.record_file, text] { return crypto::write_file(file, text); });
  if (written && !*written) log::warning("{} can't be written: {}", parts_.record_file, written->error().message);
}

}  // namespace kedge::node
