#include "node/cni/host_local.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/ip.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "node/cni/limits.h"

namespace kedge::node::cni {

namespace {

namespace fs = std::filesystem;

// The folder of one network, locked against the other calls as long as this lives.
class store {
 public:
  static result<store> open(const request& r) {
    auto root = std::string(r.config["ipam"]["dataDir"].as_string("/var/lib/cni/networks"));
    auto folder = root + "/" + r.network();
    std::error_code failed;
    fs::create_directories(folder, failed);
    if (failed) return fail(os_error(failed.value(), "folder " + folder));
    auto file = folder + "/lock";
    int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return fail(os_error(errno, file));
    store s(std::move(folder), fd);
    while (::flock(fd, LOCK_EX) != 0)
      if (errno != EINTR) return fail(os_error(errno, file));
    return s;
  }
  store(store&& o) noexcept : folder_(std::move(o.folder_)), lock_(std::exchange(o.lock_, -1)) {}
  ~store() {
    if (lock_ >= 0) ::close(lock_);
  }

  std::string path(std::string_view name) const {
    auto file = std::string(name);
    std::ranges::replace(file, ':', '_');  // as the original, for file systems without colons
    return folder_ + "/" + file;
  }

  struct lease {
    std::string file, owner;
    ip_address address;
  };
  result<std::vector<lease>> leases() const {
    std::vector<lease> all;
    std::error_code failed;
    for (fs::directory_iterator at(folder_, failed), end; !failed && at != end; at.increment(failed)) {
      auto name = at->path().filename().string();
      auto text = name;
      std::ranges::replace(text, '_', ':');
      auto address = ip_address::parse(text);
      if (!address) continue;
      auto owner = crypto::read_file(at->path().string());
      if (owner) all.push_back({at->path().string(), std::string(trim(*owner)), *address});
    }
    if (failed) return fail(os_error(failed.value(), "folder " + folder_));
    return all;
  }

  // false: it is taken.
  result<bool> take(const ip_address& a, std::string_view owner) const {
    auto file = path(a.text());
    int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST) return false;
    if (fd < 0) return fail(os_error(errno, file));
    auto wrote = ::write(fd, owner.data(), owner.size());
    int why = errno;
    ::close(fd);
    if (wrote == static_cast<ssize_t>(owner.size())) return true;
    ::unlink(file.c_str());
    return fail(os_error(wrote < 0 ? why : ENOSPC, file));
  }

  std::optional<ip_address> last(std::size_t range_set) const {
    auto text = crypto::read_file(path("last_reserved_ip." + std::to_string(range_set)));
    return text ? ip_address::parse(trim(*text)) : std::nullopt;
  }
  result<void> set_last(std::size_t range_set, const ip_address& a) const {
    return crypto::write_file(path("last_reserved_ip." + std::to_string(range_set)), a.text(), {.mode = 0644});
  }

 private:
  store(std::string folder, int lock) : folder_(std::move(folder)), lock_(lock) {}
  std::string folder_;
  int lock_;
};

// Addresses of a subnet, by their distance from its beginning.
struct range {
  ip_range subnet;
  std::uint64_t first = 1, last = 1, gateway = 1;
  ip_address address(std::uint64_t offset) const { return *subnet.at(offset); }
  // Of an address of the subnet.
  std::uint64_t offset(const ip_address& a) const { return low(a) - low(subnet.network()); }
  bool contains(const ip_address& a) const { return subnet.contains(a) && offset(a) >= first && offset(a) <= last; }

