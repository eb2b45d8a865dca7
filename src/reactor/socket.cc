// socket.cc: the operating system's network as streams.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>

#include "base/strings.h"
#include "reactor/descriptor.h"
#include "reactor/stream.h"

namespace kedge::reactor {

namespace {

constexpr std::size_t parts_per_call_max = 64;  // iovecs of one sendmsg; far below IOV_MAX, and a cache line each

struct address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

result<address> to_address(const endpoint& e) {
  address a;
  if (e.is_unix) {
    auto* u = reinterpret_cast<sockaddr_un*>(&a.storage);
    if (e.address.size() >= sizeof u->sun_path)
      return fail(errc::invalid, "unix socket path " + quote(e.address) + " is longer than 107 bytes");
    u->sun_family = AF_UNIX;
    std::memcpy(u->sun_path, e.address.data(), e.address.size());
    // An abstract name begins with a zero byte, and has none at its end.
    const std::size_t end = e.address.starts_with('\0') ? 0 : 1;
    a.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + e.address.size() + end);
    return a;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&a.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&a.storage);
  if (inet_pton(AF_INET, e.address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(e.port);
    a.length = sizeof *v4;
  } else if (inet_pton(AF_INET6, e.address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(e.port);
    a.length = sizeof *v6;
  } else {
    return fail(errc::invalid, quote(e.address) + " is not an IP address");
  }
  return a;
}

endpoint to_endpoint(const address& a) {
  char text[INET6_ADDRSTRLEN] = {};
  if (a.storage.ss_family == AF_INET) {
    auto* v4 = reinterpret_cast<const sockaddr_in*>(&a.storage);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    return {text, ntohs(v4->sin_port)};
  }
  if (a.storage.ss_family == AF_INET6) {
    auto* v6 = reinterpret_cast<const sockaddr_in6*>(&a.storage);
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
      inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, text, sizeof text);
    else
      inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    return {text, ntohs(v6->sin6_port)};
  }
  auto* u = reinterpret_cast<const sockaddr_un*>(&a.storage);
  return endpoint::unix_path(a.length > offsetof(sockaddr_un, sun_path) ? u->sun_path : "");
}

void set(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

bool on_this_machine(const address& a) {
  if (a.storage.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in*>(&a.storage)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  return a.storage.ss_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&a.storage)->sin6_addr);
}

// A listener's options are taken over by what it accepts. `peer` is where a connection goes or what address is listened
// at.
void tune(int fd, const address& peer) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (on_this_machine(peer)) return;
  // A peer that is gone without a word is found after 30 s + 3 × 10 s (Go's defaults are 15 s each).
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

class socket_stream final : public stream {
 public:
  explicit socket_stream(int fd) : descriptor_(fd) {}

  task<result<buffer>> receive() override { return descriptor_.receive(); }

  result<std::size_t> try_send(std::span<const bytes> parts) override {
    if (!descriptor_) return fail(errc::closed, "the connection was closed at this end");
    iovec vectors[parts_per_call_max];
    std::size_t n = 0;
    for (auto& p : parts) {
      if (n == parts_per_call_max) break;
      if (p.empty()) continue;
      vectors[n++] = {const_cast<std::byte*>(p.data()), p.size()};
    }
    if (n == 0) return 0;
    msghdr m{};
    m.msg_iov = vectors;
    m.msg_iovlen = n;
    for (;;) {
      auto sent = ::sendmsg(descriptor_.fd(), &m, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) return static_cast<std::size_t>(sent);
      if (errno == EAGAIN) return 0;
      if (errno != EINTR) return fail(os_error(errno, "send"));
    }
  }

  task<result<void>> send(std::span<const bytes> parts) override {
    // `rest` walks over the parts; the first of them may have been sent in part.
    bytes first;
    for (;;) {
      while (first.empty() && !parts.empty()) {
        first = parts.front();
        parts = parts.subspan(1);
      }
      if (first.empty()) co_return result<void>();
      bytes window[parts_per_call_max];
      window[0] = first;
      std::size_t n = 1;
      for (auto& p : parts) {
        if (n == parts_per_call_max) break;
        window[n++] = p;
      }
      KEDGE_CO_TRY(auto sent, try_send(std::span<const bytes>(window, n)));
      if (sent == 0) {
        KEDGE_CO_CHECK(co_await descriptor_.writable());
        continue;
      }
      while (sent >= first.size()) {
        sent -= first.size();
        first = {};
        if (parts.empty()) break;
        first = parts.front();
        parts = parts.subspan(1);
      }
      first = first.subspan(sent);
    }
  }

  task<result<void>> finish() override {
    if (descriptor_) ::shutdown(descriptor_.fd(), SHUT_WR);
    co_return result<void>();
  }
  void close() noexcept override { descriptor_.close(); }
  std::move_only_function<std::unique_ptr<stream>()> move_away() override;

