#include "net/http/client.h"

#include <algorithm>

#include "base/strings.h"
#include "net/http/client_detail.h"
#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::net::http {

std::string target::authority() const {
  if (at.is_unix) return "localhost";
  auto name = host.empty() ? at.address : host;
  if (name.find(':') != std::string::npos) name = "[" + name + "]";
  auto standard = tls ? 443 : 80;
  return at.port == standard ? name : name + ":" + std::to_string(at.port);
}

result<std::pair<target, std::string>> parse_url(std::string_view url, std::shared_ptr<tls_client_context> tls) {
  auto bad = [&] { return fail(errc::invalid, "not an http or https URL: " + quote(url)); };
  target t;
  auto rest = url;
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
    if (!tls) return fail(errc::invalid, "no TLS settings for " + quote(url));
    t.tls = std::move(tls);
    t.at.port = 443;
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
    t.at.port = 80;
  } else {
    return bad();
  }
  auto end = rest.find_first_of("/?#");
  auto authority = rest.substr(0, end);
  std::string path(end == std::string_view::npos ? std::string_view("/") : rest.substr(end));
  if (path.front() == '?') path.insert(0, "/");
  path.resize(std::min(path.find('#'), path.size()));
  if (authority.find('@') != std::string_view::npos) return bad();
  auto bracket = authority.starts_with('[') ? authority.find(']') : std::string_view::npos;
  if (authority.starts_with('[') && bracket == std::string_view::npos) return bad();
  auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    auto port = parse_uint(authority.substr(colon + 1));
    if (!port || *port == 0 || *port > 65535) return bad();
    t.at.port = static_cast<std::uint16_t>(*port);
    authority = authority.substr(0, colon);
  }
  if (bracket != std::string_view::npos) authority = authority.substr(1, bracket - 1);
  if (authority.empty()) return bad();
  t.host = authority;
  if (reactor::parse_endpoint("[" + t.host + "]:1")) t.at.address = t.host;
  return std::pair(std::move(t), std::move(path));
}

std::unique_ptr<h1_client_connection> client::state::take_idle(const target& to) {
  auto now = reactor::loop::current().now();
  while (!idle.empty() && now - idle.front()->idle_since > pool_idle_timeout) idle.pop_front();
  for (auto i = idle.rbegin(); i != idle.rend(); ++i) {  // the newest is the likeliest to live
    if ((*i)->to != to) continue;
    auto c = std::move(*i);
    idle.erase(std::next(i).base());
    return c;
  }
  return nullptr;
}

void client::state::put_idle(std::unique_ptr<h1_client_connection> c) {
  if (!reactor::loop::try_current()) return;
  c->reused = true;
  c->idle_since = reactor::loop::current().now();
  std::size_t same = 0;
  auto oldest = idle.end();
  for (auto i = idle.begin(); i != idle.end(); ++i)
    if ((*i)->to == c->to && same++ == 0) oldest = i;
  if (same >= idle_max) idle.erase(oldest);
  idle.push_back(std::move(c));
}

client::client(reactor::network* network, std::size_t idle_max) : state_(std::make_shared<state>()) {
  state_->network = network ? network : &reactor::os_network();
  state_->idle_max = idle_max;
}
client::~client() { forget_idle(); }

void client::forget_idle() noexcept {
  state_->idle.clear();
  state_->h2.clear();
}

static task<result<std::unique_ptr<reactor::stream>>> connect_plain(reactor::network& network, const target& to) {
  if (to.at.is_unix || !to.at.address.empty()) co_return co_await network.connect(to.at);
  KEDGE_CO_TRY(auto addresses, co_await reactor::resolve(to.host));
  error last;
  for (auto& a : addresses) {
    auto s = co_await network.connect({a, to.at.port});
    if (s) co_return std::move(s);
    last = std::move(s).error();
  }
  co_return fail(std::move(last));
}

static task<result<std::unique_ptr<reactor::stream>>> connect_all(reactor::network& network, const target& to) {
  KEDGE_CO_TRY(auto s, co_await connect_plain(network, to));
  if (!to.tls) co_return std::move(s);
  auto t = co_await tls_connect(std::move(s), to.tls, to.host.empty() ? to.at.address : to.host);
  if (!t) co_return fail(std::move(t).error().with(to.authority() + ": "));
  co_return std::move(*t);
}

task<result<std::unique_ptr<reactor::stream>>> client::connect(const target& to) {
  auto deadline = reactor::loop::current().now() + connect_timeout;
  auto s = co_await reactor::with_deadline(connect_all(*state_->network, to), deadline);
  if (!s && s.error().code == errc::timeout)
    co_return fail(errc::timeout, "connecting to " + to.authority() + " took too long");
  co_return s;
}

task<result<std::unique_ptr<client_exchange>>> client::open(client_request r) {
  std::erase_if(state_->h2, [now = reactor::loop::current().now()](auto& s) { return h2_idle(*s.second, now); });
  for (auto& [to, session] : state_->h2)
    if (!r.fresh && to == r.to && h2_usable(*session)) co_return co_await open_h2_exchange(session, std::move(r));
  auto connection = r.fresh ? nullptr : state_->take_idle(r.to);
  if (!connection) {
    KEDGE_CO_TRY(auto s, co_await connect(r.to));
    std::vector<std::string> certificates;
    bool h2 = r.to.http2 && !r.to.tls;
    if (r.to.tls) {
      auto& t = static_cast<tls_stream&>(*s);
      certificates = t.peer_certificates();
      h2 = t.alpn() == "h2";
    }
    if (h2) {
      auto session = make_h2_client(std::move(s), std::move(certificates));
      state_->h2.emplace_back(r.to, session);
      co_return co_await open_h2_exchange(session, std::move(r));
    }
    connection = std::make_unique<h1_client_connection>();
    connection->to = r.to;
    connection->stream = std::move(s);
    connection->peer_certificates = std::move(certificates);
  }
  KEDGE_CO_TRY(auto x, make_h1_exchange(state_, std::move(connection), r));
  KEDGE_CO_CHECK(co_await send_h1_request(*x));
  co_return std::move(x);
}

task<result<client_response>> client::fetch(client_request r, std::size_t body_most) {
  bool harmless = (r.method == "GET" || r.method == "HEAD" || r.method == "PUT" || r.method == "DELETE") && !r.streams;
  // Each idle connection may be dead; there are at most so many, then a new one is made.
  for (std::size_t attempt = 0;; ++attempt) {
    KEDGE_CO_TRY(auto x, co_await open(harmless ? r : std::move(r)));
    auto head = co_await x->head();
    if (!head) {
      if (harmless && attempt < state_->idle_max && (x->refused() || died_idle(*x) || h2_died(*x))) continue;
      co_return std::unexpected(std::move(head).error());
    }
    client_response out;
    out.status = (*head)->status;
    out.headers = (*head)->headers;
    KEDGE_CO_TRY(out.body, co_await x->read_all(body_most));
    co_return std::move(out);
  }
}

task<result<std::string>> client_exchange::read_all(std::size_t most) {
  std::string all;
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await read());
    if (piece.empty()) co_return std::move(all);
    if (all.size() + piece.size() > most)
      co_return fail(errc::too_large, "the answer is larger than " + std::to_string(most) + " bytes");
    all += as_text(piece.view());
  }
}

}  // namespace kedge::net::http
