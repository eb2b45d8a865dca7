#include "node/network/netlink.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "node/network/limits.h"

namespace kedge::node::netlink {

namespace {

constexpr std::size_t padded(std::size_t n) { return (n + 3) & ~std::size_t(3); }

template <typename T>
T load(bytes data) {
  T v{};
  if (data.size() >= sizeof v) std::memcpy(&v, data.data(), sizeof v);
  return v;
}

// What NLMSG_ERROR says: errno, and the kernel's own text (NLMSGERR_ATTR_MSG) when it has one. nullopt: no error.
std::optional<error> error_of(const reply& r) {
  auto code = load<std::int32_t>(r.body);
  if (code == 0) return std::nullopt;
  std::string said;
  if (r.flags & NLM_F_ACK_TLVS) {
    auto quoted = load<nlmsghdr>(r.body.size() > 4 ? r.body.subspan(4) : bytes());
    auto skip = 4 + (r.flags & NLM_F_CAPPED ? sizeof(nlmsghdr) : padded(quoted.nlmsg_len));
    if (skip < r.body.size()) said = attributes(r.body.subspan(skip)).text(NLMSGERR_ATTR_MSG);
  }
  return os_error(-code, said.empty() ? "the kernel" : "the kernel: " + said);
}

}  // namespace

void writer::raw(std::string_view data) {
  out_.append(data);
  out_.resize(padded(out_.size()), '\0');
}

void writer::begin(std::uint16_t type, std::uint16_t flags) {
  end_message();
  message_ = out_.size();
  ++messages_;
  header(nlmsghdr{.nlmsg_len = 0, .nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = 0, .nlmsg_pid = 0});
}

void writer::end_message() {
  if (messages_ == 0) return;
  auto length = static_cast<std::uint32_t>(out_.size() - message_);
  std::memcpy(out_.data() + message_, &length, sizeof length);
}

void writer::put(std::uint16_t type, std::string_view data) {
  kedge_assert(data.size() + sizeof(rtattr) <= 0xffff);
  rtattr head{static_cast<unsigned short>(sizeof(rtattr) + data.size()), type};
  out_.append(reinterpret_cast<const char*>(&head), sizeof head);
  raw(data);
}

void writer::put_be16(std::uint16_t type, std::uint16_t v) {
  std::string b;
  append_be16(b, v);
  put(type, b);
}
void writer::put_be32(std::uint16_t type, std::uint32_t v) {
  std::string b;
  append_be32(b, v);
  put(type, b);
}
void writer::put_be64(std::uint16_t type, std::uint64_t v) {
  std::string b;
  append_be64(b, v);
  put(type, b);
}
void writer::put_text(std::uint16_t type, std::string_view v) { put(type, std::string(v) + '\0'); }

writer::nest::nest(writer& w, std::uint16_t type) : writer_(w), start_(w.out_.size()) {
  rtattr head{0, static_cast<unsigned short>(type | NLA_F_NESTED)};
  writer_.out_.append(reinterpret_cast<const char*>(&head), sizeof head);
}

writer::nest::~nest() {
  auto size = writer_.out_.size() - start_;
  kedge_assert(size <= 0xffff);
  auto length = static_cast<unsigned short>(size);
  std::memcpy(writer_.out_.data() + start_, &length, sizeof length);
}

std::string writer::take() {
  end_message();
  message_ = 0;
  messages_ = 0;
  return std::exchange(out_, {});
}

attributes::attributes(bytes data) {
  while (data.size() >= sizeof(rtattr)) {
    auto head = load<rtattr>(data);
    if (head.rta_len < sizeof(rtattr) || head.rta_len > data.size()) return;
    items_.push_back({static_cast<std::uint16_t>(head.rta_type & NLA_TYPE_MASK),
                      data.subspan(sizeof head, head.rta_len - sizeof head)});
    data = data.subspan(std::min(data.size(), padded(head.rta_len)));
  }
}

bytes attributes::find(std::uint16_t type) const noexcept {
  for (auto& i : items_)
    if (i.type == type) return i.data;
  return {};
}

bool attributes::has(std::uint16_t type) const noexcept {
  for (auto& i : items_)
    if (i.type == type) return true;
  return false;
}

std::optional<std::uint32_t> attributes::u32(std::uint16_t type) const noexcept {
  auto data = find(type);
  if (data.size() == 1) return load<std::uint8_t>(data);
  if (data.size() == 2) return load<std::uint16_t>(data);
  if (data.size() >= 4) return load<std::uint32_t>(data);
  return std::nullopt;
}

std::string attributes::text(std::uint16_t type) const {
  auto t = as_text(find(type));
  return std::string(t.substr(0, t.find('\0')));
}

void each_message(bytes datagram, const std::function<void(const reply&)>& f) {
  while (datagram.size() >= sizeof(nlmsghdr)) {
    auto head = load<nlmsghdr>(datagram);
    if (head.nlmsg_len < sizeof head || head.nlmsg_len > datagram.size()) return;
    f({head.nlmsg_type, head.nlmsg_flags, head.nlmsg_seq, datagram.subspan(sizeof head, head.nlmsg_len - sizeof head)});
    datagram = datagram.subspan(std::min(datagram.size(), padded(head.nlmsg_len)));
  }
}

result<socket> socket::open(int protocol) {
  int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) return fail(os_error(errno, "netlink socket"));
  socket s(fd);
  int on = 1;
  ::setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  ::setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  ::setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  timeval patience{.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(answer_timeout).count(), .tv_usec = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  // Forced beyond the system's bound where we may: a transaction is one datagram.
  int room = static_cast<int>(transaction_bytes_max);
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0)
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  sockaddr_nl self{};
  self.nl_family = AF_NETLINK;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&self), sizeof self) != 0) return fail(os_error(errno, "netlink socket"));
  return s;
}

