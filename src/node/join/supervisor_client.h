// supervisor_client.h: requests of a joining agent to a server's supervisor, and how the server's CA comes to be
// trusted.
//
// K3s's client asks for /cacerts three times: with the system's trust (which is expected to fail), without any, and
// with what it got. The result is the same with one request when the token's hash fits what came, so that is tried
// first.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "crypto/token.h"
#include "net/http/client.h"
#include "node/join/server_clock.h"

namespace kedge::node {

// A client certificate in PEM, or empty.
struct client_identity {
  std::string chain, key;
};

class supervisor_client {
 public:
  // `url` is https://host[:port]. errc::invalid for another scheme or a malformed one.
  static result<supervisor_client> make(std::string url, crypto::token token, client_identity identity,
                                        reactor::network* network);

  // Fetches the CA and checks it against the token; requests verify the server from then on. Failures may pass, unless
  // wrong_cluster() says that the token was made for another cluster.
  task<result<void>> trust_server();
  bool wrong_cluster() const { return wrong_cluster_; }
  // The same for a node that is one of the cluster's already: whoever proves to be a server by `ca` is believed.
  task<result<void>> trust_server_by(const std::string& ca);
  // The CA in PEM; empty when the system's trust store vouches for the server.
  const std::string& ca() const { return ca_; }
  // The token with the CA's hash, as files and logs of K3s have it.
  const crypto::token& token() const { return token_; }

  // After trust_server() only: the token goes along.
  task<result<std::string>> get(std::string path);
  using header_list = std::vector<std::pair<std::string, std::string>>;
  task<result<std::string>> post(std::string path, std::string body, header_list headers);

 private:
  supervisor_client() = default;
  // `trust` null: whoever answers.
  task<result<std::string>> ask(net::http::client_request r, std::shared_ptr<net::tls_client_context> trust);

  std::string url_;
  server_clock clock_;
  net::http::target target_;  // with a TLS context that verifies nothing
  crypto::token token_;
  client_identity identity_;
  std::string ca_;
  bool wrong_cluster_ = false;
  std::shared_ptr<net::tls_client_context> verified_;
  std::unique_ptr<net::http::client> http_;
};

}  // namespace kedge::node
