// The rules of a session, one end at a time: what comes in, and what is said.
#include "tunnel/session.h"

#include <doctest/doctest.h>

#include "base/strings.h"
#include "support.h"

using namespace kedge;
using tunnel::frame_type;
using tunnel::role;

namespace {

struct one_end final : tunnel::session::transport {
  tunnel::session session;
  std::vector<std::string> said;
  std::vector<std::shared_ptr<tunnel::flow>> asked;
  explicit one_end(role r) : session(r, *this, "edge-1", 77) {}

  void control(std::string_view message) override {
    tunnel::frame_decoder d;
    auto e = d.feed(as_bytes(message), true);
    REQUIRE(e.has_value());
    using kind = tunnel::frame_decoder::event::kind;
    auto id = std::to_string(e->connection) + " ";
    if (e->what == kind::connect) said.push_back("connect " + id + std::string(e->address));
    if (e->what == kind::error) said.push_back("error " + id + std::string(e->text));
    if (e->what == kind::pause) said.push_back("pause " + id);
    if (e->what == kind::resume) said.push_back("resume " + id);
    if (e->what == kind::sync) {
      said.emplace_back("sync");
      for (auto i : e->ids) said.back() += " " + std::to_string(i);
    }
  }
  void connect_asked(std::shared_ptr<tunnel::flow> f) override { asked.push_back(std::move(f)); }

  result<void> hear(std::int64_t id, frame_type t, std::string_view body = {}) {
    return session.receive(as_bytes(std::string_view(tunnel::make_frame(1, id, t, body))), true);
  }
  result<void> hear_sync(std::vector<std::int64_t> ids) {
    return hear(0, frame_type::sync_connections, tunnel::sync_body(ids));
  }
  std::string last() const { return said.empty() ? "" : said.back(); }
};

// Everything here is synchronous, but randomness and events want a loop.
struct on_loop {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard guard{loop};
};

}  // namespace

TEST_CASE("ids begin at 2, and data may come before any answer") {
  on_loop l;
  one_end s(role::server);
  auto f = *s.session.open("tcp", "127.0.0.1:10250");
  auto g = *s.session.open("tcp", "127.0.0.1:10010");
  CHECK(s.said == std::vector<std::string>{"connect 2 127.0.0.1:10250", "connect 3 127.0.0.1:10010"});
  CHECK(s.hear(3, frame_type::data, "hi").has_value());
  REQUIRE(g->received.size() == 1);
  CHECK(as_text(s.session.take(*g).view()) == "hi");
  CHECK(f->received.empty());
}

TEST_CASE("a stream ends by one error, which is echoed; strangers are ignored") {
  on_loop l;
  one_end s(role::server);
  auto f = *s.session.open("tcp", "a:1");
  CHECK(s.hear(2, frame_type::error, "dial tcp: refused").has_value());
  CHECK(s.last() == "error 2 dial tcp: refused");
  CHECK(f->owner == nullptr);
  CHECK(f->end_text == "dial tcp: refused");
  auto before = s.said.size();
  CHECK(s.hear(2, frame_type::error, "EOF").has_value());  // Go's second one
  CHECK(s.hear(2, frame_type::pause).has_value());
  CHECK(s.hear(2, frame_type::resume).has_value());
  CHECK(s.said.size() == before);
  CHECK(s.hear(2, frame_type::data, "late").has_value());
  CHECK(s.last() == "error 2 connection not found edge-1/77/2");

  auto g = *s.session.open("tcp", "a:1");
  s.session.close(*g, "EOF");
  CHECK(s.last() == "error 3 EOF");
  before = s.said.size();
  s.session.close(*g, "EOF");
  CHECK(s.hear(3, frame_type::error, "EOF").has_value());  // the echo
  CHECK(s.said.size() == before);
  CHECK(s.session.size() == 0);
}

