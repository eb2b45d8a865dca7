#include "node/dns/server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/strings.h"
#include "node/dns/limits.h"

namespace kedge::node::dns {

namespace {

struct socket_address {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);
  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  std::optional<ip_address> address() const {
    char text[INET6_ADDRSTRLEN];
    auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    const void* raw = storage.ss_family == AF_INET ? static_cast<const void*>(&v4->sin_addr) : &v6->sin6_addr;
    return ::inet_ntop(storage.ss_family, raw, text, sizeof text) ? ip_address::parse(text) : std::nullopt;
  }
};

socket_address address_of(const ip_address& a, std::uint16_t port) {
  socket_address out;
  if (a.is_v4()) {
    auto* s = reinterpret_cast<sockaddr_in*>(&out.storage);
    s->sin_family = AF_INET;
    s->sin_port = htons(port);
    std::copy_n(a.octets().begin() + 12, 4, reinterpret_cast<unsigned char*>(&s->sin_addr));
    out.size = sizeof *s;
  } else {
    auto* s = reinterpret_cast<sockaddr_in6*>(&out.storage);
    s->sin6_family = AF_INET6;
    s->sin6_port = htons(port);
    std::copy_n(a.octets().begin(), 16, reinterpret_cast<unsigned char*>(&s->sin6_addr));
    out.size = sizeof *s;
  }
  return out;
}

result<int> bound_udp(const ip_address& at, std::uint16_t port) {
  int fd = ::socket(at.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(os_error(errno, "socket"));
  auto where = address_of(at, port);
  if (::bind(fd, where.get(), where.size) == 0) return fd;
  int why = errno;
  ::close(fd);
  return fail(os_error(why, "bind to " + at.text() + " port " + std::to_string(port)));
}

std::string plain_name(std::string_view owner) {
  if (owner.ends_with('.')) owner.remove_suffix(1);
  return lower(owner);
}

// As CoreDNS' cache has it, which stands before all that answers: all records hold as long as the first of them to end.
void hold(answer& a, const cache_options& kept, std::string_view asked) {
  std::uint32_t least = cache_time_unsaid;
  std::vector<record*> all;
  for (auto* section : {&a.answers, &a.authority, &a.additional})
    for (auto& r : *section) {
      least = all.empty() ? r.ttl : std::min(least, r.ttl);
      all.push_back(&r);
    }
  const auto time = kept.time_of(asked, a.code == rcode::no_error && !a.answers.empty(), least);
  if (!time) return;
  for (auto* r : all)
    r->ttl = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(*time).count());
}

// That there is more than fits, to be asked for by TCP.
std::string cut_off(const query& q, std::size_t most) {
  auto out = write_answer(q, {.authoritative = false}, most);
  out[2] = static_cast<char>(out[2] | 0x02);
  return out;
}

std::uint32_t serial_now() {
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(reactor::loop::current().wall_now().time_since_epoch()).count());
}

}  // namespace

task<void> server::run() {
  for (auto& a : settings_.addresses) {
    tasks_.spawn(serve_udp(a));
    tasks_.spawn(serve_tcp(a));
  }
  co_await tasks_.join();
}

server::at_once server::answer(bytes message, bool over_tcp) {
  auto p = parse_query(message);
  if (!p.answer_it) return {};
  ++answered_;
  if (!p.query) return {.bytes = write_error(p.id, p.error)};
  auto log = custom_->zone_of(p.query->asked).log;
  auto name = log ? p.query->asked : std::string();
  auto type = p.query->type;
  auto out = decide(*std::move(p.query), over_tcp);
  if (log)
    log::info("dns: {} type {}: {}", name, static_cast<int>(type),
              out.bytes.size() > 3 ? fmt::format("rcode {}", out.bytes[3] & 0xf) : "asked outside");
  return out;
}

