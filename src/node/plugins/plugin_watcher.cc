#include "node/plugins/plugin_watcher.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "base/protobuf_wire.h"
#include "crypto/files.h"
#include "net/grpc.h"
#include "node/plugins/limits.h"
#include "reactor/loop.h"
#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

using reactor::loop;

constexpr std::string_view service = "/pluginregistration.Registration/";

task<result<std::string>> ask(net::grpc::channel& channel, std::string_view method, std::string message) {
  co_return co_await reactor::with_deadline(
      channel.unary(std::string(service) + std::string(method), std::move(message)),
      loop::current().now() + plugin_answer_time);
}

}  // namespace

result<plugin_info> decode_plugin_info(std::string_view message) {
  plugin_info out;
  wire::fields f(message);
  while (f.next()) switch (f.field()) {
      case 1: out.type = f.bytes(); break;
      case 2: out.name = f.bytes(); break;
      case 3: out.endpoint = f.bytes(); break;
      case 4:
        if (out.versions.size() < plugin_versions_max) out.versions.emplace_back(f.bytes());
        break;
    }
  if (!f.ok()) return fail(errc::protocol, "a plugin's PluginInfo is malformed");
  return out;
}

std::string encode_registration_status(bool registered, std::string_view problem) {
  return wire::writer().number(1, registered).text(2, problem).take();
}

std::map<std::string, std::uint64_t, std::less<>> sockets_in(const std::string& folder) {
  std::map<std::string, std::uint64_t, std::less<>> out;
  namespace fs = std::filesystem;
  std::error_code problem;
  std::size_t seen = 0;
  for (auto it = fs::recursive_directory_iterator(folder, problem);
       !problem && it != fs::recursive_directory_iterator() && ++seen <= plugin_files_max; it.increment(problem)) {
    struct stat about{};
    if (it->path().filename().string().starts_with('.')) {
      it.disable_recursion_pending();
      continue;
    }
    if (::lstat(it->path().c_str(), &about) != 0 || !S_ISSOCK(about.st_mode)) continue;
    constexpr std::uint64_t nanoseconds = 1'000'000'000;
    out[it->path().string()] = static_cast<std::uint64_t>(about.st_ctim.tv_sec) * nanoseconds +
                               static_cast<std::uint64_t>(about.st_ctim.tv_nsec) + about.st_ino;
  }
  return out;
}

plugin_handler* plugin_watcher::handler_of(std::string_view type) const {
  auto it = std::find_if(handlers_.begin(), handlers_.end(), [&](auto* h) { return h->type() == type; });
  return it == handlers_.end() ? nullptr : *it;
}

// In the kubelet's words, which registrars log.
task<result<void>> plugin_watcher::register_once(std::string socket, entry& e) {
  net::grpc::channel channel({.at = reactor::endpoint::unix_path(socket)}, plugin_answer_bytes_max, network_);
  auto answer = co_await ask(channel, "GetInfo", {});
  if (!answer)
    co_return fail(
        answer.error().code,
        fmt::format("RegisterPlugin error -- failed to get plugin info using RPC GetInfo at socket {}, err: {}", socket,
                    answer.error().message));
  KEDGE_CO_TRY(auto plugin, decode_plugin_info(*answer));
  if (plugin.endpoint.empty()) plugin.endpoint = socket;
  auto* handler = handler_of(plugin.type);
  std::string problem;
  if (!handler) {
    problem = fmt::format("RegisterPlugin error -- no handler registered for plugin type: {} at socket {}", plugin.type,
                          socket);
  } else if (auto fine = handler->check(plugin); !fine) {
    problem = "RegisterPlugin error -- plugin validation failed with err: " + fine.error().message;
  } else {
    // Before it is added: should its socket go meanwhile, it is removed.
    e.plugin = plugin;
    e.registered = true;
    if (auto added = co_await handler->add(plugin); !added) {
      e.registered = false;
      problem = "RegisterPlugin error -- plugin registration failed with err: " + added.error().message;
    }
  }
  auto told = co_await ask(channel, "NotifyRegistrationStatus", encode_registration_status(e.registered, problem));
  if (!problem.empty()) co_return fail(errc::invalid, std::move(problem));
  if (!told) {
    e.registered = false;
    co_await handler->remove(std::move(plugin));
    co_return fail(told.error().code,
                   fmt::format("RegisterPlugin error -- failed to send registration status at socket {}, err: {}",
                               socket, told.error().message));
  }
  co_return result<void>();
}

task<void> plugin_watcher::try_to_register(std::string socket, entry& e) {
  std::string last;
  for (auto pause = plugin_retry_first;; pause = std::min(pause * 2, plugin_retry_most)) {
    auto done = co_await register_once(socket, e);
    if (done) {
      log::info("plugin {} ({}) registered by {}", e.plugin.name, e.plugin.type, socket);
      co_return;
    }
    if (done.error().message != last) log::warning("{}", done.error().message);
    last = std::move(done).error().message;
    co_await reactor::sleep_for(pause);
  }
}

task<void> plugin_watcher::run() {
  for (;;) {
    auto found = co_await reactor::offload([folder = folder_] {
      (void)crypto::make_folder(folder, 0755);
      return sockets_in(folder);
    });
    if (found) {
      std::vector<plugin_info> gone;
      std::erase_if(sockets_, [&](auto& one) {
        auto there = found->find(one.first);
        if (there != found->end() && there->second == one.second->made) return false;
        one.second->trying.cancel();
        if (one.second->registered) gone.push_back(one.second->plugin);
        return true;
      });
      for (auto& plugin : gone) {
        log::info("plugin {} ({}) is gone", plugin.name, plugin.type);
        if (auto* handler = handler_of(plugin.type)) co_await handler->remove(plugin);
      }
      for (auto& [socket, made] : *found) {
        if (sockets_.contains(socket)) continue;
        auto& e = *sockets_.emplace(socket, std::make_unique<entry>()).first->second;
        e.made = made;
        e.trying.spawn(try_to_register(socket, e));
      }
    }
    co_await reactor::sleep_for(plugin_folder_interval);
  }
}

}  // namespace kedge::node