TEST_CASE("only the client is asked to connect") {
  on_loop l;
  one_end server(role::server);
  CHECK_FALSE(server.hear(2, frame_type::connect, "tcp/127.0.0.1:22").has_value());
  one_end client(role::client);
  CHECK(client.hear(2, frame_type::connect, "tcp/127.0.0.1:22").has_value());
  REQUIRE(client.asked.size() == 1);
  CHECK(client.asked[0]->address == "127.0.0.1:22");
  CHECK(client.hear(2, frame_type::data, "before the dial is done").has_value());
  CHECK(client.asked[0]->received.size() == 1);
  CHECK_FALSE(client.hear(2, frame_type::connect, "tcp/127.0.0.1:22").has_value());  // in use
  CHECK(client.hear(3, frame_type::connect, "tcp/" + std::string(300, 'x')).has_value());
  CHECK(client.last() == "error 3 the address is too long");
}

TEST_CASE("more than 2 MiB unread pauses, less than 256 KiB resumes, far too much ends the stream") {
  on_loop l;
  one_end s(role::server);
  auto f = *s.session.open("tcp", "a:1");
  std::string chunk(32 * 1024, 'x');
  auto pauses = [&] { return std::count(s.said.begin(), s.said.end(), "pause 2 "); };
  std::size_t sent = 0;
  while (pauses() == 0) {
    CHECK(s.hear(2, frame_type::data, chunk).has_value());
    sent += chunk.size();
    REQUIRE(sent < 3 * 1024 * 1024);
  }
  CHECK(sent >= tunnel::pause_above_bytes - 32 * 1024);
  for (int i = 0; i < 20; ++i) CHECK(s.hear(2, frame_type::data, chunk).has_value());  // taken nevertheless
  sent += 20 * chunk.size();
  CHECK(pauses() == 1);
  std::size_t read = 0;
  while (s.last() != "resume 2 ") {
    REQUIRE_FALSE(f->received.empty());
    read += s.session.take(*f).size();
  }
  CHECK(sent - read < tunnel::resume_below_bytes);
  while (!f->received.empty()) read += s.session.take(*f).size();
  CHECK(read == sent);
  CHECK(f->held_bytes == 0);
  CHECK(s.last() == "resume 2 ");

  for (std::size_t n = 0; n < tunnel::receive_hold_max_bytes + chunk.size(); n += chunk.size())
    (void)s.hear(2, frame_type::data, chunk);
  CHECK(f->owner == nullptr);
  CHECK(pauses() > 2);  // told again on the way
}

TEST_CASE("a pause from the peer is seen by the writer") {
  on_loop l;
  one_end s(role::client);
  CHECK(s.hear(9, frame_type::connect, "tcp/a:1").has_value());
  CHECK(s.hear(9, frame_type::pause).has_value());
  CHECK(s.asked[0]->peer_paused);
  CHECK(s.hear(9, frame_type::resume).has_value());
  CHECK_FALSE(s.asked[0]->peer_paused);
}

TEST_CASE("a sync closes what the peer no longer has, without a word, but spares what it can't know yet") {
  on_loop l;
  one_end s(role::server);
  auto heard = *s.session.open("tcp", "a:1");   // 2
  auto listed = *s.session.open("tcp", "a:1");  // 3
  auto fresh = *s.session.open("tcp", "a:1");   // 4: its Connect crosses the sync
  CHECK(s.hear(2, frame_type::data, "x").has_value());
  auto before = s.said.size();
  CHECK(s.hear_sync({2, 3}).has_value());
  CHECK(s.session.size() == 3);
  CHECK(s.hear_sync({4}).has_value());
  CHECK(heard->owner == nullptr);
  CHECK(listed->owner == nullptr);
  CHECK(fresh->owner != nullptr);
  CHECK(s.hear_sync({}).has_value());
  CHECK(s.session.size() == 0);
  auto lost = *s.session.open("tcp", "a:1");
  CHECK(s.hear_sync({}).has_value());
  CHECK(lost->owner != nullptr);
  CHECK(s.hear_sync({}).has_value());  // a minute later it still doesn't know
  CHECK(lost->owner == nullptr);
  CHECK(s.said.size() == before + 1);  // the one Connect
}

TEST_CASE("a client lists what it has, in order") {
  on_loop l;
  one_end c(role::client);
  for (int id : {300, 2, 17}) CHECK(c.hear(id, frame_type::connect, "tcp/a:1").has_value());
  c.session.sync();
  CHECK(c.last() == "sync 2 17 300");
}