server::at_once server::decide(query q, bool over_tcp) {
  auto most = over_tcp ? message_bytes_max : q.udp_bytes;
  if (!loop_mark_.empty() && q.asked == loop_mark_) {
    mark_came_back_ = true;
    return {.bytes = write_answer(q, {.code = rcode::no_name, .authoritative = false}, most)};
  }
  auto& zone = custom_->zone_of(q.asked);
  auto asked = q;
  asked.asked = zone.rewritten(q.asked);
  const bool is_renamed = asked.asked != q.asked;
  if (is_renamed) {
    if (!name::to_wire(asked.asked))
      return {.bytes = write_answer(q, {.code = rcode::server_failure, .authoritative = false}, most)};
    asked.question = write_query(0, asked.asked, q.type).substr(12);
  }
  auto said = [&](dns::answer a) -> at_once {
    hold(a, zone.kept, q.asked);
    return {.bytes = write_answer(q, a, most)};
  };
  if (auto made = zone.find_template(asked)) return said(*std::move(made));
  if (auto host = zone.find_host(asked)) return said(*std::move(host));
  at_once out;
  // A zone of its own gets nothing but what its block has.
  if (zone.name.empty() || zone.cluster_names) {
    auto found = names_.find(asked, serial_now(), reactor::loop::current().random());
    if (found && found->alias.empty()) return said(std::move(found->answer));
    out.with_alias = std::move(found);
  }
  auto* forward = zone.forward_of(asked.asked);
  if (!forward && !zone.name.empty())
    return {.bytes = write_answer(q, {.code = rcode::server_failure, .authoritative = false}, most)};
  if (forward) out.by = forward->to;
  out.tell_errors = zone.errors;
  out.outside = std::move(asked);
  if (is_renamed) out.renamed = std::move(q);
  return out;
}

std::vector<server::asked_outside> server::all_asked_outside() const {
  std::vector<asked_outside> out{{"", nullptr}};
  auto add = [&](const custom_zone& z) {
    for (auto& f : z.forwards)
      if (f.to) out.push_back({f.from.empty() ? z.name : f.from, f.to});
  };
  add(custom_->everything);
  for (auto& z : custom_->zones) add(z);
  return out;
}

task<std::optional<bool>> server::look_for_loop(asked_outside to) {
  auto& by = to.by ? *to.by : forwarder_;
  auto mark = fmt::format("{:016x}.{:016x}", system_random().next(), system_random().next());
  if (!to.zone.empty()) mark += "." + to.zone;
  auto asked = write_query(0, mark, type::hinfo);
  auto q = parse_query(as_bytes(asked)).query;
  if (!q) co_return std::nullopt;  // the zone's name leaves no room for it
  loop_mark_ = std::move(mark);
  mark_came_back_ = false;
  auto said = co_await by.ask_upstreams(*std::move(q), false);
  loop_mark_.clear();
  if (!said && !mark_came_back_) co_return std::nullopt;
  by.set_loops(mark_came_back_);
  co_return mark_came_back_;
}

task<result<std::string>> server::ask_outside(const at_once& open, query q, bool over_tcp) {
  auto name = q.asked;
  auto said = co_await (open.by ? *open.by : forwarder_).ask(std::move(q), over_tcp);
  if (!said && open.tell_errors) log::warning("dns: {}: {}", name, said.error().message);
  co_return said;
}

task<std::string> server::answer_from_outside(at_once open, bool over_tcp) {
  auto asked_outside = *open.outside;
  auto q = open.renamed ? *open.renamed : asked_outside;
  auto most = over_tcp ? message_bytes_max : q.udp_bytes;
  auto failure = [&] {
    return write_answer(
        q, {.code = rcode::server_failure, .authoritative = false, .answers = {}, .authority = {}, .additional = {}},
        most);
  };
  if (!open.with_alias) {
    auto said = co_await ask_outside(open, asked_outside, over_tcp);
    if (!said) co_return failure();
    if (!open.renamed) co_return said->size() <= most ? *std::move(said) : cut_off(q, most);
    // Addresses and aliases, as those of the name that was asked for.
    auto r = parse_reply(as_bytes(*said), asked_outside.question);
    if (!r) co_return failure();
    if (r->truncated) co_return cut_off(q, most);
    for (auto& one : r->answers)
      if (plain_name(one.owner) == asked_outside.asked) one.owner.clear();
    co_return write_answer(
        q,
        {.code = r->code, .authoritative = false, .answers = std::move(r->answers), .authority = {}, .additional = {}},
        most);
  }
  // An ExternalName: its target's addresses beside the alias.
  auto& a = open.with_alias->answer;
  auto asked = q;
  auto target = open.with_alias->alias;
  asked.question = write_query(0, target, q.type).substr(12);
  asked.asked = target;
  auto said = co_await ask_outside(open, asked, true);
  if (!said) said = co_await ask_outside(open, asked, false);
  auto r = said ? parse_reply(as_bytes(*said), asked.question) : std::nullopt;
  if (!r) co_return failure();
  for (auto& one : r->answers) a.answers.push_back(std::move(one));
  a.code = r->code == rcode::no_name ? rcode::no_name : rcode::no_error;
  co_return write_answer(q, a, most);
}

