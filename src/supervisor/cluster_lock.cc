#include "supervisor/cluster_lock.h"

#include <fmt/format.h>

#include "base/log.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/sync.h"

namespace kedge::supervisor {

namespace {

constexpr std::uint32_t lease_seconds = 30;
constexpr auto renew_period = std::chrono::seconds(10);
constexpr int attempts_max = 5;  // each lost to another server at the same moment

}  // namespace

std::string cluster_lock::value() const {
  return json::write(
      json::object{{"address", parts_.address()}, {"identity", parts_.identity}, {"work", work_}, {"since", since_}});
}

task<result<void>> cluster_lock::take(std::string work) {
  if (held_) co_return fail(errc::already_exists, "this server " + work_ + "; try again when that is done");
  held_ = true;
  work_ = std::move(work);
  auto taken = co_await try_to_take();
  if (taken)
    renewing_.spawn(renew());
  else
    held_ = false;
  co_return taken;
}

task<result<void>> cluster_lock::try_to_take() {
  since_ = format_rfc3339(reactor::loop::current().wall_now());
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    KEDGE_CO_TRY(auto now, co_await parts_.objects.latest());
    auto standing = now.find(parts_.row);
    if (standing) {
      auto holder = json::parse(standing->bytes()).value_or(json::value());
      auto address = std::string(holder["address"].as_string()), identity = std::string(holder["identity"].as_string());
      // A row without an owner is an older server's, and ends with its lease. One of this server's own is from an
      // earlier life of it, and doesn't live.
      bool gone = !identity.empty() && !parts_.lives(identity);
      if (!gone)
        co_return fail(errc::already_exists,
                       identity.empty()
                           ? "another server changes what all servers share; try again"
                           : fmt::format("the server at {} {} since {}; try again when that is done", address,
                                         holder["work"].as_string(), holder["since"].as_string()));
      log::info("the server at {} ended while it {}; its lock is taken over", address, holder["work"].as_string());
    }
    auto written =
        co_await parts_.objects.write({.kind = standing ? store::write_kind::update : store::write_kind::create,
                                       .key = parts_.row,
                                       .value = value(),
                                       .expected = standing ? standing->mod() : 0,
                                       .lease_seconds = lease_seconds});
    if (written) co_return result<void>();
    auto code = written.error().code;
    if (code != errc::already_exists && code != errc::conflict && code != errc::not_found)
      co_return fail(std::move(written).error());
  }
  co_return fail(errc::conflict, "other servers take the lock " + parts_.row + " all the time; try again");
}

// The row as it stands, when it is this process's: a write of an unknown outcome may have made it another version.
store::object_ref cluster_lock::mine(const store::snapshot& now) const {
  auto row = now.find(parts_.row);
  if (!row) return {};
  auto holder = json::parse(row->bytes());
  return holder && (*holder)["identity"].as_string() == parts_.identity ? row : store::object_ref();
}

task<void> cluster_lock::renew() {
  for (;;) {
    co_await reactor::sleep_for(renew_period);
    auto now = co_await parts_.objects.latest();
    if (!now) continue;  // the datastore is away, for everybody
    auto row = mine(*now);
    if (row) {
      auto written = co_await parts_.objects.write({.kind = store::write_kind::update,
                                                    .key = parts_.row,
                                                    .value = value(),
                                                    .expected = row->mod(),
                                                    .lease_seconds = lease_seconds});
      if (written || (written.error().code != errc::conflict && written.error().code != errc::not_found)) continue;
    }
    log::error("the lock {} was taken over by another server, which took this one for dead", parts_.row);
    lost_ = true;
    co_return;
  }
}

result<void> cluster_lock::held() const {
  if (held_ && !lost_) return {};
  return fail(errc::conflict, "another server took over while this one was cut off; try again");
}

task<void> cluster_lock::give_back() {
  renewing_.cancel();
  held_ = lost_ = false;
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    auto now = co_await parts_.objects.latest();
    auto row = now ? mine(*now) : store::object_ref();
    if (!row) co_return;
    auto gone = co_await parts_.objects.write(
        {.kind = store::write_kind::remove, .key = parts_.row, .value = {}, .expected = row->mod()});
    if (gone || gone.error().code != errc::conflict) co_return;
  }
}

}  // namespace kedge::supervisor
