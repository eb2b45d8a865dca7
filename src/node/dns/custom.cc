#include "node/dns/custom.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "node/dns/limits.h"
#include "node/dns/names.h"
#include "node/dns/zone_names.h"

namespace kedge::node::dns {

namespace {

using words = std::vector<std::string>;

// "dns://192.0.2.53:5353", "[fd00::1]:53", "192.0.2.53".
std::optional<reactor::endpoint> resolver_of(std::string_view text) {
  constexpr std::string_view scheme = "dns://";
  if (text.starts_with(scheme)) text.remove_prefix(scheme.size());
  if (auto alone = ip_address::parse(text)) return reactor::endpoint{alone->text(), 53};
  auto colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  auto host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  auto address = ip_address::parse(host);
  auto port = parse_uint(text.substr(colon + 1));
  if (!address || !port || *port == 0 || *port > 65535) return std::nullopt;
  return reactor::endpoint{address->text(), static_cast<std::uint16_t>(*port)};
}

// Each once, and no more than a person reads.
void add_problem(words& all, std::string what) {
  if (all.size() > custom_problems_max || std::ranges::find(all, what) != all.end()) return;
  all.push_back(all.size() < custom_problems_max ? std::move(what) : "and more");
}

// What a configuration may still have: it is every node's, and one ConfigMap could fill them all.
struct room {
  std::size_t words = custom_words_max, hosts = custom_hosts_max, patterns = custom_patterns_max,
              forwards = custom_forwards_max;
  bool take(const corefile_line& p) {
    auto wanted = p.words.size();
    for (auto& l : p.block) wanted += l.size();
    if (wanted > words) return false;
    words -= wanted;
    return true;
  }
};

// Reads the plugins of one block into a zone.
class reader {
 public:
  reader(custom_zone& zone, std::string key, const std::vector<ip_address>& own, room& r, words& problems)
      : zone_(zone), key_(std::move(key)), own_(own), room_(r), problems_(problems) {}

  void read(const std::vector<corefile_line>& plugins) {
    std::optional<duration> cached;
    for (auto& p : plugins)
      if (p.words[0] == "cache") cached = read_cache(p);
    for (auto& p : plugins) {
      auto& name = p.words[0];
      if (!room_.take(p)) return tell(fmt::format("plugin {} and what follows: more than can be kept", name));
      if (name == "hosts")
        read_hosts(p);
      else if (name == "forward")
        read_forward(p, cached.value_or(duration(0)));
      else if (name == "rewrite")
        read_rewrite(p);
      else if (name == "template")
        read_template(p);
      else if (name == "log")
        zone_.log = true;
      else if (name == "errors")
        zone_.errors = true;
      else if (name != "cache" && name != "reload" && name != "loop" && name != "loadbalance")
        tell(fmt::format("plugin {} isn't known here", name));
    }
  }

 private:
  void tell(std::string what) { add_problem(problems_, key_ + ": " + std::move(what)); }
  void unknown(const corefile_line& p, std::size_t from = 0) {
    for (auto i = from; i < p.block.size(); ++i)
      tell(fmt::format("plugin {}: {} isn't known here", p.words[0], p.block[i][0]));
  }

  duration read_cache(const corefile_line& p) {
    unknown(p);
    if (p.words.size() < 2) return cache_time_max;
    auto seconds = parse_uint(p.words[1]);
    if (!seconds) tell(fmt::format("plugin cache: \"{}\" isn't a number of seconds", p.words[1]));
    return std::chrono::seconds(std::min<std::uint64_t>(seconds.value_or(0), custom_cache_seconds_max));
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
      auto& all = table.addresses[name];
      if (std::ranges::find(all, *address) == all.end()) all.push_back(*address);
      if (no_reverse_) continue;
      auto& names = table.names[*address];
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }

  void read_hosts(const corefile_line& p) {
    const bool first = !zone_.hosts;
    if (first) zone_.hosts.emplace();
    auto& table = *zone_.hosts;
    for (std::size_t i = 1; i < p.words.size(); ++i) {
      if (p.words[i].starts_with('/'))
        tell(fmt::format("plugin hosts: there is no file {} here", p.words[i]));
      else
        table.zones.push_back(plain_zone(p.words[i]));
    }
    no_reverse_ = std::ranges::any_of(p.block, [](auto& l) { return l[0] == "no_reverse"; });
    for (auto& l : p.block) {
      auto& word = l[0];
      if (word == "fallthrough") {
        table.goes_on = true;
      } else if (word == "ttl") {
        if (auto n = l.size() > 1 ? parse_uint(l[1]) : std::nullopt; n && *n > 0 && *n <= 65535)
          table.ttl = static_cast<std::uint32_t>(*n);
        else
          tell("plugin hosts: ttl wants seconds, 1 to 65535");
      } else if (word != "no_reverse" && word != "reload") {
        add_host(l);
      }
    }
  }

