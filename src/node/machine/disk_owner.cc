#include "node/machine/disk_owner.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::node {

namespace fs = std::filesystem;

machine_marks marks_of_this_machine() {
  machine_marks m;
  if (auto text = crypto::read_file("/etc/machine-id")) m.machine_id = trim(*text);
  std::error_code wrong;
  for (fs::directory_iterator i("/sys/class/net", wrong); !wrong && i != fs::directory_iterator(); i.increment(wrong)) {
    std::error_code none;
    if (!fs::exists(i->path() / "device", none)) continue;  // bridges, tunnels, lo
    if (auto text = crypto::read_file((i->path() / "address").string())) m.mac_addresses.emplace_back(trim(*text));
  }
  std::ranges::sort(m.mac_addresses);
  return m;
}

bool is_another(const machine_marks& before, const machine_marks& now) {
  if (!before.machine_id.empty() && !now.machine_id.empty() && before.machine_id != now.machine_id) return true;
  if (before.mac_addresses.empty() || now.mac_addresses.empty()) return false;
  return std::ranges::none_of(now.mac_addresses, [&](auto& a) {
    return std::ranges::find(before.mac_addresses, a) != before.mac_addresses.end();
  });
}

result<std::string> look_at_owner(const std::string& file, const machine_marks& now, const std::string& node_name) {
  machine_marks before = now;
  if (auto text = crypto::read_file(file)) {
    if (auto v = json::parse(*text)) {
      before.machine_id = (*v)["machineId"].as_string();
      before.mac_addresses.clear();
      if (auto* all = (*v)["macAddresses"].array())
        for (auto& a : *all) before.mac_addresses.emplace_back(a.as_string());
    }
    if (before == now) return std::string();
  } else if (text.error().code != errc::not_found) {
    return fail(text.error());
  }
  json::array addresses;
  for (auto& a : now.mac_addresses) addresses.emplace_back(a);
  KEDGE_CHECK(crypto::make_folder(file.substr(0, file.rfind('/')), 0755));
  KEDGE_CHECK(crypto::write_file(
      file, json::write(json::object{{"machineId", now.machine_id}, {"macAddresses", std::move(addresses)}})));
  if (!is_another(before, now)) return std::string();
  return fmt::format(
      "this disk ran in another machine before (machine-id {} there, {} here): where it is a copy of one that still "
      "runs, "
      "both are the node {}, and take it from each other. Run `kedge prepare-image` here, give this machine a name of "
      "its "
      "own (host name, --node-name or --with-node-id), and start again; where the disk was moved, all is well",
      before.machine_id.empty() ? "unknown" : before.machine_id, now.machine_id.empty() ? "unknown" : now.machine_id,
      node_name);
}

}  // namespace kedge::node
