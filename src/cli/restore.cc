#include "cli/restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "backup/folder.h"
#include "backup/restore.h"
#include "backup/s3/bucket.h"
#include "backup/zip.h"
#include "cli/datastore_options.h"
#include "crypto/files.h"
#include "datastore/etcd/etcd_log.h"
#include "datastore/etcd/limits.h"
#include "reactor/loop.h"
#include "server/etcd/lone_member.h"
#include "supervisor/bootstrap_data.h"

namespace kedge::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds lock_wait(2'000);  // a server that runs keeps its file for as long as it does
constexpr auto tell_interval = std::chrono::milliseconds(500);

// A line that is written over, where a person looks on; else a line a step.
class progress_line {
 public:
  void tell(std::string_view step, std::uint64_t done, std::uint64_t of) {
    auto now = monotonic_clock::now();
    bool other = step != step_;
    if (!other && now - told_ < tell_interval && done != of) return;
    told_ = now;
    step_ = step;
    if (live_)
      fmt::print(stderr, "\r\033[K{}: {} of {}", step, done, of);
    else if (other)
      fmt::print(stderr, "{}: {} objects\n", step, of);
  }
  ~progress_line() {
    if (live_ && !step_.empty()) fmt::print(stderr, "\n");
  }

 private:
  const bool live_ = ::isatty(STDERR_FILENO) == 1;
  std::string step_;
  time_point told_{};
};

result<backup::restored> run(const datastore::endpoint_options& where, const backup::restore_options& how) {
  KEDGE_TRY(auto log, datastore::make_log(where));
  ::signal(SIGPIPE, SIG_IGN);
  KEDGE_TRY(auto backend, reactor::make_backend(reactor::io_backend::automatic));
  reactor::loop loop(std::move(backend));
  return loop.run_until(backup::restore(*log, how));
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

void remove_database(const std::string& path) {
  for (auto end : {"", "-wal", "-shm", "-journal", "-kedge"}) ::unlink((path + end).c_str());
}

// A snapshot that is in the bucket, into the folder. Its path.
result<std::string> fetch(backup::s3::settings s3, const std::string& name, const std::string& folder) {
  KEDGE_CHECK(backup::check_name(name));
  KEDGE_TRY(auto bucket, backup::s3::bucket::open(std::move(s3)));
  KEDGE_CHECK(crypto::make_folder(folder));
  auto path = folder + "/" + name;
  ::signal(SIGPIPE, SIG_IGN);
  KEDGE_TRY(auto backend, reactor::make_backend(reactor::io_backend::automatic));
  reactor::loop loop(std::move(backend));
  KEDGE_CHECK(loop.run_until(bucket.get(name, path)));
  return path;
}

// A file that goes with its owner; none while its name is empty.
struct temporary_file {
  std::string path;
  ~temporary_file() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

// Where SQLite's file is.
std::string file_of(const datastore::endpoint_options& where) {
  constexpr std::string_view scheme = "sqlite://";
  std::string_view endpoint = where.endpoint;
  if (!endpoint.starts_with(scheme)) return where.sqlite.path;
  endpoint.remove_prefix(scheme.size());
  auto path = endpoint.substr(0, endpoint.find('?'));
  return path.empty() ? where.sqlite.path : std::string(path);
}

// What stands in a file goes by the way of a look that restores nothing: it says whether a server has it, whether there
// is a cluster in it, and leaves it without a log beside it.
result<void> look_at(const datastore::endpoint_options& where, bool overwrite) {
  KEDGE_TRY(auto log, datastore::make_log(where));
  KEDGE_TRY(auto backend, reactor::make_backend(reactor::io_backend::automatic));
  reactor::loop loop(std::move(backend));
  return loop.run_until([](datastore::log& l, bool replace) -> task<result<void>> {
    KEDGE_CO_CHECK(co_await l.open());
    auto found = co_await l.load_live(0);
    auto begun = found ? co_await l.begin() : result<void>();
    auto about = l.description();
    co_await l.close();
    if (!found) co_return fail(std::move(found).error());
    KEDGE_CO_CHECK(std::move(begun));
    bool cluster = false;
    for (auto& e : found->entries) cluster = cluster || e.name.starts_with(crypto::bootstrap_prefix);
    if (cluster && !replace)
      co_return fail(errc::already_exists,
                     about +
                         " holds a cluster; --overwrite puts the snapshot's in its place, and keeps the file under "
                         "another name");
    co_return result<void>();
  }(*log, overwrite));
}

// Into an etcd of one member, which takes the place of this server's. It goes on counting where that was.
result<std::string> restore_etcd(const server_options& o, const std::string& dir, backup::restore_options how,
                                 std::uint64_t revision) {
  if (o.disable_etcd)
    return fail(errc::invalid,
                "this server has no member of the cluster's etcd (--disable-etcd): restore on one that has");
  const bool there = server::etcd_has_data(dir);
  if (there && !how.overwrite && !exists(backup::restore_mark(dir)))
    return fail(errc::already_exists,
                dir +
                    "/db/etcd holds a cluster; --overwrite puts the snapshot's in its place, and keeps the data under "
                    "another name");
  how.overwrite = true;
  // etcd counts by writing alone.
  how.revision_jump = 0;
  if (!there && revision + datastore::etcd::revision_jump > datastore::etcd::jump_max) {
    fmt::print(stderr, "a new etcd can't count up to the snapshot's revision: start agents and clients anew, too\n");
    how.revision_jump.reset();
  }
  auto fill = [&how](datastore::etcd::settings to) -> task<result<void>> {
    auto log = datastore::make_etcd_log({.cluster = std::move(to)});
    KEDGE_CO_CHECK(co_await backup::restore(*log, how));
    co_return result<void>();
  };
  return server::replace_etcd(dir, {}, fill, [&] { return backup::mark_restore(dir, how.path); });
}

// The restored file takes the place of what was there, in one step; the old one stays beside.
result<void> change_places(const std::string& fresh, const std::string& path, const std::string& old) {
  if (!exists(path)) {
    if (::rename(fresh.c_str(), path.c_str()) < 0) return fail(os_error(errno, "rename " + fresh));
  } else {
    if (exists(path + "-wal") && fs::file_size(path + "-wal") > 0)
      return fail(errc::unavailable, path + "-wal holds what is not in the file yet: is it in use?");
    if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) < 0)
      return fail(os_error(errno, "let " + fresh + " and " + path + " change places"));
    if (::rename(fresh.c_str(), old.c_str()) < 0) return fail(os_error(errno, "rename " + fresh));
    for (auto end : {"-wal", "-shm"}) ::unlink((path + end).c_str());
  }
  remove_database(fresh);  // what lies beside it
  return crypto::sync_file(path);
}

}  // namespace

