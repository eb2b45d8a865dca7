#include "node/dns/custom.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/strings.h"
#include "node/dns/limits.h"
#include "node/dns/names.h"
#include "node/dns/zone_names.h"

namespace kedge::node::dns {

namespace {

using words = std::vector<std::string>;

// Each once, and no more than a person reads.
void add_problem(words& all, std::string what) {
  if (all.size() > custom_problems_max || std::ranges::find(all, what) != all.end()) return;
  all.push_back(all.size() < custom_problems_max ? std::move(what) : "and more");
}

// What a configuration may still have: it is every node's, and one ConfigMap could fill them all.
struct room {
  std::size_t words = custom_words_max, hosts = custom_hosts_max, patterns = custom_patterns_max,
              forwards = custom_forwards_max, file_bytes = custom_file_bytes_max;
  bool take(const corefile_line& p) {
    auto wanted = p.words.size();
    for (auto& l : p.block) wanted += l.size();
    if (wanted > words) return false;
    words -= wanted;
    return true;
  }
  // A file's text, each time that a line names it.
  bool take(std::string_view text) {
    if (text.size() > file_bytes) return false;
    file_bytes -= text.size();
    return true;
  }
};

// The files that CoreDNS' pod of K3s has: the keys of its ConfigMaps.
constexpr std::string_view custom_folder = "/etc/coredns/custom/", node_hosts_file = "/etc/coredns/NodeHosts";

std::optional<std::string_view> find_file(const config_sources& from, std::string_view path) {
  if (path == node_hosts_file) return from.node_hosts;
  if (!path.starts_with(custom_folder)) return std::nullopt;
  auto found = from.custom.find(std::string(path.substr(custom_folder.size())));
  if (found == from.custom.end()) return std::nullopt;
  return found->second;
}

// Lines of one text, and what it is called.
struct section {
  std::string key;
  std::vector<corefile_line> lines;
};

// Reads the plugins of one block into a zone.
class reader {
 public:
  reader(custom_zone& zone, custom_config& whole, const config_sources& from, room& r)
      : zone_(zone), whole_(whole), from_(from), room_(r) {}

  // `kept`: how answers are remembered where no line says it.
  void read(const std::vector<section>& all, const cache_options& kept) {
    auto cached = kept;
    for (auto& s : all)
      for (auto& p : s.lines)
        if (key_ = s.key; p.words[0] == "cache" && room_.take(p)) cached = read_cache_line(p, teller());
    zone_.kept = cached;
    if (zone_.name.empty()) whole_.machine.cache = cached;
    for (auto& s : all) {
      key_ = s.key;
      if (!read_lines(s.lines, cached)) return;
    }
  }

 private:
  bool read_lines(const std::vector<corefile_line>& lines, const cache_options& cached) {
    for (auto& p : lines) {
      auto& name = p.words[0];
      if (name == "cache") continue;
      if (!room_.take(p)) {
        tell(fmt::format("plugin {} and what follows: more than can be kept", name));
        return false;
      }
      if (name == "hosts")
        read_hosts(p);
      else if (name == "forward")
        read_forward(p, cached);
      else if (name == "rewrite")
        read_rewrite(p);
      else if (name == "template")
        read_template(p);
      else if (name == "kubernetes")
        read_kubernetes(p);
      else if (name == "log")
        zone_.log = true;
      else if (name == "errors")
        zone_.errors = true;
      else if (!needs_no_word(name))
        tell(fmt::format("plugin {} isn't known here", name));
    }
    return true;
  }

  // Always so here, or about CoreDNS' own pod and its probes.
  static bool needs_no_word(std::string_view plugin) {
    constexpr std::string_view all[] = {"reload", "loop", "loadbalance", "health", "ready"};
    return std::ranges::find(all, plugin) != std::end(all);
  }

  void tell(std::string what) { add_problem(whole_.problems, key_ + ": " + std::move(what)); }
  tell_problem teller() {
    return [this](std::string what) { tell(std::move(what)); };
  }

