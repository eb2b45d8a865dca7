#include "node/pods/user_namespaces.h"

#include <fmt/format.h>

#include <filesystem>
#include <limits>
#include <vector>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/limits.h"
#include "reactor/offload.h"
#include "reactor/process.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;

constexpr std::string_view file_name = "userns";

value mapping_of(const id_range& ids) {
  return json::array{
      object{{"hostId", std::int64_t(ids.first)}, {"containerId", 0}, {"length", std::int64_t(ids.length)}}};
}

bool has_user(const std::string& passwd, std::string_view name) {
  auto text = crypto::read_file(passwd, passwd_bytes_max);
  if (!text) return false;
  for (auto line : split(*text, '\n'))
    if (line.substr(0, line.find(':')) == name) return true;
  return false;
}

// What getsubids says; nullopt: there is none, or nobody of that name.
task<result<std::optional<std::string>>> subordinate_ids(bool of_groups) {
  std::vector<std::string> command = {"getsubids"};
  if (of_groups) command.emplace_back("-g");
  command.emplace_back("kubelet");
  auto child = reactor::process::spawn({.argv = std::move(command), .capture_output = true});
  if (!child && child.error().code == errc::not_found) co_return std::optional<std::string>();
  if (!child) co_return fail(std::move(child).error());
  KEDGE_CO_TRY(auto output, co_await child->output(subordinate_ids_bytes_max));
  KEDGE_CO_TRY(auto code, co_await child->wait());
  if (code != 0)
    co_return fail(errc::unavailable, fmt::format("error retrieving additional {} for user \"kubelet\": exit status {}",
                                                  of_groups ? "gids" : "uids", code));
  co_return std::optional(std::move(output));
}

// The user kubelet's, where there is one; else all ids but the first block, which are people's.
task<result<id_range>> machines_ids(std::uint32_t ids_per_pod) {
  const id_range rest{ids_per_pod, std::numeric_limits<std::uint32_t>::max() - ids_per_pod + 1};
  auto known = co_await reactor::offload([] { return has_user("/etc/passwd", "kubelet"); });
  if (!known) co_return fail(std::move(known).error());
  if (!*known) co_return rest;
  KEDGE_CO_TRY(auto uids, co_await subordinate_ids(false));
  if (!uids) co_return rest;
  KEDGE_CO_TRY(auto gids, co_await subordinate_ids(true));
  if (uids != gids) co_return fail(errc::conflict, "mismatched subuids and subgids for user \"kubelet\"");
  co_return parse_subordinate_ids(*uids);
}

}  // namespace

std::string write_id_range(const id_range& ids) {
  return json::write(value(object{{"uidMappings", mapping_of(ids)}, {"gidMappings", mapping_of(ids)}}));
}

result<id_range> read_id_range(std::string_view text) {
  KEDGE_TRY(auto file, json::parse(text));
  auto &uids = file["uidMappings"], &gids = file["gidMappings"];
  if (uids.size() != 1)
    return fail(errc::corrupt, "invalid user namespace configuration: no more than one mapping allowed.");
  if (uids != gids)
    return fail(errc::corrupt, "invalid user namespace configuration: GID and UID mapping should be identical");
  auto& one = uids[0];
  if (one["containerId"].as_integer() != 0)
    return fail(errc::corrupt, "invalid user namespace configuration: UID 0 must be mapped");
  auto first = one["hostId"].as_integer(), length = one["length"].as_integer();
  constexpr std::int64_t most = std::numeric_limits<std::uint32_t>::max();
  if (first <= 0 || first > most || length <= 0 || length > most)
    return fail(errc::corrupt, "invalid user namespace mappings file: it has no ids");
  return id_range{static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(length)};
}

result<id_range> parse_subordinate_ids(std::string_view text) {
  auto line = trim(text);
  std::vector<std::string_view> words;
  for (auto word : split(line, ' '))
    if (!word.empty()) words.push_back(word);
  if (line.contains('\n'))
    return fail(errc::invalid, fmt::format("error parsing line \"{}\": it must contain only one line", text));
  auto first = words.size() == 4 ? parse_uint(words[2]) : std::nullopt;
  auto length = words.size() == 4 ? parse_uint(words[3]) : std::nullopt;
  constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
  // Ids behind the last one would begin anew at 0, which is root.
  if (!first || !length || *first > most || *length > most || *first + *length > most + 1)
    return fail(errc::invalid, fmt::format("invalid line \"{}\"", line));
  return id_range{static_cast<std::uint32_t>(*first), static_cast<std::uint32_t>(*length)};
}

