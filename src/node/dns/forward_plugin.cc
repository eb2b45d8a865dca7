#include "node/dns/forward_plugin.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/strings.h"
#include "node/dns/limits.h"
#include "node/dns/zone_names.h"

namespace kedge::node::dns {

namespace {

using words = std::vector<std::string>;

// "dns://192.0.2.53:5353", "[fd00::1]:53", "192.0.2.53", "tls://192.0.2.53".
std::optional<upstream_address> resolver_of(std::string_view text) {
  constexpr std::string_view plain = "dns://", sealed = "tls://";
  const bool over_tls = text.starts_with(sealed);
  if (over_tls || text.starts_with(plain)) text.remove_prefix(plain.size());
  if (auto alone = ip_address::parse(text))
    return upstream_address(reactor::endpoint{alone->text(), static_cast<std::uint16_t>(over_tls ? 853 : 53)},
                            over_tls);
  auto colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  auto host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  auto address = ip_address::parse(host);
  auto port = parse_uint(text.substr(colon + 1));
  if (!address || !port || *port == 0 || *port > 65535) return std::nullopt;
  return upstream_address(reactor::endpoint{address->text(), static_cast<std::uint16_t>(*port)}, over_tls);
}

// Go's duration, none that is negative.
std::optional<duration> time_of(const words& line, std::size_t at) {
  auto d = at < line.size() ? parse_duration(line[at]) : fail(errc::invalid, "");
  return d && *d >= duration(0) ? std::optional(*d) : std::nullopt;
}

std::optional<duration> seconds_of(const words& line, std::size_t at) {
  auto n = at < line.size() ? parse_uint(line[at]) : std::nullopt;
  if (!n) return std::nullopt;
  return std::chrono::seconds(std::min<std::uint64_t>(*n, custom_cache_seconds_max));
}

void add_zones(words& to, const words& line, std::size_t from) {
  for (auto i = from; i < line.size(); ++i) to.push_back(plain_zone(line[i]));
}

// `success CAPACITY [SECONDS [AT LEAST]]`. The capacity is this cache's own.
bool read_times(const words& line, duration& most, duration& least) {
  if (line.size() > 2) {
    auto told = seconds_of(line, 2);
    if (!told || *told == duration(0)) return false;
    most = *told;
  }
  if (line.size() > 3) {
    auto told = seconds_of(line, 3);
    if (!told) return false;
    least = *told;
  }
  return line.size() > 1 && line.size() < 5 && parse_uint(line[1]);
}

bool read_stale(const words& line, cache_options& o) {
  auto time = line.size() > 1 ? time_of(line, 1) : std::optional<duration>(stale_time_max);
  auto mode = line.size() > 2 ? lower(line[2]) : "immediate";
  if (!time || line.size() > 3 || (mode != "immediate" && mode != "verify")) return false;
  o.stale = std::min<duration>(*time, custom_stale_max);
  o.stale_at_once = mode == "immediate" && *time > duration(0);
  return true;
}

bool read_disabled(const words& line, cache_options& o) {
  if (line.size() < 2 || (line[1] != "success" && line[1] != "denial")) return false;
  auto& zones = line[1] == "success" ? o.no_success : o.no_denial;
  add_zones(zones, line, 2);
  if (line.size() == 2) zones.emplace_back();
  return true;
}

bool read_cache_option(const words& line, cache_options& o) {
  auto& word = line[0];
  if (word == "success") return read_times(line, o.success, o.success_least);
  if (word == "denial") return read_times(line, o.denial, o.denial_least);
  if (word == "serve_stale") return read_stale(line, o);
  if (word == "disable") return read_disabled(line, o);
  return false;
}

bool read_check(const words& line, upstream_options& o) {
  auto interval = time_of(line, 1);
  if (!interval) return false;
  o.check_interval = std::max<duration>(*interval, upstream_check_interval_min);
  for (std::size_t i = 2; i < line.size(); ++i) {
    if (line[i] == "no_rec") {
      o.check_recursion = false;
    } else if (line[i] == "domain" && i + 1 < line.size() && name::to_wire(plain_zone(line[i + 1]))) {
      o.check_name = plain_zone(line[++i]);
    } else {
      return false;
    }
  }
  return true;
}

bool read_order(const words& line, forward_options& o) {
  using enum forward_options::order;
  static const std::map<std::string, forward_options::order> known{
      {"random", random}, {"round_robin", in_turn}, {"sequential", listed}};
  auto found = line.size() == 2 ? known.find(line[1]) : known.end();
  if (found == known.end()) return false;
  o.first = found->second;
  return true;
}

bool read_forward_option(const words& line, forward_rule& rule, forward_options& o) {
  auto& word = line[0];
  const bool alone = line.size() == 1;
  if (word == "except") {
    add_zones(rule.except, line, 1);
    return !alone;
  }
  if (word == "force_tcp") return o.always_tcp = true, alone;
  if (word == "prefer_udp") return o.prefer_udp = true, alone;
  if (word == "failfast_all_unhealthy_upstreams") return o.fail_fast = true, alone;
  if (word == "policy") return read_order(line, o);
  if (word == "health_check") return read_check(line, o.upstream);
  // Of the machine's authorities, as without the word; files of CoreDNS' pod aren't here.
  if (word == "tls") return alone;
  if (line.size() != 2) return false;
  if (word == "tls_servername") return o.upstream.tls_server_name = line[1], true;
  if (word == "expire") {
    auto time = time_of(line, 1);
    if (time) o.upstream.expire = std::min<duration>(*time, upstream_idle_time_max);
    return time.has_value();
  }
  auto number = parse_uint(line[1]);
  if (!number) return false;
  if (word == "max_fails") return o.upstream.max_fails = *number, true;
  if (word == "max_concurrent") {
    // 0 is CoreDNS' word for no bound.
    if (*number > 0) o.at_once = std::min<std::size_t>(*number, forwards_max);
    return true;
  }
  return false;
}

}  // namespace

cache_options read_cache_line(const corefile_line& p, const tell_problem& tell) {
  cache_options o{.success = std::chrono::seconds(custom_cache_seconds_max),
                  .denial = std::chrono::seconds(custom_cache_seconds_max / 2)};
  std::size_t zones = 1;
  if (p.words.size() > 1 && parse_uint(p.words[1])) {
    o.success = o.denial = *seconds_of(p.words, 1);
    zones = 2;
  }
  add_zones(o.zones, p.words, zones);
  for (auto& l : p.block)
    if (!read_cache_option(l, o)) tell(fmt::format("plugin cache: \"{}\" isn't known here", join(l, " ")));
  return o;
}

std::optional<read_forward> read_forward_line(const corefile_line& p, const forward_reading& r,
                                              const tell_problem& tell) {
  if (p.words.size() < 3) {
    tell("plugin forward wants a zone and whom to ask");
    return std::nullopt;
  }
  read_forward out{.rule = {.from = plain_zone(p.words[1]), .except = {}, .to = nullptr}, .machine = std::nullopt};
  std::vector<upstream_address> all;
  bool machine = false;
  for (std::size_t i = 2; i < p.words.size(); ++i) {
    auto& text = p.words[i];
    auto to = resolver_of(text);
    // A question would go round until nothing more can wait.
    const bool is_own =
        to && std::ranges::any_of(r.own, [&](auto& a) { return a == ip_address::parse(to->at.address); });
    if (text == "/etc/resolv.conf")
      machine = true;
    else if (is_own)
      tell(fmt::format("plugin forward: \"{}\" is this resolver itself", text));
    else if (to)
      all.push_back(*std::move(to));
    else
      tell(fmt::format("plugin forward: \"{}\" can't be asked here", text));
  }
  if (machine && !all.empty()) tell("plugin forward: \"/etc/resolv.conf\" beside others can't be asked here");
  if (all.size() > custom_upstreams_max) all.erase(all.begin() + custom_upstreams_max, all.end());
  forward_options options{.cache = r.cache};
  options.upstream.trust = r.trust;
  for (auto& l : p.block)
    if (!read_forward_option(l, out.rule, options))
      tell(fmt::format("plugin forward: \"{}\" isn't known here", join(l, " ")));
  // Whom it can't ask it shall not ask elsewhere: what stands inside may be nobody else's business.
  if (machine && all.empty()) {
    out.machine = std::move(options);
  } else {
    options.cache.bytes = custom_cache_bytes_max;
    out.rule.to = std::make_shared<forwarder>(std::move(all), std::move(options));
  }
  return out;
}

}  // namespace kedge::node::dns
