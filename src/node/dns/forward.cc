#include "node/dns/forward.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "crypto/files.h"
#include "node/dns/limits.h"
#include "reactor/descriptor.h"

namespace kedge::node::dns {

const std::size_t forwarder::forwards_in_flight = forwards_max;

namespace {

// In its own answer: the id of who asks now.
std::string with_id(std::string message, std::uint16_t id) {
  message[0] = static_cast<char>(id >> 8);
  message[1] = static_cast<char>(id);
  return message;
}

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
    return fail(os_error(why, "resolver " + to.text()));
  }
  return fd;
}

// The question again, with an id of ours and no more than what it needs: our own EDNS size.
std::string question_for(const query& q, std::uint16_t id) {
  std::string m;
  append_be16(m, id);
  append_be16(m, static_cast<std::uint16_t>(0x0100 | (q.checking_disabled ? 0x0010 : 0)));
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

task<result<std::string>> ask_udp(reactor::endpoint to, query q) {
  auto id = static_cast<std::uint16_t>(system_random().below(0x10000));
  KEDGE_CO_TRY(int fd, connected_udp(to));
  reactor::descriptor socket(fd);
  auto message = question_for(q, id);
  if (::send(fd, message.data(), message.size(), 0) < 0) co_return fail(os_error(errno, "resolver " + to.text()));
  std::string room(message_bytes_max, '\0');
  for (;;) {
    auto got = ::recv(fd, room.data(), room.size(), 0);
    if (got < 0 && errno == EAGAIN) {
      KEDGE_CO_CHECK(co_await socket.readable());
      continue;
    }
    if (got < 0) co_return fail(os_error(errno, "resolver " + to.text()));
    auto said = std::string_view(room).substr(0, static_cast<std::size_t>(got));
    auto r = parse_reply(as_bytes(said), q.question);
    // Anything else is not from whom we asked, or late: what we wait for may still come.
    if (r && r->id == id) co_return with_id(std::string(said), q.id);
  }
}

task<result<std::string>> ask_tcp(reactor::endpoint to, query q) {
  auto id = static_cast<std::uint16_t>(system_random().below(0x10000));
  KEDGE_CO_TRY(auto stream, co_await reactor::os_network().connect(to));
  auto message = question_for(q, id);
  std::string framed;
  append_be16(framed, static_cast<std::uint16_t>(message.size()));
  framed += message;
  KEDGE_CO_CHECK(co_await stream->send(as_bytes(framed)));
  std::string held;
  while (held.size() < 2 || held.size() < 2U + load_be16(as_bytes(held).data())) {
    KEDGE_CO_TRY(auto piece, co_await stream->receive());
    if (piece.empty()) co_return fail(errc::closed, "resolver " + to.text() + " closed the connection");
    held += as_text(piece.view());
    if (held.size() > message_bytes_max + 2)
      co_return fail(errc::too_large, "resolver " + to.text() + " says too much");
  }
  auto said = held.substr(2, load_be16(as_bytes(held).data()));
  auto r = parse_reply(as_bytes(said), q.question);
  if (!r || r->id != id) co_return fail(errc::protocol, "resolver " + to.text() + " answers another question");
  co_return with_id(std::move(said), q.id);
}

}  // namespace

std::string cache::key_of(const query& q) {
  return q.asked + '/' + std::to_string(static_cast<int>(q.type)) + (q.edns ? "e" : "") + (q.dnssec_ok ? "d" : "") +
         (q.checking_disabled ? "c" : "");
}

void cache::drop(std::list<entry>::iterator i) {
  bytes_ -= i->key.size() + i->message.size();
  by_key_.erase(i->key);
  entries_.erase(i);
}

std::string cache::find(const query& q, time_point now) {
  auto found = by_key_.find(key_of(q));
  if (found == by_key_.end()) return {};
  auto& e = *found->second;
  if (now >= e.until) {
    drop(found->second);
    return {};
  }
  auto message = with_id(e.message, q.id);
  // The asker's own spelling (0x20), of the same length since the name is the same.
  message.replace(12, q.question.size(), q.question);
  auto age = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now - e.since).count());
  for (auto at : e.ttls) {
    auto left = load_be32(as_bytes(message).data() + at);
    std::string shorter;
    append_be32(shorter, left > age ? left - age : 0);
    message.replace(at, 4, shorter);
  }
  return message;
}

