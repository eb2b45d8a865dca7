#include "api/kinds/core/probes.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kedge::api {
namespace {

void check_http(causes& out, const json::value& h, const place& at) {
  need(out, h, at, "path");
  check_port_or_name(out, h["port"], place(at, "port"));
  auto scheme = h["scheme"].as_string();
  if (scheme != "HTTP" && scheme != "HTTPS")
    out.push_back(not_supported(place(at, "scheme"), scheme, {"HTTP", "HTTPS"}));
  for (std::size_t i = 0; i < h["httpHeaders"].size(); ++i)
    if (auto name = h["httpHeaders"][i]["name"].as_string(); !is_http_header_name(name))
      out.push_back(invalid_value(place(at, "httpHeaders"), name,
                                  "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. "
                                  "'X-Header-Name', regex used for validation is "
                                  "'[-A-Za-z0-9]+')"));
  auto& protocol = h["protocol"];
  if (protocol.is_null()) return;
  if (protocol.as_string() != "HTTP1" && protocol.as_string() != "HTTP2")
    out.push_back(not_supported(place(at, "protocol"), protocol, {"HTTP1", "HTTP2"}));
  else if (protocol.as_string() == "HTTP2" && scheme != "HTTP")
    out.push_back(invalid_value(place(at, "protocol"), protocol, "is only supported with HTTP (H2C)"));
  else if (protocol.as_string() == "HTTP2" && !h["host"].as_string().empty())
    out.push_back(invalid_value(place(at, "host"), h["host"], "must be empty when `protocol` is \"HTTP2\""));
}

void check_exec(causes& out, const json::value& h, const place& at) { need(out, h, at, "command"); }
void check_tcp(causes& out, const json::value& h, const place& at) {
  check_port_or_name(out, h["port"], place(at, "port"));
}

void check_grpc(causes& out, const json::value& h, const place& at) {
  auto port = h["port"].as_integer();
  add_problems(out, place(at, "port"), port, check_port_number(port));
  one_of(out, h, at, "mode", {"Plaintext", "TLS"});
}

void check_sleep(causes& out, const json::value& h, const place& at, const json::value& grace) {
  auto seconds = h["seconds"].as_integer();
  if (grace.is_integer() && (seconds < 0 || seconds > grace.as_integer()))
    out.push_back(invalid_value(
        at, seconds,
        fmt::format("must be non-negative and less than terminationGracePeriodSeconds ({})", grace.as_integer())));
}

struct action {
  std::string_view member;
  void (*check)(causes& out, const json::value& h, const place& at);
};
constexpr action actions[] = {
    {"exec", check_exec}, {"httpGet", check_http}, {"tcpSocket", check_tcp}, {"grpc", check_grpc}, {"sleep", nullptr}};

// Of what a probe or a hook may do, exactly one.
void check_handler(causes& out, const json::value& h, const place& at, const json::value& grace) {
  bool any = false;
  for (auto& a : actions) {
    if (!h[a.member].is_object()) continue;
    const place here(at, a.member);
    if (any)
      out.push_back(forbidden_value(here, "may not specify more than 1 handler type"));
    else if (a.check)
      a.check(out, h[a.member], here);
    else
      check_sleep(out, h[a.member], here, grace);
    any = true;
  }
  if (!any) out.push_back(required(at, "must specify a handler type"));
}

void check_probe(causes& out, const json::value& p, const place& at, const json::value& grace) {
  check_handler(out, p, at, grace);
  for (auto name : {"initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"})
    not_negative(out, p, at, name);
  if (auto& seconds = p["terminationGracePeriodSeconds"]; seconds.is_integer() && seconds.as_integer() <= 0)
    out.push_back(invalid_value(place(at, "terminationGracePeriodSeconds"), seconds, "must be greater than 0"));
}

// A container that runs needs one success only.
void check_running_probe(causes& out, const json::value& p, const place& at, const json::value& grace) {
  if (!p.is_object()) return;
  check_probe(out, p, at, grace);
  if (p["successThreshold"].as_integer() != 1)
    out.push_back(invalid_value(place(at, "successThreshold"), p["successThreshold"].as_integer(), "must be 1"));
}

std::vector<std::string> linux_signals() {
  std::vector<std::string> out{
      "SIGABRT", "SIGALRM",   "SIGBUS",  "SIGCHLD",   "SIGCLD",   "SIGCONT", "SIGFPE",  "SIGHUP",   "SIGILL",
      "SIGINT",  "SIGIO",     "SIGIOT",  "SIGKILL",   "SIGPIPE",  "SIGPOLL", "SIGPROF", "SIGPWR",   "SIGQUIT",
      "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS",    "SIGTERM",  "SIGTRAP", "SIGTSTP", "SIGTTIN",  "SIGTTOU",
      "SIGURG",  "SIGUSR1",   "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "SIGRTMIN", "SIGRTMAX"};
  for (int i = 1; i <= 15; ++i) out.push_back(fmt::format("SIGRTMIN+{}", i));
  for (int i = 1; i <= 14; ++i) out.push_back(fmt::format("SIGRTMAX-{}", i));
  std::sort(out.begin(), out.end());
  return out;
}

void check_stop_signal(causes& out, const json::value& signal, const place& at, const json::value& os) {
  if (os.is_null())
    return out.push_back(forbidden_value(at, "may not be set for containers with empty `spec.os.name`"));
  const auto known =
      os["name"].as_string() == "windows" ? std::vector<std::string>{"SIGKILL", "SIGTERM"} : linux_signals();
  if (std::find(known.begin(), known.end(), signal.as_string()) == known.end())
    out.push_back(not_supported(at, signal, known));
}

}  // namespace

void check_probes(causes& out, const json::value& c, const place& at, const json::value& grace) {
  check_running_probe(out, c["livenessProbe"], place(at, "livenessProbe"), grace);
  if (auto& p = c["readinessProbe"]; p.is_object()) {
    const place here(at, "readinessProbe");
    check_probe(out, p, here, grace);
    if (auto& seconds = p["terminationGracePeriodSeconds"]; !seconds.is_null())
      out.push_back(
          invalid_value(place(here, "terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes"));
  }
  check_running_probe(out, c["startupProbe"], place(at, "startupProbe"), grace);
}

void check_lifecycle(causes& out, const json::value& lifecycle, const place& at, const json::value& grace,
                     const json::value& os) {
  for (auto hook : {"postStart", "preStop"})
    if (lifecycle[hook].is_object()) check_handler(out, lifecycle[hook], place(at, hook), grace);
  if (!lifecycle["stopSignal"].is_null()) check_stop_signal(out, lifecycle["stopSignal"], place(at, "stopSignal"), os);
}

}  // namespace kedge::api
