#include "node/streams/pod_streams.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "net/http/client.h"
#include "node/limits.h"
#include "node/logs/log_files.h"
#include "node/logs/log_lines.h"
#include "reactor/offload.h"
#include "tunnel/dial.h"

namespace kedge::node {

namespace {

using json::value;
using net::http::exchange;
using net::http::response;

constexpr std::string_view roots[] = {"/containerLogs/", "/exec/", "/attach/", "/portForward/", "/run/"};

task<void> answer(exchange& e, int code, std::string body) {
  response r{.status = code};
  r.headers.add("Content-Type", "text/plain; charset=utf-8");
  if (!body.ends_with('\n')) body += '\n';
  (void)co_await e.respond(r, body);
}

// All values of a query's parameter.
std::vector<std::string> values_of(std::string_view query, std::string_view name) {
  std::vector<std::string> out;
  for (auto part : split(query, '&')) {
    auto equals = part.find('=');
    if (part.substr(0, equals) != name) continue;
    auto v = percent_decode(equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1), true);
    if (v) out.push_back(*std::move(v));
  }
  return out;
}
bool flag(std::string_view query, std::string_view name) {
  auto all = values_of(query, name);
  return !all.empty() && all.front() != "0" && all.front() != "false";
}

const value& status_named(const value& status, std::string_view name) {
  static const value none;
  for (auto* list : {"containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"})
    if (auto* all = status[list].array())
      for (auto& s : *all)
        if (s["name"].as_string() == name) return s;
  return none;
}

std::string id_of(const value& v) {
  auto text = v.as_string();
  auto at = text.find("://");
  return std::string(at == std::string_view::npos ? text : text.substr(at + 3));
}

const container_seen* seen_by_id(const pod_seen& seen, std::string_view id) {
  for (auto& c : seen.containers)
    if (c.id == id) return &c;
  return nullptr;
}

}  // namespace

result<std::string> container_of_log(const value& status, std::string_view pod, std::string_view container,
                                     bool previous) {
  auto refuse = [&](std::string_view how) {
    return fail(errc::invalid, fmt::format("container \"{}\" in pod \"{}\" is {}", container, pod, how));
  };
  auto& s = status_named(status, container);
  if (s.is_null()) return refuse("not available");
  auto& last = s["lastState"]["terminated"];
  auto& state = s["state"];
  if (previous) {
    if (last["containerID"].as_string().empty())
      return fail(errc::invalid,
                  fmt::format("previous terminated container \"{}\" in pod \"{}\" not found", container, pod));
    return id_of(last["containerID"]);
  }
  if (state["running"].is_object()) return id_of(s["containerID"]);
  if (auto& ended = state["terminated"]; ended.is_object() && !ended["containerID"].as_string().empty())
    return id_of(ended["containerID"]);
  if (!last["containerID"].as_string().empty()) return id_of(last["containerID"]);
  if (state["terminated"].is_object() || last.is_object()) return refuse("terminated");
  auto reason = state["waiting"]["reason"].as_string();
  if (reason == "ErrImagePull") return refuse("waiting to start: image can't be pulled");
  if (reason == "ImagePullBackOff") return refuse("waiting to start: trying and failing to pull image");
  if (state["waiting"].is_object()) return refuse(fmt::format("waiting to start: {}", reason));
  return refuse("waiting to start - no logs yet");
}

bool pod_streams::serves(std::string_view path) {
  return std::any_of(std::begin(roots), std::end(roots), [&](auto root) { return path.starts_with(root); });
}

