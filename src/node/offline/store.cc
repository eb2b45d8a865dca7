#include "node/offline/store.h"

#include <fmt/format.h>

#include <filesystem>
#include <span>

#include "base/log.h"
#include "base/random.h"
#include "base/strings.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/limits.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;
namespace fs = std::filesystem;

std::string digest_of(std::string_view text) { return crypto::sha256_hex(as_bytes(text)).substr(0, 32); }

struct record {
  std::string path;
  value kept;
};

result<record> open_record(const std::string& file, const std::string& key) {
  KEDGE_TRY(auto sealed, crypto::read_file(file, offline_record_bytes_max));
  KEDGE_TRY(auto text, crypto::gcm_open(key, sealed, fs::path(file).filename().string()));
  KEDGE_TRY(auto parsed, json::parse(text));
  auto path = std::string(parsed["path"].as_string());
  if (path.empty()) return fail(errc::corrupt, "it names no object");
  return record{std::move(path), parsed["object"]};
}

result<void> write_record(const std::string& file, const std::string& key, std::string_view path,
                          std::string_view object_text) {
  auto text = fmt::format(R"({{"path":{},"object":{}}})", json::write(value(path)), object_text);
  std::string nonce(crypto::gcm_nonce_bytes, '\0');
  system_random().fill(std::as_writable_bytes(std::span(nonce)));
  KEDGE_TRY(auto sealed, crypto::gcm_seal(key, nonce, text, fs::path(file).filename().string()));
  return crypto::write_file(file, sealed);
}

std::map<std::string, std::string, std::less<>> look(const std::string& folder, const std::string& key) {
  std::map<std::string, std::string, std::less<>> out;
  std::error_code problem;
  std::vector<fs::path> useless;
  for (auto i = fs::directory_iterator(folder, problem); !problem && i != fs::directory_iterator();
       i.increment(problem)) {
    auto r = open_record(i->path(), key);
    if (r && out.size() < offline_records_max)
      out.emplace(r->path, digest_of(json::write(r->kept)));
    else
      useless.push_back(i->path());
  }
  for (auto& path : useless) fs::remove(path, problem);
  return out;
}

}  // namespace

offline_store::offline_store(std::string folder, std::string_view node_password)
    : folder_(std::move(folder)),
      key_(crypto::sha256(as_bytes("kedge: offline records\n" + std::string(node_password)))) {}

std::string offline_store::file_of(std::string_view path) const { return folder_ + "/" + digest_of(path); }

task<void> offline_store::open() {
  auto read = co_await reactor::offload([folder = folder_, key = key_] {
    (void)crypto::make_folder(folder, 0700);
    return look(folder, key);
  });
  if (read) kept_ = *std::move(read);
  tasks_.spawn(work());
}

task<std::optional<value>> offline_store::find(std::string path) {
  if (auto due = due_.find(path); due != due_.end()) {
    if (!due->second) co_return std::nullopt;
    auto parsed = json::parse(*due->second);
    co_return parsed ? std::optional(*std::move(parsed)) : std::nullopt;
  }
  if (!kept_.contains(path)) co_return std::nullopt;
  auto read = co_await reactor::offload([file = file_of(path), key = key_] { return open_record(file, key); });
  if (!read || !*read || (**read).path != path) co_return std::nullopt;
  co_return std::move((**read).kept);
}

std::vector<std::string> offline_store::paths() const {
  std::vector<std::string> out;
  for (auto& [path, digest] : kept_) out.push_back(path);
  return out;
}

void offline_store::keep(std::string path, const value& object) {
  auto text = json::write(object);
  auto digest = digest_of(text);
  auto known = kept_.find(path);
  if (known != kept_.end() && known->second == digest) return;
  if (known == kept_.end() && kept_.size() >= offline_records_max) return;
  if (text.size() > offline_object_bytes_max) return;
  kept_.insert_or_assign(path, std::move(digest));
  due_.insert_or_assign(std::move(path), std::move(text));
  more_.set();
}

void offline_store::forget(const std::string& path) {
  if (kept_.erase(path) == 0) return;
  due_.insert_or_assign(path, std::nullopt);
  more_.set();
}

void offline_store::forget_below(std::string_view prefix) {
  for (auto i = kept_.lower_bound(prefix); i != kept_.end() && i->first.starts_with(prefix);) {
    due_.insert_or_assign(i->first, std::nullopt);
    i = kept_.erase(i);
    more_.set();
  }
}

// One after another: the newest of each path is what lies there in the end.
task<void> offline_store::work() {
  for (;;) {
    co_await more_.wait();
    more_.reset();
    while (!due_.empty()) {
      auto one = *due_.begin();
      auto done = co_await reactor::offload([one, file = file_of(one.first), key = key_]() -> result<void> {
        if (one.second) return write_record(file, key, one.first, *one.second);
        std::error_code ignored;
        fs::remove(file, ignored);
        return {};
      });
      if (!done || !*done) {
        log::warning("what pods need without servers can't be kept: {}",
                     done ? done->error().message : done.error().message);
        kept_.erase(one.first);
      }
      // Unless it is another by now.
      if (auto now = due_.find(one.first); now != due_.end() && now->second == one.second) due_.erase(now);
    }
  }
}

}  // namespace kedge::node
