#include "node/dns/upstream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/random.h"
#include "reactor/descriptor.h"
#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::node::dns {

namespace {

// In its own answer: the id of who asks now.
std::string with_id(std::string message, std::uint16_t id) {
  message[0] = static_cast<char>(id >> 8);
  message[1] = static_cast<char>(id);
  return message;
}

std::uint16_t new_id() { return static_cast<std::uint16_t>(system_random().below(0x10000)); }

result<int> connected_udp(const reactor::endpoint& to) {
  sockaddr_storage where{};
  socklen_t size = 0;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&where);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&where);
  if (::inet_pton(AF_INET, to.address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(to.port);
    size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, to.address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(to.port);
    size = sizeof *v6;
  } else {
    return fail(errc::invalid, to.address + " is no address");
  }
  int fd = ::socket(where.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(os_error(errno, "socket"));
  if (::connect(fd, reinterpret_cast<sockaddr*>(&where), size) != 0) {
    int why = errno;
    ::close(fd);
    return fail(os_error(why, "asking it"));
  }
  return fd;
}

// The question again, with an id of ours and no more than what it needs: our own EDNS size.
std::string question_for(const query& q, std::uint16_t id) {
  std::string m;
  append_be16(m, id);
  append_be16(m, static_cast<std::uint16_t>((q.recursion_desired ? 0x0100 : 0) | (q.checking_disabled ? 0x0010 : 0)));
  append_be16(m, 1);
  append_be16(m, 0);
  append_be16(m, 0);
  append_be16(m, q.edns ? 1 : 0);
  m += q.question;
  if (q.edns) {
    m += '\0';
    append_be16(m, static_cast<std::uint16_t>(type::opt));
    append_be16(m, udp_bytes_max);
    append_be32(m, q.dnssec_ok ? 0x8000 : 0);
    append_be16(m, 0);
  }
  return m;
}

// The next datagram; nullopt: none is there yet. It lasts until the next call on this thread: whoever asks needs the
// room for no longer, and many ask at once.
result<std::optional<std::string_view>> next_datagram(int fd) {
  static thread_local std::string room(message_bytes_max, '\0');
  auto got = ::recv(fd, room.data(), room.size(), 0);
  if (got >= 0) return std::string_view(room).substr(0, static_cast<std::size_t>(got));
  if (errno == EAGAIN || errno == EINTR) return std::nullopt;
  return fail(os_error(errno, "asking it"));
}

task<result<std::string>> ask_udp(reactor::endpoint to, query q) {
  const auto id = new_id();
  KEDGE_CO_TRY(int fd, connected_udp(to));
  reactor::descriptor socket(fd);
  auto message = question_for(q, id);
  if (::send(fd, message.data(), message.size(), 0) < 0) co_return fail(os_error(errno, "asking it"));
  for (int strangers = 0; strangers <= strangers_max;) {
    KEDGE_CO_TRY(auto said, next_datagram(fd));
    if (!said) {
      KEDGE_CO_CHECK(co_await socket.readable());
      continue;
    }
    auto r = parse_reply(as_bytes(*said), q.question);
    if (r && r->id == id) co_return with_id(std::string(*said), q.id);
    ++strangers;
  }
  co_return fail(errc::protocol, "somebody answers questions that weren't asked");
}

// One question and its answer on a connection, which has no other meanwhile and outlives it.
task<result<std::string>> exchange(reactor::stream& connection, query q) {
  const auto id = new_id();
  auto message = question_for(q, id);
  std::string framed;
  append_be16(framed, static_cast<std::uint16_t>(message.size()));
  framed += message;
  KEDGE_CO_CHECK(co_await connection.send(as_bytes(framed)));
  std::string held;
  while (held.size() < 2 || held.size() < 2U + load_be16(as_bytes(held).data())) {
    KEDGE_CO_TRY(auto piece, co_await connection.receive());
    if (piece.empty()) co_return fail(errc::closed, "the resolver closed the connection");
    held += as_text(piece.view());
    if (held.size() > message_bytes_max + 2) co_return fail(errc::too_large, "the resolver says too much");
  }
  auto said = held.substr(2, load_be16(as_bytes(held).data()));
  auto r = parse_reply(as_bytes(said), q.question);
  if (!r || r->id != id || said.size() + 2 != held.size())
    co_return fail(errc::protocol, "the resolver answers another question");
  co_return with_id(std::move(said), q.id);
}

}  // namespace

