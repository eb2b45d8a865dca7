#include "node/pods/handlers.h"

#include <fmt/format.h>

#include "base/kubernetes_version.h"
#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "net/grpc.h"
#include "net/http/client.h"
#include "node/limits.h"
#include "node/pods/configs.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

using json::value;

constexpr int redirects_max = 10;

std::shared_ptr<net::tls_client_context> any_tls() {
  // Who serves HTTPS in a pod is the user's business: probes verify nothing, as the kubelet's.
  static thread_local std::shared_ptr<net::tls_client_context> tls = [] {
    auto made = net::tls_client_context::make({.insecure = true, .alpn = {"http/1.1"}});
    return made ? *std::move(made) : nullptr;
  }();
  return tls;
}

std::vector<std::string> words_of(const value& list) {
  std::vector<std::string> out;
  if (auto* all = list.array())
    for (auto& w : *all) out.emplace_back(w.as_string());
  return out;
}

struct http_question {
  std::string host, scheme, path;
  int port = 0;
  std::string url() const {
    return fmt::format("{}://{}{}", scheme, reactor::endpoint{host, static_cast<std::uint16_t>(port)}.text(), path);
  }
};

result<http_question> question_of(const value& http, const value& container, const handler_target& at) {
  http_question q;
  KEDGE_TRY(q.port, port_of(http["port"], container));
  q.host = http["host"].as_string().empty() ? at.pod_ip : std::string(http["host"].as_string());
  q.scheme = lower(http["scheme"].as_string("HTTP"));
  q.path = http["path"].as_string("/");
  if (!q.path.starts_with('/')) q.path = "/" + q.path;
  return q;
}

net::http::client_request request_of(const http_question& q, const value& http, std::string_view agent) {
  net::http::client_request r;
  r.to = {.at = {q.host, static_cast<std::uint16_t>(q.port)}, .host = {}};
  if (q.scheme == "https") r.to.tls = any_tls();
  r.path = q.path;
  r.fresh = true;
  bool has_agent = false, has_accept = false;
  if (auto* all = http["httpHeaders"].array())
    for (auto& h : *all) {
      auto name = std::string(h["name"].as_string());
      has_agent |= iequals(name, "user-agent");
      has_accept |= iequals(name, "accept");
      if (iequals(name, "host"))
        r.authority = h["value"].as_string();
      else
        r.headers.add(name, std::string(h["value"].as_string()));
    }
  if (!has_agent) r.headers.add("User-Agent", std::string(agent));
  if (!has_accept) r.headers.add("Accept", "*/*");
  r.headers.add("Connection", "close");
  return r;
}

// The status and the beginning of the body.
struct http_answer {
  int status = 0;
  std::string location;
};
task<result<http_answer>> ask(net::http::client& client, net::http::client_request r) {
  KEDGE_CO_TRY(auto x, co_await client.open(std::move(r)));
  KEDGE_CO_TRY(auto* head, co_await x->head());
  http_answer out{.status = head->status, .location = std::string(head->headers.get("location"))};
  co_return out;
}

std::string kube_probe_agent(std::string_view kind) {
  std::string_view v = kedge_version;  // v1.37.2+…
  if (v.starts_with('v')) v.remove_prefix(1);
  auto second = v.find('.', v.find('.') + 1);
  return fmt::format("kube-{}/{}", kind, v.substr(0, second));
}

// "connect: connection refused", as Go's dialler tells what ours found.
std::string dial_text(const http_question& q, const error& e) {
  auto where = reactor::endpoint{q.host, static_cast<std::uint16_t>(q.port)}.text();
  if (e.code == errc::refused) return fmt::format("dial tcp {}: connect: connection refused", where);
  if (e.code == errc::timeout) return fmt::format("dial tcp {}: i/o timeout", where);
  return e.message;
}

