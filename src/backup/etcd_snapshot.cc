#include "backup/etcd_snapshot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "backup/limits.h"
#include "backup/save.h"
#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "crypto/bootstrap_record.h"
#include "crypto/hasher.h"
#include "datastore/etcd/bolt_file.h"

namespace kedge::backup {

namespace {

// etcd's own test for whether a sum stands at the end: its pages are multiples of that.
constexpr std::uint64_t sum_bytes = 32, page_unit = 512;
// A revision's key: main, '_', sub, and 't' of a deletion; numbers of eight bytes, the first first.
constexpr std::size_t revision_bytes = 17, deletion_bytes = 18;
constexpr std::string_view bucket_of_keys = "key", bucket_of_leases = "lease";

std::uint64_t big_endian(std::string_view eight) {
  std::uint64_t out = 0;
  for (unsigned char c : eight) out = out << 8 | c;
  return out;
}

struct stored {
  std::string value;
  std::uint64_t at = 0, lease = 0;
};

// The file's own sum against the bytes before it.
result<void> check_sum(const std::string& path, std::uint64_t size) {
  int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(os_error(errno, "open " + path));
  struct closer {
    int file;
    ~closer() { ::close(file); }
  } closing{file};
  crypto::sha256_hasher hash;
  std::string piece(block_bytes, '\0');
  const auto whole = size - sum_bytes;
  for (std::uint64_t at = 0; at < size;) {
    auto most = at < whole ? std::min<std::uint64_t>(piece.size(), whole - at) : sum_bytes;
    auto n = ::pread(file, piece.data(), most, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(n < 0 ? os_error(errno, "read " + path) : error(errc::corrupt, path + ": it is cut off"));
    std::string_view got(piece.data(), static_cast<std::size_t>(n));
    if (at < whole) {
      hash.update(got);
    } else if (got.size() != sum_bytes || hash.hex() != hex(as_bytes(got))) {
      return fail(errc::corrupt, path + ": its sum is wrong: it is not what etcd has saved");
    }
    at += got.size();
  }
  return {};
}

class etcd_snapshot final : public source {
 public:
  const header& about() const noexcept override { return about_; }
  std::uint64_t bytes() const noexcept override { return size_; }
  bool ends() const noexcept override { return objects_.empty(); }

  result<std::optional<std::vector<record>>> next() override {
    if (objects_.empty()) return std::nullopt;
    std::vector<record> out;
    for (std::size_t bytes = 0; !objects_.empty() && out.size() < block_objects_max && bytes < block_bytes;) {
      auto first = objects_.extract(objects_.begin());
      auto& s = first.mapped();
      auto lease = leases_.find(s.lease);
      bytes += first.key().size() + s.value.size();
      out.push_back({.key = std::move(first.key()),
                     .value = std::move(s.value),
                     .lease_seconds = lease == leases_.end() ? 0 : lease->second,
                     .at = s.at});
    }
    return out;
  }

  result<void> read(const std::string& path, std::string_view password) {
    struct stat s;
    if (::stat(path.c_str(), &s) < 0) return fail(os_error(errno, "stat " + path));
    size_ = static_cast<std::uint64_t>(s.st_size);
    KEDGE_CHECK(datastore::etcd::each_in_bolt(
        path, bucket_of_keys, [&](std::string_view key, std::string_view value) { return take(path, key, value); }));
    auto leases = datastore::etcd::each_in_bolt(path, bucket_of_leases,
                                                [&](std::string_view key, std::string_view value) -> result<void> {
                                                  take_lease(key, value);
                                                  return {};
                                                });
    if (!leases && leases.error().code != errc::not_found) return leases;
    about_.created = etcd_snapshot_time(path);
    about_.datastore = "etcd";
    about_.objects = objects_.size();
    about_.token_id = crypto::bootstrap_key(password).substr(crypto::bootstrap_prefix.size());
    if (about_.identity.empty()) return fail(errc::unauthenticated, other_token(path));
    return {};
  }

  explicit etcd_snapshot(std::string_view password) : record_key_(crypto::bootstrap_key(password)) {}

 private:
  // Later ones come later.
  result<void> take(const std::string& path, std::string_view key, std::string_view value) {
    if (key.size() != revision_bytes && key.size() != deletion_bytes)
      return fail(errc::corrupt, path + ": a revision is none");
    auto at = big_endian(key.substr(0, 8));
    about_.revision = std::max(about_.revision, at);
    stored s{.value = {}, .at = at};
    std::string name;
    wire::fields r(value);
    while (r.next()) {
      if (r.field() == 1) name = r.bytes();
      if (r.field() == 5) s.value = r.bytes();
      if (r.field() == 6) s.lease = r.number();
    }
    if (!r.ok()) return fail(errc::corrupt, path + ": what it has of a key is malformed");
    const bool deleted = key.size() == deletion_bytes;
    if (name.starts_with(crypto::bootstrap_prefix)) {
      if (deleted)
        records_.erase(name);
      else
        records_.insert_or_assign(name, at);
      if (name == record_key_) about_.identity = deleted ? std::string() : std::move(s.value);
      return {};
    }
    // K3s's and etcd's notes of their own don't begin so.
    if (!name.starts_with('/') || is_left_out(name)) return {};
    if (deleted)
      objects_.erase(name);
    else
      objects_.insert_or_assign(std::move(name), std::move(s));
    return {};
  }

  void take_lease(std::string_view key, std::string_view value) {
    wire::fields r(value);
    while (r.next())
      if (r.field() == 2 && key.size() == 8 && r.number() > 0)
        leases_[big_endian(key)] = static_cast<std::uint32_t>(std::min<std::uint64_t>(r.number(), UINT32_MAX));
  }

  std::string other_token(const std::string& path) const {
    if (records_.empty())
      return path + " has no cluster of K3s's or Kedge's in it: there is no record of CAs and keys under /bootstrap/";
    return fmt::format(
        "{} is of a cluster with another token: the one that it had on {} (its id is {}); it stood in "
        "server/token in the data directory of each of its servers",
        path, format_rfc3339(about_.created), records_.begin()->first.substr(crypto::bootstrap_prefix.size()));
  }

  header about_;
  std::uint64_t size_ = 0;
  std::string record_key_;
  std::map<std::string, std::uint64_t> records_;  // of tokens
  std::map<std::string, stored, std::less<>> objects_;
  std::map<std::uint64_t, std::uint32_t> leases_;  // seconds
};

}  // namespace

// As far as nanoseconds in 64 bits reach: to the year 2255.
constexpr std::int64_t seconds_max = 9'000'000'000;

bool is_etcd_snapshot(const std::string& path) { return datastore::etcd::is_bolt(path); }

wall_time etcd_snapshot_time(const std::string& path) {
  std::string_view name = path;
  for (std::string_view end : {".zip", ".part"})
    if (name.ends_with(end)) name.remove_suffix(end.size());
  // Seconds since 2001 have nine digits and more: other numbers at the end of a name are no times.
  auto digits = name.substr(std::min(name.find_last_not_of("0123456789") + 1, name.size()));
  if (auto seconds = parse_int(digits); seconds && digits.size() >= 9 && *seconds < seconds_max)
    return wall_time(std::chrono::seconds(*seconds));
  struct stat s;
  if (::stat(path.c_str(), &s) < 0) return {};
  return wall_time(std::chrono::seconds(s.st_mtim.tv_sec));
}

result<std::unique_ptr<source>> open_etcd_snapshot(const std::string& path, std::string_view password,
                                                   bool without_sum) {
  struct stat s;
  if (::stat(path.c_str(), &s) < 0) return fail(os_error(errno, "stat " + path));
  const auto size = static_cast<std::uint64_t>(s.st_size);
  if (size % page_unit == sum_bytes && size > sum_bytes) {
    if (auto right = check_sum(path, size); !right && !(without_sum && right.error().code == errc::corrupt))
      return fail(std::move(right).error());
  } else if (!without_sum) {
    return fail(errc::corrupt, path +
                                   " has no sum at its end: it is cut off, or a copy of a member's own file, which may "
                                   "be from between two moments; --partial restores it all the same");
  }
  auto out = std::make_unique<etcd_snapshot>(password);
  KEDGE_CHECK(out->read(path, password));
  return out;
}

}  // namespace kedge::backup