 private:
  static std::uint64_t low(const ip_address& a) {
    return load_be64(reinterpret_cast<const std::byte*>(a.octets().data()) + 8) &
           (a.is_v4() ? 0xffffffffU : ~std::uint64_t(0));
  }
};

result<range> parse_range(const json::value& v) {
  auto subnet = ip_range::parse(v["subnet"].as_string());
  if (!subnet) return fail(errc::invalid, "ipam: \"" + std::string(v["subnet"].as_string()) + "\" is no subnet");
  unsigned host_bits = subnet->network().bits() - subnet->prefix();
  if (host_bits < 2) return fail(errc::invalid, "ipam: subnet " + subnet->text() + " is too small");
  range r{.subnet = *subnet};
  r.last = (std::uint64_t(1) << std::min(host_bits, 62U)) - 2;  // the last is IPv4's broadcast address
  auto bound = [&](const char* name, std::uint64_t& into) -> result<void> {
    if (v[name].is_null()) return {};
    auto a = ip_address::parse(v[name].as_string());
    if (!a || !subnet->contains(*a))
      return fail(errc::invalid, std::string("ipam: ") + name + " is no address of " + subnet->text());
    into = r.offset(*a);
    return {};
  };
  KEDGE_CHECK(bound("rangeStart", r.first));
  KEDGE_CHECK(bound("rangeEnd", r.last));
  KEDGE_CHECK(bound("gateway", r.gateway));
  if (r.first > r.last) return fail(errc::invalid, "ipam: the range of " + subnet->text() + " is empty");
  return r;
}

// One address is given of each set.
result<std::vector<std::vector<range>>> parse_ranges(const json::value& ipam) {
  std::vector<std::vector<range>> sets;
  if (!ipam["subnet"].is_null()) {  // the old form
    KEDGE_TRY(auto r, parse_range(ipam));
    sets.push_back({r});
  }
  if (auto* all = ipam["ranges"].array())
    for (auto& set : *all) {
      std::vector<range> ranges;
      if (auto* list = set.array())
        for (auto& one : *list) {
          KEDGE_TRY(auto r, parse_range(one));
          ranges.push_back(r);
        }
      if (ranges.empty()) return fail(errc::invalid, "ipam: a set of ranges is empty");
      sets.push_back(std::move(ranges));
    }
  if (sets.empty()) return fail(errc::invalid, "ipam: no range of addresses is given");
  return sets;
}

std::string owner_of(const request& r) { return r.container_id + "\r\n" + r.interface; }

// The first free address behind the one given last, round and round.
result<std::pair<ip_address, range>> allocate(const store& s, const std::vector<range>& set, std::size_t index,
                                              const std::string& owner) {
  std::size_t at = 0;
  auto offset = set.front().first;
  auto go_on = [&] {
    if (offset++ != set[at].last) return;
    at = (at + 1) % set.size();
    offset = set[at].first;
  };
  if (auto last = s.last(index))
    for (std::size_t i = 0; i < set.size(); ++i)
      if (set[i].contains(*last)) {
        at = i;
        offset = set[i].offset(*last);
        go_on();
        break;
      }
  const auto begin = std::pair(at, offset);
  for (std::uint64_t tried = 0; tried < addresses_tried_max && (tried == 0 || std::pair(at, offset) != begin);
       ++tried, go_on()) {
    if (offset == set[at].gateway) continue;
    auto address = set[at].address(offset);
    KEDGE_TRY(bool taken, s.take(address, owner));
    if (!taken) continue;
    KEDGE_CHECK(s.set_last(index, address));
    return std::pair(address, set[at]);
  }
  std::string names;
  for (auto& r : set) names += (names.empty() ? "" : ", ") + r.subnet.text();
  return fail(errc::exhausted, "no IP addresses available in range set: " + names);
}

}  // namespace

result<json::value> host_local_add(const request& r) {
  auto& ipam = r.config["ipam"];
  KEDGE_TRY(auto sets, parse_ranges(ipam));
  KEDGE_TRY(auto s, store::open(r));
  KEDGE_TRY(auto leases, s.leases());
  auto owner = owner_of(r);
  json::array ips;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    auto& set = sets[i];
    // What an earlier call of the same attachment took, which came to no end, is its own still.
    auto mine = std::ranges::find_if(leases, [&](auto& l) {
      return l.owner == owner && std::ranges::any_of(set, [&](auto& range) { return range.contains(l.address); });
    });
    std::pair<ip_address, range> given{{}, set.front()};
    if (mine != leases.end()) {
      given = {mine->address, *std::ranges::find_if(set, [&](auto& range) { return range.contains(mine->address); })};
    } else {
      auto taken = allocate(s, set, i, owner);
      if (!taken) {
        for (auto& l : s.leases().value_or(std::vector<store::lease>()))
          if (l.owner == owner) ::unlink(l.file.c_str());
        return fail(std::move(taken).error());
      }
      given = *std::move(taken);
    }
    ips.push_back(json::object{{"address", given.first.text() + "/" + std::to_string(given.second.subnet.prefix())},
                               {"gateway", given.second.address(given.second.gateway).text()}});
  }
  json::value out(json::object{{"ips", std::move(ips)}});
  if (ipam["routes"].is_array()) out.set("routes", ipam["routes"]);
  out.set("dns", json::object{});
  return out;
}

result<void> host_local_del(const request& r) {
  KEDGE_TRY(auto s, store::open(r));
  KEDGE_TRY(auto leases, s.leases());
  for (auto& l : leases)
    if (l.owner == owner_of(r) || l.owner == r.container_id) ::unlink(l.file.c_str());  // the second: of old versions
  return {};
}

result<void> host_local_check(const request& r) {
  KEDGE_TRY(auto s, store::open(r));
  KEDGE_TRY(auto leases, s.leases());
  if (std::ranges::find(leases, owner_of(r), &store::lease::owner) == leases.end())
    return fail(errc::internal, "no address is taken by container " + r.container_id);
  return {};
}

result<void> host_local_gc(const request& r) {
  KEDGE_TRY(auto s, store::open(r));
  KEDGE_TRY(auto leases, s.leases());
  auto valid = valid_attachments(r.config);
  for (auto& l : leases) {
    auto alive = std::ranges::any_of(valid, [&](auto& a) { return l.owner == a.first + "\r\n" + a.second; });
    if (!alive) ::unlink(l.file.c_str());
  }
  return {};
}

}  // namespace kedge::node::cni