  // The cluster's names are as CoreDNS' of K3s's configuration: this says whether that is what is asked for.
  void read_kubernetes(const corefile_line& p) {
    zone_.cluster_names = true;
    for (std::size_t i = 1; i < p.words.size(); ++i) {
      auto zone = plain_zone(p.words[i]);
      if (zone != from_.domain && !is_under(zone, "in-addr.arpa") && !is_under(zone, "ip6.arpa"))
        tell(fmt::format("plugin kubernetes: the cluster's domain is {}, not {}", from_.domain, zone));
    }
    for (auto& l : p.block) {
      auto seconds = l[0] == "ttl" && l.size() == 2 ? parse_uint(l[1]) : std::nullopt;
      if (seconds && *seconds <= custom_cache_seconds_max)
        whole_.cluster_ttl = static_cast<std::uint32_t>(*seconds);
      else if (l[0] != "fallthrough" && !(l[0] == "pods" && l.size() == 2 && l[1] == "insecure"))
        tell(fmt::format("plugin kubernetes: \"{}\" isn't known here", join(l, " ")));
    }
  }

  void add_host(const words& line) {
    auto address = ip_address::parse(line[0]);
    if (!address || line.size() < 2)
      return tell(fmt::format("plugin hosts: \"{}\" is no address with a name", line[0]));
    auto& table = *zone_.hosts;
    for (std::size_t i = 1; i < line.size(); ++i) {
      if (room_.hosts == 0) return tell("plugin hosts: more names than can be kept");
      --room_.hosts;
      auto name = plain_zone(line[i]);
      // What lies outside is none of its business, even backwards.
      auto is_mine = [&](const std::string& zone) { return is_under(name, zone); };
      if (table.zones.empty() ? !is_mine(zone_.name) : std::ranges::none_of(table.zones, is_mine)) continue;
      if (forth_.emplace(name, *address).second) table.addresses[name].push_back(*address);
      if (!no_reverse_ && back_.emplace(name, *address).second) table.names[*address].push_back(name);
    }
  }

  // What the table has from another text: each pair is in it once, however many a name or an address has.
  void note_known(const host_table& table) {
    for (auto& [name, all] : table.addresses)
      for (auto& address : all) forth_.emplace(name, address);
    for (auto& [address, all] : table.names)
      for (auto& name : all) back_.emplace(name, address);
  }

  void read_hosts(const corefile_line& p) {
    if (!zone_.hosts) zone_.hosts.emplace();
    auto& table = *zone_.hosts;
    if (!std::exchange(noted_, true)) note_known(table);
    for (std::size_t i = 1; i < p.words.size(); ++i) {
      if (!p.words[i].starts_with('/') && table.zones.size() >= hosts_zones_max)
        return tell("plugin hosts: more zones than can be kept");
      if (!p.words[i].starts_with('/'))
        table.zones.push_back(plain_zone(p.words[i]));
      else if (!find_file(from_, p.words[i]))
        tell(fmt::format("plugin hosts: there is no file {} here", p.words[i]));
    }
    no_reverse_ = std::ranges::any_of(p.block, [](auto& l) { return l[0] == "no_reverse"; });
    for (auto& l : p.block) {
      auto& word = l[0];
      if (word == "fallthrough") {
        table.goes_on = table.goes_on || l.size() == 1;
        for (std::size_t i = 1; i < l.size(); ++i) table.goes_on_for.push_back(plain_zone(l[i]));
      } else if (word == "ttl") {
        if (auto n = l.size() > 1 ? parse_uint(l[1]) : std::nullopt; n && *n > 0 && *n <= 65535)
          table.ttl = static_cast<std::uint32_t>(*n);
        else
          tell("plugin hosts: ttl wants seconds, 1 to 65535");
      } else if (word != "no_reverse" && word != "reload") {
        add_host(l);
      }
    }
    for (std::size_t i = 1; i < p.words.size(); ++i) {
      auto text = find_file(from_, p.words[i]);
      if (text && !room_.take(*text)) return tell(fmt::format("plugin hosts: {}: more than can be kept", p.words[i]));
      if (text) add_hosts_file(*text);
    }
  }

