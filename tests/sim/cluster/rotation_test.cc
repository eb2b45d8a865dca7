// Identities that change under servers that stop anywhere: a rotation of the authorities whose servers crash at each of
// its steps, and a server that finds another's identity in the place that it had begun to fill.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <optional>

#include "base/strings.h"
#include "cluster/played.h"
#include "crypto/bootstrap_record.h"
#include "crypto/certificate.h"
#include "crypto/files.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

std::string text_of(const std::string& file) { return crypto::read_file(file).value_or(""); }
std::string server_file(const machine& m, std::string_view name) {
  return text_of(fmt::format("{}/data/server/tls/{}", m.folder, name));
}

// What `kedge certificate rotate-ca --force` sends; 0: no answer came.
task<int> rotate(cluster_world& c, int server) {
  crypto::bootstrap_files given;
  const auto now = c.users().loop().wall_now();
  for (std::string name : {"ServerCA", "ClientCA", "RequestHeaderCA"}) {
    const auto made = crypto::authority::create("new-" + name, now).value();
    given[name] = {now, made.bundle_pem()};
    given[name + "Key"] = {now, made.key().pem()};
  }
  net::http::client_request r{.to = c.target_of(server), .method = "PUT", .path = "/v1-k3s/cert/cacerts?force=true"};
  r.body = crypto::write_bootstrap_files(given);
  r.headers.add("Authorization", "Basic " + base64(as_bytes(std::string("server:simulated"))));
  auto answer = co_await reactor::with_deadline(c.http().fetch(std::move(r)), c.users().loop().now() + 20s);
  co_return answer ? answer->status : 0;
}

// Whether all have the same authorities.
bool agree(const cluster_world& c) {
  for (std::string_view name : {"server-ca.crt", "client-ca.crt"}) {
    const auto first = server_file(*c.servers.front(), name);
    for (auto& s : c.servers)
      if (server_file(*s, name) != first) return false;
    for (auto& a : c.agents)
      if (text_of(fmt::format("{}/data/agent/{}", a->folder, name)) != first) return false;
  }
  return server_file(*c.servers[0], "request-header-ca.key") == server_file(*c.servers[1], "request-header-ca.key");
}

// A rotation in which `victim` loses its power after so many steps of the world (0: never). Gives how many steps it
// took until all had the new authorities.
std::uint64_t rotate_and_crash(int victim, std::uint64_t after) {
  played p(31, {.servers = 2, .agents = 1});
  auto& c = p.c;
  const auto before = server_file(*c.servers[0], "server-ca.crt");
  std::optional<int> answered;
  c.run_as_user([&]() -> task<void> { answered = co_await rotate(c, 0); });
  const auto begin = c.w.steps();
  if (after) {
    auto& m = *c.servers[static_cast<std::size_t>(victim)];
    CHECK(c.w.run_until([&] { return c.w.steps() - begin >= after; }, 60s));
    m.at->crash();
    m.ready = false;
    c.w.run_for(3s);
    m.at->restart();
  }
  REQUIRE(c.w.run_until([&] { return answered.has_value(); }, 60s));
  const bool done = *answered / 100 == 2;
  if (!after) CHECK(done);
  // One that was answered with success stands; any other stands or never was.
  const bool is_new = c.w.run_until([&] { return agree(c) && server_file(*c.servers[0], "server-ca.crt") != before; },
                                    done ? duration(2min) : duration(40s));
  if (done) CHECK(is_new);
  const auto steps = c.w.steps() - begin;
  p.well();
  CHECK(agree(c));
  p.reachable();
  return steps;
}

}  // namespace

TEST_CASE("a server that crashes at whatever step of a rotation of the authorities leaves none of it half done") {
  const auto all = rotate_and_crash(0, 0);
  REQUIRE(all > 100);
  for (std::uint64_t part : {1, 3, 6})
    for (int victim : {0, 1}) {
      CAPTURE(part);
      CAPTURE(victim);
      rotate_and_crash(victim, 1 + all * part * part / 100);  // most of it happens in the beginning
    }
}

TEST_CASE("a server that was slow to make the cluster's identity takes over what another one made meanwhile") {
  for (auto seed : seeds(3)) {
    CAPTURE(seed);
    seeded_random random(seed);
    seeded_openssl openssl(random);
    log::configure({.least = log::level::error, .file = "/dev/null"});
    cluster_world c(seed, {.servers = 2, .agents = 0});
    // One has its own authorities already, and hasn't told anybody.
    auto slow = [&]() -> server_machine* {
      for (auto& s : c.servers)
        if (!server_file(*s, "request-header-ca.key").empty()) return s.get();
      return nullptr;
    };
    REQUIRE(c.w.run_until([&] { return slow() != nullptr; }, 30s));
    auto& sleeper = *slow();
    auto& other = *c.servers[&sleeper == c.servers[0].get() ? 1 : 0];
    const auto own = server_file(sleeper, "server-ca.crt");
    sleeper.at->pause();
    REQUIRE(c.w.run_until([&] { return other.ready; }, 3min));
    CHECK(server_file(other, "server-ca.crt") != own);
    sleeper.at->resume();
    auto why = c.wait_until_all_is_well(3min);
    REQUIRE_MESSAGE(why.empty(), why << "\n" << c.w.trace_text());
    CHECK(sleeper.starts == 1);
    for (auto* name : {"server-ca.crt", "server-ca.key", "client-ca.crt", "service.key"})
      CHECK(server_file(sleeper, name) == server_file(other, name));
    const auto shown = crypto::parse_bundle(server_file(sleeper, "serving-kube-apiserver.crt")).value();
    CHECK(shown.front().authority_key_id() ==
          crypto::parse_bundle(server_file(other, "server-ca.crt")).value().front().subject_key_id());
  }
}