  endpoint local() const override {
    address a;
    a.length = sizeof a.storage;
    return ::getsockname(descriptor_.fd(), a.get(), &a.length) == 0 ? to_endpoint(a) : endpoint{};
  }
  endpoint peer() const override {
    address a;
    a.length = sizeof a.storage;
    return ::getpeername(descriptor_.fd(), a.get(), &a.length) == 0 ? to_endpoint(a) : endpoint{};
  }

  descriptor& get() noexcept { return descriptor_; }

 private:
  descriptor descriptor_;
};

// A descriptor between two loops.
class open_file {
 public:
  explicit open_file(int fd) noexcept : fd_(fd) {}
  open_file(open_file&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~open_file() {
    if (fd_ >= 0) ::close(fd_);
  }
  int take() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::move_only_function<std::unique_ptr<stream>()> socket_stream::move_away() {
  // A duplicate: what the backend knows of the old number ends with it.
  int fd = ::fcntl(descriptor_.fd(), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  descriptor_.close();
  return [file = open_file(fd)]() mutable -> std::unique_ptr<stream> {
    return std::make_unique<socket_stream>(file.take());
  };
}

class socket_listener final : public listener {
 public:
  socket_listener(int fd, bool is_unix) : descriptor_(fd), is_unix_(is_unix) {}
  task<result<std::unique_ptr<stream>>> accept() override {
    KEDGE_CO_TRY(int fd, co_await descriptor_.accept());
    co_return std::make_unique<socket_stream>(fd);
  }
  // A TCP listener's filter sees each segment from its TCP header on (tcp_filter() in Linux's tcp_ipv4.c). A peer whose
  // SYN is dropped sends it again after a second, and then learns that nobody listens.
  void turn_away() noexcept override {
    if (is_unix_) return;
    constexpr std::uint32_t flags_at = 13, syn = 0x02, drop = 0, whole = 0xffff;
    sock_filter program[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_at),
                             BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, syn, 0, 1), BPF_STMT(BPF_RET | BPF_K, drop),
                             BPF_STMT(BPF_RET | BPF_K, whole)};
    sock_fprog all{.len = std::size(program), .filter = program};
    (void)::setsockopt(descriptor_.fd(), SOL_SOCKET, SO_ATTACH_FILTER, &all, sizeof all);
  }
  endpoint local() const override {
    address a;
    a.length = sizeof a.storage;
    return ::getsockname(descriptor_.fd(), a.get(), &a.length) == 0 ? to_endpoint(a) : endpoint{};
  }

 private:
  descriptor descriptor_;
  bool is_unix_;
};

class system_network final : public network {
 public:
  task<result<std::unique_ptr<stream>>> connect(endpoint to) override {
    KEDGE_CO_TRY(auto a, to_address(to));
    int fd = ::socket(a.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) co_return fail(os_error(errno, "socket"));
    if (!to.is_unix) tune(fd, a);
    auto s = std::make_unique<socket_stream>(fd);
    // The second call tells how the first went. On this machine it has gone well at once, only the first doesn't say
    // so; else it is asked again when the socket is writable.
    for (int calls = 1; ::connect(fd, a.get(), a.length) != 0 && errno != EISCONN; ++calls) {
      if (errno == EINTR) continue;
      if (errno != EINPROGRESS && errno != EALREADY) co_return fail(os_error(errno, "connect to " + to.text()));
      if (calls > 1) KEDGE_CO_CHECK(co_await s->get().writable());
    }
    co_return std::move(s);
  }

  result<std::unique_ptr<listener>> listen(const endpoint& at, const listen_options& options) override {
    KEDGE_TRY(auto a, to_address(at));
    int fd = ::socket(a.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(os_error(errno, "socket"));
    if (at.is_unix) {
      ::unlink(at.address.c_str());
    } else {
      set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      if (options.reuse_port) set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      if (a.storage.ss_family == AF_INET6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, at.address == "::" ? 0 : 1);
      tune(fd, a);
    }
    if (::bind(fd, a.get(), a.length) != 0 || ::listen(fd, options.backlog) != 0) {
      auto e = os_error(errno, "listen on " + at.text());
      ::close(fd);
      return fail(std::move(e));
    }
    if (at.is_unix) ::chmod(at.address.c_str(), options.unix_mode);
    return std::make_unique<socket_listener>(fd, at.is_unix);
  }
};

}  // namespace

network& os_network() {
  static system_network n;
  return n;
}

std::string endpoint::text() const {
  if (is_unix) return address;
  auto host = address.find(':') == std::string::npos ? address : "[" + address + "]";
  return host + ":" + std::to_string(port);
}

result<endpoint> parse_endpoint(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return fail(errc::invalid, quote(text) + " is not address:port");
  auto host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  auto port = parse_uint(text.substr(colon + 1));
  if (!port || *port > 65535) return fail(errc::invalid, quote(text) + " has no port between 0 and 65535");
  endpoint e{std::string(host), static_cast<std::uint16_t>(*port)};
  KEDGE_CHECK(to_address(e));
  return e;
}

task<result<void>> stream::send(bytes part) { co_return co_await send(std::span<const bytes>(&part, 1)); }

}  // namespace kedge::reactor