  // As /etc/hosts; lines that aren't such are nobody's.
  void add_hosts_file(std::string_view text) {
    for (auto line : split(text, '\n')) {
      words all;
      line = line.substr(0, line.find('#'));
      for (std::size_t at = 0; (at = line.find_first_not_of(" \t\r", at)) != line.npos;) {
        auto end = std::min(line.find_first_of(" \t\r", at), line.size());
        all.emplace_back(line.substr(at, end - at));
        at = end;
      }
      if (all.size() > 1 && ip_address::parse(all[0])) add_host(all);
    }
  }

  void read_forward(const corefile_line& p, const cache_options& cached) {
    if (room_.forwards == 0) return tell("plugin forward: more zones than can be asked elsewhere");
    --room_.forwards;
    auto read = read_forward_line(p, {.own = from_.own, .trust = from_.trust, .cache = cached}, teller());
    if (!read) return;
    if (read->machine && zone_.name.empty() && read->rule.from.empty()) whole_.machine = *std::move(read->machine);
    zone_.forwards.push_back(std::move(read->rule));
  }

  void read_template(const corefile_line& p) {
    auto one = answer_template::read(p, zone_.name, room_.patterns);
    if (!one) return tell("plugin template: " + one.error().message);
    zone_.templates.push_back(*std::move(one));
  }

  void read_rewrite(const corefile_line& p) {
    auto w = words(p.words.begin() + 1, p.words.end());
    for (auto& l : p.block) w.insert(w.end(), l.begin(), l.end());
    name_rewrite r;
    if (!w.empty() && (w[0] == "stop" || w[0] == "continue")) {
      r.goes_on = w[0] == "continue";
      w.erase(w.begin());
    }
    auto refuse = [&] { tell(fmt::format("\"{}\" isn't known here", join(p.words, " "))); };
    if (w.size() < 3 || w[0] != "name") return refuse();
    w.erase(w.begin());
    using enum name_rewrite::kind;
    const std::pair<std::string_view, name_rewrite::kind> kinds[] = {
        {"exact", exact}, {"prefix", prefix}, {"suffix", suffix}, {"substring", substring}, {"regex", regex}};
    auto known = std::ranges::find(kinds, w[0], [](auto& k) { return std::string(k.first); });
    if (known != std::end(kinds)) {
      r.how = known->second;
      w.erase(w.begin());
    }
    // The answer has the name that was asked for in any case.
    if (w.size() == 4 && w[2] == "answer" && w[3] == "auto") w.resize(2);
    if (w.size() == 6 && w[2] == "answer" && w[3] == "name") w.resize(2);
    // Longer is no name.
    if (w.size() != 2 || w[1].size() > name_bytes_max) return refuse();
    if (r.how == regex) {
      auto compiled = compile_pattern(w[0], room_.patterns);
      if (!compiled) return tell("plugin rewrite: " + compiled.error().message);
      r.matches = *std::move(compiled);
      r.to = plain_zone(w[1]) + ".";
      zone_.rewrites.push_back(std::move(r));
      return;
    }
    r.from = plain_zone(w[0]) + ".";
    r.to = plain_zone(w[1]) + ".";
    if (r.from == ".") return refuse();
    zone_.rewrites.push_back(std::move(r));
  }

