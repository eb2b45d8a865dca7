#include "datastore/redis/server_check.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace kedge::datastore::redis {

namespace {

std::string_view field(std::string_view info, std::string_view name) {
  for (auto line : split(info, '\n')) {
    line = trim(line);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':')
      return line.substr(name.size() + 1);
  }
  return {};
}

std::string promise(bool aof, const std::optional<std::string>& fsync, const std::optional<std::string>& save) {
  if (!aof) {
    if (save && trim(*save).empty()) return "nothing is kept on disk: a restart of Redis loses the cluster";
    return "snapshots only (appendonly no): a restart of Redis loses everything since the last one";
  }
  if (!fsync) return "append-only file, appendfsync not known: what a power loss takes is not known";
  if (*fsync == "always") return "append-only file, appendfsync always: acknowledged writes survive a power loss";
  // With everysec Redis puts the write itself off while an fsync is under way, so a kill takes these as well.
  if (*fsync == "everysec")
    return "append-only file, appendfsync everysec: a power loss takes up to two seconds of acknowledged writes, and "
           "so "
           "does a killed Redis when its disk is slow";
  return "append-only file, appendfsync no: acknowledged writes survive a killed Redis; a power loss takes what the "
         "kernel had not written, about 30 seconds";
}

}  // namespace

result<server_facts> read_facts(std::string_view info, const std::optional<std::string>& appendfsync,
                                const std::optional<std::string>& save) {
  server_facts out;
  out.version = field(info, "redis_version");
  out.run_id = field(info, "run_id");
  if (auto major = parse_uint(std::string_view(out.version).substr(0, out.version.find('.'))); major && *major < 6)
    return fail(errc::unsupported, fmt::format("Redis {} is too old: 6.2 is needed", out.version));
  if (auto mode = field(info, "redis_mode"); mode == "cluster" || mode == "sentinel")
    return fail(errc::unsupported, fmt::format("this Redis is in {} mode; one primary is needed", mode));
  if (field(info, "loading") == "1") return fail(errc::unavailable, "the server is loading its data");
  if (field(info, "role") == "slave")
    return fail(errc::unavailable, fmt::format("the server is a replica of {}:{}; the primary is needed",
                                               field(info, "master_host"), field(info, "master_port")));
  auto policy = field(info, "maxmemory_policy");
  bool bounded = !field(info, "maxmemory").empty() && field(info, "maxmemory") != "0";
  if (bounded && !policy.empty() && policy != "noeviction")
    return fail(errc::unsupported,
                fmt::format("maxmemory-policy is {}: Redis would throw objects away; set it to noeviction", policy));
  bool aof = field(info, "aof_enabled") == "1";
  out.durability = promise(aof, appendfsync, save);
  if (!aof)
    out.warning = "without an append-only file acknowledged writes are lost with the process; set appendonly yes";
  if (!policy.empty() && policy != "noeviction")
    out.warning += fmt::format("{}maxmemory-policy is {}: set it to noeviction before a maxmemory is set",
                               out.warning.empty() ? "" : "; ", policy);
  return out;
}

task<result<server_facts>> check_server(connection& c) {
  auto option = [](result<reply>& r) -> std::optional<std::string> {
    if (!r || r->size() < 2) return std::nullopt;
    return std::string((*r)[1].text());
  };
  auto info = co_await c.run(command::of("INFO"));
  auto fsync = co_await c.run(command::of("CONFIG", "GET", "appendfsync"));
  auto save = co_await c.run(command::of("CONFIG", "GET", "save"));
  if (!c.usable()) co_return fail(errc::unavailable, c.why().message);
  if (!info) {
    server_facts unknown;
    unknown.version = "of unknown version";
    unknown.durability = "durability not known: this user may not ask INFO";
    if (info.error().code == errc::unavailable) co_return fail(std::move(info).error());
    co_return unknown;
  }
  co_return read_facts((**info).text(), option(fsync), option(save));
}

}  // namespace kedge::datastore::redis
