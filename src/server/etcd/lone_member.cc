#include "server/etcd/lone_member.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdio.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/log.h"
#include "base/random.h"
#include "crypto/files.h"
#include "datastore/etcd/members.h"
#include "reactor/loop.h"
#include "server/etcd/member_process.h"
#include "server/etcd/version_guard.h"
#include "supervisor/credentials.h"

namespace kedge::server {

namespace {

namespace fs = std::filesystem;
using fill_etcd = std::function<task<result<void>>(datastore::etcd::settings)>;

constexpr auto start_patience = std::chrono::minutes(5);  // it reads all of its data first
constexpr auto attempt_time = std::chrono::seconds(5);
constexpr auto attempt_pause = std::chrono::milliseconds(200);

datastore::etcd::settings client_of(const std::string& certificates) {
  auto s = datastore::etcd::parse_endpoint("https://127.0.0.1:2379");
  auto out = s ? *std::move(s) : datastore::etcd::settings();
  out.ca_file = certificates + "/server-ca.crt";
  out.certificate_file = certificates + "/client.crt";
  out.key_file = certificates + "/client.key";
  return out;
}

// Until it answers as the majority that it is.
task<result<void>> wait_for(member_process& etcd, datastore::etcd::settings client) {
  auto& loop = reactor::loop::current();
  for (auto until = loop.now() + start_patience;; co_await reactor::sleep_for(attempt_pause)) {
    auto c = co_await datastore::etcd::any_member(client, loop.now() + attempt_time);
    if (c) co_return result<void>();
    if (etcd.gave_up().is_set()) co_return fail(etcd.why());
    if (loop.now() >= until) co_return fail(std::move(c).error().with("etcd doesn't begin to answer: "));
  }
}

task<result<void>> use_alone(member_options o, fill_etcd use) {
  auto client = client_of(o.certificates);
  KEDGE_CO_CHECK(co_await check_version(o.binary, o.data));
  member_process etcd(std::move(o));
  KEDGE_CO_CHECK(etcd.start());
  auto done = co_await wait_for(etcd, client);
  if (done) done = co_await use(client);
  co_await etcd.stop();
  co_return done;
}

result<void> run_alone(member_options o, fill_etcd use) {
  ::signal(SIGPIPE, SIG_IGN);
  KEDGE_TRY(auto backend, reactor::make_backend(reactor::io_backend::automatic));
  reactor::loop loop(std::move(backend));
  return loop.run_until(use_alone(std::move(o), std::move(use)));
}

member_options options_of(const std::string& dir, std::string name, std::string binary) {
  return {.binary = std::move(binary),
          .name = name,
          .address = "127.0.0.1",
          .data = dir + "/db/etcd",
          .certificates = dir + "/tls/etcd",
          .log_file = dir + "/db/etcd.log",
          .cluster = name + "=https://127.0.0.1:2380",
          .alone = true};
}

// In what is to take the place of this server's data, as long as it hasn't.
constexpr std::string_view fresh_mark = "/restoring";

// K3s's name of it, with the first second that is free.
std::string kept_name(const std::string& place) {
  std::error_code ignored;
  auto second = std::chrono::floor<std::chrono::seconds>(system_wall_time().time_since_epoch()).count();
  while (fs::exists(fmt::format("{}-old-{}", place, second), ignored)) ++second;
  return fmt::format("{}-old-{}", place, second);
}

result<void> rename(const std::string& from, const std::string& to) {
  std::error_code failed;
  fs::rename(from, to, failed);
  if (failed) return fail(errc::io, fmt::format("renaming {}: {}", from, failed.message()));
  return {};
}

// What a restore that was cut off has left aside: fresh data that never got in goes; what it came for stays.
result<void> clear_aside(const std::string& aside, const std::string& place) {
  std::error_code failed;
  fs::remove(place + std::string(fresh_mark), failed);
  if (!fs::exists(aside, failed)) return {};
  if (!fs::exists(aside + std::string(fresh_mark), failed)) return rename(aside, kept_name(place));
  fs::remove_all(aside, failed);
  if (failed) return fail(errc::io, fmt::format("removing {}: {}", aside, failed.message()));
  return {};
}

// In one step there is always one of both in the place, so that whoever is cut off goes on with a cluster that counts
// on. The path of what was there; empty: nothing was.
result<std::string> take_place(const std::string& fresh, const std::string& aside, const std::string& place) {
  KEDGE_CHECK(crypto::write_file(fresh + std::string(fresh_mark), ""));
  KEDGE_CHECK(rename(fresh, aside));
  std::error_code ignored;
  std::string kept;
  if (!fs::exists(place, ignored)) {
    KEDGE_CHECK(rename(aside, place));
  } else if (::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, place.c_str(), RENAME_EXCHANGE) == 0) {
    kept = kept_name(place);
    KEDGE_CHECK(rename(aside, kept));
  } else if (errno == EINVAL || errno == ENOSYS) {  // the file system can't
    kept = kept_name(place);
    KEDGE_CHECK(rename(place, kept));
    KEDGE_CHECK(rename(aside, place));
  } else {
    return fail(os_error(errno, "let " + aside + " and " + place + " change places"));
  }
  fs::remove(place + std::string(fresh_mark), ignored);
  return kept;
}

}  // namespace

