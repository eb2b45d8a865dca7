#include "node/services/health_ports.h"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../loop.h"
#include "json/parse.h"
#include "json/write.h"
#include "net/http/client.h"

using namespace kedge;
using namespace kedge::node;

namespace {

std::uint16_t free_port() {
  int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  CHECK(::bind(s, reinterpret_cast<sockaddr*>(&at), size) == 0);
  ::getsockname(s, reinterpret_cast<sockaddr*>(&at), &size);
  ::close(s);
  return ntohs(at.sin_port);
}

json::value service(std::uint16_t port, const std::string& type = "LoadBalancer", const std::string& policy = "Local") {
  return json::parse(R"({"metadata":{"namespace":"shop","name":"web"},"spec":{"type":")" + type +
                     R"(","clusterIPs":["10.43.0.9"],"externalTrafficPolicy":")" + policy +
                     R"(","healthCheckNodePort":)" + std::to_string(port) +
                     R"(,"ports":[{"name":"a","port":80},{"name":"b","port":81}]}})")
      .value();
}
json::value slice(const std::string& endpoints) {
  return json::
      parse(R"({"metadata":{"namespace":"shop","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",)"
            R"("ports":[{"name":"a","port":80},{"name":"b","port":81}],"endpoints":)" +
            endpoints + "}")
          .value();
}

struct answer {
  int status = 0;
  std::string weight, body;
};
// status 0: nobody is there.
task<answer> ask(std::uint16_t port) {
  net::http::client c;
  auto got = co_await c.fetch({.to = {.at = {"127.0.0.1", port}}, .path = "/any"});
  if (!got) co_return answer();
  co_return answer{got->status, std::string(got->headers.get("X-Load-Balancing-Endpoint-Weight")), got->body};
}
// Asks until the status is this one; the last answer.
task<answer> ask_for(std::uint16_t port, int status) {
  answer a;
  for (int i = 0; i < 500; ++i) {
    a = co_await ask(port);
    if (a.status == status) break;
    co_await reactor::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(a.status == status);
  co_return a;
}

}  // namespace

TEST_CASE("health check ports: a balancer is told how many endpoints of a Service are here") {
  test_loop loop;
  loop.run([]() -> task<void> {
    service_view view;
    bool healthy = true;
    health_ports ports({.node = "here", .address = "127.0.0.1"}, view, [&] { return healthy; });
    reactor::scope tasks;
    tasks.spawn(ports.run());
    auto first = free_port(), second = free_port();
    for (kind_sink* kind : {static_cast<kind_sink*>(&view.services), static_cast<kind_sink*>(&view.slices)}) {
      kind->begin_list();
      kind->end_list();
    }
    view.services.set(service(first));
    auto none = co_await ask_for(first, 503);
    CHECK(json::write(json::parse(none.body).value()) ==
          R"({"service":{"namespace":"shop","name":"web"},"localEndpoints":0,"serviceProxyHealthy":true})");
    // Two pods with two ports each; those elsewhere, unready and ending ones don't count.
    view.slices.set(
        slice(R"([{"addresses":["10.42.0.1"],"nodeName":"here"},{"addresses":["10.42.0.2"],"nodeName":"here"},
      {"addresses":["10.42.1.1"],"nodeName":"there"},{"addresses":["10.42.0.3"],"nodeName":"here","conditions":{"ready":false}},
      {"addresses":["10.42.0.4"],"nodeName":"here","conditions":{"ready":false,"serving":true,"terminating":true}}])"));
    auto two = co_await ask_for(first, 200);
    CHECK(two.weight == "2");
    CHECK(json::parse(two.body).value()["localEndpoints"].as_integer() == 2);
    healthy = false;
    CHECK_FALSE(json::parse((co_await ask_for(first, 503)).body).value()["serviceProxyHealthy"].as_bool());
    healthy = true;
    // Another port, then none: of policy Cluster, and of another type.
    view.services.set(service(second));
    CHECK((co_await ask_for(second, 200)).weight == "2");
    co_await ask_for(first, 0);
    view.services.set(service(second, "LoadBalancer", "Cluster"));
    co_await ask_for(second, 0);
    view.services.set(service(second));
    co_await ask_for(second, 200);
    view.services.set(service(second, "NodePort"));
    co_await ask_for(second, 0);
    view.services.set(service(second));
    co_await ask_for(second, 200);
    view.services.remove(service(second));
    co_await ask_for(second, 0);
  }());
}
