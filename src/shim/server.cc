#include "shim/server.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "shim/limits.h"

namespace kedge::shim {

class connection final : public watcher, public std::enable_shared_from_this<connection> {
 public:
  connection(server& s, descriptor fd) : server_(s), fd_(std::move(fd)) {
    server_.loop_.watch(fd_.get(), EPOLLIN, *this);
  }
  ~connection() { shut(); }

  void ready(std::uint32_t events) override {
    auto self = shared_from_this();  // a call may end us
    if ((events & EPOLLOUT) && !flush()) return close();
    if (events & ~static_cast<std::uint32_t>(EPOLLOUT)) read();
  }

  void answer(std::uint32_t stream, const result<std::string>& a) {
    if (!fd_) return;
    --calls_;
    send(ttrpc::encode_response(stream, a));
  }

 private:
  static constexpr int rounds_max = 8;  // of reading, before others have their turn

  void read() {
    std::array<char, 8192> part;
    for (int round = 0; round < rounds_max && fd_; ++round) {
      auto n = ::recv(fd_.get(), part.data(), part.size(), 0);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (n <= 0) return close();
      for (std::string_view in(part.data(), static_cast<std::size_t>(n)); !in.empty() && fd_;)
        if (auto f = reader_.read(in)) take(*f);
    }
  }

  void take(const ttrpc::frame& f) {
    auto refuse = [&](errc code, std::string message) {
      send(ttrpc::encode_response(f.stream, fail(code, std::move(message))));
    };
    if (f.oversized) return refuse(errc::too_large, "message length exceeds the maximum message size of 4194304");
    if (f.stream % 2 != 1) return refuse(errc::invalid, "StreamID must be odd for client initiated streams");
    if (f.type == ttrpc::frame_type::data) return refuse(errc::invalid, "StreamID is no longer active");
    if (f.type != ttrpc::frame_type::request) return;  // left to the future, as the protocol has it
    if (f.stream <= last_stream_) return refuse(errc::invalid, "StreamID cannot be re-used and must increment");
    last_stream_ = f.stream;
    auto r = ttrpc::decode_request(f.data);
    if (!r) return refuse(r.error().code, r.error().message);
    if (calls_ == calls_max) return refuse(errc::exhausted, "too many calls at once");
    ++calls_;
    server_.handler_(*r, reply(weak_from_this(), f.stream));
  }

  void send(std::string bytes) {
    if (!fd_) return;
    unsent_ += bytes;
    if (unsent_.size() > unsent_bytes_max || !flush()) close();
  }

  bool flush() {
    while (!unsent_.empty()) {
      auto n = ::send(fd_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) return false;
      if (n < 0) break;
      unsent_.erase(0, static_cast<std::size_t>(n));
    }
    if (unsent_.empty()) std::string().swap(unsent_);
    bool blocked = !unsent_.empty();
    if (blocked != blocked_) server_.loop_.change(fd_.get(), blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, *this);
    blocked_ = blocked;
    return true;
  }

  void shut() {
    if (!fd_) return;
    server_.loop_.unwatch(fd_.get(), *this);
    fd_.close();
  }
  void close() {
    shut();
    server_.close(*this);
  }

  server& server_;
  descriptor fd_;
  ttrpc::frame_reader reader_;
  std::uint32_t last_stream_ = 0;
  std::size_t calls_ = 0;
  std::string unsent_;
  bool blocked_ = false;
};

void reply::operator()(const result<std::string>& answer) const {
  if (auto c = to_.lock()) c->answer(stream_, answer);
}

server::server(loop& l, descriptor listener, handler h)
    : loop_(l), listener_(std::move(listener)), handler_(std::move(h)) {
  loop_.watch(listener_.get(), EPOLLIN, *this);
}

server::~server() { loop_.unwatch(listener_.get(), *this); }

void server::ready(std::uint32_t) {
  descriptor peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!peer) return;
  ucred who{};
  socklen_t size = sizeof who;
  // The socket is only for its owner; a descriptor that was handed on is not.
  if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.uid != ::geteuid()) return;
  if (connections_.size() == connections_max) return;
  connections_.push_back(std::make_shared<connection>(*this, std::move(peer)));
}

void server::close(const connection& c) {
  std::erase_if(connections_, [&](auto& other) { return other.get() == &c; });
}

}  // namespace kedge::shim