  custom_zone& zone_;
  custom_config& whole_;
  const config_sources& from_;
  room& room_;
  std::string key_;
  bool no_reverse_ = false;
  std::set<std::pair<std::string, ip_address>> forth_, back_;  // what the zone's table of hosts has
  bool noted_ = false;                                         // what it had from another text is in these
};

// "dns://example.org:53" is about example.org, at the one port that there is.
std::optional<std::string> zone_of_key(std::string_view text) {
  constexpr std::string_view scheme = "dns://";
  if (text.starts_with(scheme)) text.remove_prefix(scheme.size());
  if (text.contains("://")) return std::nullopt;
  if (auto colon = text.rfind(':'); colon != text.npos) {
    if (text.substr(colon + 1) != "53") return std::nullopt;
    text = text.substr(0, colon);
  }
  return plain_zone(text);
}

// `to` with its groups. What the asker brought is none of the rule's text: a group that reads {1} stays that.
std::string filled_in(std::string_view to, const words& groups) {
  std::string out;
  for (std::size_t at = 0; at < to.size();) {
    auto close = to[at] == '{' ? to.find('}', at) : to.npos;
    auto number = close == to.npos ? std::nullopt : parse_uint(to.substr(at + 1, close - at - 1));
    if (number && *number < groups.size()) {
      out += groups[*number];
      at = close + 1;
    } else {
      out += to[at++];
    }
  }
  return out;
}

}  // namespace

bool host_table::goes_on_about(std::string_view name) const {
  return goes_on || std::ranges::any_of(goes_on_for, [&](auto& z) { return is_under(name, z); });
}

std::string custom_zone::rewritten(std::string asked) const {
  asked += '.';
  for (auto& r : rewrites) {
    using enum name_rewrite::kind;
    bool done = false;
    if (r.how == exact && asked == r.from) {
      asked = r.to;
      done = true;
    } else if (r.how == prefix && asked.starts_with(r.from)) {
      asked = r.to + asked.substr(r.from.size());
      done = true;
    } else if (r.how == suffix && asked.ends_with(r.from)) {
      asked = asked.substr(0, asked.size() - r.from.size()) + r.to;
      done = true;
    } else if (r.how == substring) {
      for (auto at = asked.find(r.from); at != asked.npos; at = asked.find(r.from, at + r.to.size())) {
        asked.replace(at, r.from.size(), r.to);
        done = true;
      }
    }
    if (auto groups = r.how == regex ? groups_of(*r.matches, asked) : std::nullopt) {
      asked = filled_in(r.to, *groups);
      done = true;
    }
    // Longer is no name, and is told as such: rules that go on could double it each time.
    if ((done && !r.goes_on) || asked.size() > name_bytes_max) break;
  }
  while (asked.ends_with('.')) asked.pop_back();
  return asked;
}

std::optional<answer> custom_zone::find_template(const query& q) const {
  for (auto& t : templates)
    if (auto found = t.find(q); !found.goes_on) return std::move(found.answer);
  return std::nullopt;
}

std::optional<answer> custom_zone::find_host(const query& q) const {
  if (!hosts) return std::nullopt;
  answer out;
  if (q.type == type::ptr) {
    // Whatever it is the authority of, addresses that it doesn't know are asked elsewhere.
    auto address = parse_reverse(q.asked);
    auto names = address ? hosts->names.find(*address) : hosts->names.end();
    if (names == hosts->names.end()) return std::nullopt;
    for (auto& n : names->second) out.answers.push_back(name_record({}, type::ptr, n, hosts->ttl));
    return out;
  }
  auto& zones = hosts->zones;
  if (!zones.empty() && std::ranges::none_of(zones, [&](auto& z) { return is_under(q.asked, z); })) return std::nullopt;
  auto found = hosts->addresses.find(q.asked);
  if (found == hosts->addresses.end()) {
    if (hosts->goes_on_about(q.asked)) return std::nullopt;
    // No NXDOMAIN, which a resolver would want the zone's SOA for: as CoreDNS.
    out.code = rcode::server_failure;
    out.authoritative = false;
    return out;
  }
  for (auto& a : found->second)
    if (q.type == (a.is_v4() ? type::a : type::aaaa)) out.answers.push_back(address_record({}, a, hosts->ttl));
  return out;
}

const forward_rule* custom_zone::forward_of(std::string_view asked) const {
  for (auto& f : forwards)
    if (is_under(asked, f.from) && std::ranges::none_of(f.except, [&](auto& e) { return is_under(asked, e); }))
      return &f;
  return nullptr;
}

const custom_zone& custom_config::zone_of(std::string_view asked) const {
  const custom_zone* best = &everything;
  for (auto& z : zones)
    if (is_under(asked, z.name) && z.name.size() > best->name.size()) best = &z;
  return *best;
}

namespace {

constexpr const char* corefile_key = "Corefile";

// The whole configuration: blocks in their order, with what they import.
class assembly {
 public:
  explicit assembly(const config_sources& from) : from_(from) { out_.everything.cluster_names = true; }

  custom_config take() && { return std::move(out_); }

