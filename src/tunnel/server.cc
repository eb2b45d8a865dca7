#include "tunnel/server.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/log.h"
#include "base/strings.h"
#include "net/websocket/websocket.h"
#include "reactor/own_frame.h"

namespace kedge::tunnel {

struct server::state {
  struct core {
    reactor::loop* loop;
    std::map<std::string, std::vector<session_info>, std::less<>> nodes;  // all cores' sessions, the newest first
    std::unordered_map<std::int64_t, link*> links;                        // this core's
    bool closing = false;
  };
  std::vector<core> cores;
  link::options options;

  std::size_t here() const {
    auto* l = &reactor::loop::current();
    for (std::size_t i = 0; i < cores.size(); ++i)
      if (cores[i].loop == l) return i;
    kedge_assert(!"a tunnel server is used on a core that it was not told of");
    return 0;
  }

  static void add(core& c, const session_info& s) {
    auto& all = c.nodes[s.node];
    auto newer = [](const session_info& a, const session_info& b) {
      return std::pair(a.since, a.key) > std::pair(b.since, b.key);
    };
    all.insert(std::upper_bound(all.begin(), all.end(), s, newer), s);
  }
  static void change(core& c, const session_info& s) {
    auto i = c.nodes.find(s.node);
    if (i == c.nodes.end()) return;
    for (auto& one : i->second)
      if (one.key == s.key && one.core == s.core) one.lively = s.lively;
  }
  static void remove(core& c, const session_info& s) {
    auto i = c.nodes.find(s.node);
    if (i == c.nodes.end()) return;
    std::erase_if(i->second, [&](auto& x) { return x.key == s.key && x.core == s.core; });
    if (i->second.empty()) c.nodes.erase(i);
  }
};

namespace {

// Lists a session on every core while it lives.
class listed {
 public:
  listed(std::shared_ptr<server::state> s, server::session_info info, link& l)
      : state_(std::move(s)), info_(std::move(info)) {
    state_->cores[info_.core].links.emplace(info_.key, &l);
    everywhere(&server::state::add);
    l.on_lively = [this](bool lively) {
      info_.lively = lively;
      everywhere(&server::state::change);
      log::info("tunnel of node {} {}", quote(info_.node),
                lively ? "is heard again" : "is silent; other ways are tried first");
    };
  }
  ~listed() {
    state_->cores[info_.core].links.erase(info_.key);
    everywhere(&server::state::remove);
  }

 private:
  void everywhere(void (*change)(server::state::core&, const server::session_info&)) {
    change(state_->cores[info_.core], info_);
    for (std::size_t i = 0; i < state_->cores.size(); ++i)
      if (i != info_.core)
        state_->cores[i].loop->post([s = state_, i, change, info = info_] { change(s->cores[i], info); });
  }
  std::shared_ptr<server::state> state_;
  server::session_info info_;
};

}  // namespace

server::server(std::vector<reactor::loop*> cores, link::options options) : state_(std::make_shared<state>()) {
  for (auto* l : cores) state_->cores.push_back({.loop = l});
  state_->options = options;
}
server::~server() = default;

// What the request becomes; null when it was answered.
KEDGE_OWN_FRAME static task<std::unique_ptr<reactor::stream>> upgrade(net::http::exchange& e, bool closing) {
  if (closing) {
    (void)co_await e.respond({.status = 503}, "the server is shutting down\n");
    co_return nullptr;
  }
  auto upgraded = co_await net::websocket::accept(e, {});
  co_return upgraded ? (*upgraded)->release() : nullptr;
}

static std::int64_t fresh_key() { return static_cast<std::int64_t>(reactor::loop::current().random().next() >> 1); }

task<void> server::serve(net::http::exchange& e, std::string node) {
  auto core = state_->here();
  auto stream = co_await upgrade(e, state_->cores[core].closing);
  if (!stream) co_return;
  auto key = fresh_key();
  link l(std::move(stream), role::server, node, key, nullptr, state_->options);
  listed entry(state_, {.node = std::move(node), .key = key, .core = core, .since = reactor::loop::current().now()}, l);
  log::info("tunnel of node {} is open", quote(l.get_session().client_key()));
  auto why = co_await l.run();
  log::info("tunnel of node {} has ended: {}", quote(l.get_session().client_key()), why.message);
}

task<result<std::unique_ptr<reactor::stream>>> server::dial(std::string node, std::string protocol,
                                                            std::string address) {
  for (auto& session : sessions_of(node)) {
    auto stream = co_await dial_through(session, protocol, address);
    if (stream || stream.error().code == errc::invalid) co_return std::move(stream);
  }
  co_return fail(errc::unavailable, "failed to find Session for client " + node);
}

task<result<std::unique_ptr<reactor::stream>>> server::dial_through(session_info through, std::string protocol,
                                                                    std::string address) {
  auto s = state_;
  // On the session's core: it may have ended while the message was under way.
  auto open = [s, through, protocol, address]() -> task<result<std::unique_ptr<reactor::stream>>> {
    auto& links = s->cores[through.core].links;
    auto i = links.find(through.key);
    if (i == links.end()) co_return fail(errc::unavailable, "the session has ended");
    co_return i->second->open(protocol, address);
  };
  co_return co_await bring_here(*s->cores[through.core].loop, open);
}

void server::doubt(const session_info& session) {
  state_->cores[session.core].loop->post([s = state_, core = session.core, key = session.key] {
    auto i = s->cores[core].links.find(key);
    if (i != s->cores[core].links.end()) i->second->doubt();
  });
}

void server::close() {
  for (std::size_t i = 0; i < state_->cores.size(); ++i)
    state_->cores[i].loop->post([s = state_, i] {
      s->cores[i].closing = true;
      for (auto& [key, l] : s->cores[i].links) l->close();
    });
}

bool server::has_session(std::string_view node) const {
  auto& nodes = state_->cores[state_->here()].nodes;
  return nodes.find(node) != nodes.end();
}

std::vector<server::session_info> server::sessions_of(std::string_view node) const {
  auto& nodes = state_->cores[state_->here()].nodes;
  auto i = nodes.find(node);
  return i == nodes.end() ? std::vector<session_info>() : i->second;
}

std::vector<server::session_info> server::sessions() const {
  std::vector<session_info> out;
  for (auto& [node, all] : state_->cores[state_->here()].nodes) out.insert(out.end(), all.begin(), all.end());
  return out;
}

}  // namespace kedge::tunnel
