#include "cli/commands/leftovers.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "cli/commands/services.h"
#include "node/network/links.h"
#include "node/nft/batch.h"

namespace kedge::cli::commands {

namespace {

namespace fs = std::filesystem;

// mountinfo writes spaces and the like as \040.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool is_below(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) &&
         (folder.ends_with('-') || path.size() == folder.size() || path[folder.size()] == '/');
}

// The node mounts it on itself where the machine's mounts aren't shared (make_shared in node/pods/files.cc).
constexpr std::string_view kubelet_folder = "/var/lib/kubelet";

// As mountinfo says it: without links on the way to it.
std::string without_links(const fs::path& path) {
  std::error_code unknown;
  auto real = fs::weakly_canonical(path, unknown);
  return unknown ? path.string() : real.string();
}

// Deepest first. `folders`: without links. What the folder itself is mounted on is the machine's, and not among them.
std::vector<std::string> mounts_below(const std::vector<std::string>& folders) {
  std::vector<std::string> out;
  std::ifstream in("/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    auto fields = split(line, ' ');
    if (fields.size() < 5) continue;
    auto path = unescaped(fields[4]);
    const auto below = [&](const std::string& f) { return is_below(path, f) && path != f; };
    const auto root = unescaped(fields[3]);
    const bool on_itself = path == kubelet_folder && root != "/" && path.ends_with(root);
    if (on_itself || std::ranges::any_of(folders, below)) out.push_back(std::move(path));
  }
  std::ranges::sort(out, std::greater());
  return out;
}

class remover {
 public:
  explicit remover(const std::vector<std::string>& data_dirs) : data_dirs_(data_dirs) {}

  taken_away run() {
    unmount();
    namespaces();
    links();
    tables();
    old_rules();
    control_groups();
    state();
    return std::move(out_);
  }

 private:
  void failed(std::string what) { out_.failures.push_back(std::move(what)); }
  void count(std::size_t n, std::string_view what) {
    if (n) out_.what.push_back(fmt::format("{} {}", n, what));
  }

  void unmount() {
    std::vector<std::string> folders;
    // Of a data directory only what containerd mounts: a disk for `storage` or `server/db` is the machine's, and a
    // server that is started again without it would begin another cluster.
    for (auto& folder : data_dirs_) folders.push_back(without_links(folder + "/agent/containerd"));
    for (auto* folder :
         {"/run/k3s", "/run/k3s-", "/var/lib/kubelet/pods", "/var/lib/kubelet/plugins", "/run/netns/cni-"})
      folders.push_back(without_links(folder));
    std::size_t n = 0;
    // Twice, for what was mounted over; and a mount may be there more than once.
    for (int round = 0; round < 3; ++round)
      for (auto& path : mounts_below(folders)) {
        if (::umount2(path.c_str(), MNT_DETACH) == 0)
          ++n;
        else if (errno != EINVAL && errno != ENOENT)
          failed(os_error(errno, "unmount " + path).message);
      }
    count(n, "mounts");
  }

  void namespaces() {
    std::size_t n = 0;
    std::error_code ignored;
    for (auto& entry : fs::directory_iterator("/run/netns", ignored))
      if (entry.path().filename().string().starts_with("cni-") && ::unlink(entry.path().c_str()) == 0) ++n;
    count(n, "network namespaces of pods");
  }

  void links() {
    auto here = node::links::open();
    auto all = here ? here->all() : result<std::vector<node::link_info>>(fail(here.error()));
    if (!all) return failed(all.error().message);
    static constexpr std::string_view ours[] = {"cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6"};
    auto is_ours = [](const node::link_info& l) { return std::ranges::find(ours, l.name) != std::end(ours); };
    auto bridge = std::ranges::find(*all, "cni0", &node::link_info::name);
    std::size_t n = 0;
    for (auto& l : *all) {
      const bool port = bridge != all->end() && l.master == bridge->index;
      if (!port && !is_ours(l)) continue;
      if (auto gone = here->remove(l.index); gone || gone.error().code == errc::not_found)
        ++n;
      else
        failed(l.name + ": " + gone.error().message);
    }
    count(n, "network links");
  }

  void tables() {
    auto socket = node::netlink::socket::open(NETLINK_NETFILTER);
    if (!socket) return;  // nor can there be any
    std::size_t n = 0;
    for (auto family : {NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_INET}) {
      auto names = node::nft::list_tables(*socket, static_cast<std::uint8_t>(family));
      if (!names) continue;  // the kernel has no such family
      for (auto& name : *names) {
        if (!name.starts_with("kedge")) continue;
        node::nft::batch b(static_cast<std::uint8_t>(family), name);
        b.remove_table();
        if (auto done = node::nft::commit(*socket, b); !done)
          failed("table " + name + ": " + done.error().message);
        else
          ++n;
      }
    }
    count(n, "tables of nftables");
  }