  // A question would go round until nothing more can wait.
  bool is_own(const reactor::endpoint& e) const {
    return std::ranges::any_of(own_, [&](auto& a) { return a == ip_address::parse(e.address); });
  }

  void read_forward(const corefile_line& p, duration cached) {
    if (p.words.size() < 3) return tell("plugin forward wants a zone and whom to ask");
    if (room_.forwards == 0) return tell("plugin forward: more zones than can be asked elsewhere");
    --room_.forwards;
    forward_rule rule{.from = plain_zone(p.words[1]), .except = {}, .to = nullptr};
    std::vector<reactor::endpoint> all;
    bool machine = false;
    for (std::size_t i = 2; i < p.words.size(); ++i) {
      if (p.words[i] == "/etc/resolv.conf")
        machine = true;
      else if (auto r = resolver_of(p.words[i]); r && !is_own(*r))
        all.push_back(*r);
      else if (r)
        tell(fmt::format("plugin forward: \"{}\" is this resolver itself", p.words[i]));
      else
        tell(fmt::format("plugin forward: \"{}\" can't be asked here", p.words[i]));
    }
    if (all.size() > custom_upstreams_max) all.resize(custom_upstreams_max);
    forward_options options{.cache_time = cached, .cache_bytes = custom_cache_bytes_max};
    for (auto& l : p.block) {
      if (l[0] == "except")
        for (std::size_t i = 1; i < l.size(); ++i) rule.except.push_back(plain_zone(l[i]));
      else if (l[0] == "force_tcp")
        options.always_tcp = true;
      else if (l[0] == "policy" && l.size() == 2 && l[1] == "sequential")
        options.in_order = true;
      else if (!(l[0] == "policy" && l.size() == 2 && (l[1] == "random" || l[1] == "round_robin")) &&
               l[0] != "prefer_udp")
        tell(fmt::format("plugin forward: {} isn't known here", l[0]));
    }
    // Whom it can't ask it shall not ask elsewhere: what stands inside may be nobody else's business.
    if (!machine || !all.empty()) rule.to = std::make_shared<forwarder>(std::move(all), options);
    zone_.forwards.push_back(std::move(rule));
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
  std::string key_;
  const std::vector<ip_address>& own_;
  room& room_;
  words& problems_;
  bool no_reverse_ = false;
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
    if (hosts->goes_on) return std::nullopt;
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

custom_config read_custom(const config_texts& custom, std::string_view node_hosts, const std::vector<ip_address>& own) {
  custom_config out;
  room left;
  auto& all = out.everything;
  for (auto& [key, text] : custom) {
    if (key.ends_with(".override")) {
      auto plugins = parse_plugins(text);
      if (!plugins)
        add_problem(out.problems, key + ": " + plugins.error().message);
      else
        reader(all, key, own, left, out.problems).read(*plugins);
    } else if (key.ends_with(".server")) {
      auto servers = parse_servers(text);
      if (!servers) {
        add_problem(out.problems, key + ": " + servers.error().message);
        continue;
      }
      for (auto& s : *servers)
        for (auto& name : s.zones) {
          auto zone = zone_of_key(name);
          if (!zone || zone->empty() || out.zones.size() >= custom_zones_max) {
            add_problem(out.problems, fmt::format("{}: zone {} can't be served here", key, name));
            continue;
          }
          custom_zone one;
          one.name = *std::move(zone);
          reader(one, key, own, left, out.problems).read(s.plugins);
          out.zones.push_back(std::move(one));
        }
    }
  }
  // Beside the packaged table of hosts, which goes on to what it doesn't know.
  if (all.hosts) all.hosts->goes_on = true;
  if (auto lines = parse_plugins(node_hosts)) {
    words none;
    corefile_line hosts{.words = {"hosts"}, .block = {}};
    if (!all.hosts) hosts.block.push_back({"ttl", std::to_string(hosts_ttl)});
    for (auto& l : *lines) hosts.block.push_back(l.words);
    hosts.block.push_back({"fallthrough"});
    room of_nodes;
    reader(all, {}, own, of_nodes, none).read({hosts});
  }
  return out;
}

}  // namespace kedge::node::dns
