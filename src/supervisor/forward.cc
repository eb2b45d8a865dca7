#include "supervisor/forward.h"

#include <algorithm>

#include "base/strings.h"
#include "json/write.h"
#include "net/http/content_coding.h"
#include "net/websocket/websocket.h"
#include "reactor/sync.h"
#include "tunnel/dial.h"

namespace kedge::supervisor {

namespace {

using net::http::client_exchange;
using net::http::exchange;
using net::http::headers;
using net::http::response;

constexpr std::size_t error_body_max_bytes = 16 * 1024;  // of a kubelet's refusal that is told on (real server: 16 KB)
// A way that gives no connection in this time is left for the next: several round trips of a slow link, TLS included.
constexpr std::chrono::seconds way_time{3};
// A kept connection that says nothing for so long may be dead; asking again costs one more answer.
constexpr std::chrono::seconds kept_answer_time{5};
constexpr std::string_view bearer_protocol = "base64url.bearer.authorization.k8s.io.";
// How bytes travel by websocket; a client that names none gets the first.
constexpr std::string_view binary_protocol = "binary.k8s.io", base64_protocol = "base64.binary.k8s.io";

bool hop_by_hop(std::string_view name) {
  static constexpr std::string_view names[] = {
      "connection", "keep-alive",        "proxy-connection", "proxy-authenticate", "proxy-authorization", "te",
      "trailer",    "transfer-encoding", "upgrade"};
  return std::any_of(std::begin(names), std::end(names), [&](std::string_view n) { return iequals(name, n); });
}

// Servers that read headers as CGI has them don't tell _ from -.
bool proves_identity(std::string_view name) {
  static constexpr std::string_view names[] = {"authorization",  "x-remote-user",    "x-remote-group",
                                               "x-remote-uid",   "impersonate-user", "impersonate-group",
                                               "impersonate-uid"};
  auto l = lower(name);
  std::ranges::replace(l, '_', '-');
  return std::ranges::find(names, l) != std::end(names) || l.starts_with("x-remote-extra-") ||
         l.starts_with("impersonate-extra-");
}

// Whoever speaks HTTP over what an upgrade leaves would do so in this server's name, on the connection that proves it.
bool leads_to_http(std::string_view upgrade) {
  static constexpr std::string_view names[] = {"h2c", "h2", "http", "tls"};
  return std::ranges::any_of(split(upgrade, ','), [](std::string_view one) {
    auto name = lower(trim(one.substr(0, one.find('/'))));
    return std::ranges::find(names, name) != std::end(names);
  });
}

api::status unreachable(const error& e) {
  if (e.code == errc::forbidden) return api::bad_request(e.message);
  return api::unavailable("error trying to reach service: " + e.message);
}

// What a client names of protocols, without the token among them.
std::vector<std::string> offered_protocols(const headers& h) {
  std::vector<std::string> out;
  for (auto field : h.all("Sec-WebSocket-Protocol"))
    for (auto protocol : split(field, ','))
      if (auto p = trim(protocol); !p.empty() && !p.starts_with(bearer_protocol)) out.emplace_back(p);
  return out;
}

// The request's body, piece by piece. Errors of the other side show in the answer.
task<result<void>> send_body(exchange& e, client_exchange& x) {
  e.body_deadline(time_point::max());  // a stream may last
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await e.read());
    if (piece.empty()) co_return co_await x.finish();
    bytes part = piece.view();
    KEDGE_CO_CHECK(co_await x.write({&part, 1}));
  }
}

struct answered {
  std::unique_ptr<client_exchange> by;
  const response* head = nullptr;
};

class forwarder {
 public:
  forwarder(exchange& e, net::http::client& through, forwarding f)
      : e_(e),
        through_(through),
        f_(std::move(f)),
        upgrade_(wants_upgrade(e.request())),
        has_body_(e.request().content_length.value_or(1) > 0) {
    auto& r = e.request();
    as_websocket_ = f_.bytes_to_websocket && net::websocket::is_upgrade(r);
    if (as_websocket_) upgrade_ = false;
    repeatable_ = !has_body_ && !upgrade_ && (r.method == "GET" || r.method == "HEAD");
  }

