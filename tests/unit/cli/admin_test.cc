#include "cli/commands/admin.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <future>
#include <thread>

#include "base/strings.h"
#include "cli/command.h"
#include "crypto/certificate.h"
#include "crypto/token.h"
#include "json/parse.h"
#include "json/write.h"
#include "net/http/server.h"
#include "net/tls.h"
#include "reactor/loop.h"
#include "reactor/scope.h"
#include "temporary.h"

using namespace kedge;
using namespace kedge::cli;
using namespace kedge::cli::commands;
using words = std::vector<std::string>;

namespace {

struct identity {
  std::string chain, key;
};

identity issue(const crypto::authority& ca, const crypto::leaf_request& wanted) {
  const auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
  REQUIRE(key);
  const auto leaf = crypto::issue(ca, key->public_part(), wanted, system_wall_time(), system_random());
  REQUIRE(leaf);
  return {crypto::chain_pem(*leaf, ca), key->pem()};
}

// Keeps Secrets as an API server does, as far as the commands see it; remembers the last request.
class few_secrets final : public net::http::handler {
 public:
  task<void> serve(net::http::exchange& e) override {
    const auto body = co_await e.read_all();
    last_authorization = e.request().headers.get("Authorization");
    had_certificate = !e.connection().peer_certificates.empty();
    const auto& method = e.request().method;
    const auto& path = e.request().path;
    if (path == "/cacerts") co_return co_await answer(e, 200, ca);
    if (path == "/v1-k3s/token") {
      new_token = json::parse(*body).value()["newToken"].as_string();
      co_return co_await answer(e, 200, "");
    }
    if (method == "POST") {
      const auto secret = json::parse(*body).value();
      const std::string name(secret["metadata"]["name"].as_string());
      if (secrets.find(name)) co_return co_await refuse(e, 409, "AlreadyExists", "it exists");
      secrets.set(name, secret);
      co_return co_await answer(e, 201, *body);
    }
    if (method == "DELETE") {
      if (!secrets.erase(path.substr(path.rfind('/') + 1)))
        co_return co_await refuse(e, 404, "NotFound", "it does not exist");
      co_return co_await answer(e, 200, "{}");
    }
    json::array items;
    for (const auto& m : secrets) items.push_back(m.value);
    co_await answer(e, 200, json::write(json::object{{"items", std::move(items)}}));
  }

  std::string ca, last_authorization, new_token;
  bool had_certificate = false;
  json::object secrets;
  std::atomic<int> answered = 0;

 private:
  task<void> answer(net::http::exchange& e, int status, std::string body) {
    answered.fetch_add(1, std::memory_order_release);  // what was remembered before is to be seen by who got the answer
    net::http::response r;
    r.status = status;
    (void)co_await e.respond(r, body);
  }
  task<void> refuse(net::http::exchange& e, int status, std::string reason, std::string message) {
    co_await answer(e, status, json::write(json::object{{"kind", "Status"}, {"reason", reason}, {"message", message}}));
  }
};

// A server with TLS on a thread of its own, while it lives; and its data directory.
class small_server {
 public:
  small_server() {
    const auto ca = crypto::authority::create("k3s-server-ca", system_wall_time());
    REQUIRE(ca);
    handler.ca = ca->bundle_pem();
    const auto served = issue(*ca, {.common_name = "k3s", .addresses = {"127.0.0.1"}, .server = true});
    const auto admin = issue(*ca, {.common_name = "system:admin", .organizations = {"system:masters"}, .client = true});
    std::promise<std::uint16_t> port;
    auto chosen = port.get_future();
    thread_ = std::thread([this, served, &port] { run(served, port); });
    url = "https://127.0.0.1:" + std::to_string(chosen.get());
    folder.write("server/tls/server-ca.crt", handler.ca);
    folder.write("server/tls/client-admin.crt", admin.chain);
    folder.write("server/tls/client-admin.key", admin.key);
    folder.write(
        "server/token",
        crypto::token{crypto::ca_hash(handler.ca, system_wall_time()).value(), "server", "pw", ""}.format() + "\n");
    folder.write("server/cred/admin.kubeconfig",
                 "apiVersion: v1\nkind: Config\ncurrent-context: Default\n"
                 "clusters:\n- name: local\n  cluster: {server: '" +
                     url +
                     "', certificate-authority: ../tls/server-ca.crt}\n"
                     "contexts:\n- name: Default\n  context: {cluster: local, user: user}\n"
                     "users:\n- name: user\n  user: {client-certificate: ../tls/client-admin.crt, client-key: " +
                     folder.path + "/server/tls/client-admin.key}\n");
  }
  ~small_server() {
    mail_->post([l = loop_] { l->stop(); });  // by itself: it may be gone before a stop() from here returns
    thread_.join();
  }

