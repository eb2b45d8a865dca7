#include "node/dns/names.h"

#include <algorithm>

#include "base/strings.h"
#include "node/dns/limits.h"

namespace kedge::node::dns {

namespace {

bool wants(const query& q, type t) { return q.type == t || q.type == type::any; }
bool wants(const query& q, const ip_address& a) { return wants(q, a.is_v4() ? type::a : type::aaaa); }

std::string dashed(const ip_address& a) {
  auto text = a.text();
  std::ranges::replace(text, '.', '-');
  std::ranges::replace(text, ':', '-');
  return text;
}

// "10-42-0-7", or "fd42--7".
std::optional<ip_address> undashed(std::string_view text) {
  std::string dots(text), colons(text);
  std::ranges::replace(dots, '-', '.');
  std::ranges::replace(colons, '-', ':');
  if (auto a = ip_address::parse(dots); a && a->is_v4()) return a;
  if (auto a = ip_address::parse(colons); a && a->is_v6()) return a;
  return std::nullopt;
}

bool is_within(std::string_view name, std::string_view domain) {
  return name == domain || (name.ends_with(domain) && name[name.size() - domain.size() - 1] == '.');
}

std::string endpoint_name(const slice_endpoint& e, const ip_address& a) {
  return e.host_name.empty() ? dashed(a) : lower(e.host_name);
}

}  // namespace

std::optional<ip_address> parse_reverse(std::string_view text) {
  constexpr std::string_view v4 = ".in-addr.arpa", v6 = ".ip6.arpa";
  std::string out;
  if (text.ends_with(v4)) {
    auto labels = split(text.substr(0, text.size() - v4.size()), '.');
    if (labels.size() != 4) return std::nullopt;
    for (auto l = labels.rbegin(); l != labels.rend(); ++l) out += (out.empty() ? "" : ".") + std::string(*l);
  } else if (text.ends_with(v6)) {
    auto labels = split(text.substr(0, text.size() - v6.size()), '.');
    if (labels.size() != 32) return std::nullopt;
    std::size_t n = 0;
    for (auto l = labels.rbegin(); l != labels.rend(); ++l, ++n) {
      if (l->size() != 1) return std::nullopt;
      if (n > 0 && n % 4 == 0) out += ':';
      out += *l;
    }
  } else {
    return std::nullopt;
  }
  return ip_address::parse(out);
}

names::names(zone_settings s, service_view& view) : settings_(std::move(s)), view_(view) {
  settings_.domain = lower(settings_.domain);
  view_.watchers.push_back([this](const std::string& service) {
    if (!service.empty()) changed(service);
  });
}

void names::set_nodes(const std::vector<named_node>& nodes) {
  hosts_.clear();
  auto add = [&](const std::string& name, const named_node& n) {
    if (!name.empty() && !is_within(name, settings_.domain)) hosts_.try_emplace(name, n.addresses);
  };
  for (auto& n : nodes) add(n.name, n);
  for (auto& n : nodes)
    if (!n.host_name.contains('.') || n.host_name.starts_with(n.name + ".")) add(n.host_name, n);
}

std::vector<ip_address> names::addresses_named_by(const std::string& service) const {
  std::vector<ip_address> all;
  auto* s = view_.services.find(service);
  if (!s) return all;
  all = s->cluster_ips;
  for (auto* slice : view_.slices_of(service))
    for (auto& e : slice->endpoints) all.insert(all.end(), e.addresses.begin(), e.addresses.end());
  std::ranges::sort(all);
  all.erase(std::ranges::unique(all).begin(), all.end());
  return all;
}

void names::changed(const std::string& service) {
  auto now = addresses_named_by(service);
  auto before = std::exchange(addresses_[service], now);
  if (now.empty()) addresses_.erase(service);
  for (auto& a : before) {
    if (std::ranges::binary_search(now, a)) continue;
    auto i = services_at_.find(a);
    i->second.erase(service);
    if (i->second.empty()) services_at_.erase(i);
  }
  for (auto& a : now) services_at_[a].insert(service);
  auto ns = service.substr(0, service.find('/'));
  if (view_.services.find(service)) {
    namespaces_[ns].insert(service);
  } else if (auto i = namespaces_.find(ns); i != namespaces_.end()) {
    i->second.erase(service);
    if (i->second.empty()) namespaces_.erase(i);
  }
}

std::optional<names::found> names::find(const query& q, std::uint32_t serial, random_source& random) const {
  std::optional<found> out;
  auto& domain = settings_.domain;
  if (auto h = hosts_.find(q.asked); h != hosts_.end()) {
    out.emplace();
    for (auto& a : h->second)
      if (wants(q, a)) out->answer.answers.push_back(address_record({}, a, hosts_ttl));
  } else if (is_within(q.asked, domain)) {
    auto rest = q.asked == domain ? std::string_view()
                                  : std::string_view(q.asked).substr(0, q.asked.size() - domain.size() - 1);
    out = find_in_zone(q, rest, serial);
  } else if (auto a = parse_reverse(q.asked)) {
    found f;
    if (find_reverse(q, *a, f)) out = std::move(f);
  }
  // Clients take the first: each shall be it at times.
  if (out && out->alias.empty() && out->answer.answers.size() > 1) {
    auto& all = out->answer.answers;
    std::ranges::rotate(all, all.begin() + static_cast<std::ptrdiff_t>(random.below(all.size())));
  }
  return out;
}

names::found names::find_in_zone(const query& q, std::string_view rest, std::uint32_t serial, int depth) const {
  found out;
  bool exists = false;
  auto labels = rest.empty() ? std::vector<std::string_view>() : split(rest, '.');
  auto kind = labels.empty() ? std::string_view() : labels.back();
  auto& domain = settings_.domain;
  if (labels.empty()) {
    exists = true;
    if (wants(q, type::soa)) out.answer.answers.push_back(soa_record(domain, serial, ttl_));
    if (wants(q, type::ns)) {
      out.answer.answers.push_back(name_record({}, type::ns, "ns.dns." + domain, ttl_));
      for (auto& a : settings_.servers) out.answer.additional.push_back(address_record("ns.dns." + domain, a, ttl_));
    }
  } else if (rest == "ns.dns") {
    exists = true;
    for (auto& a : settings_.servers)
      if (wants(q, a)) out.answer.answers.push_back(address_record({}, a, ttl_));
  } else if (rest == "dns") {
    exists = true;
  } else if (rest == "dns-version") {
    exists = true;
    if (wants(q, type::txt)) out.answer.answers.push_back(text_record("1.1.0", ttl_));
  } else if (kind == "svc") {
    labels.pop_back();
    find_service(q, std::move(labels), out, exists, depth);
  } else if (kind == "pod") {
    labels.pop_back();
    exists = labels.empty() || (labels.size() == 1 && namespaces_.contains(std::string(labels[0])));
    if (labels.size() == 2)
      if (auto a = undashed(labels[0])) {
        exists = true;
        if (wants(q, *a)) out.answer.answers.push_back(address_record({}, *a, ttl_));
      }
  }
  if (out.answer.answers.empty()) {
    // A node that has just started doesn't know yet: a denial would be remembered.
    out.answer.code = exists ? rcode::no_error : view_.listed() ? rcode::no_name : rcode::server_failure;
    if (view_.listed() || exists) out.answer.authority.push_back(soa_record(domain, serial, ttl_));
  }
  return out;
}

// `labels`: what stands before ".svc.<domain>".
void names::find_service(const query& q, std::vector<std::string_view> labels, found& out, bool& exists,
                         int depth) const {
  if (labels.empty()) {
    exists = true;
    return;
  }
  auto ns = std::string(labels.back());
  if (labels.size() == 1) {
    exists = namespaces_.contains(ns);
    return;
  }
  auto key = ns + "/" + std::string(labels[labels.size() - 2]);
  auto* s = view_.services.find(key);
  labels.resize(labels.size() - 2);
  // _port._protocol (CoreDNS takes them without underscores too), or an endpoint's name.
  std::string port, protocol, endpoint;
  auto bare = [](std::string_view label) { return label.substr(label.starts_with('_') ? 1 : 0); };
  if (labels.size() == 2) {
    port = bare(labels[0]);
    protocol = bare(labels[1]);
  } else if (labels.size() == 1) {
    endpoint = labels[0];
  } else if (!labels.empty()) {
    return;
  }
  if (!s) return;
  auto base = std::string(s->name) + "." + ns + ".svc." + settings_.domain;
  auto matches = [&](std::string_view port_name, transport t) {
    return (port.empty() || port == port_name) && (protocol.empty() || protocol == name_of(t));
  };
  auto& a = out.answer;

  if (!s->external_name.empty()) {
    auto target = lower(s->external_name);
    if (target.ends_with('.')) target.pop_back();
    if (!labels.empty() || ip_address::parse(target)) return;  // an address is no name that one could be led to
    exists = true;
    if (q.type == type::cname || q.type == type::a || q.type == type::aaaa || q.type == type::any)
      follow_alias(q, std::move(target), out, depth);
    return;
  }

  // Each port of each address has a share of 100, as CoreDNS gives them.
  std::size_t shares = 0;
  auto weigh = [&] {
    for (auto& r : a.answers)
      if (r.type == type::srv) r.data.replace(2, 2, {'\0', static_cast<char>(std::max<std::size_t>(1, 100 / shares))});
  };
  if (!s->headless && endpoint.empty()) {
    for (auto& p : s->ports) {
      if (!matches(lower(p.name), p.protocol) || s->cluster_ips.empty()) continue;
      exists = true;
      shares += s->cluster_ips.size();
      if (wants(q, type::srv)) a.answers.push_back(srv_record({}, p.port, 0, base, ttl_));
    }
    if (!exists) return;
    weigh();
    for (auto& ip : s->cluster_ips) {
      if (wants(q, ip)) a.answers.push_back(address_record({}, ip, ttl_));
      if (q.type == type::srv) a.additional.push_back(address_record(base, ip, ttl_));
    }
    return;
  }

  // Endpoints: of a headless Service, or one of them by its name. Without any there is no such name.
  std::set<std::pair<std::string, ip_address>> told;
  std::set<std::pair<std::string, std::uint16_t>> targets;
  for (auto* slice : view_.slices_of(key))
    for (auto& e : slice->endpoints) {
      if (!e.ready && !s->publish_not_ready) continue;
      for (auto& ip : e.addresses) {
        auto host = endpoint_name(e, ip);
        if (!endpoint.empty() && endpoint != host) continue;
        bool any_port = slice->ports.empty() && port.empty() && protocol.empty(), any_srv = false;
        for (auto& p : slice->ports) {
          if (!matches(lower(p.name), p.protocol)) continue;
          any_port = any_srv = true;
          ++shares;
          if (wants(q, type::srv) && targets.emplace(host + std::string(name_of(p.protocol)), p.port).second &&
              a.answers.size() < records_max)
            a.answers.push_back(srv_record({}, p.port, 0, host + "." + base, ttl_));
        }
        if (!any_port) continue;
        exists = true;
        if (a.answers.size() >= records_max) continue;
        if (wants(q, ip) && told.emplace("", ip).second) a.answers.push_back(address_record({}, ip, ttl_));
        if (q.type == type::srv && any_srv && told.emplace(host, ip).second)
          a.additional.push_back(address_record(host + "." + base, ip, ttl_));
      }
    }
  weigh();
}

// A target within the zone is answered with its addresses; without any of them there is no alias either.
void names::follow_alias(const query& q, std::string target, found& out, int depth) const {
  auto& answers = out.answer.answers;
  auto alias = name_record({}, type::cname, target, ttl_);
  auto inside = "." + settings_.domain;
  if (q.type == type::cname || !target.ends_with(inside)) {
    answers.push_back(std::move(alias));
    if (q.type != type::cname) out.alias = std::move(target);
    return;
  }
  if (depth >= aliases_max) return;
  auto more = find_in_zone(q, std::string_view(target).substr(0, target.size() - inside.size()), 0, depth + 1);
  if (more.answer.answers.empty()) return;
  answers.push_back(std::move(alias));
  for (auto& r : more.answer.answers) {
    if (r.owner.empty()) r.owner = target;
    answers.push_back(std::move(r));
  }
  out.alias = std::move(more.alias);
}

bool names::find_reverse(const query& q, const ip_address& address, found& out) const {
  std::set<std::string> all;
  auto ttl = hosts_ttl;
  for (auto& [host, addresses] : hosts_)
    if (std::ranges::find(addresses, address) != addresses.end()) all.insert(host);
  // A node's address names the node, whoever serves there.
  if (all.empty()) {
    ttl = ttl_;
    all = services_named_at(address);
  }
  if (all.empty()) return false;
  if (wants(q, type::ptr))
    for (auto& n : all) {
      if (out.answer.answers.size() >= records_max) break;
      out.answer.answers.push_back(name_record({}, type::ptr, n, ttl));
    }
  return true;
}

std::set<std::string> names::services_named_at(const ip_address& address) const {
  std::set<std::string> all;
  if (auto i = services_at_.find(address); i != services_at_.end())
    for (auto& key : i->second) {
      auto* s = view_.services.find(key);
      if (!s) continue;
      auto base = s->name + "." + s->name_space + ".svc." + settings_.domain;
      if (std::ranges::find(s->cluster_ips, address) != s->cluster_ips.end())
        return {base};  // a Service's own address names nothing else
      for (auto* slice : view_.slices_of(key))
        for (auto& e : slice->endpoints)
          if ((e.ready || s->publish_not_ready) && std::ranges::find(e.addresses, address) != e.addresses.end())
            all.insert(endpoint_name(e, address) + "." + base);
    }
  return all;
}

}  // namespace kedge::node::dns
