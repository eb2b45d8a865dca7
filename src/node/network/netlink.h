// netlink.h: messages to and from the kernel's network configuration, for rtnetlink (links.h) and nftables (nft/).
//
// A socket asks and waits for the answer; the kernel does the work within the call, which may take long for a large
// transaction. So all of this blocks: agents call it through reactor::offload, the CNI plugins are processes of their
// own. A socket belongs to the network namespace of the thread that opened it, wherever it is used afterwards.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "node/network/limits.h"

namespace kedge::node::netlink {

// One message or several in a row, being made. Attributes are padded to four bytes, numbers in host order unless the
// name says otherwise.
class writer {
 public:
  // Begins a message; the one before ends. `type` and `flags` as in nlmsghdr; the sequence number is the socket's to
  // set.
  void begin(std::uint16_t type, std::uint16_t flags);
  // What stands between the header and the attributes.
  template <typename T>
  void header(const T& h) {
    raw({reinterpret_cast<const char*>(&h), sizeof h});
  }

  void put(std::uint16_t type, std::string_view data);
  void put_u8(std::uint16_t type, std::uint8_t v) { put_number(type, v); }
  void put_u16(std::uint16_t type, std::uint16_t v) { put_number(type, v); }
  void put_u32(std::uint16_t type, std::uint32_t v) { put_number(type, v); }
  void put_be16(std::uint16_t type, std::uint16_t v);
  void put_be32(std::uint16_t type, std::uint32_t v);
  void put_be64(std::uint16_t type, std::uint64_t v);
  void put_text(std::uint16_t type, std::string_view v);  // with the NUL that the kernel wants
  void put_flag(std::uint16_t type) { put(type, {}); }

  // An attribute of attributes: what is put while it lives stands in it.
  class nest {
   public:
    nest(writer& w, std::uint16_t type);
    nest(const nest&) = delete;
    nest& operator=(const nest&) = delete;
    ~nest();

   private:
    writer& writer_;
    std::size_t start_;
  };

  // The messages, their lengths right. The writer is empty afterwards.
  std::string take();
  std::size_t size() const noexcept { return out_.size(); }
  // How many messages were begun.
  std::uint32_t messages() const noexcept { return messages_; }

 private:
  template <typename T>
  void put_number(std::uint16_t type, T v) {
    put(type, {reinterpret_cast<const char*>(&v), sizeof v});
  }
  void raw(std::string_view data);
  void end_message();

  std::string out_;
  std::size_t message_ = 0;  // where the last message begins
  std::uint32_t messages_ = 0;
};

// The attributes of a message or of a nest, as views into it. What doesn't hold together ends the list.
class attributes {
 public:
  explicit attributes(bytes data);
  // Of that type, the first; empty when absent (which a flag can't be told from: `has`).
  bytes find(std::uint16_t type) const noexcept;
  bool has(std::uint16_t type) const noexcept;
  std::optional<std::uint32_t> u32(std::uint16_t type) const noexcept;  // also of one and two bytes
  std::string text(std::uint16_t type) const;                           // up to its NUL
  struct item {
    std::uint16_t type;
    bytes data;
  };
  std::vector<item>::const_iterator begin() const noexcept { return items_.begin(); }
  std::vector<item>::const_iterator end() const noexcept { return items_.end(); }

 private:
  std::vector<item> items_;
};

// A message that the kernel sent, as a view into the socket's buffer.
struct reply {
  std::uint16_t type = 0;
  std::uint16_t flags = 0;
  std::uint32_t sequence = 0;
  bytes body;  // behind nlmsghdr
  template <typename T>
  T header() const {
    T h{};
    if (body.size() >= sizeof h) std::memcpy(&h, body.data(), sizeof h);
    return h;
  }
  template <typename T>
  attributes all() const {
    constexpr auto begin = (sizeof(T) + 3) & ~std::size_t(3);
    return attributes(body.size() > begin ? body.subspan(begin) : bytes());
  }
};
// Calls `f` for each message of a datagram; stops at what doesn't hold together.
void each_message(bytes datagram, const std::function<void(const reply&)>& f);

class socket {
 public:
  // NETLINK_ROUTE or NETLINK_NETFILTER.
  static result<socket> open(int protocol);
  socket(socket&& o) noexcept : fd_(std::exchange(o.fd_, -1)), sequence_(o.sequence_) {}
  socket& operator=(socket&& o) noexcept;
  ~socket();

  // One message that changes something; waits for the kernel's word. Errors carry its errno and its own text where it
  // gives one.
  result<void> change(writer& w);
  // One question; `f` is called for each message of the answer. An interrupted dump is errc::unavailable: ask again.
  result<void> ask(writer& w, const std::function<void(const reply&)>& f);
  // A question for everything (NLM_F_DUMP): `read` adds what a message says to the list. When the kernel's tables
  // change while they are told, what was told is no answer, and the question is put again.
  template <typename T, typename F>
  result<std::vector<T>> list(writer& w, F read) {
    const auto question = w.take();
    for (int turn = 1;; ++turn) {
      std::vector<T> out;
      auto asked = ask_once(question, [&](const reply& r) { read(r, out); });
      if (asked) return out;
      if (asked.error().code != errc::unavailable || turn == list_turns_max) return fail(std::move(asked).error());
    }
  }
  // Messages that hold or fail together (nftables), with the batch's marks around them: fails with the first error of
  // any. One of them at least asks for an acknowledgement (NLM_F_ACK), since a batch that holds says nothing else.
  result<void> transact(writer& w);

 private:
  explicit socket(int fd) noexcept : fd_(fd) {}
  result<std::uint32_t> send(std::string text);
  result<void> ask_once(std::string question, const std::function<void(const reply&)>& f);
  int fd_ = -1;
  std::uint32_t sequence_ = 0;
};

// Runs `f` on a thread in the network namespace that `path` names (/proc/PID/ns/net, /run/netns/NAME), and waits.
result<void> in_namespace(const std::string& path, const std::function<result<void>()>& f);

}  // namespace kedge::node::netlink