  // Of a K3s that ran here before: nothing of Kedge's is in iptables.
  void old_rules() {
    for (std::string name : {"iptables", "ip6tables"}) {
      auto done =
          run_tool({"sh", "-c",
                    fmt::format("command -v {0}-save >/dev/null || exit 0; r=$({0}-save 2>/dev/null) || exit 0; "
                                "printf '%s\\n' \"$r\" | grep -qE 'KUBE-|CNI-|flannel' || exit 0; "
                                "printf '%s\\n' \"$r\" | grep -vE 'KUBE-|CNI-|flannel' | {0}-restore",
                                name)});
      if (!done) failed(name + "'s rules of a K3s: " + done.error().message);
    }
  }

  // Empty ones can be removed, the deepest first.
  void control_groups() {
    std::error_code ignored;
    std::vector<std::string> roots{"/sys/fs/cgroup"};
    for (auto& entry : fs::directory_iterator("/sys/fs/cgroup", ignored))
      if (entry.is_directory(ignored) && !entry.is_symlink(ignored)) roots.push_back(entry.path().string());
    std::size_t n = 0;
    for (auto& root : roots)
      for (auto* name : {"kubepods", "kubepods.slice"}) {
        const auto top = root + "/" + name;
        if (!fs::is_directory(top, ignored)) continue;
        std::vector<std::string> all{top};
        for (auto& entry : fs::recursive_directory_iterator(top, ignored))
          if (entry.is_directory(ignored)) all.push_back(entry.path().string());
        std::ranges::sort(all, std::greater());
        for (auto& folder : all) {
          if (::rmdir(folder.c_str()) == 0)
            ++n;
          else if (errno != ENOENT)
            failed(os_error(errno, "remove the control group " + folder).message);
        }
      }
    count(n, "control groups");
  }

  void state() {
    std::vector<std::string> folders{"/var/lib/cni", "/run/k3s", "/run/flannel"};
    std::error_code ignored;
    for (auto& entry : fs::directory_iterator("/run", ignored)) {
      const auto name = entry.path().filename().string();
      // By config.cc: the digest of a data directory.
      if (name.starts_with("k3s-") && name.size() == 12) folders.push_back(entry.path().string());
    }
    for (auto& folder : folders) {
      if (!fs::exists(folder, ignored)) continue;
      if (auto done = remove_folder(folder); !done)
        failed(done.error().message);
      else
        out_.what.push_back(folder);
    }
  }

  const std::vector<std::string>& data_dirs_;
  taken_away out_;
};

// `mounted`: what is mounted below it, and stays.
result<void> remove_below(const fs::path& folder, const std::vector<std::string>& mounted) {
  std::error_code unread;
  for (auto& entry : fs::directory_iterator(folder, unread)) {
    if (std::ranges::find(mounted, entry.path().string()) != mounted.end()) continue;
    std::error_code failed;
    if (entry.is_directory(failed) && !entry.is_symlink(failed)) KEDGE_CHECK(remove_below(entry.path(), mounted));
    if (!fs::remove(entry.path(), failed) && failed && failed.value() != EBUSY && failed.value() != ENOTEMPTY)
      return fail(os_error(failed.value(), "remove " + entry.path().string()));
  }
  if (unread) return fail(os_error(unread.value(), "read " + folder.string()));
  return {};
}

}  // namespace

taken_away remove_leftovers(const std::vector<std::string>& data_dirs) { return remover(data_dirs).run(); }

result<void> remove_folder(const std::string& folder) {
  // The last name may be a link: that goes, and not what it leads to.
  const fs::path given(folder);
  const auto path = (fs::path(without_links(given.parent_path())) / given.filename()).string();
  std::error_code failed;
  const auto kind = fs::symlink_status(path, failed).type();
  if (kind == fs::file_type::not_found) return {};
  if (kind == fs::file_type::directory) KEDGE_CHECK(remove_below(path, mounts_below({path})));
  if (!fs::remove(path, failed) && failed && failed.value() != EBUSY && failed.value() != ENOTEMPTY)
    return fail(os_error(failed.value(), "remove " + path));
  return {};
}

result<void> remove_k3s_programs(const std::string& data_dir) {
  const auto folder = data_dir + "/data";
  std::error_code failed;
  if (fs::symlink_status(folder, failed).type() != fs::file_type::directory) return {};
  const auto is_k3s = [](std::string_view name) {
    static constexpr std::string_view known[] = {".lock", "cni", "current", "previous"};
    return std::ranges::find(known, name) != std::end(known) ||
           (name.size() == 64 && name.find_first_not_of("0123456789abcdef") == name.npos);
  };
  std::vector<std::string> found;
  for (auto& entry : fs::directory_iterator(folder, failed))
    if (is_k3s(entry.path().filename().string())) found.push_back(entry.path().string());
  for (auto& path : found) KEDGE_CHECK(remove_folder(path));
  fs::remove(folder, failed);  // unless there is more
  return {};
}

}  // namespace kedge::cli::commands
