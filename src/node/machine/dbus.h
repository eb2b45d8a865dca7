// dbus.h: a client of a D-Bus message bus (D-Bus Specification 0.43), as far as logind and systemd are spoken to: calls
// with texts and numbers, their answers with a descriptor, signals. One coroutine uses a connection at a time.
//
//   connect ─▶ SASL EXTERNAL, descriptors agreed on ─▶ Hello ─▶ call() …, next_signal() …
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "reactor/descriptor.h"

namespace kedge::node {

// An open file that a message brought, closed at the end.
class owned_file {
 public:
  owned_file() noexcept = default;
  explicit owned_file(int fd) noexcept : fd_(fd) {}
  owned_file(owned_file&& o) noexcept;
  owned_file& operator=(owned_file&& o) noexcept;
  ~owned_file();
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void close() noexcept;

 private:
  int fd_ = -1;
};

// The arguments of a call.
class dbus_arguments {
 public:
  dbus_arguments& text(std::string_view s);
  dbus_arguments& number(std::int32_t n);
  const std::string& types() const noexcept { return types_; }
  const std::string& bytes() const noexcept { return bytes_; }

 private:
  std::string types_, bytes_;
};

struct dbus_message {
  enum class kind : unsigned char { call = 1, answer = 2, error = 3, signal = 4 };
  kind type = kind::call;
  std::uint32_t serial = 0, answers = 0;  // `answers`: the serial of the call
  std::uint32_t files_sent = 0;           // how many descriptors come with it
  std::string path, interface, member, error_name, sender, types, body;
  std::vector<owned_file> files;

  // Of a body of one value. nullopt: it is another type.
  std::optional<bool> as_bool() const;
  std::optional<std::uint64_t> as_number_in_variant() const;  // a property of type t
  std::string as_text() const;                                // empty: it is another type
};

// Reads one message from the front of `bytes`. 0: more is needed. errc::protocol: it is none.
result<std::size_t> parse_dbus_message(std::string_view bytes, dbus_message& out);

class dbus_connection {
 public:
  // `socket`: the bus's, as in "/run/dbus/system_bus_socket".
  static task<result<std::unique_ptr<dbus_connection>>> open(std::string socket);

  // The answer; what the other side refuses is errc::unavailable with its name and words.
  task<result<dbus_message>> call(std::string service, std::string path, std::string interface, std::string member,
                                  dbus_arguments arguments);
  // Signals that match the rule come from next_signal().
  task<result<void>> subscribe(std::string rule);
  task<result<dbus_message>> next_signal();

 private:
  explicit dbus_connection(int fd) : socket_(fd) {}
  task<result<void>> greet();
  task<result<std::string>> line();
  task<result<void>> send(std::string bytes);
  task<result<void>> receive();
  task<result<dbus_message>> next_message();

  reactor::descriptor socket_;
  std::string in_;
  std::vector<owned_file> files_;  // that came with `in_`
  std::deque<dbus_message> signals_;
  std::uint32_t serial_ = 0;
};

// Where the system's bus is: DBUS_SYSTEM_BUS_ADDRESS, or its usual place. Empty: the variable names no unix path.
std::string system_bus_socket();

}  // namespace kedge::node
