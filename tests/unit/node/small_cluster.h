// small_cluster.h: as much of a server as a joining node needs, over real TLS on a port of its own: the supervisor's
// endpoints with certificates that it really issues, and an API that keeps one node, its lease and its events.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crypto/certificate.h"
#include "json/value.h"
#include "net/http/server.h"

class small_cluster final : public kedge::net::http::handler {
 public:
  small_cluster();

  // Serves until dropped. `listening` is set when url() can be used.
  kedge::task<void> run();
  kedge::reactor::event& listening() { return server_.ready(0); }
  std::string url() const;
  std::string ca_pem() const { return server_ca_.bundle_pem(); }
  std::string full_token() const;  // K10<hash>::node:secret

  void write_admin(const std::string& certificate_file, const std::string& key_file) const;  // CN system:admin

  // How it behaves.
  std::string password = "secret";
  std::map<std::string, std::string> node_passwords;  // by node name, as first seen
  bool sends_keys = false;                            // answers certificate requests as a server of before 2025
  bool down_level = false;                            // a /v1-k3s/config that no agent of today takes
  int unavailable = 0;                                // answers that many requests (not /cacerts) with 503 first
  bool silent = false;                                // lets the API (not the supervisor) answer 503

  // What it saw.
  std::vector<std::string> requests;  // "GET /cacerts"
  std::map<std::string, std::string>
      headers_of_certificate;    // the K3s-Node-* headers of the last one: "serving-kubelet.K3s-Node-IP"
  kedge::json::value made_node;  // as it was created
  kedge::json::value node, lease;
  std::vector<kedge::json::value> events;
  std::vector<std::string> api_users;  // CN of the certificates that API requests came with, without repetition

  kedge::task<void> serve(kedge::net::http::exchange& e) override;

 private:
  struct reply {
    int status = 200;
    std::string body;
  };
  static reply status(int code, std::string_view reason, std::string message);
  reply answer(kedge::net::http::exchange& e, const std::string& body);
  reply supervisor(kedge::net::http::exchange& e, const std::string& body);
  reply issue(kedge::net::http::exchange& e, const std::string& what, const std::string& body);
  reply api(kedge::net::http::exchange& e, const std::string& body);

  kedge::crypto::authority server_ca_, client_ca_;
  kedge::net::http::server server_;
};