result<std::string> restore_cluster(const server_options& o, const restore_request& wanted) {
  auto r = wanted;
  if (o.etcd_s3 && !exists(r.file)) {
    KEDGE_TRY(r.file, fetch(bucket_settings(o), wanted.file, snapshot_folder(o)));
    fmt::print(stderr, "fetched {}\n", r.file);
  }
  supervisor::config c;
  c.data_dir = o.agent.data_dir;
  c.token = o.agent.token;
  temporary_file unpacked;
  if (backup::is_zip(r.file)) {
    // Called as what it was packed from: the name tells when it was saved.
    unpacked.path = c.server_dir() + "/db/" + fs::path(r.file).stem().string() + ".part";
    KEDGE_CHECK(crypto::make_folder(c.server_dir() + "/db"));
    KEDGE_CHECK(backup::unzip(r.file, unpacked.path));
    r.file = unpacked.path;
  }
  KEDGE_TRY(auto password, supervisor::known_password(c));
  if (!password)
    return fail(
        errc::invalid,
        "--token is wanted: the one that the cluster had when the snapshot was saved (without it nothing in it can "
        "be read)");
  progress_line line;
  backup::restore_options how{.path = r.file, .password = *password, .overwrite = r.overwrite, .partial = r.partial};
  how.told = [&line](std::string_view step, std::uint64_t done, std::uint64_t of) { line.tell(step, done, of); };
  KEDGE_TRY(auto inside, backup::look_into(how));

  auto where = datastore_options(o);
  where.sqlite.lock_wait = lock_wait;
  auto dir = c.server_dir();
  auto stamp = std::to_string(std::chrono::floor<std::chrono::seconds>(system_wall_time()).time_since_epoch().count());
  std::string kept;
  KEDGE_CHECK(crypto::make_folder(dir + "/db"));
  if (manages_etcd(o)) {
    KEDGE_TRY(kept, restore_etcd(o, dir, how, inside.about.revision));
  } else if (datastore::is_shared_endpoint(where.endpoint)) {
    KEDGE_CHECK(backup::mark_restore(dir, r.file));
    if (auto done = run(where, how); !done) {
      // Where nothing was changed, nothing is to be finished.
      auto code = done.error().code;
      if (code == errc::already_exists || code == errc::conflict) ::unlink(backup::restore_mark(dir).c_str());
      return fail(std::move(done).error());
    }
  } else {
    auto path = file_of(where), fresh = path + ".restoring";
    bool again = exists(backup::restore_mark(dir));
    if (exists(path)) KEDGE_CHECK(look_at(where, r.overwrite || again));
    remove_database(fresh);
    auto beside = where;
    beside.endpoint.clear();
    beside.sqlite.path = fresh;
    KEDGE_CHECK(run(beside, how));
    KEDGE_CHECK(backup::mark_restore(dir, r.file));
    if (exists(path)) kept = path + ".before-restore-" + stamp;
    KEDGE_CHECK(change_places(fresh, path, kept));
  }
  // What this folder's identity was stays, too.
  KEDGE_TRY(auto before, supervisor::read_bootstrap_files(dir));
  if (!before.empty()) {
    auto aside = dir + "/before-restore-" + stamp;
    KEDGE_CHECK(supervisor::write_bootstrap_files(aside, before, false));
  }
  KEDGE_CHECK(supervisor::write_bootstrap_files(dir, inside.identity, false));
  // How far another history was seen says nothing of this one.
  ::unlink((dir + "/db/seen.json").c_str());
  if (::unlink(backup::restore_mark(dir).c_str()) < 0) return fail(os_error(errno, "remove the restore's mark"));
  return fmt::format("restored {} objects of the cluster as it was at {}{}", inside.objects,
                     format_rfc3339(inside.about.created), kept.empty() ? "" : "; what was there is in " + kept) +
         (manages_etcd(o) ? "; on the other servers move server/db away and let them join this one" : "");
}

}  // namespace kedge::cli
