// pods.h: a node of a test's own, a container runtime that calls the CNI plugins as libcni does, and datagrams to see
// who reaches whom.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "namespaces.h"
#include "node/cni/plugin.h"
#include "node/network/cni_config.h"
#include "node/network/sysctl.h"

namespace kedge::node {

// A runtime: the node's namespace, a folder, and calls of the conflist's plugins as libcni makes them.
struct runtime {
  test_namespace node;
  std::string folder = "/tmp/kedge-cni-test-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  json::value conflist;
  static inline int counter = 0;

  static constexpr const char* usual =
      "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.3.1/24\nFLANNEL_IPV6_NETWORK=fd42::/48\n"
      "FLANNEL_IPV6_SUBNET=fd42:0:0:3::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
  explicit runtime(const std::string& environment = usual) {
    std::filesystem::create_directories(folder);
    CHECK(crypto::write_file(folder + "/subnet.env", environment));
    conflist = json::parse(cni_conflist({.subnet_file = folder + "/subnet.env", .leases = folder + "/leases"})).value();
  }
  ~runtime() { std::filesystem::remove_all(folder); }

  cni::outcome call(std::string_view plugin, const std::string& command, const std::string& id, const std::string& ns,
                    const json::value& config, const std::string& interface = "eth0") {
    std::map<std::string, std::string> environment{
        {"CNI_COMMAND", command}, {"CNI_CONTAINERID", id}, {"CNI_NETNS", ns}, {"CNI_IFNAME", interface}};
    cni::outcome o;
    node.run([&] { o = cni::call(plugin, [&](const char* key) { return environment[key]; }, json::write(config)); });
    return o;
  }
  // All plugins of the list; the last result, or the first error.
  json::value run(const std::string& command, const std::string& id, const std::string& ns, json::value previous = {},
                  json::array ports = {}) {
    auto plugins = *conflist["plugins"].array();
    if (command == "DEL") std::ranges::reverse(plugins);
    for (auto& p : plugins) {
      auto config = p;
      config.set("name", conflist["name"]);
      config.set("cniVersion", conflist["cniVersion"]);
      if (p["type"].as_string() == "portmap") {
        config.set("runtimeConfig", json::object{{"portMappings", ports}});
        config.set("dataDir", folder + "/hostports");
      }
      if (!previous.is_null()) config.set("prevResult", previous);
      auto o = call(p["type"].as_string(), command, id, ns, config);
      if (o.code != 0) return json::parse(o.output).value();
      if (command == "ADD") previous = json::parse(o.output).value();
    }
    return previous;
  }
};

inline std::string address_in(const json::value& added, std::size_t i = 0) {
  return std::string(added["ips"][i]["address"].as_string());
}

inline sockaddr_in socket_address(std::string_view address, std::uint16_t port) {
  sockaddr_in s{};
  s.sin_family = AF_INET;
  s.sin_port = htons(port);
  ::inet_pton(AF_INET, std::string(address).c_str(), &s.sin_addr);
  return s;
}

// A datagram from one namespace to a socket that listens in another; the address it came from, or empty.
inline std::string datagram(const test_namespace& from, const test_namespace& to, std::string_view address,
                            std::uint16_t port, std::uint16_t listens = 0) {
  int receiver = -1;
  to.run([&] {
    receiver = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    auto at = socket_address("0.0.0.0", listens ? listens : port);
    CHECK(::bind(receiver, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  });
  from.run([&] {
    int s = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    auto at = socket_address(address, port);
    ::sendto(s, "x", 1, 0, reinterpret_cast<sockaddr*>(&at), sizeof at);
    ::close(s);
  });
  pollfd p{receiver, POLLIN, 0};
  char text[INET_ADDRSTRLEN] = "";
  if (::poll(&p, 1, 2000) == 1) {
    char byte;
    sockaddr_in who{};
    socklen_t size = sizeof who;
    ::recvfrom(receiver, &byte, 1, 0, reinterpret_cast<sockaddr*>(&who), &size);
    ::inet_ntop(AF_INET, &who.sin_addr, text, sizeof text);
  }
  ::close(receiver);
  return text;
}

// Listening sockets of TCP port 8080 in pods.
struct servers {
  std::vector<int> fds;
  void add(const test_namespace& pod, std::uint16_t port = 8080) {
    pod.run([&] {
      int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      int on = 1;
      ::setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      auto at = socket_address("0.0.0.0", port);
      CHECK(::bind(s, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
      CHECK(::listen(s, 64) == 0);
      fds.push_back(s);
    });
  }
  ~servers() {
    for (int s : fds) ::close(s);
  }
  // "0 10.42.3.1": who took the connection, and from which address it came; or "refused", "nothing".
  std::string ask(const test_namespace& from, std::string_view address, std::uint16_t port, int patience_ms = 1500) {
    int s = -1;
    std::string out;
    from.run([&] {
      s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      auto at = socket_address(address, port);
      ::connect(s, reinterpret_cast<sockaddr*>(&at), sizeof at);
    });
    pollfd p{s, POLLOUT, 0};
    int why = 0;
    socklen_t size = sizeof why;
    if (::poll(&p, 1, patience_ms) != 1) {
      out = "nothing";
    } else if (::getsockopt(s, SOL_SOCKET, SO_ERROR, &why, &size); why != 0) {
      out = why == ECONNREFUSED ? "refused" : std::string("error ") + std::to_string(why);
    } else {
      out = "nobody";
      for (std::size_t i = 0; i < fds.size(); ++i) {
        sockaddr_in who{};
        socklen_t bytes = sizeof who;
        int taken = ::accept(fds[i], reinterpret_cast<sockaddr*>(&who), &bytes);
        if (taken < 0) continue;
        char text[INET_ADDRSTRLEN];
        ::inet_ntop(AF_INET, &who.sin_addr, text, sizeof text);
        out = std::to_string(i) + " " + text;
        ::close(taken);
      }
    }
    ::close(s);
    return out;
  }
};

}  // namespace kedge::node
