// api_client.h: JSON requests to the API server under one identity, over one kept connection.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "json/value.h"
#include "net/http/client.h"
#include "node/join/server_clock.h"
#include "node/join/supervisor_client.h"
#include "node/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

// Who a client of the API is, and whom it believes: `ca` in PEM; empty: the system's trust store.
result<std::shared_ptr<net::tls_client_context>> client_context(const std::string& ca, const client_identity& identity);

class api_client {
 public:
  // `ca` in PEM; empty: the system's trust store.
  static result<api_client> make(std::string url, const std::string& ca, const client_identity& identity,
                                 reactor::network* network);
  // From the next connection on as that, and none is kept that was made before; `renewed` is pulsed.
  result<void> use(const std::string& ca, const client_identity& identity);

  // All give the object that the server answers with, or its Status as an error (http_answer.h). Each has a deadline.
  task<result<json::value>> get(std::string path, std::size_t answer_most = answer_bytes_max);
  task<result<json::value>> create(std::string path, const json::value& object);
  task<result<json::value>> update(std::string path, const json::value& object);
  task<result<json::value>> strategic_patch(std::string path, const json::value& patch);
  task<result<json::value>> merge_patch(std::string path, const json::value& patch);
  task<result<json::value>> remove(std::string path, const json::value& options);
  // What /cacerts answers with, unless it bears `known_mark` (crypto::authorities_mark): 304 then.
  task<result<net::http::client_response>> cacerts(std::string known_mark);
  // A GET whose answer is read piece by piece: a watch. Without a deadline.
  task<result<std::unique_ptr<net::http::client_exchange>>> open(std::string path);
  // To wait for: who it is has changed. Exchanges that stream (open) go on as who they were begun.
  reactor::event& renewed() noexcept { return *renewed_; }

 private:
  api_client() = default;
  task<result<json::value>> ask(std::string method, std::string path, std::string body, std::string_view type,
                                std::size_t answer_most = answer_bytes_max);

  std::string url_;
  net::http::target target_;
  std::unique_ptr<net::http::client> http_;
  std::unique_ptr<reactor::event> renewed_ = std::make_unique<reactor::event>();
  server_clock clock_;
};

}  // namespace kedge::node
