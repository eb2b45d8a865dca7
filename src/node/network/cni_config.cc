#include "node/network/cni_config.h"

#include <stdio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <map>

#include "base/kubernetes_version.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/value.h"
#include "json/write.h"
#include "node/cni/plugin.h"

namespace kedge::node {

namespace fs = std::filesystem;

std::string cni_conflist(const cni_settings& s) {
  using json::array;
  using json::object;
  cni_settings usual;
  json::value flannel(
      object{{"type", "flannel"},
             {"delegate", object{{"hairpinMode", true}, {"forceAddress", true}, {"isDefaultGateway", true}}}});
  if (s.subnet_file != usual.subnet_file) flannel.set("subnetFile", s.subnet_file);
  if (s.leases != usual.leases) flannel.set("ipam", object{{"dataDir", s.leases}});
  json::value portmap(object{{"type", "portmap"}, {"capabilities", object{{"portMappings", true}}}});
  json::value list(
      object{{"cniVersion", "1.0.0"}, {"name", "cbr0"}, {"plugins", array{std::move(flannel), std::move(portmap)}}});
  return json::write_indented(list, 2) + "\n";
}

namespace {

// Whether the small program that is nothing but the plugins can stand for this one: it is there, and of this release.
result<void> check_small(const std::string& program) {
  if (::access(program.c_str(), X_OK) != 0) return fail(os_error(errno, program));
  if (program.contains('\'')) return fail(errc::unsupported, program + " has a quote in its name");
  auto* said = ::popen(("'" + program + "' -v 2>/dev/null").c_str(), "re");
  if (!said) return fail(os_error(errno, program));
  std::array<char, 256> words{};
  auto size = ::fread(words.data(), 1, words.size(), said);
  bool well = ::pclose(said) == 0;
  if (well && trim(std::string_view(words.data(), size)) == kedge_version) return {};
  return fail(errc::conflict, program + " is of another release than " + std::string(kedge_version));
}

// It takes a quarter of what this one does to begin.
std::string plugin_program(const std::string& self) {
  auto small = self.substr(0, self.find_last_of('/') + 1) + "kedge-cni";
  auto usable = check_small(small);
  if (usable) return small;
  log::warning("pods are given their network by {} itself, which takes some 12 ms of processor more for each: {}", self,
               usable.error().message);
  return self;
}

}  // namespace

result<void> link_plugins(const std::string& folder, bool ours_first) {
  std::error_code failed;
  auto self = fs::read_symlink("/proc/self/exe", failed).string();
  if (failed) return fail(os_error(failed.value(), "/proc/self/exe"));
  std::map<std::string, std::string> ours, theirs;
  auto program = plugin_program(self);
  for (auto name : cni::plugin_names()) ours.emplace(name, program);
  for (auto* place : {"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"}) {
    if (fs::path(place) == fs::path(folder)) continue;
    for (fs::directory_iterator at(place, failed), end; !failed && at != end; at.increment(failed))
      theirs.emplace(at->path().filename(), at->path());
  }
  auto all = ours_first ? ours : theirs;
  all.merge(ours_first ? theirs : ours);
  KEDGE_CHECK(crypto::make_folder(folder, 0755));
  for (auto& [name, target] : all) {
    auto path = folder + "/" + name;
    if (fs::read_symlink(path, failed) == target) continue;
    auto fresh = folder + "/." + name + ".new";
    ::unlink(fresh.c_str());
    // By a rename: a pod may be starting just now.
    if (::symlink(target.c_str(), fresh.c_str()) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0)
      return fail(os_error(errno, path));
  }
  return {};
}

}  // namespace kedge::node
