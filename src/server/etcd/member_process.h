// member_process.h: etcd itself as a child process: started, watched, started again when it ends, and told to end.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reactor/process.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::server {

struct member_options {
  std::string binary;
  std::string name, address;       // of this member
  std::string data, certificates;  // $D/server/db/etcd, $D/server/tls/etcd
  std::string log_file;
  std::string cluster;  // "a=https://10.0.0.1:2380,b=…": how it begins; of no use once it has data
  bool joins = false;   // that cluster is there already
  bool expose_metrics = false;
  bool alone = false;   // on loopback, for nobody but this process
  bool one_of = false;  // with its data it becomes all of its cluster (etcd's force-new-cluster)
};

std::vector<std::string> arguments_of(const member_options& o);
// etcd beside this program, else on PATH; errc::not_found says how to get it.
result<std::string> find_etcd(const std::string& wanted);

class member_process {
 public:
  explicit member_process(member_options o) : options_(std::move(o)) {}

  // Runs it from now on.
  result<void> start();
  // Set when it isn't started again: it ends as often as it is started, or is none of the cluster's members any more
  // (errc::expired). why() tells, with its last words.
  reactor::event& gave_up() noexcept { return gave_up_; }
  const error& why() const noexcept { return *why_; }
  task<void> stop();

 private:
  task<void> keep();
  task<void> bound_log();
  result<void> spawn();
  std::optional<error> hopeless(std::string_view said) const;

  member_options options_;
  std::optional<reactor::process> running_;
  std::optional<error> why_;
  std::size_t log_from_ = 0;  // where what this run says begins
  reactor::event gave_up_, ended_;
  bool stopping_ = false;
  reactor::scope watching_;  // last: ends first
};

}  // namespace kedge::server
