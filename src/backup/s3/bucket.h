// bucket.h: the snapshots of a bucket: put there, listed, fetched, removed.
//
// Files go in pieces, and are never in memory as a whole. What fails for the moment (no connection, 5xx) is tried
// again, within the settings' timeout; what is refused says S3's own reason.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backup/s3/settings.h"
#include "net/http/client.h"
#include "reactor/task.h"

namespace kedge::backup::s3 {

struct item {
  std::string name;  // without the folder
  std::uint64_t bytes = 0;
  wall_time modified{};
};
// What a page of ListObjectsV2 says: items, and how to go on ("": it is the last). Names keep their folder.
struct listing {
  std::vector<item> items;
  std::string next;
};
result<listing> parse_listing(std::string_view xml);

class bucket {
 public:
  // Reads the CA file: blocking. Errors name the flag.
  static result<bucket> open(settings s);

  // Whether it is there, and may be written to by these credentials as far as that can be asked.
  task<result<void>> look();
  task<result<void>> put(std::string path, std::string name, std::vector<std::pair<std::string, std::string>> metadata);
  task<result<void>> get(std::string name, std::string path);
  // Newest first.
  task<result<std::vector<item>>> list(std::string prefix);
  task<result<void>> remove(std::string name);
  // All but the newest that are of the prefix (folder.h); the names that went. keep 0: none.
  task<result<std::vector<std::string>>> prune(std::string prefix, std::size_t keep);

  std::string location(const std::string& name) const { return "s3://" + settings_.bucket + key_of(name); }

 private:
  bucket(settings s, net::http::target to, std::shared_ptr<reactor::network> way)
      : settings_(std::move(s)), to_(std::move(to)), way_(std::move(way)) {}
  request make(std::string method, const std::string& key) const;
  net::http::client_request sign_now(const request& r) const;
  std::string key_of(const std::string& name) const;  // with a slash in front
  task<result<net::http::client_response>> ask(request r);
  task<result<void>> send_file(request r, std::string path, std::uint64_t size);
  task<result<void>> receive_file(request r, std::string path);
  task<result<std::vector<item>>> read_list(std::string prefix);

  settings settings_;
  net::http::target to_;
  std::shared_ptr<reactor::network> way_;  // through a proxy; null: directly
};

}  // namespace kedge::backup::s3
