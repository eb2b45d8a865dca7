#include "control/nodes/machine_clones.h"

#include <fmt/format.h>

#include <functional>

#include "base/strings.h"

namespace kedge::control {

namespace {

std::string_view said(const json::value& node, std::string_view what) {
  return node["status"]["nodeInfo"][what].as_string();
}
std::size_t mark(std::string_view text) { return std::hash<std::string_view>()(text); }

}  // namespace

std::string machine_clones::saw(std::string_view name, const json::value& node) {
  const auto id = said(node, "machineID"), boot_id = said(node, "bootID");
  if (id.empty() || boot_id.empty()) return {};
  const auto boot = mark(boot_id);
  auto& m = machines_.try_emplace(mark(id), machine{std::string(name), boot}).first->second;
  if (m.name != name) return m.boot == boot ? std::string() : m.name;
  m.boot = boot;
  return {};
}

void machine_clones::gone(std::string_view name, const json::value& node) {
  auto it = machines_.find(mark(said(node, "machineID")));
  if (it != machines_.end() && it->second.name == name) machines_.erase(it);
}

bool are_clones(const json::value& one, const json::value& other) {
  const auto id = said(one, "machineID"), boot = said(one, "bootID"), other_boot = said(other, "bootID");
  return !id.empty() && id == said(other, "machineID") && !boot.empty() && !other_boot.empty() && boot != other_boot;
}

std::string clones_text(std::string_view one, std::string_view other) {
  return fmt::format(
      "the nodes {} and {} are machines of one machine-id: they were made of one image, or one is a copy of the other. "
      "What goes by it (addresses of DHCP, MAC addresses, logs) takes them for one: give each its own (empty "
      "/etc/machine-id and boot; `kedge prepare-image` before an image is made). Where both are one machine under its "
      "old and its new name, delete the old Node",
      quote(one), quote(other));
}

}  // namespace kedge::control
