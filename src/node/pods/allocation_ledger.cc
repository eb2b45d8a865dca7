#include "node/pods/allocation_ledger.h"

#include <cstdint>
#include <utility>

#include "json/parse.h"
#include "json/write.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::string_view of_containers = "ContainerResources", of_whole = "PodLevelResources";

// FNV-1a of 32 bits of the text as Go prints it with its type (checkpointmanager/checksum).
std::int64_t checksum_of(std::string_view text) {
  std::uint32_t out = 2'166'136'261U;
  for (auto part : {std::string_view("(string)"), text})
    for (char c : part) out = (out ^ static_cast<unsigned char>(c)) * 16'777'619U;
  return out;
}

}  // namespace

const value* allocation_ledger::find(std::string_view uid) const {
  auto i = pods_.find(uid);
  return i == pods_.end() ? nullptr : &i->second;
}

void allocation_ledger::set(std::string_view uid, value resources) {
  pods_.insert_or_assign(std::string(uid), std::move(resources));
}

const value* allocation_ledger::find(std::string_view uid, std::string_view container) const {
  auto* pod = find(uid);
  return pod ? (*pod)[of_containers].find(container) : nullptr;
}

void allocation_ledger::set(std::string_view uid, std::string_view container, value resources) {
  auto& pod = pods_.try_emplace(std::string(uid), json::object{}).first->second;
  pod.member(of_containers).set(container, std::move(resources));
}

const value* allocation_ledger::find_whole(std::string_view uid) const {
  auto* pod = find(uid);
  auto* whole = pod ? pod->find(of_whole) : nullptr;
  return whole && whole->is_object() ? whole : nullptr;
}

void allocation_ledger::set_whole(std::string_view uid, value resources) {
  pods_.try_emplace(std::string(uid), json::object{}).first->second.set(of_whole, std::move(resources));
}

bool allocation_ledger::erase(std::string_view uid, std::string_view container) {
  auto i = pods_.find(uid);
  if (i == pods_.end() || !i->second.member(of_containers).erase(container)) return false;
  if (i->second[of_containers].empty() && !find_whole(uid)) pods_.erase(i);
  return true;
}

bool allocation_ledger::erase(std::string_view uid) {
  auto i = pods_.find(uid);
  if (i == pods_.end()) return false;
  pods_.erase(i);
  return true;
}

bool allocation_ledger::keep_only(const std::set<std::string, std::less<>>& uids) {
  return std::erase_if(pods_, [&](auto& one) { return !uids.contains(one.first); }) > 0;
}

std::string allocation_ledger::checkpoint() const {
  json::object entries;
  for (auto& [uid, resources] : pods_) entries.set(uid, resources);
  auto data = json::write(json::object{{"entries", std::move(entries)}});
  auto sum = checksum_of(data);
  return json::write(json::object{{"data", std::move(data)}, {"checksum", sum}});
}

result<void> allocation_ledger::restore(std::string_view text) {
  auto file = json::parse(text);
  if (!file) return fail(errc::corrupt, file.error().message);
  auto data = (*file)["data"].as_string();
  if ((*file)["checksum"].as_integer() != checksum_of(data)) return fail(errc::corrupt, "checkpoint is corrupted");
  auto all = json::parse(data);
  if (!all) return fail(errc::corrupt, all.error().message);
  pods_.clear();
  if (auto* entries = (*all)["entries"].object())
    for (auto& [uid, resources] : *entries)
      if (resources.is_object()) pods_.insert_or_assign(std::string(uid), resources);
  return {};
}

}  // namespace kedge::node
