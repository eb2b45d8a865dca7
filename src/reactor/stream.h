// stream.h: connections as the layers above see them: a byte stream, a listener, a network. The operating system's are
// in socket.h, TLS over any stream in net/tls.h, the simulated world's in tests/sim.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "reactor/buffer.h"
#include "reactor/loop.h"

namespace kedge::reactor {

// Where to connect or listen: an IP address (v4, or v6 without brackets) and port, or the path of a unix socket.
struct endpoint {
  std::string address;
  std::uint16_t port = 0;
  bool is_unix = false;

  static endpoint unix_path(std::string path) { return {std::move(path), 0, true}; }
  // "10.0.0.1:6443", "[fd00::2]:6443", or the path.
  std::string text() const;
  friend bool operator==(const endpoint&, const endpoint&) = default;
};
// "10.0.0.1:6443" or "[::1]:80"; the host must be an address.
result<endpoint> parse_endpoint(std::string_view text);

class stream {
 public:
  virtual ~stream() = default;  // closes it at once

  // The next bytes; an empty buffer is the peer's clean end. One receive at a time; it may run beside a send. Dropping
  // it loses no bytes.
  virtual task<result<buffer>> receive() = 0;
  // Sends all parts in order; waits while the peer takes nothing (the caller sets the deadline). The parts must live
  // until it ends. One send at a time. A dropped or failed send leaves the stream unusable for sending.
  virtual task<result<void>> send(std::span<const bytes> parts) = 0;
  task<result<void>> send(bytes part);  // one part
  // Sends what fits without waiting and gives how many bytes that was (0 is fine): for callers that hold their own
  // queue.
  virtual result<std::size_t> try_send(std::span<const bytes> parts) = 0;
  // No more will be sent; the peer sees a clean end (TLS: close_notify first).
  virtual task<result<void>> finish() = 0;
  // From now on receive and send fail with errc::closed, those that wait now too.
  virtual void close() noexcept = 0;
  // Gives the connection up here, before anything was received or sent: it goes on at the loop on which what this gives
  // is called, once. Null: it can't move. Dropping that closes the connection.
  virtual std::move_only_function<std::unique_ptr<stream>()> move_away() { return nullptr; }

  virtual endpoint local() const = 0;
  virtual endpoint peer() const = 0;
};

class listener {
 public:
  virtual ~listener() = default;
  // The next connection. errc::exhausted when the process is out of descriptors (wait a little before the next call).
  virtual task<result<std::unique_ptr<stream>>> accept() = 0;
  // No connection begins from now on, while those that have begun still come to accept(): for who is about to close it,
  // which resets what wasn't accepted. Where the system can't, nothing.
  virtual void turn_away() noexcept {}
  virtual endpoint local() const = 0;
};

struct listen_options {
  int backlog = 4096;
  bool reuse_port = false;  // several cores' listeners share one address
  unsigned unix_mode = 0600;
};

class network {
 public:
  virtual ~network() = default;
  virtual task<result<std::unique_ptr<stream>>> connect(endpoint to) = 0;
  virtual result<std::unique_ptr<listener>> listen(const endpoint& at, const listen_options& options = {}) = 0;
};

// This machine's sockets, on the calling core's loop.
network& os_network();

}  // namespace kedge::reactor
