#include "node/services/health_ports.h"

#include <algorithm>

#include "base/log.h"
#include "json/write.h"
#include "net/http/server.h"
#include "node/network/limits.h"
#include "reactor/scope.h"

namespace kedge::node {

struct health_ports::port final : net::http::handler {
  const health_ports& all;
  const std::string service;
  const std::uint16_t number;
  reactor::scope serving;

  port(const health_ports& a, std::string s, std::uint16_t n) : all(a), service(std::move(s)), number(n) {
    serving.spawn(listen());
  }

  // Another program may have the port for a while.
  task<void> listen() {
    for (bool first = true;; first = false) {
      net::http::server server(
          *this, {.listen = {{all.options_.address, number}}, .connections_max = health_port_connections_max});
      auto ended = co_await server.run(0);
      if (first)
        log::warning("the health check port {} of service {} can't be served, and is tried again: {}", number, service,
                     ended ? std::string("it ended") : ended.error().message);
      co_await reactor::sleep_for(network_retry);
    }
  }

  task<void> serve(net::http::exchange& e) override {
    auto count = all.count_here(service);
    bool healthy = all.healthy_();
    auto slash = service.find('/');
    json::value text(json::object{
        {"service", json::object{{"namespace", service.substr(0, slash)}, {"name", service.substr(slash + 1)}}},
        {"localEndpoints", static_cast<std::int64_t>(count)},
        {"serviceProxyHealthy", healthy}});
    net::http::response head{.status = count > 0 && healthy ? 200 : 503, .headers = {}};
    head.headers.add("Content-Type", "application/json");
    head.headers.add("X-Content-Type-Options", "nosniff");
    head.headers.add("X-Load-Balancing-Endpoint-Weight", std::to_string(count));
    (void)co_await e.respond(head, json::write(text));
  }
};

health_ports::health_ports(health_port_options o, service_view& view, std::function<bool()> healthy)
    : options_(std::move(o)), view_(view), healthy_(std::move(healthy)) {
  view_.watchers.push_back([this](const std::string& service) {
    if (!service.empty()) dirty_.insert(service);
    changed_.set();
  });
}

health_ports::~health_ports() = default;

task<void> health_ports::run() {
  for (;;) {
    co_await changed_.wait();
    changed_.reset();
    if (!view_.listed()) continue;
    for (auto& service : std::exchange(dirty_, {})) {
      keep(service);
      co_await reactor::maybe_yield();
    }
  }
}

void health_ports::keep(const std::string& service) {
  auto* s = view_.services.find(service);
  auto wanted = s ? s->health_port : 0;
  auto there = ports_.find(service);
  if (there != ports_.end()) {
    if (there->second->number == wanted) return;
    ports_.erase(there);
  }
  if (wanted != 0) ports_[service] = std::make_unique<port>(*this, service, wanted);
}

std::size_t health_ports::count_here(const std::string& service) const {
  auto* s = view_.services.find(service);
  if (!s || s->cluster_ips.empty()) return 0;
  std::set<ip_address> all;
  for (auto* slice : view_.slices_of(service)) {
    // Of two families one counts: both are the same pods'.
    if (slice->v4 != s->cluster_ips.front().is_v4()) continue;
    for (auto& e : slice->endpoints)
      if (e.ready && !options_.node.empty() && e.node == options_.node) all.insert(e.addresses.front());
  }
  return all.size();
}

}  // namespace kedge::node