// /verb/namespace/pod[/uid]/container, all but portForward with a container.
task<void> pod_streams::serve(exchange& e) {
  auto& r = e.request();
  std::vector<std::string> parts;
  for (auto part : split(std::string_view(r.path).substr(1), '/')) {
    auto decoded = percent_decode(part, false);
    if (!decoded) co_return co_await answer(e, 400, "invalid URL path");
    parts.push_back(*std::move(decoded));
  }
  const bool forwards = parts[0] == "portForward";
  std::string uid;
  if (parts[0] != "containerLogs" && parts.size() == (forwards ? 4U : 5U)) {
    uid = parts[3];
    parts.erase(parts.begin() + 3);
  }
  if (parts.size() != (forwards ? 3U : 4U)) co_return co_await answer(e, 404, "404 page not found");
  auto* pod = pods_.find(parts[1], parts[2], uid);
  if (!pod)
    co_return co_await answer(
        e, 404,
        parts[0] == "containerLogs" ? fmt::format("pod \"{}\" does not exist", parts[2]) : "pod does not exist");
  if (forwards) {
    auto* sandbox = pod->seen().active_sandbox();
    if (!sandbox)
      co_return co_await answer(e, 500, fmt::format("failed to find sandboxID for pod {}_{}", parts[2], parts[1]));
    std::vector<int> ports;
    for (auto& text : values_of(r.query, "port"))
      if (auto n = parse_uint(text); n && *n <= 65535) ports.push_back(static_cast<int>(*n));
    auto url = co_await runtime_.port_forward_url(sandbox->id, std::move(ports));
    if (!url) co_return co_await answer(e, 500, rpc_text(url.error()));
    co_return co_await pass_on(e, *std::move(url));
  }
  if (container_named(*pod->pod(), parts[3]).is_null())
    co_return co_await answer(e, 404,
                              parts[0] == "containerLogs"
                                  ? fmt::format("container \"{}\" not found in pod \"{}\"", parts[3], parts[2])
                                  : fmt::format("container not found (\"{}\")", parts[3]));
  if (parts[0] == "containerLogs") co_return co_await serve_log(e, parts[1], parts[2], parts[3]);
  auto* c = pod->seen().newest(parts[3]);
  if (!c || c->state != container_state::running)
    co_return co_await answer(e, parts[0] == "run" ? 404 : 500, fmt::format("container not found (\"{}\")", parts[3]));
  if (parts[0] == "run") co_return co_await serve_run(e, c->id);
  exec_request ask{.command = {},
                   .tty = flag(r.query, "tty"),
                   .in = flag(r.query, "input"),
                   .out = flag(r.query, "output"),
                   .err = flag(r.query, "error")};
  if (parts[0] == "exec")
    ask.command = values_of(r.query, "command");
  else
    ask.tty = container_named(*pod->pod(), parts[3])["tty"].as_bool();
  if (parts[0] == "exec" && ask.command.empty())
    co_return co_await answer(e, 400, "you must specify the command to execute");
  if (!ask.in && !ask.out && !ask.err)
    co_return co_await answer(e, 400, "you must specify at least 1 of stdin, stdout, stderr");
  if (ask.tty) ask.err = false;
  auto url = co_await runtime_.stream_url(c->id, std::move(ask));
  if (!url) co_return co_await answer(e, 500, rpc_text(url.error()));
  co_await pass_on(e, *std::move(url));
}

task<void> pod_streams::serve_run(exchange& e, std::string id) {
  auto command = values_of(e.request().query, "cmd");
  std::vector<std::string> words;
  if (!command.empty())
    for (auto word : split(command.front(), ' '))
      if (!word.empty()) words.emplace_back(word);
  if (words.empty()) co_return co_await answer(e, 400, "you must specify the command to execute");
  auto done = co_await runtime_.exec(std::move(id), std::move(words), 0);
  if (!done) co_return co_await answer(e, 500, rpc_text(done.error()));
  if (done->exit_code != 0)
    co_return co_await answer(
        e, 500, fmt::format("command terminated with exit code {}: {}", done->exit_code, done->out + done->err));
  co_await answer(e, 200, done->out + done->err);
}

