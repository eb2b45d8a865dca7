// etcd_server.h: an etcd cluster of the test's own: data in temporary folders, loopback ports that were free, stopped
// and removed at the end. Who connects waits for it.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "postgres_server.h"

extern char** environ;

namespace kedge::datastore {

struct etcd_setup {
  int members = 1;
  std::vector<std::string> more = {};  // options
  std::string tls_folder = {};         // with ca.pem, server.pem, server.key: clients need a certificate
};

class etcd_server {
 public:
  explicit etcd_server(etcd_setup s = {}) : setup_(std::move(s)) {
    char name[] = "/tmp/kedge-etcd-XXXXXX";
    folder_ = ::mkdtemp(name);
    for (int i = 0; i < setup_.members; ++i) members_.push_back({free_port(), free_port()});
    for (int i = 0; i < setup_.members; ++i) start(i);
  }
  etcd_server(const etcd_server&) = delete;
  ~etcd_server() {
    for (int i = 0; i < setup_.members; ++i) stop(i, SIGKILL);
    std::filesystem::remove_all(folder_);
  }

  void start(int i) {
    auto& m = members_[static_cast<std::size_t>(i)];
    std::string cluster;
    for (int n = 0; n < setup_.members; ++n)
      cluster += fmt::format("{}m{}=http://127.0.0.1:{}", n ? "," : "", n, members_[static_cast<std::size_t>(n)].peer);
    std::vector<std::string> argv{"etcd",
                                  "--name",
                                  fmt::format("m{}", i),
                                  "--data-dir",
                                  data(i),
                                  "--listen-client-urls",
                                  url(i),
                                  "--advertise-client-urls",
                                  url(i),
                                  "--listen-peer-urls",
                                  fmt::format("http://127.0.0.1:{}", m.peer),
                                  "--initial-advertise-peer-urls",
                                  fmt::format("http://127.0.0.1:{}", m.peer),
                                  "--initial-cluster",
                                  cluster,
                                  "--max-request-bytes",
                                  "10000000",
                                  "--logger",
                                  "zap",
                                  "--log-level",
                                  "error",
                                  "--log-outputs",
                                  fmt::format("{}/m{}.log", folder_, i)};
    if (!setup_.tls_folder.empty()) {
      for (auto [flag, file] :
           {std::pair("--trusted-ca-file", "ca.pem"), {"--cert-file", "server.pem"}, {"--key-file", "server.key"}}) {
        argv.push_back(flag);
        argv.push_back(setup_.tls_folder + "/" + file);
      }
      argv.push_back("--client-cert-auth");
    }
    for (auto& a : setup_.more) argv.push_back(a);
    std::vector<char*> raw;
    for (auto& a : argv) raw.push_back(a.data());
    raw.push_back(nullptr);
    REQUIRE_MESSAGE(::posix_spawnp(&m.pid, "etcd", nullptr, nullptr, raw.data(), environ) == 0,
                    "etcd is needed: apt-get install etcd-server");
  }
  void stop(int i, int with = SIGTERM) {
    auto& pid = members_[static_cast<std::size_t>(i)].pid;
    if (pid <= 0) return;
    ::kill(pid, SIGCONT);
    ::kill(pid, with);
    ::waitpid(std::exchange(pid, 0), nullptr, 0);
  }
  pid_t pid(int i) const { return members_[static_cast<std::size_t>(i)].pid; }
  int port(int i = 0) const { return members_[static_cast<std::size_t>(i)].client; }
  std::string data(int i = 0) const { return fmt::format("{}/m{}", folder_, i); }
  std::string url(int i) const {
    return fmt::format("http{}://127.0.0.1:{}", setup_.tls_folder.empty() ? "" : "s", port(i));
  }
  // All members, as --datastore-endpoint.
  std::string endpoint() const {
    std::string out;
    for (int i = 0; i < setup_.members; ++i) out += (i ? "," : "") + url(i);
    return out;
  }
  int members() const { return setup_.members; }

 private:
  struct member {
    int client = 0, peer = 0;
    pid_t pid = 0;
  };
  etcd_setup setup_;
  std::string folder_;
  std::vector<member> members_;
};

}  // namespace kedge::datastore