  // What it remembers, between requests.
  few_secrets& seen() {
    (void)handler.answered.load(std::memory_order_acquire);
    return handler;
  }
  temporary_folder folder;
  std::string url;

 private:
  void run(const identity& served, std::promise<std::uint16_t>& port) {
    reactor::loop loop(reactor::make_backend(reactor::io_backend::automatic).value());
    loop_ = &loop;
    mail_ = loop.mail();
    net::http::server server(handler, {.listen = {{"127.0.0.1", 0}},
                                       .tls = net::tls_server_context::make({}, served.chain, served.key).value()});
    const reactor::loop::current_guard here(loop);
    loop.spawn([](net::http::server& s) -> task<void> { (void)co_await s.run(0); }(server));
    loop.spawn([](net::http::server& s, std::promise<std::uint16_t>& p) -> task<void> {
      co_await s.ready(0).wait();
      p.set_value(s.listening(0).at(0).port);
    }(server, port));
    loop.run();
  }
  few_secrets handler;  // of the server's thread
  reactor::loop* loop_ = nullptr;
  std::shared_ptr<reactor::mailbox> mail_;
  std::thread thread_;
};

// Runs a command with standard output going to a file.
struct outcome {
  int code;
  std::string output;
};
outcome run(words arguments, const machine& here) {
  std::fflush(stdout);
  const int kept = ::dup(1);
  char name[] = "/tmp/kedge_output_XXXXXX";
  const int file = ::mkstemp(name);
  ::dup2(file, 1);
  const daemons none = {nullptr, nullptr};
  const int code = run_program("kedge", std::move(arguments), here, none);
  std::fflush(stdout);
  ::dup2(kept, 1);
  ::close(kept);
  std::string text(static_cast<std::size_t>(::lseek(file, 0, SEEK_END)), '\0');
  (void)!::pread(file, text.data(), text.size(), 0);
  ::close(file);
  ::unlink(name);
  return {code, text};
}

}  // namespace

TEST_CASE("a kubeconfig is understood, or what it lacks is named") {
  const temporary_folder folder;
  const std::string clusters =
      "clusters: [{name: c, cluster: {server: 'https://h:6443', certificate-authority-data: Q0E=}}]\n";
  const std::string contexts = "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n";
  const auto read = [&](const std::string& text) { return read_kubeconfig(folder.write("kubeconfig", text)); };

  const auto whole =
      read(clusters + contexts + "users: [{name: u, user: {client-certificate-data: Q1JU, client-key-data: S0VZ}}]\n");
  REQUIRE(whole);
  CHECK(whole->url == "https://h:6443");
  CHECK(whole->ca_pem == "CA");
  CHECK(whole->certificate_pem == "CRT");
  CHECK(whole->key_pem == "KEY");
  CHECK(read(clusters + contexts + "users: [{name: u, user: {token: abc}}]\n")->authorization == "Bearer abc");

  const auto refusal = [&](const std::string& text) { return read(text).error().message; };
  CHECK(refusal(clusters + "users: []") ==
        folder.path + "/kubeconfig: there is no context \"\", which current-context names");
  CHECK(refusal(contexts) == folder.path + "/kubeconfig: there is no cluster \"c\"");
  CHECK(refusal(clusters + contexts) == folder.path + "/kubeconfig: there is no user \"u\"");
  CHECK(refusal(clusters + contexts + "users: [{name: u, user: {}}]")
            .ends_with("neither a client certificate nor a token"));
  CHECK(refusal(clusters + contexts + "users: [{name: u, user: {client-certificate: absent.crt}}]")
            .find(folder.path + "/absent.crt") != std::string::npos);
  CHECK(read_kubeconfig(folder.path + "/nothing")
            .error()
            .message.starts_with("there is no " + folder.path + "/nothing; run this on a server"));
}

