#include "cli/commands/admin.h"

#include <fmt/format.h>
#include <signal.h>

#include "base/strings.h"
#include "cli/checks.h"
#include "crypto/files.h"
#include "crypto/token.h"
#include "json/parse.h"
#include "net/http/client.h"
#include "node/join/http_answer.h"
#include "reactor/sync.h"

namespace kedge::cli::commands {
namespace {

using net::tls_client_context;

constexpr duration request_time = std::chrono::seconds(15);  // K3s's for requests between servers

const json::value* named(const json::value& list, std::string_view name) {
  if (const auto* items = list.array())
    for (const auto& item : *items)
      if (item["name"].as_string() == name) return &item;
  return nullptr;
}

// `<what>-data` as base64 in the file, or `<what>` as the name of another; "" when neither is there.
result<std::string> embedded_or_file(const json::value& entry, const std::string& what, const std::string& folder) {
  if (const auto data = entry[what + "-data"].as_string(); !data.empty()) {
    auto text = unbase64(data);
    if (!text) return fail(std::move(text).error().with(what + "-data: "));
    return text;
  }
  std::string file(entry[what].as_string());
  if (file.empty()) return std::string();
  if (!file.starts_with('/')) file = folder + file;
  return crypto::read_file(file);
}

result<admin_access> parse_kubeconfig(std::string_view text, const std::string& folder) {
  KEDGE_TRY(const auto document, json::parse_yaml(text));
  const auto current = document["current-context"].as_string();
  const auto* context = named(document["contexts"], current);
  if (!context)
    return fail(errc::invalid, fmt::format("there is no context {}, which current-context names", quote(current)));
  const auto& at = (*context)["context"];
  const auto* cluster = named(document["clusters"], at["cluster"].as_string());
  const auto* user = named(document["users"], at["user"].as_string());
  if (!cluster) return fail(errc::invalid, fmt::format("there is no cluster {}", quote(at["cluster"].as_string())));
  if (!user) return fail(errc::invalid, fmt::format("there is no user {}", quote(at["user"].as_string())));
  const auto& server = (*cluster)["cluster"];
  const auto& who = (*user)["user"];
  if (server["insecure-skip-tls-verify"].as_bool())
    return fail(errc::unsupported,
                "insecure-skip-tls-verify is not taken: the administrator's rights go to no server that isn't known");
  admin_access a;
  a.url = server["server"].as_string();
  KEDGE_TRY(a.ca_pem, embedded_or_file(server, "certificate-authority", folder));
  KEDGE_TRY(a.certificate_pem, embedded_or_file(who, "client-certificate", folder));
  KEDGE_TRY(a.key_pem, embedded_or_file(who, "client-key", folder));
  if (const auto token = who["token"].as_string(); !token.empty()) a.authorization = fmt::format("Bearer {}", token);
  if (a.certificate_pem.empty() && a.authorization.empty())
    return fail(errc::unsupported, "its user has neither a client certificate nor a token");
  return a;
}

error explain(error e, const std::string& url) {
  const auto unreachable =
      e.code == errc::refused || e.code == errc::timeout || e.code == errc::closed || e.code == errc::not_found;
  auto told = std::move(e).with(fmt::format("no answer from {}: ", url));
  if (unreachable)
    told.message += "; does a server run, and at this address? (--kubeconfig or --data-dir choose another)";
  return told;
}

// Everything is a value: the loop ends with the answer.
task<result<net::http::client_response>> exchange(net::http::client_request r) {
  net::http::client client;
  co_return co_await reactor::with_deadline(client.fetch(std::move(r)), reactor::loop::current().now() + request_time);
}

result<std::string> ask_with(const std::string& url, const std::string& authorization, const admin_request& r,
                             const net::tls_client_options& tls) {
  KEDGE_TRY(auto context, tls_client_context::make(tls));
  if (!url.starts_with("https://"))
    return fail(errc::invalid, fmt::format("{} is not a URL such as https://10.0.0.1:6443", quote(url)));
  KEDGE_TRY(auto where, net::http::parse_url(url, std::move(context)));
  net::http::client_request request{.to = std::move(where.first), .method = r.method, .path = r.path, .body = r.body};
  if (!r.body.empty()) request.headers.add("Content-Type", "application/json");
  request.headers.add("Accept", "application/json");
  if (!authorization.empty()) request.headers.add("Authorization", authorization);
  ::signal(SIGPIPE, SIG_IGN);  // a server that goes away is an error, not the end
  KEDGE_TRY(auto backend, reactor::make_backend(reactor::io_backend::automatic));
  reactor::loop loop(std::move(backend));
  auto answer = loop.run_until(exchange(std::move(request)));
  if (!answer) return fail(explain(std::move(answer).error(), url));
  return node::body_or_error(*std::move(answer), url + r.path);
}

}  // namespace

result<admin_access> read_kubeconfig(const std::string& path) {
  auto text = crypto::read_file(path);
  if (!text && text.error().code == errc::not_found)
    return fail(errc::not_found,
                fmt::format("there is no {}; run this on a server, with its --data-dir, or give --kubeconfig", path));
  if (!text) return fail(std::move(text).error());
  auto parsed = parse_kubeconfig(*text, path.substr(0, path.rfind('/') + 1));
  if (!parsed) return fail(std::move(parsed).error().with(path + ": "));
  return parsed;
}

std::string data_dir_of(const scanned& given, const machine& here) {
  return given.value("data-dir", here.variable("K3S_DATA_DIR").value_or(here.default_data_dir()));
}

result<admin_access> administrator(const scanned& given, const machine& here) {
  if (given.has("kubeconfig")) return read_kubeconfig(given.value("kubeconfig"));
  if (const auto file = here.variable("KUBECONFIG"); file && !given.has("data-dir")) return read_kubeconfig(*file);
  return read_kubeconfig(data_dir_of(given, here) + "/server/cred/admin.kubeconfig");
}

result<std::string> ask(const admin_access& a, const admin_request& r) {
  net::tls_client_options tls{.chain_pem = a.certificate_pem, .key_pem = a.key_pem, .alpn = {"http/1.1"}};
  if (!a.ca_pem.empty()) tls.ca_pem = a.ca_pem;
  return ask_with(a.url, a.authorization, r, tls);
}

result<std::string> fetch_unverified_ca(const std::string& url) {
  return ask_with(url, {}, {.path = "/cacerts"}, {.insecure = true, .alpn = {"http/1.1"}});
}

namespace {

// The CA of the server: the data directory's when it fits the token, else what the server hands out, checked by the
// token.
result<std::string> ca_for(const crypto::token& token, const std::string& url, const std::string& data_dir) {
  const auto now = system_wall_time();
  if (auto own = crypto::read_file(data_dir + "/server/tls/server-ca.crt");
      own && crypto::check_ca_hash(token, *own, now))
    return own;
  KEDGE_TRY(auto ca, fetch_unverified_ca(url));
  KEDGE_TRY(ca, crypto::vouched_ca(token, ca, now));
  if (token.ca_hash.empty())
    fmt::print(
        stderr,
        "warning: the token has no CA hash, so the server at {} is taken at its word; use the full token from its "
        "server/token file to be sure of it\n",
        url);
  return ca;
}

result<std::string> token_now(const scanned& given, const machine& here, const std::string& data_dir) {
  if (given.has("token")) return given.value("token");
  if (auto variable = here.variable("K3S_TOKEN")) return *variable;
  auto text = crypto::read_file(data_dir + "/server/token");
  if (!text)
    return fail(
        std::move(text).error().with("the token as it is now is wanted: --token, or the data directory of a server: "));
  return std::string(trim(*text));
}

}  // namespace

result<admin_access> as_server(const scanned& given, const machine& here) {
  const auto data_dir = data_dir_of(given, here);
  KEDGE_TRY(const auto now_text, token_now(given, here, data_dir));
  KEDGE_TRY(const auto token, crypto::parse_token(now_text, "server"));
  if (!token.bearer.empty())
    return fail(errc::invalid, "a bootstrap token can't change the cluster; this needs the cluster's own token");
  auto url = given.value("server", here.variable("K3S_URL").value_or(""));
  if (url.empty()) {
    const auto own = read_kubeconfig(data_dir + "/server/cred/admin.kubeconfig");
    url = own ? own->url : "https://127.0.0.1:6443";
  }
  if (const auto complaint = check_https_url(url))
    return fail(errc::invalid, fmt::format("--server: {} {}", quote(url), *complaint));
  while (url.ends_with('/')) url.pop_back();
  KEDGE_TRY(const auto ca, ca_for(token, url, data_dir));
  return admin_access{
      .url = url, .ca_pem = ca, .certificate_pem = {}, .key_pem = {}, .authorization = token.authorization()};
}

}  // namespace kedge::cli::commands
