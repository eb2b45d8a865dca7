// settings.h: an etcd of this server's own, as K3s's "embedded" one: whether there is one, and where it lies.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

namespace kedge::server {

struct etcd_settings {
  bool managed = false;  // the cluster has one
  bool member = true;    // this server runs a member of it; else it uses the others'
  std::string join;      // https://server:6443 of the cluster to join, while there is no data here; empty: a new one
  std::string address;   // where the other members reach this one
  bool expose_metrics = false;  // on the address, too; always on loopback
  std::string binary;           // empty: beside this program, else on PATH
};

// $D/server/db/etcd has been a member's before.
inline bool etcd_has_data(const std::string& server_dir) {
  std::error_code ignored;
  return std::filesystem::is_directory(server_dir + "/db/etcd/member/wal", ignored);
}

// Stands after a --cluster-reset until the server is started without it.
inline std::string etcd_reset_flag(const std::string& server_dir) { return server_dir + "/db/reset-flag"; }

}  // namespace kedge::server