  task<int> run() {
    co_await carry();
    co_return code_;
  }

 private:
  task<void> carry() {
    auto a = co_await ask();
    if (!a && f_.is_api_server) {
      auto& e = a.error();
      co_return co_await tell_plain(
          503,
          "error trying to reach service: " +
              (e.code == errc::refused ? "dial tcp " + f_.authority + ": connect: connection refused" : e.message) +
              "\n");
    }
    if (!a) {
      const auto s = unreachable(a.error());
      code_ = s.code;
      co_return co_await refuse(e_, s);
    }
    const auto status = code_ = a->head->status;
    if (f_.is_api_server && status >= 300 && status < 400 && a->head->headers.has("location"))
      co_return co_await tell_plain(502, "the backend attempted to redirect this request, which is not permitted");
    if (status == 101) co_return co_await switch_protocols(*a);
    if (!f_.told_as.empty() && (status < 200 || status > 206)) co_return co_await tell_refusal(*a);
    if (as_websocket_) co_return co_await stream_by_websocket(*a);
    co_await pass(*a);
  }

  task<void> tell_plain(int code, std::string text) {
    code_ = code;
    response r{.status = code, .headers = f_.answer};
    r.headers.add("Content-Type", "text/plain; charset=utf-8");
    r.headers.add("X-Content-Type-Options", "nosniff");
    (void)co_await e_.respond(r, text);
  }

  net::http::client_request request_for(const net::http::target& to, bool fresh) const {
    auto& r = e_.request();
    net::http::client_request out{.to = to,
                                  .method = r.method,
                                  .path = f_.path,
                                  .headers = forwarded_headers(r, e_.connection().peer.address, upgrade_),
                                  .streams = has_body_,
                                  .length = r.content_length,
                                  .authority = f_.authority,
                                  .fresh = fresh};
    if (as_websocket_)
      for (auto name :
           {"Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"})
        out.headers.remove(name);
    if (f_.links && !upgrade_) out.headers.set("X-Forwarded-Uri", r.path);
    if (f_.is_api_server) {
      out.headers.set("X-Forwarded-Host", f_.authority);
      out.headers.set("X-Forwarded-Proto", "https");
      out.headers.set("X-Forwarded-Uri", r.path);
    }
    for (auto& [name, value] : f_.identity) out.headers.remove(name);
    for (auto& [name, value] : f_.identity) out.headers.add(name, value);
    return out;
  }

  // The first answer that any way gives.
  task<result<answered>> ask() {
    error last{errc::unavailable, "there is no way to it"};
    std::vector<std::size_t> late;
    for (std::size_t i = 0; i < f_.ways.size(); ++i) {
      // What can't be sent twice goes over a new connection, which has just shown that it lives. An API server's
      // connections are kept warm: its clients try again.
      for (bool fresh : {!repeatable_ && !f_.is_api_server, true}) {
        auto opened = co_await open(f_.ways[i], fresh, i + 1 == f_.ways.size());
        if (!opened) {
          if (opened.error().code == errc::timeout) late.push_back(i);
          last = std::move(opened).error();
          break;
        }
        auto by = *std::move(opened);
        result<void> sent;
        if (has_body_) sent = co_await send_body(e_, *by);
        auto head = by->reused() && repeatable_
                        ? co_await reactor::with_deadline(by->head(), reactor::loop::current().now() + kept_answer_time)
                        : co_await by->head();
        if (head) {
          if (f_.doubt)
            for (auto way : late) f_.doubt(way);
          co_return answered{std::move(by), *head};
        }
        last = sent ? std::move(head).error() : std::move(sent).error();
        if (!repeatable_) co_return fail(std::move(last));
        if (!by->reused()) break;
      }
    }
    co_return fail(std::move(last));
  }