task<result<std::shared_ptr<net::tls_client_context>>> tls_trust::context() {
  auto now = reactor::loop::current().now();
  if (!context_ || (!ca_pem_ && now - read_at_ >= tls_trust_read_again)) {
    read_at_ = now;
    // The system's store is a file of some hundred certificates.
    auto tried = co_await reactor::offload([ca = ca_pem_] {
      return net::tls_client_context::make({.ca_pem = ca, .chain_pem = {}, .key_pem = {}, .alpn = {}});
    });
    auto made = tried ? *std::move(tried) : fail(std::move(tried).error());
    if (made)
      context_ = *std::move(made);
    else if (!context_)
      co_return fail(std::move(made).error());
  }
  co_return context_;
}

task<result<std::unique_ptr<reactor::stream>>> upstream::connect() {
  KEDGE_CO_TRY(auto plain, co_await reactor::os_network().connect(address_.at));
  if (!address_.over_tls) co_return std::move(plain);
  KEDGE_CO_TRY(auto context, co_await options_.trust->context());
  auto name = options_.tls_server_name.empty() ? address_.at.address : options_.tls_server_name;
  KEDGE_CO_TRY(auto sealed, co_await net::tls_connect(std::move(plain), std::move(context), std::move(name)));
  co_return std::move(sealed);
}

task<result<std::string>> upstream::ask_stream(query q) {
  std::unique_ptr<reactor::stream> connection;
  result<std::string> said = fail(errc::closed, "no connection");
  // Those that waited may have been closed meanwhile: each of them is tried once, and then a new one.
  while (!said && !idle_.empty()) {
    connection = std::move(idle_.back().connection);
    idle_.pop_back();
    said = co_await exchange(*connection, q);
  }
  if (!said) {
    KEDGE_CO_TRY(connection, co_await connect());
    said = co_await exchange(*connection, q);
  }
  if (!said) co_return said;
  if (idle_.size() < upstream_idle_max && options_.expire > duration(0)) {
    idle_.push_back({std::move(connection), reactor::loop::current().now() + options_.expire});
    if (!std::exchange(is_closing_, true)) tasks_.spawn(close_idle());
  }
  co_return said;
}

task<void> upstream::close_idle() {
  while (!idle_.empty()) {
    auto first = std::ranges::min_element(idle_, {}, &idle::until)->until;
    co_await reactor::sleep_until(first);
    std::erase_if(idle_, [now = reactor::loop::current().now()](auto& i) { return i.until <= now; });
  }
  is_closing_ = false;
}

task<result<std::string>> upstream::ask_once(query q, bool by_stream) {
  auto said = co_await reactor::with_deadline(
      by_stream || address_.over_tls ? ask_stream(std::move(q)) : ask_udp(address_.at, std::move(q)),
      reactor::loop::current().now() + options_.timeout);
  if (!said) co_return fail(std::move(said).error().with("resolver " + address_.text() + ": "));
  co_return said;
}

task<result<std::string>> upstream::ask(query q, bool by_stream) {
  auto said = co_await ask_once(std::move(q), by_stream);
  if (said)
    fails_ = 0;
  else if (options_.max_fails > 0 && !std::exchange(is_checking_, true))
    tasks_.spawn(check_until_there());
  co_return said;
}

// Anything that it says will do.
task<void> upstream::check_until_there() {
  auto m = write_query(0, options_.check_name, type::ns);
  auto q = *parse_query(as_bytes(m)).query;
  q.recursion_desired = options_.check_recursion;
  for (;;) {
    if (co_await ask_once(q, options_.check_by_stream)) break;
    if (fails_ < options_.max_fails) ++fails_;
    co_await reactor::sleep_for(options_.check_interval);
  }
  fails_ = 0;
  is_checking_ = false;
}

}  // namespace kedge::node::dns
