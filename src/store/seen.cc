#include "store/seen.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::store {

seen_entry look_at(revision at, datastore::change kind, std::string_view key, std::string_view stored) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: tells apart, needs no secrecy
  auto add = [&](std::string_view text) {
    for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  };
  add(kind == datastore::change::create ? "c" : kind == datastore::change::update ? "u" : "d");
  add(key);
  add("|");
  if (kind != datastore::change::remove) add(stored);
  return {at, hash};
}

std::string write_seen(const seen_history& seen) {
  json::object out{{"cluster", seen.cluster},
                   {"revision", static_cast<std::int64_t>(seen.at)},
                   {"entry", json::object{{"revision", static_cast<std::int64_t>(seen.newest.at)},
                                          {"digest", fmt::format("{:016x}", seen.newest.digest)}}}};
  if (seen.lost) out.set("lost", true);
  return json::write(std::move(out)) + "\n";
}

result<seen_history> parse_seen(std::string_view text) {
  auto v = json::parse(text);
  auto digest = v ? unhex((*v)["entry"]["digest"].as_string()) : result<std::string>();
  auto at = v ? (*v)["revision"].as_integer(-1) : -1;
  if (!v || !digest || digest->size() != 8 || at < 0)
    return fail(errc::corrupt, "it is not what a server has noted of its database");
  seen_history out{.cluster = std::string((*v)["cluster"].as_string()), .at = static_cast<revision>(at)};
  out.newest.at = static_cast<revision>((*v)["entry"]["revision"].as_integer(0));
  for (unsigned char c : *digest) out.newest.digest = out.newest.digest << 8 | c;
  out.lost = (*v)["lost"].as_bool(false);
  return out;
}

std::string missing_of(const seen_history& seen, const found_history& found, bool begun) {
  if (begun && found.told > found.compacted)
    return fmt::format("another server had seen revision {} before it lost writes", found.told);
  if (seen.at == 0) return {};
  if (found.at == 0) return fmt::format("it is empty, and this server has seen revision {}", seen.at);
  if (!seen.cluster.empty() && !found.cluster.empty() && seen.cluster != found.cluster)
    return fmt::format("it is the cluster {}, and this server was one of {}", found.cluster, seen.cluster);
  if (!begun || found.compacted >= seen.at) return {};
  if (found.at < seen.at) return fmt::format("its newest revision is {}, this server has seen {}", found.at, seen.at);
  if (seen.lost) return fmt::format("it had lost writes up to revision {} when this server ended", seen.at);
  if (seen.newest.at > found.compacted && (!found.entry || *found.entry != seen.newest))
    return fmt::format("revision {} is not what it was", seen.newest.at);
  return {};
}

}  // namespace kedge::store