// The connection becomes one with the runtime's streaming server.
task<void> pod_streams::pass_on(exchange& e, std::string url) {
  auto to = net::http::parse_url(url, nullptr);
  if (!to) co_return co_await answer(e, 500, to.error().message);
  auto& r = e.request();
  net::http::client client(network_);
  net::http::client_request q{.to = std::move(to->first), .method = r.method, .path = std::move(to->second)};
  for (auto& [name, v] : r.headers) {
    auto l = lower(name);
    if (l.starts_with("sec-websocket-") || l.starts_with("x-stream-protocol-version") || l == "upgrade" ||
        l == "origin")
      q.headers.add(name, v);
  }
  q.headers.add("Connection", "Upgrade");
  q.fresh = true;
  auto x =
      co_await reactor::with_deadline(client.open(std::move(q)), reactor::loop::current().now() + runtime_deadline);
  if (!x)
    co_return co_await answer(e, 502, "the container runtime's streaming server doesn't answer: " + x.error().message);
  auto head = co_await reactor::with_deadline((*x)->head(), reactor::loop::current().now() + runtime_deadline);
  if (!head)
    co_return co_await answer(e, 502,
                              "the container runtime's streaming server doesn't answer: " + head.error().message);
  response out{.status = (*head)->status};
  for (auto& [name, v] : (*head)->headers) {
    auto l = lower(name);
    if (l == "connection" || l == "upgrade" || l == "transfer-encoding" || l == "content-length" || l == "date")
      continue;
    out.headers.add(name, v);
  }
  if (out.status != 101) {
    auto body = co_await (*x)->read_all(answer_bytes_max);
    (void)co_await e.respond(out, body ? *body : std::string());
    co_return;
  }
  out.headers.add("Connection", "Upgrade");
  out.headers.add("Upgrade", std::string((*head)->headers.get("upgrade")));
  auto up = (*x)->upgraded();
  if (!up) co_return co_await answer(e, 502, up.error().message);
  auto down = co_await e.upgrade(out);
  if (!down) co_return;
  co_await tunnel::splice(**down, **up);
}

task<void> pod_streams::serve_log(exchange& e, std::string ns, std::string name, std::string container) {
  auto options = log_options::parse(e.request().query, reactor::loop::current().wall_now());
  if (!options) co_return co_await answer(e, 400, options.error().message);
  auto* pod = pods_.find(ns, name);
  auto uid = std::string((*pod->pod())["metadata"]["uid"].as_string());
  auto id = container_of_log(pod->status(), name, container, options->previous);
  if (!id) co_return co_await answer(e, 400, id.error().message);
  auto* seen = seen_by_id(pod->seen(), *id);
  if (!seen)
    co_return co_await answer(e, 400, fmt::format("unable to retrieve container logs for {}://{}", "containerd", *id));
  auto path = seen->log_path;
  auto logs = pods_.settings().logs;
  auto opened = co_await reactor::offload([logs, path] { return log_file::open(logs, path); });
  if (!opened || !*opened) co_return co_await answer(e, 500, opened ? opened->error().message : opened.error().message);
  auto file = **opened;
  std::uint64_t at = 0;
  if (options->tail_lines) {
    auto begins = co_await reactor::offload([file, n = *options->tail_lines] { return file->tail_begins(n); });
    if (begins) at = *begins;
  }
  response head;
  head.headers.add("Content-Type", "text/plain");
  if (!co_await e.start(head)) co_return;
  log_reader reader(*options);
  std::shared_ptr<log_file> next;  // what the runtime writes to instead of `file`, since it was set aside
  bool last_look = false;
  for (;;) {
    auto piece = co_await reactor::offload([file, at] { return file->read(at, log_piece_bytes); });
    if (!piece || !*piece) co_return e.abort();
    if (!(*piece)->empty()) {
      at += (*piece)->size();
      std::string text;
      reader.feed(**piece, text);
      if (!text.empty() && !co_await e.write(text)) co_return;
      if (reader.is_full()) break;
      continue;
    }
    if (!options->follow) break;
    if (next) {
      file = std::exchange(next, {});
      at = 0;
      reader.restart();
      continue;
    }
    if (last_look) break;
    auto there = co_await reactor::offload([logs, path] { return log_file::open(logs, path); });
    // The old one is read once more after a pause: what was being written goes there still.
    if (there && *there && !(**there)->is(*file)) next = **there;
    auto* now = pods_.find(ns, name, uid);
    auto* c = now ? seen_by_id(now->seen(), *id) : nullptr;
    // What it wrote last is read once more.
    last_look = !c || c->state != container_state::running;
    if (next || !last_look) co_await reactor::sleep_for(log_follow_poll);
  }
  (void)co_await e.finish();
}

}  // namespace kedge::node
