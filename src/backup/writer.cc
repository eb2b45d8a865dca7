#include "backup/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "crypto/files.h"
#include "store/object.h"

namespace kedge::backup {

result<writer> writer::create(std::string path, const header& h, std::string key) {
  auto slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) KEDGE_CHECK(crypto::make_folder(path.substr(0, slash)));
  auto part = path + ".part";
  ::unlink(part.c_str());  // a left-over may be a link: never written through
  int file = ::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return fail(os_error(errno, "create " + part));
  writer w(std::move(path), std::move(key), file);
  KEDGE_CHECK(w.put(magic));
  KEDGE_CHECK(w.put(frame(block_kind::header, write_header(h))));
  return w;
}

writer::writer(writer&& other) noexcept
    : path_(std::move(other.path_)),
      key_(std::move(other.key_)),
      file_(std::exchange(other.file_, -1)),
      so_far_(other.so_far_),
      bytes_(other.bytes_) {}

writer::~writer() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(part().c_str());
}

result<void> writer::put(std::string_view text) {
  bytes_ += text.size();
  while (!text.empty()) {
    auto n = ::write(file_, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(os_error(errno, "write " + part()));
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

result<void> writer::add(const std::vector<store::object_ref>& objects) {
  std::string plain;
  for (auto& o : objects)
    append_record(plain, {.key = std::string(o->key()),
                          .value = store::object_access::logged_text(*o),
                          .lease_seconds = o->lease_seconds(),
                          .at = o->mod()});
  KEDGE_TRY(auto sealed, seal_block(plain, key_, so_far_.blocks));
  ++so_far_.blocks;
  so_far_.objects += objects.size();
  return put(frame(block_kind::objects, sealed));
}

result<std::uint64_t> writer::finish() {
  KEDGE_CHECK(put(frame(block_kind::end, write_end(so_far_))));
  if (::fsync(file_) < 0) return fail(os_error(errno, "sync " + part()));
  // A link fails where a rename would replace.
  if (::link(part().c_str(), path_.c_str()) < 0) return fail(os_error(errno, "give " + path_ + " its name"));
  ::unlink(part().c_str());
  ::close(std::exchange(file_, -1));
  KEDGE_CHECK(crypto::sync_file(path_));
  return bytes_;
}

}  // namespace kedge::backup
