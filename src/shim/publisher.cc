#include "shim/publisher.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/protobuf_wire.h"
#include "shim/files.h"
#include "shim/limits.h"
#include "shim/log.h"
#include "shim/messages.h"
#include "shim/spawn.h"
#include "shim/ttrpc.h"

namespace kedge::shim {

namespace {

// One readiness of a descriptor.
struct readiness final : watcher {
  event is;
  void ready(std::uint32_t) override { is.set(); }
};

descriptor connect_to(std::string_view path) {
  constexpr std::string_view scheme = "unix://";
  if (path.starts_with(scheme)) path.remove_prefix(scheme.size());
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof address.sun_path) return {};
  std::memcpy(address.sun_path, path.data(), path.size());
  descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return {};
  return fd;
}

}  // namespace

// Envelope: timestamp 1, namespace 2, topic 3, event 4 (an Any). ForwardRequest: envelope 1.
void publisher::publish(std::string_view topic, std::string_view type, std::string message) {
  if (queue_.size() + (telling_ ? 1 : 0) == events_max) {  // one is on its way
    log("too many events wait for containerd, the oldest is dropped");
    queue_.pop_front();
  }
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  auto any = encode_any(type, message);
  auto envelope =
      wire::writer().message(1, encode_time(now)).text(2, settings_.space).text(3, topic).message(4, any).take();
  queue_.push_back({std::string(topic), wire::writer().message(1, envelope).take(), std::move(any)});
  if (!telling_) detach(tell_all());
}

task<void> publisher::tell_all() {
  telling_ = true;
  while (!queue_.empty()) {
    auto first = std::move(queue_.front());  // from the queue, which changes meanwhile
    queue_.pop_front();
    for (std::int64_t pause = publish_pause_least_ms; !co_await tell(first.topic, first.envelope, first.event);
         pause = std::min<std::int64_t>(pause * 2, publish_pause_most_ms)) {
      connection_.close();
      co_await loop_.sleep(pause);
    }
  }
  connection_.close();
  std::deque<waiting>().swap(queue_);
  telling_ = false;
  if (all_told_) all_told_->set();
}

task<bool> publisher::flush(std::int64_t deadline) {
  if (!telling_) co_return true;
  event told;
  all_told_ = &told;
  bool in_time = co_await told.until(loop_, deadline);
  all_told_ = nullptr;
  co_return in_time;
}

task<bool> publisher::tell(const std::string& topic, const std::string& envelope, const std::string& event) {
  if (settings_.ttrpc_address.empty()) co_return co_await run_program(topic, event);
  co_return co_await forward(envelope);
}

task<bool> publisher::forward(const std::string& envelope) {
  if (!connection_) {
    connection_ = connect_to(settings_.ttrpc_address);
    stream_ = 1;
    if (!connection_) co_return false;
  } else {
    stream_ += 2;
  }
  auto call = ttrpc::encode(stream_, ttrpc::frame_type::request,
                            ttrpc::encode_request({.service = "containerd.services.events.ttrpc.v1.Events",
                                                   .method = "Forward",
                                                   .payload = envelope,
                                                   .timeout_ns = std::int64_t(answer_timeout_ms) * 1'000'000}));
  auto deadline = now_ms() + answer_timeout_ms;
  auto until_ready = [&](std::uint32_t events) -> task<bool> {
    readiness r;
    loop_.watch(connection_.get(), events, r);
    bool in_time = co_await r.is.until(loop_, deadline);
    loop_.unwatch(connection_.get(), r);
    co_return in_time;
  };
  for (std::string_view rest = call; !rest.empty();) {
    auto n = ::send(connection_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) co_return false;
    if (n < 0 && !co_await until_ready(EPOLLOUT)) co_return false;
  }
  for (ttrpc::frame_reader reader;;) {
    std::array<char, 512> part;
    auto n = ::recv(connection_.get(), part.data(), part.size(), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) co_return false;
    if (n < 0) {
      if (!co_await until_ready(EPOLLIN)) co_return false;
      continue;
    }
    for (std::string_view in(part.data(), static_cast<std::size_t>(n)); !in.empty();) {
      auto f = reader.read(in);
      if (!f || f->type != ttrpc::frame_type::response || f->stream != stream_) continue;
      auto answer = ttrpc::decode_response(f->data);
      if (!answer) log("containerd refuses an event: " + answer.error().message);
      // What it refuses it would refuse again; only what it can't do now is worth another attempt.
      co_return answer || (answer.error().code != errc::unavailable && answer.error().code != errc::timeout);
    }
  }
}

// `containerd publish` reads the event, an Any, from its input.
task<bool> publisher::run_program(const std::string& topic, const std::string& event_bytes) {
  auto input = memory_file(event_bytes);
  if (!input) co_return false;
  event ended;
  bool well = false;
  auto pid = spawn({.argv = {settings_.program, "--address", settings_.address, "publish", "--topic", topic,
                             "--namespace", settings_.space},
                    .in = input->get()});
  if (!pid) co_return false;
  loop_.know(*pid, [&](const exit_state& s) {
    well = s.status == 0;
    ended.set();
  });
  co_await ended;
  co_return well;
}

}  // namespace kedge::shim
