// agent_status.cc: `kedge agent status`: what the agent on this machine knows of the servers, asked through its socket
// file.
#include <fmt/format.h>
#include <signal.h>

#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "json/parse.h"
#include "json/write.h"
#include "net/http/client.h"
#include "node/config.h"
#include "node/join/http_answer.h"
#include "reactor/sync.h"

namespace kedge::cli::commands {
namespace {

constexpr std::string_view name = "agent status";
constexpr duration answer_time = std::chrono::seconds(5);  // of a process on this machine

std::optional<std::string_view> check_output(std::string_view value) {
  if (value == "text" || value == "json") return std::nullopt;
  return "is neither text nor json";
}

constexpr flag flags_of_status[] = {
    {.name = "data-dir", .short_name = 'd', .env = "K3S_DATA_DIR", .help = "The agent's data folder"},
    {.name = "output", .short_name = 'o', .fallback = "text", .check = check_output, .help = "text or json"},
};

task<result<net::http::client_response>> exchange(std::string socket) {
  net::http::client client;
  net::http::client_request r{.to = {.at = reactor::endpoint::unix_path(std::move(socket))}, .path = "/status"};
  co_return co_await reactor::with_deadline(client.fetch(std::move(r)), reactor::loop::current().now() + answer_time);
}

result<json::value> ask_agent(const std::string& socket) {
  ::signal(SIGPIPE, SIG_IGN);
  KEDGE_TRY(auto backend, reactor::make_backend(reactor::io_backend::automatic));
  reactor::loop loop(std::move(backend));
  auto answer = loop.run_until(exchange(socket));
  if (!answer)
    return fail(std::move(answer).error().with(
        fmt::format("no agent answers at {}; does one run, with this --data-dir? ", socket)));
  KEDGE_TRY(auto text, node::body_or_error(*std::move(answer), socket));
  return json::parse(text);
}

std::string how_long(const json::value& seconds) {
  auto n = static_cast<std::int64_t>(seconds.as_number());
  if (n < 120) return fmt::format("{}s", n);
  if (n < 120 * 60) return fmt::format("{}m", n / 60);
  return fmt::format("{}h", n / 3600);
}

std::string in_milliseconds(const json::value& v) {
  return v.is_null() ? std::string("-") : fmt::format("{:.2f}ms", v.as_number());
}

std::string notes_of(const json::value& s) {
  std::string out;
  auto add = [&](std::string_view word) { out += (out.empty() ? "" : ", ") + std::string(word); };
  if (s["default"].as_bool()) add("registration address");
  if (s["own"].as_bool()) add("first choice");
  if (s["slow"].as_bool()) add("slow");
  auto problem = s["tunnel"]["lastError"].as_string();
  if (s["tunnel"]["state"].as_string() == "failed" && !problem.empty()) add(problem);
  return out;
}

void print(const json::value& status) {
  fmt::print("Node {}: requests go to {}", status["nodeName"].as_string(), status["api"].as_string());
  if (status["balancer"].as_bool())
    fmt::print(" (this agent's load balancer; registration address {})", status["registrationAddress"].as_string());
  fmt::print("\n");
  constexpr auto row = "{:<24} {:<11} {:>6} {:>12} {:>10}  {:<8} {:>6} {:>8} {:>11}  {}\n";
  fmt::print(row, "SERVER", "STATE", "SINCE", "CONNECTIONS", "LATENCY", "TUNNEL", "SINCE", "STREAMS", "ROUND TRIP",
             "NOTES");
  for (std::size_t i = 0; i < status["servers"].size(); ++i) {
    auto& s = status["servers"][i];
    auto& t = s["tunnel"];
    bool balanced = !s["state"].is_null(), tunnelled = !t.is_null();
    fmt::print(
        row, s["address"].as_string(), balanced ? s["state"].as_string() : "-",
        balanced ? how_long(s["stateSeconds"]) : "-", balanced ? std::to_string(s["connections"].as_integer()) : "-",
        balanced ? in_milliseconds(s["latencyMilliseconds"]) : "-", tunnelled ? t["state"].as_string() : "-",
        tunnelled ? how_long(t["stateSeconds"]) : "-", tunnelled ? std::to_string(t["streams"].as_integer()) : "-",
        tunnelled ? in_milliseconds(t["roundTripMilliseconds"]) : "-", notes_of(s));
  }
}

}  // namespace

std::span<const flag> agent_status_flags() { return flags_of_status; }

int agent_status(const invocation& call) {
  const auto given = scan_flags_only(flags_of_status, call.arguments);
  if (!given) return report(name, given.error());
  node::agent_config agent{.data_dir = data_dir_of(*given, call.here)};
  const auto status = ask_agent(agent.status_socket());
  if (!status) return report(name, status.error());
  if (given->value("output", "text") == "json")
    fmt::print("{}\n", json::write(*status));
  else
    print(*status);
  return 0;
}

}  // namespace kedge::cli::commands