result<std::string> reset_etcd(const supervisor::config& c, const etcd_settings& own) {
  auto dir = c.server_dir(), flag = etcd_reset_flag(dir);
  std::error_code ignored;
  if (fs::exists(flag, ignored))
    return fail(errc::already_exists,
                fmt::format("the cluster's etcd was reset already: start the server without --cluster-reset. To reset "
                            "it once more, remove {} first",
                            flag));
  if (!etcd_has_data(dir))
    return fail(errc::not_found, fmt::format("--cluster-reset makes a cluster of one of what a member of the cluster's "
                                             "own etcd has, and there is no such data in {}/db/etcd",
                                             dir));
  auto binary = find_etcd(own.binary);
  if (!binary) return fail(std::move(binary).error());
  auto& random = system_random();
  KEDGE_CHECK(supervisor::make_etcd_certificates(c, system_wall_time(), random));
  auto o = options_of(dir, c.node_name + "-" + random.uuid().substr(0, 8), *std::move(binary));
  o.one_of = true;
  auto name = o.name;
  std::size_t members = 0;
  auto count = [&members](datastore::etcd::settings client) -> task<result<void>> {
    KEDGE_CO_TRY(auto etcd,
                 co_await datastore::etcd::any_member(client, reactor::loop::current().now() + attempt_time));
    KEDGE_CO_TRY(auto all, co_await datastore::etcd::list_members(*etcd));
    members = all.size();
    co_return result<void>();
  };
  KEDGE_CHECK(run_alone(std::move(o), count));
  if (members != 1)
    return fail(errc::internal, fmt::format("etcd still has {} members; its log is {}/db/etcd.log", members, dir));
  KEDGE_CHECK(crypto::write_file(dir + "/db/etcd/name", name));
  fs::remove(dir + "/db/etcd/tombstone", ignored);
  KEDGE_CHECK(crypto::write_file(flag, ""));
  return fmt::format(
      "the cluster's etcd has one member now, {}, with what this server had; on the other servers move "
      "server/db away and let them join this one",
      name);
}

result<std::string> replace_etcd(const std::string& server_dir, const etcd_settings& own, fill_etcd fill,
                                 std::function<result<void>()> mark) {
  auto binary = find_etcd(own.binary);
  if (!binary) return fail(std::move(binary).error());
  const auto place = server_dir + "/db/etcd", aside = place + "-restored";
  KEDGE_CHECK(clear_aside(aside, place));
  // With authorities of its own: nobody else can come between.
  supervisor::config beside;
  beside.data_dir = server_dir + "/db/etcd-restoring";
  std::error_code failed;
  fs::remove_all(beside.data_dir, failed);
  auto dir = beside.server_dir();
  KEDGE_CHECK(crypto::make_folder(server_dir + "/db"));
  for (auto& folder : {beside.data_dir, dir, dir + "/db", dir + "/db/etcd"}) KEDGE_CHECK(crypto::make_folder(folder));
  auto& random = system_random();
  KEDGE_CHECK(supervisor::make_etcd_certificates(beside, system_wall_time(), random));
  auto o = options_of(dir, "restored", *std::move(binary));
  if (etcd_has_data(server_dir)) {
    fs::copy(server_dir + "/db/etcd/member", dir + "/db/etcd/member", fs::copy_options::recursive, failed);
    if (failed) return fail(errc::io, fmt::format("copying {}/db/etcd: {}", server_dir, failed.message()));
    o.one_of = true;
  }
  KEDGE_CHECK(run_alone(std::move(o), std::move(fill)));
  KEDGE_CHECK(mark());
  KEDGE_TRY(auto kept, take_place(dir + "/db/etcd", aside, place));
  KEDGE_CHECK(crypto::sync_file(server_dir + "/db"));
  fs::remove_all(beside.data_dir, failed);
  fs::remove(etcd_reset_flag(server_dir), failed);
  return kept;
}

}  // namespace kedge::server
