// plugin_watcher.h: programs that register with the node by a socket in a folder of it, as with the kubelet's plugin
// watcher: CSI drivers by their node-driver-registrar, and whoever speaks pluginregistration v1 the same.
//
//   plugins_registry/**.sock ─▶ GetInfo ─▶ the handler of its type: add ─▶ NotifyRegistrationStatus
//   the socket goes, or another has its name ─▶ handler: remove
//
// A registration that fails is tried again as long as the socket is there.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "reactor/scope.h"
#include "reactor/stream.h"

namespace kedge::node {

// What a plugin says of itself (PluginInfo).
struct plugin_info {
  std::string type, name;
  std::string endpoint;  // the socket that it serves; where it says none, the one that it registers by
  std::vector<std::string> versions;
};

// errc::protocol when the bytes are no such message.
result<plugin_info> decode_plugin_info(std::string_view message);
std::string encode_registration_status(bool registered, std::string_view problem);

// Takes the plugins of one type.
class plugin_handler {
 public:
  virtual ~plugin_handler() = default;
  virtual std::string_view type() const = 0;  // "CSIPlugin", "DRAPlugin", "DevicePlugin"
  // Before it is added: whether it can be. The plugin is told why not.
  virtual result<void> check(const plugin_info& plugin) const = 0;
  virtual task<result<void>> add(plugin_info plugin) = 0;
  virtual task<void> remove(plugin_info plugin) = 0;
};

class plugin_watcher {
 public:
  // The handlers outlive this.
  plugin_watcher(std::string folder, std::vector<plugin_handler*> handlers, reactor::network* network)
      : folder_(std::move(folder)), handlers_(std::move(handlers)), network_(network) {}
  plugin_watcher(const plugin_watcher&) = delete;
  plugin_watcher& operator=(const plugin_watcher&) = delete;

  // Until dropped. Makes the folder.
  task<void> run();

 private:
  struct entry {
    std::uint64_t made = 0;  // tells a socket from another one of its name
    bool registered = false;
    plugin_info plugin;
    reactor::scope trying;  // last: ends first
  };
  task<void> try_to_register(std::string socket, entry& e);
  task<result<void>> register_once(std::string socket, entry& e);
  plugin_handler* handler_of(std::string_view type) const;

  std::string folder_;
  std::vector<plugin_handler*> handlers_;
  reactor::network* network_;
  std::map<std::string, std::unique_ptr<entry>, std::less<>> sockets_;
};

// The sockets in `folder` and the folders in it, each with what tells it from another of its name. Names that begin
// with '.' are nobody's. Blocking.
std::map<std::string, std::uint64_t, std::less<>> sockets_in(const std::string& folder);

}  // namespace kedge::node