TEST_CASE("tokens are created, listed and deleted at a server, as its administrator") {
  small_server server;
  const machine here = {.environment = {{"K3S_DATA_DIR", server.folder.path}}, .host_name = "h", .root = true};

  const auto made = run({"token", "create", "abcdef.0123456789abcdef", "--ttl", "2h", "--description", "attic"}, here);
  CHECK(made.code == 0);
  CHECK(made.output ==
        "K10" + crypto::ca_hash(server.seen().ca, system_wall_time()).value() + "::abcdef.0123456789abcdef\n");
  CHECK(server.seen().had_certificate);
  CHECK(run({"token", "create", "abcdef.0123456789abcdef"}, here).code == 1);  // it is there

  const auto random = run({"token", "create", "--data-dir", server.folder.path, "--ttl", "0"}, here);
  CHECK(random.code == 0);
  CHECK(crypto::is_bootstrap_token(crypto::parse_token(trim(random.output)).value().bearer));

  const auto listed = run({"token", "list"}, here).output;
  CHECK(listed.find("abcdef   119m") != std::string::npos);
  CHECK(listed.find("<forever>") != std::string::npos);
  CHECK(listed.find("0123456789abcdef") == std::string::npos);
  CHECK(run({"token", "list", "-o", "json"}, here).output.find("\"abcdef.0123456789abcdef\"") != std::string::npos);
  CHECK(run({"token", "list", "-o", "csv"}, here).code == 1);

  const auto deleted = run({"token", "delete", "abcdef"}, here);
  CHECK(deleted.output == "bootstrap token \"abcdef\" deleted\n");
  CHECK(run({"token", "delete", "abcdef"}, here).code == 1);
  CHECK(server.seen().secrets.size() == 1);

  CHECK(run({"token", "create", "too-short"}, here).code == 1);
  CHECK(run({"token", "create", "--ttl", "-1h"}, here).code == 1);
  CHECK(run({"token", "create", "--groups", "system:masters"}, here).code == 1);
  CHECK(run({"token", "delete"}, here).code == 1);
  CHECK(server.seen().secrets.size() == 1);
}

TEST_CASE("the cluster's token is changed by who has it, at a server that it fits") {
  small_server server;
  const machine here = {.environment = {{"K3S_DATA_DIR", server.folder.path}}, .host_name = "h", .root = true};
  CHECK(run({"token", "rotate", "--new-token", "fresh"}, here).code == 0);
  CHECK(server.seen().new_token == "fresh");
  CHECK(server.seen().last_authorization == "Basic " + base64(as_bytes("server:pw")));
  CHECK(run({"token", "rotate"}, here).code == 0);
  CHECK(server.seen().new_token.empty());

  // From elsewhere: the CA comes from the server, and the token's hash says whether it is the right one.
  const machine elsewhere = {.environment = {{"K3S_DATA_DIR", "/nonexistent"}}, .host_name = "h", .root = true};
  server.seen().last_authorization.clear();
  const auto hash = crypto::ca_hash(server.seen().ca, system_wall_time()).value();
  CHECK(run({"token", "rotate", "--server", server.url, "--token", "K10" + hash + "::server:pw"}, elsewhere).code == 0);
  CHECK(server.seen().last_authorization == "Basic " + base64(as_bytes("server:pw")));
  server.seen().last_authorization.clear();
  CHECK(run({"token", "rotate", "--server", server.url, "--token", "K10" + std::string(64, '0') + "::server:pw"},
            elsewhere)
            .code == 1);
  CHECK(server.seen().last_authorization.empty());  // the token went to nobody
  CHECK(run({"token", "rotate", "--server", server.url}, elsewhere).code == 1);
  CHECK(run({"token", "rotate", "--server", server.url, "--token", "abcdef.0123456789abcdef"}, elsewhere).code == 1);
}

TEST_CASE("a server that isn't there, or isn't the one, is told apart") {
  const auto ca = crypto::authority::create("other-ca", system_wall_time());
  REQUIRE(ca);
  const auto gone = ask({.url = "https://127.0.0.1:1",
                         .ca_pem = ca->bundle_pem(),
                         .certificate_pem = {},
                         .key_pem = {},
                         .authorization = {}},
                        {.path = "/"});
  REQUIRE(!gone);
  CHECK(gone.error().message.starts_with("no answer from https://127.0.0.1:1: "));
  CHECK(gone.error().message.find("does a server run, and at this address?") != std::string::npos);

  small_server server;
  const auto other =
      ask({.url = server.url, .ca_pem = ca->bundle_pem(), .certificate_pem = {}, .key_pem = {}, .authorization = {}},
          {.path = "/"});
  REQUIRE(!other);
  CHECK(other.error().code == errc::unauthenticated);
  CHECK(!ask({.url = "http://127.0.0.1:1", .ca_pem = {}, .certificate_pem = {}, .key_pem = {}, .authorization = {}},
             {.path = "/"}));
}