void cache::keep(const query& q, std::string message, const reply& r, time_point now, duration most) {
  auto time = std::min<duration>(std::chrono::seconds(r.least_ttl), most);
  if (r.truncated || time <= duration(0) || (r.code != rcode::no_error && r.code != rcode::no_name)) return;
  auto key = key_of(q);
  if (auto old = by_key_.find(key); old != by_key_.end()) drop(old->second);
  bytes_ += key.size() + message.size();
  entries_.push_front({key, std::move(message), r.ttls, now, now + time});
  by_key_[key] = entries_.begin();
  while (entries_.size() > cache_entries_max || bytes_ > bytes_max_) drop(std::prev(entries_.end()));
}

task<result<std::string>> forwarder::ask(query q, bool over_tcp) {
  auto now = reactor::loop::current().now();
  if (auto kept = cache_.find(q, now); !kept.empty() && (over_tcp || kept.size() <= q.udp_bytes)) co_return kept;
  if (!room_.try_acquire()) co_return fail(errc::exhausted, "too many questions wait for resolvers");
  struct release {
    reactor::semaphore& s;
    ~release() { s.release(); }
  } at_end{room_};
  auto all = upstreams_;
  auto first = options_.in_order ? 0 : first_;
  result<std::string> answer = fail(errc::unavailable, "there is no resolver to ask");
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto which = (first + i) % all.size();
    auto deadline = reactor::loop::current().now() + upstream_timeout;
    answer = co_await reactor::with_deadline(
        over_tcp || options_.always_tcp ? ask_tcp(all[which], q) : ask_udp(all[which], q), deadline);
    if (!answer) continue;
    auto r = parse_reply(as_bytes(*answer), q.question);
    if (!r || r->code == rcode::server_failure || r->code == rcode::refused) continue;  // the next may know
    first_ = which;
    cache_.keep(q, *answer, *r, reactor::loop::current().now(), options_.cache_time);
    break;
  }
  co_return answer;
}

std::vector<reactor::endpoint> parse_resolvers(std::string_view text, const std::vector<ip_address>& own) {
  std::vector<reactor::endpoint> all;
  for (auto line : split(text, '\n')) {
    line = trim(line);
    constexpr std::string_view word = "nameserver";
    if (!line.starts_with(word) || line.size() == word.size() ||
        (line[word.size()] != ' ' && line[word.size()] != '\t'))
      continue;
    auto rest = trim(line.substr(word.size()));
    auto address = ip_address::parse(rest.substr(0, rest.find_first_of(" \t#;%")));
    if (!address || std::ranges::find(own, *address) != own.end()) continue;
    if (all.size() < upstreams_max) all.push_back({address->text(), 53});
  }
  return all;
}

std::vector<reactor::endpoint> find_resolvers(const std::string& configured, const std::vector<ip_address>& own) {
  auto read = [&](const std::string& path) {
    return parse_resolvers(crypto::read_file(path).value_or(std::string()), own);
  };
  if (!configured.empty()) return read(configured);
  auto of = [](const reactor::endpoint& e) { return *ip_address::parse(e.address); };
  auto usable = [&](const std::vector<reactor::endpoint>& all) {
    return !all.empty() && std::ranges::all_of(all, [&](auto& e) {
      return of(e).is_global_unicast() || e.address == "169.254.169.254";
    });
  };
  auto machine = read("/etc/resolv.conf");
  if (usable(machine)) return machine;
  if (auto resolved = read("/run/systemd/resolve/resolv.conf"); usable(resolved)) return resolved;
  // A resolver on this machine itself serves this process too, which pods' own could not be given.
  if (!machine.empty()) return machine;
  return {{"8.8.8.8", 53}, {"2001:4860:4860::8888", 53}};
}

}  // namespace kedge::node::dns