socket& socket::operator=(socket&& o) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = std::exchange(o.fd_, -1);
  sequence_ = o.sequence_;
  return *this;
}
socket::~socket() {
  if (fd_ >= 0) ::close(fd_);
}

// All messages of a datagram get one number, since they are answered together.
result<std::uint32_t> socket::send(std::string text) {
  auto number = ++sequence_;
  for (std::size_t at = 0; at + sizeof(nlmsghdr) <= text.size();) {
    auto head = load<nlmsghdr>(as_bytes(std::string_view(text).substr(at)));
    std::memcpy(text.data() + at + offsetof(nlmsghdr, nlmsg_seq), &number, sizeof number);
    at += padded(head.nlmsg_len);
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  for (;;) {
    auto sent = ::sendto(fd_, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
    if (sent >= 0) return number;
    if (errno != EINTR) return fail(os_error(errno, "the kernel takes no netlink message"));
  }
}

result<void> socket::ask(writer& w, const std::function<void(const reply&)>& f) { return ask_once(w.take(), f); }

result<void> socket::ask_once(std::string question, const std::function<void(const reply&)>& f) {
  KEDGE_TRY(auto number, send(std::move(question)));
  alignas(nlmsghdr) std::array<std::byte, receive_bytes> room;
  std::optional<error> failed;
  bool done = false, interrupted = false;
  while (!done) {
    auto got = ::recv(fd_, room.data(), room.size(), 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail(errno == EAGAIN ? error(errc::timeout, "the kernel doesn't answer a netlink message")
                                  : os_error(errno, "netlink"));
    }
    each_message({room.data(), static_cast<std::size_t>(got)}, [&](const reply& r) {
      if (r.sequence != number) return;  // of an earlier question that was given up
      if (r.flags & NLM_F_DUMP_INTR) interrupted = true;
      if (r.type == NLMSG_ERROR) {
        if (!failed) failed = error_of(r);
        done = true;
      } else if (r.type == NLMSG_DONE) {
        done = true;
      } else {
        f(r);
        if (!(r.flags & NLM_F_MULTI)) done = true;
      }
    });
  }
  if (failed) return fail(*std::move(failed));
  if (interrupted) return fail(errc::unavailable, "the kernel's tables changed while they were read");
  return {};
}

result<void> socket::change(writer& w) {
  return ask(w, [](const reply&) {});
}

result<void> socket::transact(writer& w) {
  KEDGE_TRY(auto number, send(w.take()));
  alignas(nlmsghdr) std::array<std::byte, receive_bytes> room;
  std::optional<error> failed;
  // One message of the batch asks for an acknowledgement. Errors come before it, or in its place; all are there when
  // send returns.
  for (int flags = 0;;) {
    auto got = ::recv(fd_, room.data(), room.size(), flags);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (flags == MSG_DONTWAIT && errno == EAGAIN) break;
      return fail(errno == EAGAIN ? error(errc::timeout, "the kernel doesn't answer a netlink transaction")
                                  : os_error(errno, "netlink"));
    }
    each_message({room.data(), static_cast<std::size_t>(got)}, [&](const reply& r) {
      if (r.sequence == number && r.type == NLMSG_ERROR && !failed) failed = error_of(r);
    });
    flags = MSG_DONTWAIT;
  }
  if (failed) return fail(*std::move(failed));
  return {};
}

result<void> in_namespace(const std::string& path, const std::function<result<void>()>& f) {
  result<void> out;
  std::thread([&] {
    int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      out = fail(os_error(errno, "network namespace " + path));
      return;
    }
    int entered = ::setns(fd, CLONE_NEWNET), why = errno;
    ::close(fd);
    out = entered == 0 ? f() : fail(os_error(why, "network namespace " + path));
  }).join();
  return out;
}

}  // namespace kedge::node::netlink