  task<result<std::unique_ptr<client_exchange>>> open(const net::http::target& to, bool fresh, bool is_last) {
    auto opening = through_.open(request_for(to, fresh));
    if (is_last) co_return co_await std::move(opening);
    co_return co_await reactor::with_deadline(std::move(opening), reactor::loop::current().now() + way_time);
  }

  task<void> switch_protocols(answered& a) {
    auto up = a.by->upgraded();
    if (!up || !upgrade_)
      co_return co_await refuse(e_, api::internal_error("the node changed the protocol without being asked"));
    auto head = answer_head(a);
    head.headers.add("Connection", "Upgrade");
    head.headers.add("Upgrade", std::string(a.head->headers.get("upgrade")));
    auto down = co_await e_.upgrade(head);
    if (!down) co_return;
    co_await tunnel::splice(**down, **up);
  }

  task<void> tell_refusal(answered& a) {
    const auto status = a.head->status;
    auto text = co_await a.by->read_all(error_body_max_bytes);
    api::status s{.code = status,
                  .reason = status == 404   ? "NotFound"
                            : status == 400 ? "BadRequest"
                                            : "InternalError",
                  .message = text ? std::string(trim(*text)) : text.error().message};
    co_await refuse(e_, s);
  }

  response answer_head(const answered& a) const {
    response out{.status = a.head->status, .headers = {}};
    for (auto& [name, value] : a.head->headers)
      if (!hop_by_hop(name) && !iequals(name, "date") && !a.head->headers.has_token("connection", name))
        out.headers.add(name, value);
    for (auto& [name, value] : f_.answer)
      if (!a.head->headers.has(name)) out.headers.add(name, value);
    return out;
  }

  task<void> pass(answered& a) {
    auto head = answer_head(a);
    const bool redirects = head.headers.has("location");
    if (auto moved = f_.links ? proxied_link(head.headers.get("location"), *f_.links) : std::nullopt)
      head.headers.set("Location", *moved);
    if (e_.request().method == "HEAD" || head.status == 204 || head.status == 304) {
      (void)co_await e_.respond(head, std::string_view());
      co_return;
    }
    auto type = head.headers.get("content-type");
    if (f_.links && !redirects && iequals(trim(type.substr(0, type.find(';'))), "text/html"))
      if (auto decoder = net::http::content_decoder::make(head.headers.get("content-encoding")))
        co_return co_await pass_page(a, std::move(head), std::move(decoder));
    if (!co_await e_.start(head)) co_return;
    for (;;) {
      auto piece = co_await a.by->read();
      if (!piece) co_return e_.abort();
      if (piece->empty()) break;
      bytes part = piece->view();
      if (!co_await e_.write({&part, 1})) co_return;
    }
    (void)co_await e_.finish();
  }

  // A page goes out decoded: what was compressed is not what is sent.
  task<void> pass_page(answered& a, response head, std::unique_ptr<net::http::content_decoder> decoder) {
    head.headers.remove("Content-Length");
    head.headers.remove("Content-Encoding");
    if (!co_await e_.start(head)) co_return;
    link_rewriter links(*f_.links);
    std::string plain, out;
    for (;;) {
      auto piece = co_await a.by->read();
      if (!piece) co_return e_.abort();
      if (piece->empty()) break;
      // Until nothing is left of the piece and nothing more comes of it.
      bytes rest = piece->view();
      do {
        plain.clear();
        out.clear();
        if (!decoder->next(rest, plain)) co_return e_.abort();
        links.feed(plain, out);
        if (!out.empty() && !co_await e_.write(std::string_view(out))) co_return;
      } while (!rest.empty() || !plain.empty());
    }
    if (!decoder->complete()) co_return e_.abort();
    out.clear();
    links.finish(out);
    if (!out.empty() && !co_await e_.write(std::string_view(out))) co_return;
    (void)co_await e_.finish();
  }

