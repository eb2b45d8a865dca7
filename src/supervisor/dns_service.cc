#include "supervisor/dns_service.h"

#include <fmt/format.h>

namespace kedge::supervisor {

using json::array;
using json::object;

json::value dns_service(const std::vector<std::string>& addresses) {
  if (addresses.empty()) return {};
  array all, families;
  for (auto& a : addresses) {
    all.emplace_back(a);
    families.emplace_back(a.contains(':') ? "IPv6" : "IPv4");
  }
  auto port = [](const char* name, const char* protocol, int number) {
    return object{{"name", name}, {"protocol", protocol}, {"port", number}, {"targetPort", number}};
  };
  object spec{{"clusterIP", addresses.front()},
              {"clusterIPs", std::move(all)},
              {"ipFamilies", std::move(families)},
              {"ipFamilyPolicy", addresses.size() > 1 ? "RequireDualStack" : "SingleStack"},
              {"ports", array{port("dns", "UDP", 53), port("dns-tcp", "TCP", 53)}}};
  return object{{"apiVersion", "v1"},
                {"kind", "Service"},
                {"metadata", object{{"name", "kube-dns"},
                                    {"namespace", "kube-system"},
                                    {"labels", object{{"k8s-app", "kube-dns"},
                                                      {"kubernetes.io/cluster-service", "true"},
                                                      {"kubernetes.io/name", "CoreDNS"}}}}},
                {"spec", std::move(spec)}};
}

task<result<void>> make_dns_service(api::objects& objects, std::vector<std::string> addresses) {
  auto service = dns_service(addresses);
  if (service.is_null()) co_return result<void>();
  auto made = co_await objects.create({"", "v1", "services"}, "kube-system", std::move(service));
  if (!made && made.error().code != 409)
    co_return fail(errc::internal, fmt::format("Service kube-system/kube-dns can't be made: {}", made.error().message));
  co_return result<void>();
}

}  // namespace kedge::supervisor
