// node_proxy.h: the API's subresources that lead to a node: nodes/N/proxy, pods/P/{log,exec,attach,portforward,proxy},
// services/S/proxy.
//
//   request ─▶ where it goes (Node, Pod, Service as stored) ─▶ node_dialer ─▶ TLS with the kubelet, end to end ─▶
//   forward.h
//                                                                            └▶ HTTP with the pod
//
// The kubelet is asked as the API server (client-kube-apiserver), and known by its serving certificate, which names the
// node: two nodes behind NAT may have the same address. An address is dialled only when it may be another host's, and
// of a Service only when a pod of its namespace has it. Connections to kubelets are kept, one object a core.
#pragma once

#include <functional>
#include <memory>

#include "api/authorization/authorization.h"
#include "supervisor/node_dialer.h"
#include "supervisor/pod_network.h"

namespace kedge::supervisor {

class node_proxy {
 public:
  // `kubelets`: who we are to them, and the CA that signs their certificates.
  node_proxy(node_dialer& dialer, api::objects& objects, std::shared_ptr<net::tls_client_context> kubelets);
  ~node_proxy();
  // Who we are to kubelets from the next connection on; none is kept that was made before.
  void use(std::shared_ptr<net::tls_client_context> kubelets) {
    kubelet_tls_ = std::move(kubelets);
    kubelets_.forget_idle();
  }

  // A GET of a node's kubelet: the pieces of a 200's body go to `take`, until it fails. errc::not_found: there is no
  // such Node; errc::unavailable: no way leads there. The deadline is the caller's.
  task<result<void>> read_kubelet(std::string node, std::string path,
                                  std::function<result<void>(std::string_view)> take);

  // For api::virtual_resource::connect. `rest`: the path behind the proxy as received, with its leading slash; empty
  // when there is none.
  task<void> serve(net::http::exchange& e, const api::authorized& what, std::string rest);

  struct destination;

 private:
  api::api_result<destination> find(const net::http::request& r, const api::authorized& what, const std::string& rest,
                                    const api::query_values& query) const;
  api::api_result<destination> find_node(const api::authorized& what) const;
  api::api_result<destination> find_pod(const api::authorized& what) const;
  api::api_result<destination> find_service(const api::authorized& what) const;
  api::api_result<destination> find_container(const api::authorized& what, const api::query_values& query) const;
  destination at_address(std::string_view node, std::string_view address, std::uint16_t port, bool tls) const;
  bool is_pod(const json::value& endpoint, std::string_view ns) const;

  struct kubelet_network;
  node_dialer& dialer_;
  api::objects& objects_;
  std::shared_ptr<net::tls_client_context> kubelet_tls_, any_tls_;
  std::unique_ptr<kubelet_network> kubelet_network_;
  std::unique_ptr<pod_network> pod_network_;
  net::http::client kubelets_, pods_;
};

// "https:name:8443", "name:http", "name": the parts of a proxied resource's name. nullopt: none of these.
struct proxied_name {
  std::string scheme, name, port;
  friend bool operator==(const proxied_name&, const proxied_name&) = default;
};
std::optional<proxied_name> parse_proxied_name(std::string_view text);

}  // namespace kedge::supervisor