  // As messages, after an empty one that tells that the stream begins. What the client sends means nothing, but its
  // close.
  task<void> stream_by_websocket(answered& a) {
    auto offered = offered_protocols(e_.request().headers);
    auto is_ours = [](const std::string& p) { return p == binary_protocol || p == base64_protocol; };
    auto chosen = std::find_if(offered.begin(), offered.end(), is_ours);
    if (!offered.empty() && chosen == offered.end())
      co_return co_await refuse(e_, {.code = 403,
                                     .reason = "Forbidden",
                                     .message = "requested protocol(s) are not supported: " + join(offered, ",")});
    auto opened = co_await net::websocket::accept(
        e_, chosen == offered.end() ? std::vector<std::string>() : std::vector<std::string>{*chosen});
    if (!opened) co_return;
    auto& socket = **opened;
    reactor::event left;
    reactor::scope beside;
    beside.spawn([](net::websocket::connection& s, reactor::event& gone) -> task<void> {
      while (co_await s.receive()) {}
      gone.set();
    }(socket, left));
    (void)co_await reactor::with_stop(copy_to(socket, *a.by, chosen != offered.end() && *chosen == base64_protocol),
                                      left);
    if (!left.is_set()) (void)co_await socket.close();
  }
  static task<result<void>> copy_to(net::websocket::connection& socket, client_exchange& from, bool base64_text) {
    const auto kind = base64_text ? net::websocket::opcode::text : net::websocket::opcode::binary;
    KEDGE_CO_CHECK(co_await socket.send(kind, std::string_view()));
    for (;;) {
      KEDGE_CO_TRY(auto piece, co_await from.read());
      if (piece.empty()) co_return result<void>();
      auto text = base64_text ? base64(piece.view()) : std::string(as_text(piece.view()));
      KEDGE_CO_CHECK(co_await socket.send(kind, std::string_view(text)));
    }
  }

  exchange& e_;
  net::http::client& through_;
  const forwarding f_;
  bool upgrade_, has_body_, as_websocket_ = false, repeatable_ = false;
  int code_ = 0;
};

}  // namespace

bool wants_upgrade(const net::http::request& r) {
  if (!r.headers.has_token("connection", "upgrade") || !r.headers.has("upgrade")) return false;
  return std::ranges::none_of(r.headers.all("upgrade"), leads_to_http);
}

task<void> refuse(exchange& e, const api::status& s) {
  response r;
  r.status = s.code;
  r.headers.add("Content-Type", "application/json");
  (void)co_await e.respond(r, json::write(s.to_json()) + "\n");
}

headers forwarded_headers(const net::http::request& r, const std::string& client_address, bool upgrade) {
  headers out;
  std::string before;
  for (auto& [name, value] : r.headers) {
    if (iequals(name, "x-forwarded-for")) {
      before += value + ", ";
      continue;
    }
    const bool goes = !hop_by_hop(name) && !proves_identity(name) && !r.headers.has_token("connection", name) &&
                      !iequals(name, "host") && !iequals(name, "content-length") && !iequals(name, "expect") &&
                      !iequals(name, "sec-websocket-protocol");
    if (goes) out.add(name, value);
  }
  if (auto protocols = offered_protocols(r.headers); !protocols.empty())
    out.add("Sec-WebSocket-Protocol", join(protocols, ","));
  if (upgrade) {
    out.add("Connection", "Upgrade");
    out.add("Upgrade", std::string(r.headers.get("upgrade")));
  }
  out.add("X-Forwarded-For", before + client_address);
  return out;
}

task<int> forward(exchange& e, net::http::client& through, forwarding f) {
  forwarder one(e, through, std::move(f));
  co_return co_await one.run();
}

}  // namespace kedge::supervisor