task<void> server::serve_udp(ip_address at) {
  for (bool first = true;; first = false) {
    auto bound = bound_udp(at, settings_.port);
    if (!bound) {
      if (first) log::warning("the cluster's names can't be answered yet: {}", bound.error().message);
      co_await reactor::sleep_for(listen_retry);
      continue;
    }
    reactor::descriptor socket(*bound);
    log::info("the cluster's names are answered at {}", at.text());
    ready_.set();
    // Each that waits for outside holds the socket's descriptor number: they end with it.
    reactor::scope waiting;
    std::array<char, 4096> room;  // larger queries are none that a client sends
    for (bool good = true; good;) {
      good = (co_await socket.readable()).has_value();
      for (unsigned n = 0; good && n < datagrams_at_once; ++n) {
        socket_address from;
        auto got = ::recvfrom(socket.fd(), room.data(), room.size(), MSG_TRUNC, from.get(), &from.size);
        if (got < 0) {
          good = errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED;
          break;
        }
        auto who = from.address();
        if (static_cast<std::size_t>(got) > room.size() || !who || !settings_.may_ask(*who)) continue;
        auto open = answer(as_bytes(std::string_view(room.data(), static_cast<std::size_t>(got))), false);
        if (!open.bytes.empty()) {
          // A full socket drops it, as the network may: the client asks again.
          (void)::sendto(socket.fd(), open.bytes.data(), open.bytes.size(), 0, from.get(), from.size);
        } else if (open.outside && waiting.size() < forwards_max) {
          waiting.spawn([](server& s, int fd, at_once o, socket_address to) -> task<void> {
            auto bytes = co_await s.answer_from_outside(std::move(o), false);
            (void)::sendto(fd, bytes.data(), bytes.size(), 0, to.get(), to.size);
          }(*this, socket.fd(), std::move(open), from));
        }
      }
      co_await reactor::maybe_yield();
    }
    waiting.cancel();
  }
}

task<void> server::serve_tcp(ip_address at) {
  for (bool first = true;; first = false) {
    auto listening = reactor::os_network().listen({at.text(), settings_.port});
    if (!listening && first)
      log::warning("the cluster's names can't be answered over TCP yet: {}", listening.error().message);
    while (listening) {
      auto s = co_await (*listening)->accept();
      if (!s && s.error().code != errc::exhausted) break;
      auto who = s ? ip_address::parse((*s)->peer().address) : std::nullopt;
      if (!s || connections_.size() >= tcp_connections_max || !who || !settings_.may_ask(*who)) {
        if (!s) co_await reactor::sleep_for(listen_retry);
        continue;
      }
      connections_.spawn(talk(*std::move(s)));
    }
    co_await reactor::sleep_for(listen_retry);
  }
}

task<void> server::talk(std::unique_ptr<reactor::stream> s) {
  std::string held;
  for (;;) {
    while (held.size() < 2 || held.size() < 2U + load_be16(as_bytes(held).data())) {
      auto piece = co_await reactor::with_deadline(s->receive(), reactor::loop::current().now() + tcp_idle);
      if (!piece || piece->empty()) co_return;
      held += as_text(piece->view());
    }
    auto message = held.substr(2, load_be16(as_bytes(held).data()));
    held.erase(0, 2 + message.size());
    auto open = answer(as_bytes(message), true);
    std::string bytes = std::move(open.bytes);
    if (open.outside) bytes = co_await answer_from_outside(std::move(open), true);
    if (bytes.empty()) co_return;
    std::string framed;
    append_be16(framed, static_cast<std::uint16_t>(bytes.size()));
    framed += bytes;
    auto sent = co_await reactor::with_deadline(s->send(as_bytes(framed)), reactor::loop::current().now() + tcp_idle);
    if (!sent) co_return;
  }
}

}  // namespace kedge::node::dns