  // Without a Corefile.
  void read_k3s() {
    auto all = sections_of({{.words = {"import", "/etc/coredns/custom/*.override"}, .block = {}}}, {});
    read_everything(all, {});
    read_servers("/etc/coredns/custom/*.server");
    // Beside the packaged table of hosts, which goes on to what it doesn't know.
    auto& hosts = out_.everything.hosts;
    if (hosts) hosts->goes_on = true;
    corefile_line packaged{.words = {"hosts", std::string(node_hosts_file)}, .block = {{"fallthrough"}}};
    if (!hosts) packaged.block.push_back({"ttl", std::to_string(hosts_ttl)});
    room of_nodes;
    reader(out_.everything, out_, from_, of_nodes).read({{"NodeHosts", {packaged}}}, out_.machine.cache);
  }

  void read_corefile(const std::vector<corefile_server>& blocks) {
    for (auto& b : blocks) {
      if (!b.import.empty()) {
        read_servers(b.import);
        continue;
      }
      read_block(corefile_key, b, true);
    }
  }

  void tell(std::string_view key, std::string_view what) {
    add_problem(out_.problems, fmt::format("{}: {}", key, what));
  }

 private:
  // With what `import` names in its place.
  std::vector<section> sections_of(const std::vector<corefile_line>& lines, const std::string& key) {
    std::vector<section> out{{key, {}}};
    for (auto& l : lines) {
      if (l.words[0] != "import") {
        out.back().lines.push_back(l);
        continue;
      }
      for (auto& [name, text] : files_of(l.words.size() == 2 ? l.words[1] : "", key)) {
        auto plugins = parse_plugins(*text);
        if (!plugins)
          tell(name, plugins.error().message);
        else
          out.push_back({name, *std::move(plugins)});
      }
      out.push_back({key, {}});
    }
    return out;
  }

  // Keys of coredns-custom that an import means.
  std::vector<std::pair<std::string, const std::string*>> files_of(const std::string& path, std::string_view key) {
    std::vector<std::pair<std::string, const std::string*>> out;
    if (!path.starts_with(custom_folder)) {
      tell(key, fmt::format("import {}: there is no such file here", path));
      return out;
    }
    for (auto& [name, text] : from_.custom) {
      if (::fnmatch(path.c_str() + custom_folder.size(), name.c_str(), 0) != 0) continue;
      if (left_.take(std::string_view(text)))
        out.emplace_back(name, &text);
      else
        tell(key, fmt::format("import {}: more than can be kept", path));
    }
    return out;
  }

  void read_everything(const std::vector<section>& all, const cache_options& kept) {
    reader(out_.everything, out_, from_, left_).read(all, kept);
  }

  void read_servers(const std::string& path) {
    for (auto& [key, text] : files_of(path, corefile_key)) {
      auto servers = parse_servers(*text);
      if (!servers) {
        tell(key, servers.error().message);
        continue;
      }
      for (auto& s : *servers) {
        if (s.import.empty())
          read_block(key, s, false);
        else
          tell(key, fmt::format("import {}: not from an imported file", s.import));
      }
    }
  }

  void read_block(const std::string& key, const corefile_server& s, bool may_be_everything) {
    const auto sections = sections_of(s.plugins, key);
    for (auto& name : s.zones) {
      auto zone = zone_of_key(name);
      const bool is_everything = zone && zone->empty();
      if (!zone || (is_everything && !may_be_everything) || (!is_everything && out_.zones.size() >= custom_zones_max)) {
        tell(key, fmt::format("zone {} can't be served here", name));
        continue;
      }
      if (is_everything) {
        read_everything(sections, cache_options::none());
        continue;
      }
      custom_zone one;
      one.name = *std::move(zone);
      reader(one, out_, from_, left_).read(sections, cache_options::none());
      out_.zones.push_back(std::move(one));
    }
  }

  const config_sources& from_;
  custom_config out_;
  room left_;
};

}  // namespace

custom_config read_custom(const config_sources& from) {
  assembly a(from);
  if (from.corefile.empty()) {
    a.read_k3s();
    return std::move(a).take();
  }
  auto blocks = parse_servers(from.corefile);
  if (blocks) {
    a.read_corefile(*blocks);
  } else {
    // Names are more than the file's fault.
    a.tell(corefile_key, blocks.error().message + "; as if there were none");
    a.read_k3s();
  }
  return std::move(a).take();
}

}  // namespace kedge::node::dns
