#include "control/server_endpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "control/controller.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/stream.h"

namespace kedge::control {

namespace {

const api::resource_id endpoints{"", "v1", "endpoints"};
const api::resource_id slices{"discovery.k8s.io", "v1", "endpointslices"};
constexpr std::string_view rows = "/registry/masterleases/";
constexpr const char *identity_key = "kedge.io/identity", *node_key = "kedge.io/node-name",
                     *settings_key = "kedge.io/critical-settings", *hash_key = "k3s.io/encryption-config-hash",
                     *token_key = "kedge.io/token", *time_key = "kedge.io/time";
constexpr std::uint16_t usual_port = 6443;
// The row's own life in the datastore. Longer than alive_time, so that a restart of the database takes no row away.
constexpr std::uint32_t row_seconds = 60;
constexpr auto others_time = std::chrono::seconds(3);  // what the leader gets before the others repair the lists
constexpr unsigned taken_over_told = 3;

bool is_v6(std::string_view address) { return address.find(':') != std::string_view::npos; }

struct endpoint {
  std::uint16_t port;
  std::string address;
  auto operator<=>(const endpoint&) const = default;
};

json::value port_of(std::uint16_t port) { return json::object{{"name", "https"}, {"port", port}, {"protocol", "TCP"}}; }

json::value named(std::string_view version, std::string_view kind, std::string_view name, json::object labels) {
  return json::object{
      {"kind", kind},
      {"apiVersion", version},
      {"metadata", json::object{{"name", name}, {"namespace", "default"}, {"labels", std::move(labels)}}}};
}

// Creates it, or sets `member`s of the one that stands.
task<result<void>> put(api::objects& client, api::resource_id r, json::value wanted, std::vector<std::string> members) {
  auto name = std::string(wanted["metadata"]["name"].as_string());
  for (int i = 0; i < 3; ++i) {
    auto standing = client.get(r, "default", name);
    if (!standing && standing.error().code == 404) {
      auto made = co_await client.create(r, "default", wanted);
      if (made) co_return result<void>();
      if (made.error().code != 409) co_return fail(errc::unavailable, made.error().message);
      continue;
    }
    if (!standing) co_return fail(errc::unavailable, standing.error().message);
    bool same = true;
    for (auto& m : members) same = same && (*standing)[m] == wanted[m];
    if (same) co_return result<void>();
    auto done = co_await client.modify(r, "default", name, [&](json::value& o) {
      bool changed = false;
      for (auto& m : members)
        if (!(o[m] == wanted[m])) {
          o.set(m, wanted[m]);
          changed = true;
        }
      return changed;
    });
    if (done) co_return result<void>();
    if (done.error().code != 409 && done.error().code != 404) co_return fail(errc::unavailable, done.error().message);
  }
  co_return fail(errc::conflict, r.plural + " default/" + name + " changes all the time");
}

}  // namespace

server_endpoints::server_endpoints(api::objects& objects, server_options options)
    : objects_(objects), options_(std::move(options)) {
  name_row();
}

void server_endpoints::name_row() {
  key_ = std::string(rows) + options_.address;
  // Servers that share an address tell themselves apart by their ports.
  if (options_.port != usual_port) key_ += fmt::format("-{}", options_.port);
}

std::string server_endpoints::value() const {
  auto o = named("v1", "Endpoints", key_.substr(rows.size()), {});
  o.member("metadata") = json::object{{"generation", static_cast<std::int64_t>(generation_)},
                                      {"annotations", json::object{{identity_key, options_.identity},
                                                                   {node_key, options_.node_name},
                                                                   {settings_key, json::write(options_.settings)}}}};
  auto& notes = o.member("metadata").member("annotations");
  if (options_.encryption_hash) notes.set(hash_key, options_.encryption_hash());
  if (options_.token_id) notes.set(token_key, options_.token_id());
  notes.set(time_key, format_rfc3339_micro(reactor::loop::current().wall_now()));
  o.set("subsets", json::array{json::object{{"addresses", json::array{json::object{{"ip", options_.address}}}},
                                            {"ports", json::array{port_of(options_.port)}}}});
  return json::write(o);
}

void server_endpoints::look(const store::event& e) {
  auto key = std::string(e.object->key());
  auto now = reactor::loop::current().now();
  if (e.type == store::event_type::deleted) {
    // It left, or the datastore ended rows while nobody could renew them.
    if (now >= grace_until_) {
      if (auto m = members_.find(key); m != members_.end()) clocks_.forget(name_of(m->second));
      members_.erase(key);
    }
    changed_.pulse();
    return;
  }
  auto row = json::parse(e.object->bytes());
  if (!row) return;
  auto& subset = (*row)["subsets"][0];
  auto& notes = (*row)["metadata"]["annotations"];
  member m{.address = std::string(subset["addresses"][0]["ip"].as_string()),
           .node_name = std::string(notes[node_key].as_string()),
           .identity = std::string(notes[identity_key].as_string()),
           .encryption_hash = std::string(notes[hash_key].as_string()),
           .token_id = std::string(notes[token_key].as_string()),
           .port = static_cast<std::uint16_t>(subset["ports"][0]["port"].as_integer(usual_port)),
           .settings = json::parse(notes[settings_key].as_string()).value_or(json::value()),
           .at = e.object->mod(),
           .seen = now};
  if (m.address.empty()) return;
  // K3s's rows, and those of older servers, have none.
  if (auto written = parse_rfc3339(notes[time_key].as_string()); written && key != key_)
    clocks_.saw(name_of(m), *written, reactor::loop::current().wall_now());
  bool news = !members_.contains(key);
  members_[key] = std::move(m);
  if (news) changed_.pulse();
}

std::string server_endpoints::name_of(const member& m) { return reactor::endpoint{m.address, m.port}.text(); }

std::map<std::string, server_endpoints::member> server_endpoints::read() const {
  server_endpoints probe(objects_, options_);
  objects_.objects_store().current().scan(rows, "", [&](const store::object_ref& o) {
    probe.look({store::event_type::added, o->mod(), o, {}});
    return true;
  });
  return std::move(probe.members_);
}

// What this server can't share a cluster with.
result<void> server_endpoints::check(const member& m) const {
  auto where = m.address + ":" + std::to_string(m.port);
  if (!options_.node_name.empty() && m.node_name == options_.node_name)
    return fail(
        errc::invalid,
        fmt::format(
            "the server at {} has the node name \"{}\" already; give this one another by --node-name or --with-node-id",
            where, m.node_name));
  if (!m.settings.is_object() || !options_.settings.is_object()) return {};
  std::string differences;
  for (auto& own : *options_.settings.object()) {
    auto& theirs = m.settings[own.name];
    if (theirs.is_null() || theirs == own.value) continue;
    differences += fmt::format("{}--{} is {} here and {} there", differences.empty() ? "" : "; ", own.name,
                               json::write(own.value), json::write(theirs));
  }
  if (differences.empty()) return {};
  return fail(
      errc::invalid,
      fmt::format(
          "critical configuration value mismatch between servers: this one and the one at {}: {}. All servers of a "
          "cluster need the same; stop the others first to change it",
          where, differences));
}

task<result<void>> server_endpoints::join() {
  if (options_.alone) co_return co_await publish(true);
  auto& loop = reactor::loop::current();
  KEDGE_CO_TRY(auto began, co_await objects_.objects_store().latest());
  began = {};
  // Rows whose server can't be one of the same cluster: alive when they are renewed.
  auto until = loop.now() + options_.alive_time;
  std::map<std::string, store::revision> suspects;
  for (auto& [key, m] : read())
    if (key != key_ && !check(m)) suspects[key] = m.at;
  if (!suspects.empty()) log::info("a server with other settings was here lately; looking whether it lives");
  while (!suspects.empty() && loop.now() < until) {
    co_await reactor::sleep_for(options_.renew_period / 10);
    auto now = read();
    for (auto& [key, at] : suspects) {
      auto m = now.find(key);
      if (m != now.end() && m->second.at != at) KEDGE_CO_CHECK(check(m->second));
    }
    std::erase_if(suspects, [&](auto& s) { return !now.contains(s.first); });
  }
  KEDGE_CO_CHECK(co_await renew());
  auto mine = objects_.objects_store().current().find(key_);
  // Servers that start at the same time: the first row stays.
  for (auto& [key, m] : read()) {
    if (key == key_ || (suspects.contains(key) && suspects[key] == m.at) || !mine || m.at > mine->mod()) continue;
    if (auto ok = check(m); !ok) {
      (void)co_await objects_.objects_store().write(
          {.kind = store::write_kind::remove, .key = key_, .value = {}, .expected = 0});
      co_return ok;
    }
  }
  members_ = read();
  for (auto& [key, at] : suspects) members_.erase(key);
  co_return co_await publish(true);
}

task<result<void>> server_endpoints::renew() {
  auto& s = objects_.objects_store();
  for (int i = 0; i < 4; ++i) {
    auto row = s.current().find(key_);
    if (row) {
      auto standing = json::parse(row->bytes());
      bool mine = standing && (*standing)["metadata"]["annotations"][identity_key].as_string() == options_.identity;
      if (!mine && generation_ > 0 && ++taken_over_ % taken_over_told == 0)
        log::error(
            "another server advertises the address {}:{} as well; give each its own by --advertise-address or "
            "--node-ip",
            options_.address, options_.port);
    }
    ++generation_;
    auto written = co_await s.write({.kind = row ? store::write_kind::update : store::write_kind::create,
                                     .key = key_,
                                     .value = value(),
                                     .expected = row ? row->mod() : 0,
                                     .lease_seconds = row_seconds});
    if (written) {
      auto now = reactor::loop::current().now();
      if (renewed_ != time_point{} && now - renewed_ > 2 * options_.renew_period) {
        // No news could come meanwhile.
        grace_until_ = now + options_.alive_time;
        for (auto& m : members_) m.second.seen = now;
        clocks_.forget_all();
      }
      renewed_ = now;
      co_return result<void>();
    }
    auto code = written.error().code;
    if (code != errc::conflict && code != errc::not_found && code != errc::already_exists)
      co_return fail(std::move(written).error());
    // Another write of this row is on its way here.
    co_await reactor::sleep_for(std::chrono::milliseconds(20));
  }
  co_return fail(errc::conflict, "the row of this server changes all the time");
}

task<void> server_endpoints::renew_forever() {
  bool told = false;
  for (;;) {
    co_await tell_.wait_until(reactor::loop::current().now() + options_.renew_period);
    if (leaving_) co_return;
    if (auto why = options_.kept_off ? options_.kept_off() : std::nullopt) {
      if (!std::exchange(off_, true)) co_await stay_off(*std::move(why));
      continue;
    }
    if (std::exchange(off_, false)) log::info("this server can serve again, and is in the lists of servers");
    auto done = co_await renew();
    if (!done && !std::exchange(told, true))
      log::warning("this server can't tell the others that it lives: {}", done.error().message);
    if (done) told = false;
  }
}

task<void> server_endpoints::stay_off(std::string why) {
  log::error("{}; this server leaves the lists of servers until then", why);
  if (auto done = co_await withdraw(); !done) log::warning("the lists of servers: {}", done.error().message);
}

// The row first: while it stands, others that see the lists without this server put it back.
task<result<void>> server_endpoints::withdraw() {
  (void)co_await objects_.objects_store().write(
      {.kind = store::write_kind::remove, .key = key_, .value = {}, .expected = 0});
  co_return co_await publish(false);
}

task<result<void>> server_endpoints::publish(bool with_me) {
  auto now = reactor::loop::current().now();
  std::set<endpoint> living;
  if (with_me) living.insert({options_.port, options_.address});
  for (auto& [key, m] : members_)
    if (key != key_ && now < m.seen + alive_time(m)) living.insert({m.port, m.address});
  if (living.empty()) co_return result<void>();

  // One subset and one slice for each port; the usual case is one of each.
  std::map<std::string, json::value> wanted;
  json::array subsets;
  for (auto e = living.begin(); e != living.end();) {
    auto port = e->port;
    json::array addresses;
    std::map<bool, json::array> items;
    for (; e != living.end() && e->port == port; ++e) {
      addresses.emplace_back(json::object{{"ip", e->address}});
      items[is_v6(e->address)].emplace_back(json::object{{"addresses", json::array{json::value(e->address)}},
                                                         {"conditions", json::object{{"ready", true}}}});
    }
    for (auto& [v6, list] : items) {
      std::string name = "kubernetes";
      if (v6 != is_v6(options_.address)) name += v6 ? "-ipv6" : "-ipv4";
      if (wanted.contains(name)) name += "-" + std::to_string(port);
      auto slice = named("discovery.k8s.io/v1", "EndpointSlice", name, {{"kubernetes.io/service-name", "kubernetes"}});
      slice.set("addressType", v6 ? "IPv6" : "IPv4");
      slice.set("endpoints", std::move(list));
      slice.set("ports", json::array{port_of(port)});
      wanted.emplace(name, std::move(slice));
    }
    subsets.emplace_back(json::object{{"addresses", std::move(addresses)}, {"ports", json::array{port_of(port)}}});
  }
  auto object = named("v1", "Endpoints", "kubernetes", {{"endpointslice.kubernetes.io/skip-mirror", "true"}});
  object.set("subsets", std::move(subsets));
  KEDGE_CO_CHECK(co_await put(objects_, endpoints, std::move(object), {"subsets"}));
  for (auto& [name, slice] : wanted) KEDGE_CO_CHECK(co_await put(objects_, slices, slice, {"endpoints", "ports"}));
  for (auto& s : objects_.list(slices, "default")) {
    auto name = std::string(s["metadata"]["name"].as_string());
    if (s["metadata"]["labels"]["kubernetes.io/service-name"].as_string() != "kubernetes" ||
        !name.starts_with("kubernetes") || wanted.contains(name))
      continue;
    (void)co_await objects_.remove(slices, "default", name);
  }
  co_return result<void>();
}

task<result<void>> server_endpoints::move(std::string address) {
  if (address == options_.address || leaving_) co_return result<void>();
  auto before = key_;
  options_.address = std::move(address);
  name_row();
  if (!options_.alone) {
    KEDGE_CO_CHECK(co_await renew());
    members_.erase(before);
    (void)co_await objects_.objects_store().write(
        {.kind = store::write_kind::remove, .key = before, .value = {}, .expected = 0});
  }
  co_return co_await publish(true);
}

task<void> server_endpoints::keep(std::function<bool()> leads) {
  auto& loop = reactor::loop::current();
  reactor::scope parts;
  auto& s = objects_.objects_store();
  if (!options_.alone) {
    parts.spawn(follow(s, std::string(rows), [this](const store::event& e) { look(e); }));
    parts.spawn(renew_forever());
  }
  // Somebody may also edit the lists.
  auto edited = [this](const store::event& e) {
    if (e.object->key().find("/kubernetes") != std::string_view::npos) changed_.pulse();
  };
  parts.spawn(follow(s, objects_.prefix(endpoints, "default"), edited));
  parts.spawn(follow(s, objects_.prefix(slices, "default"), edited));

  auto listed = [this] {
    auto object = objects_.get(endpoints, "default", "kubernetes");
    if (!object) return false;
    for (std::size_t i = 0; i < (*object)["subsets"].size(); ++i) {
      auto& subset = (*object)["subsets"][i];
      if (subset["ports"][0]["port"].as_integer(0) != options_.port) continue;
      for (std::size_t a = 0; a < subset["addresses"].size(); ++a)
        if (subset["addresses"][a]["ip"].as_string() == options_.address) return true;
    }
    return false;
  };
  auto my_turn = loop.now();
  for (;;) {
    co_await changed_.wait_until(loop.now() + options_.renew_period / 2);
    if (leaving_) co_return;
    if (off_) continue;
    // Without news of the others for a while, nobody is judged.
    if (!options_.alone && loop.now() - renewed_ > 2 * options_.renew_period) continue;
    clocks_.judge(loop.now());
    if (!leads() && listed() && loop.now() < my_turn) continue;
    my_turn = loop.now() + others_time;
    std::erase_if(members_, [&](auto& m) {
      if (m.first == key_ || loop.now() < m.second.seen + alive_time(m.second)) return false;
      log::info("the server at {}:{} has not renewed its row for {}: it is taken for dead", m.second.address,
                m.second.port, format_duration(alive_time(m.second)));
      clocks_.forget(name_of(m.second));
      return true;
    });
    if (auto done = co_await publish(true); !done)
      log::warning("endpoints of the kubernetes service: {}", done.error().message);
  }
}

std::vector<peer> server_endpoints::living() const {
  std::vector<peer> out;
  auto now = reactor::loop::current().now();
  for (auto& [key, m] : members_)
    if (key != key_ && now < m.seen + alive_time(m))
      out.push_back({.address = name_of(m),
                     .identity = m.identity,
                     .encryption_hash = m.encryption_hash,
                     .token_id = m.token_id});
  return out;
}

std::vector<std::pair<std::string, std::string>> server_endpoints::encryption_hashes() const {
  std::vector<std::pair<std::string, std::string>> out;
  auto now = reactor::loop::current().now();
  for (auto& [key, m] : members_)
    if (key != key_ && now < m.seen + alive_time(m)) out.emplace_back(m.address, m.encryption_hash);
  return out;
}

bool server_endpoints::k3s_lives() const {
  return std::ranges::any_of(living(), [](const peer& p) { return p.identity.empty(); });
}

task<void> server_endpoints::leave(time_point deadline) {
  leaving_ = true;
  if (options_.alone) co_return;
  (void)co_await reactor::with_deadline(withdraw(), deadline);
}

}  // namespace kedge::control