result<id_blocks> id_blocks::make(const id_range& all, std::uint32_t length, int pods_max) {
  auto wrong = [&](const std::string& what) {
    return fail(errc::invalid, fmt::format("kubelet user assigned {} of {}", what, length));
  };
  if (all.first % length != 0) return wrong(fmt::format("ID {} is not a multiple", all.first));
  if (all.first < length) return wrong(fmt::format("ID {} must be greater or equal to the block", all.first));
  if (all.length % length != 0) return wrong(fmt::format("IDs length {} is not a multiple", all.length));
  id_blocks out;
  out.length_ = length;
  out.first_ = all.first / length;
  out.count_ = all.length / length;
  if (out.count_ < static_cast<std::uint32_t>(pods_max))
    return fail(errc::invalid, fmt::format("kubelet user assigned IDs are not enough to support {} pods", pods_max));
  return out;
}

std::optional<id_range> id_blocks::find(std::string_view uid) const {
  auto has = given_.find(uid);
  if (has == given_.end()) return std::nullopt;
  return id_range{has->second * length_, length_};
}

// One behind the other, so that what a pod leaves behind isn't soon another's.
result<id_range> id_blocks::give(std::string_view uid) {
  if (auto has = find(uid)) return *has;
  if (used_.size() >= count_) return fail(errc::exhausted, "could not find an empty slot to allocate a user namespace");
  while (used_.contains(first_ + next_)) next_ = (next_ + 1) % count_;
  auto block = first_ + next_;
  next_ = (next_ + 1) % count_;
  used_.insert(block);
  given_.emplace(uid, block);
  return id_range{block * length_, length_};
}

result<void> id_blocks::take(std::string_view uid, const id_range& ids) {
  if (ids.length != length_) return fail(errc::conflict, fmt::format("wrong user namespace length {}", ids.length));
  if (ids.first % length_ != 0)
    return fail(errc::conflict, fmt::format("wrong user namespace offset specified {}", ids.first));
  auto block = ids.first / length_;
  if (block < first_ || block - first_ >= count_)
    return fail(errc::conflict, fmt::format("id {} is out of range", ids.first));
  if (auto has = find(uid)) {
    if (*has == ids) return {};
    return fail(errc::conflict, fmt::format("different user namespace range already used by pod \"{}\"", uid));
  }
  if (!used_.insert(block).second)
    return fail(errc::conflict, fmt::format("range picked for pod \"{}\" already taken", uid));
  given_.emplace(uid, block);
  return {};
}

void id_blocks::keep_only(const std::function<bool(std::string_view uid)>& is_there) {
  std::erase_if(given_, [&](auto& one) {
    if (is_there(one.first)) return false;
    used_.erase(one.second);
    return true;
  });
}

task<void> user_namespaces::begin() {
  struct found {
    std::string uid, text;
  };
  auto ids = co_await machines_ids(parts_.ids_per_pod);
  auto blocks = ids ? id_blocks::make(*ids, parts_.ids_per_pod, parts_.pods_max)
                    : result<id_blocks>(std::unexpected(ids.error()));
  auto kept = co_await reactor::offload([pods = parts_.pods] {
    std::vector<found> out;
    std::error_code problem;
    for (auto it = std::filesystem::directory_iterator(pods, problem);
         !problem && it != std::filesystem::directory_iterator(); it.increment(problem))
      if (auto text = crypto::read_file(it->path().string() + "/" + std::string(file_name), id_file_bytes_max))
        out.push_back({it->path().filename().string(), *std::move(text)});
    return out;
  });
  if (!blocks)
    problem_ = "kubelet mappings: " + blocks.error().message;
  else if (!kept)
    problem_ = "read pods from disk: " + kept.error().message;
  else
    for (auto& one : *kept) {
      auto range = read_id_range(one.text);
      auto taken = range ? blocks->take(one.uid, *range) : result<void>(std::unexpected(range.error()));
      if (!taken) log::warning("the ids of pod {}'s users: {}", one.uid, taken.error().message);
    }
  if (problem_.empty())
    blocks_.emplace(*std::move(blocks));
  else
    log::warning("no pod gets users of its own: {}", problem_);
  begun_.set();
}

task<result<id_range>> user_namespaces::ids_of(std::string uid) {
  co_await begun_.wait();
  if (!blocks_) co_return fail(errc::unavailable, problem_);
  if (auto has = blocks_->find(uid)) co_return *has;
  if (parts_.knows_all()) blocks_->keep_only(parts_.is_there);
  KEDGE_CO_TRY(auto ids, blocks_->give(uid));
  auto written = co_await reactor::offload([folder = parts_.pods + "/" + uid, ids]() -> result<void> {
    KEDGE_CHECK(crypto::make_folder(folder, 0750));
    return crypto::write_file(folder + "/" + std::string(file_name), write_id_range(ids), {.mode = 0600});
  });
  if (written && *written) co_return ids;
  blocks_->keep_only([&](auto other) { return other != uid; });
  co_return fail(error(written ? written->error() : written.error()).with("create user namespace: "));
}

}  // namespace kedge::node