task<probe_outcome> probe_http(const value& http, const value& container, const handler_target& at, duration within) {
  auto q = question_of(http, container, at);
  if (!q) co_return probe_outcome{.result = probe_result::unknown, .output = q.error().message, .errored = true};
  net::http::client client(at.network);
  auto until = reactor::loop::current().now() + within;
  auto first = q->url();
  for (int hop = 0;; ++hop) {
    auto answer = co_await reactor::with_deadline(ask(client, request_of(*q, http, kube_probe_agent("probe"))), until);
    if (!answer) {
      auto text = answer.error().code == errc::timeout
                      ? std::string("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
                      : dial_text(*q, answer.error());
      co_return probe_outcome{.result = probe_result::failure, .output = fmt::format("Get \"{}\": {}", first, text)};
    }
    bool redirect = answer->status >= 300 && answer->status < 400 && !answer->location.empty();
    if (redirect && answer->location.starts_with('/') && hop < redirects_max) {
      q->path = answer->location;
      continue;
    }
    if (redirect && hop < redirects_max) {
      auto there = net::http::parse_url(answer->location, any_tls());
      if (!there || (there->first.at.address != q->host && there->first.host != q->host))
        co_return probe_outcome{.result = probe_result::success,
                                .output = fmt::format("Probe terminated redirects, Response body: {}", ""),
                                .warned = true};
      q->port = there->first.at.port;
      q->scheme = there->first.tls ? "https" : "http";
      q->path = there->second;
      continue;
    }
    if (answer->status >= 200 && answer->status < 400)
      co_return probe_outcome{.result = probe_result::success, .output = {}};
    co_return probe_outcome{.result = probe_result::failure,
                            .output = fmt::format("HTTP probe failed with statuscode: {}", answer->status)};
  }
}

task<probe_outcome> probe_tcp(const value& tcp, const value& container, const handler_target& at, duration within) {
  auto port = port_of(tcp["port"], container);
  if (!port) co_return probe_outcome{.result = probe_result::unknown, .output = port.error().message, .errored = true};
  http_question q{.host = tcp["host"].as_string().empty() ? at.pod_ip : std::string(tcp["host"].as_string()),
                  .scheme = {},
                  .path = {},
                  .port = *port};
  net::http::client client(at.network);
  auto made =
      co_await reactor::with_deadline(client.connect({.at = {q.host, static_cast<std::uint16_t>(q.port)}, .host = {}}),
                                      reactor::loop::current().now() + within);
  if (made) co_return probe_outcome{.result = probe_result::success, .output = {}};
  co_return probe_outcome{.result = probe_result::failure, .output = dial_text(q, made.error())};
}

// grpc.health.v1: HealthCheckRequest service 1; HealthCheckResponse status 1.
task<probe_outcome> probe_grpc(const value& grpc, const handler_target& at, duration within) {
  static constexpr std::string_view states[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
  auto port = static_cast<std::uint16_t>(grpc["port"].as_integer());
  wire::writer w;
  w.text(1, grpc["service"].as_string());
  net::grpc::channel channel(net::http::target{.at = {at.pod_ip, port}, .host = {}});
  auto answer = co_await reactor::with_deadline(channel.unary("/grpc.health.v1.Health/Check", w.take()),
                                                reactor::loop::current().now() + within);
  if (!answer) {
    auto where = reactor::endpoint{at.pod_ip, port}.text();
    auto code = answer.error().code;
    auto text = code == errc::timeout || code == errc::refused
                    ? fmt::format("timeout: failed to connect service \"{}\" within {}: context deadline exceeded",
                                  where, format_duration(within))
                    : fmt::format("error: health rpc probe failed: {}", answer.error().message);
    co_return probe_outcome{.result = probe_result::failure, .output = std::move(text)};
  }
  std::uint64_t status = 0;
  wire::fields r(*answer);
  while (r.next())
    if (r.field() == 1) status = r.number();
  if (status == 1) co_return probe_outcome{.result = probe_result::success, .output = {}};
  co_return probe_outcome{
      .result = probe_result::failure,
      .output = fmt::format("service unhealthy (responded with \"{}\")", states[status < 4 ? status : 0])};
}

std::vector<std::string> expanded(const value& command, const value& container) {
  variables env;
  if (auto* all = container["env"].array())
    for (auto& e : *all)
      if (e["value"].is_string()) env.set(e["name"].as_string(), std::string(e["value"].as_string()));
  return expand_all(command, env);
}

task<probe_outcome> probe_exec(const value& exec, const value& container, const handler_target& at, duration within,
                               pod_runtime& runtime) {
  auto command = expanded(exec["command"], container);
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(within).count();
  auto done = co_await runtime.exec(at.container_id, command, seconds);
  if (!done && (done.error().code == errc::timeout || done.error().message.contains("timed out") ||
                done.error().message.contains("DeadlineExceeded")))
    co_return probe_outcome{.result = probe_result::failure,
                            .output = fmt::format("command timed out: {} timed out after {}", quote(join(command, " ")),
                                                  format_duration(within))};
  if (!done)
    co_return probe_outcome{.result = probe_result::unknown, .output = rpc_text(done.error()), .errored = true};
  if (done->exit_code == 0) co_return probe_outcome{.result = probe_result::success, .output = {}};
  auto output = done->out + done->err;
  if (output.size() > probe_output_max) output.resize(probe_output_max);
  co_return probe_outcome{.result = probe_result::failure, .output = std::move(output)};
}

}  // namespace

task<probe_outcome> probe_once(value probe, value container, handler_target at, pod_runtime& runtime) {
  duration within = std::chrono::seconds(std::max<std::int64_t>(probe["timeoutSeconds"].as_integer(1), 1));
  if (auto& exec = probe["exec"]; exec.is_object()) co_return co_await probe_exec(exec, container, at, within, runtime);
  if (auto& http = probe["httpGet"]; http.is_object()) co_return co_await probe_http(http, container, at, within);
  if (auto& tcp = probe["tcpSocket"]; tcp.is_object()) co_return co_await probe_tcp(tcp, container, at, within);
  if (auto& grpc = probe["grpc"]; grpc.is_object()) co_return co_await probe_grpc(grpc, at, within);
  co_return probe_outcome{.result = probe_result::unknown, .output = "missing probe handler", .errored = true};
}

task<result<void>> run_hook(value handler, value container, handler_target at, pod_runtime& runtime) {
  if (auto& exec = handler["exec"]; exec.is_object()) {
    auto command = words_of(exec["command"]);
    KEDGE_CO_TRY(auto done, co_await runtime.exec(at.container_id, command, 0));
    if (done.exit_code == 0) co_return result<void>();
    auto output = done.out + done.err;
    if (output.size() > probe_output_max) output.resize(probe_output_max);
    co_return fail(errc::internal,
                   fmt::format("command '{}' exited with {}: {}", join(command, " "), done.exit_code, output));
  }
  if (auto& http = handler["httpGet"]; http.is_object()) {
    KEDGE_CO_TRY(auto q, question_of(http, container, at));
    net::http::client client(at.network);
    auto answer = co_await ask(client, request_of(q, http, kube_probe_agent("lifecycle")));
    if (!answer) co_return fail(std::move(answer).error());
    // As the kubelet: any answer will do, but for an error of the server's.
    if (answer->status < 200 || answer->status >= 400)
      co_return fail(errc::internal,
                     fmt::format("HTTP lifecycle hook ({}) failed with status {}", q.url(), answer->status));
    co_return result<void>();
  }
  if (auto& sleep = handler["sleep"]; sleep.is_object()) {
    co_await reactor::sleep_for(std::chrono::seconds(std::max<std::int64_t>(sleep["seconds"].as_integer(), 0)));
    co_return result<void>();
  }
  if (handler["tcpSocket"].is_object())
    co_return result<void>();  // allowed for old objects' sake; nothing is done for it
  co_return fail(errc::invalid, "invalid handler");
}

}  // namespace kedge::node
