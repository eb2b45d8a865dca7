#include "node/machine/dbus.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/strings.h"

namespace kedge::node {

namespace {

constexpr std::size_t message_bytes_max = 1024 * 1024;  // logind's are some hundred bytes
constexpr std::size_t signals_max = 64;                 // that wait while a call is answered
constexpr std::size_t files_max = 16;                   // of a message, the bus's own limit
constexpr std::size_t fixed_header_bytes = 16;          // with the length of the header's fields
constexpr char little_endian = 'l', protocol_version = 1;

// --- writing: everything is aligned to its own size, from the beginning of the message

void align(std::string& out, std::size_t to) { out.resize((out.size() + to - 1) / to * to, '\0'); }
void put_u32(std::string& out, std::uint32_t n) {
  align(out, 4);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(n >> 8 * i);
}
void put_text(std::string& out, std::string_view s) {
  put_u32(out, static_cast<std::uint32_t>(s.size()));
  out += s;
  out += '\0';
}
void put_signature(std::string& out, std::string_view s) {
  out += static_cast<char>(s.size());
  out += s;
  out += '\0';
}

enum header : unsigned char {
  of_path = 1,
  of_interface = 2,
  of_member = 3,
  of_error_name = 4,
  of_reply_serial = 5,
  of_destination = 6,
  of_sender = 7,
  of_signature = 8,
  of_files = 9,
};

void put_field(std::string& out, header which, std::string_view type, std::string_view text) {
  if (text.empty()) return;
  align(out, 8);
  out += static_cast<char>(which);
  put_signature(out, type);
  if (type == "g")
    put_signature(out, text);
  else
    put_text(out, text);
}

// --- reading

class reader {
 public:
  explicit reader(std::string_view bytes, std::size_t at = 0) : bytes_(bytes), at_(at) {}
  std::size_t at() const noexcept { return at_; }
  bool ok() const noexcept { return ok_; }
  void align(std::size_t to) { skip((to - at_ % to) % to); }
  std::uint8_t byte() { return take(1) ? static_cast<std::uint8_t>(bytes_[at_ - 1]) : 0; }
  std::uint64_t number(std::size_t size) {
    align(size);
    if (!take(size)) return 0;
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < size; ++i)
      n |= std::uint64_t(static_cast<unsigned char>(bytes_[at_ - size + i])) << 8 * i;
    return n;
  }
  std::string_view text() { return sized(number(4)); }
  std::string_view signature() { return sized(byte()); }

 private:
  void skip(std::size_t n) { (void)take(n); }
  bool take(std::size_t n) {
    if (!ok_ || n > bytes_.size() - at_) return ok_ = false;
    at_ += n;
    return true;
  }
  std::string_view sized(std::uint64_t n) {
    if (n >= bytes_.size() || !take(static_cast<std::size_t>(n) + 1)) return ok_ = false, std::string_view();
    return bytes_.substr(at_ - static_cast<std::size_t>(n) - 1, static_cast<std::size_t>(n));
  }

  std::string_view bytes_;
  std::size_t at_;
  bool ok_ = true;
};

std::unexpected<error> malformed(std::string_view why) {
  return fail(errc::protocol, fmt::format("a D-Bus message is malformed: {}", why));
}

}  // namespace

owned_file::owned_file(owned_file&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
owned_file& owned_file::operator=(owned_file&& o) noexcept {
  if (this != &o) {
    close();
    fd_ = std::exchange(o.fd_, -1);
  }
  return *this;
}
owned_file::~owned_file() { close(); }
void owned_file::close() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

dbus_arguments& dbus_arguments::text(std::string_view s) {
  types_ += 's';
  put_text(bytes_, s);
  return *this;
}
dbus_arguments& dbus_arguments::number(std::int32_t n) {
  types_ += 'i';
  put_u32(bytes_, static_cast<std::uint32_t>(n));
  return *this;
}

std::optional<bool> dbus_message::as_bool() const {
  if (types != "b") return std::nullopt;
  reader r(body);
  auto n = r.number(4);
  return r.ok() ? std::optional(n != 0) : std::nullopt;
}
std::optional<std::uint64_t> dbus_message::as_number_in_variant() const {
  if (types != "v") return std::nullopt;
  reader r(body);
  if (r.signature() != "t") return std::nullopt;
  auto n = r.number(8);
  return r.ok() ? std::optional(n) : std::nullopt;
}
std::string dbus_message::as_text() const {
  if (!types.starts_with('s')) return {};
  reader r(body);
  auto text = r.text();
  return r.ok() ? std::string(text) : std::string();
}

result<std::size_t> parse_dbus_message(std::string_view bytes, dbus_message& out) {
  if (bytes.size() < fixed_header_bytes) return std::size_t{0};
  if (bytes[0] != little_endian || bytes[3] != protocol_version) return malformed("it is of another version");
  reader r(bytes, 1);
  out.type = static_cast<dbus_message::kind>(r.byte());
  reader sizes(bytes, 4);
  auto body_size = sizes.number(4);
  out.serial = static_cast<std::uint32_t>(sizes.number(4));
  auto fields_size = sizes.number(4);
  auto body_at = (fixed_header_bytes + fields_size + 7) / 8 * 8;
  if (body_at + body_size > message_bytes_max) return malformed("it is too large");
  if (bytes.size() < body_at + body_size) return std::size_t{0};
  reader fields(bytes.substr(0, fixed_header_bytes + fields_size), fixed_header_bytes);
  while (fields.ok() && fields.at() < fixed_header_bytes + fields_size) {
    fields.align(8);
    auto which = fields.byte();
    auto type = fields.signature();
    if (type == "u") {
      auto n = static_cast<std::uint32_t>(fields.number(4));
      if (which == of_reply_serial) out.answers = n;
      if (which == of_files) out.files_sent = n;
    } else if (type == "s" || type == "o" || type == "g") {
      auto text = std::string(type == "g" ? fields.signature() : fields.text());
      switch (which) {
        case of_path: out.path = std::move(text); break;
        case of_interface: out.interface = std::move(text); break;
        case of_member: out.member = std::move(text); break;
        case of_error_name: out.error_name = std::move(text); break;
        case of_sender: out.sender = std::move(text); break;
        case of_signature: out.types = std::move(text); break;
        default: break;
      }
    } else {
      return malformed(fmt::format("a field of type {}", type));
    }
  }
  if (!fields.ok()) return malformed("its fields are cut short");
  out.body = bytes.substr(body_at, body_size);
  return static_cast<std::size_t>(body_at + body_size);
}

task<result<std::unique_ptr<dbus_connection>>> dbus_connection::open(std::string socket) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (socket.empty() || socket.size() >= sizeof(to.sun_path))
    co_return fail(errc::invalid, "the bus's address names no unix socket's path");
  std::memcpy(to.sun_path, socket.data(), socket.size());
  auto fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) co_return fail(os_error(errno, "socket"));
  // Of a unix socket that is done at once, or the bus has too many waiting.
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    auto problem = errno;
    ::close(fd);
    co_return fail(os_error(problem, fmt::format("connect to {}", socket)));
  }
  std::unique_ptr<dbus_connection> c(new dbus_connection(fd));
  KEDGE_CO_CHECK(co_await c->greet());
  co_return std::move(c);
}

task<result<void>> dbus_connection::greet() {
  auto user = std::to_string(::geteuid());
  std::string first("\0", 1);
  KEDGE_CO_CHECK(co_await send(first + fmt::format("AUTH EXTERNAL {}\r\n", hex(as_bytes(user)))));
  KEDGE_CO_TRY(auto accepted, co_await line());
  if (!accepted.starts_with("OK ")) co_return fail(errc::forbidden, "the bus refuses this user: " + accepted);
  KEDGE_CO_CHECK(co_await send("NEGOTIATE_UNIX_FD\r\n"));
  KEDGE_CO_TRY(auto agreed, co_await line());
  if (!agreed.starts_with("AGREE_UNIX_FD"))
    co_return fail(errc::unsupported, "the bus passes no descriptors on: " + agreed);
  KEDGE_CO_CHECK(co_await send("BEGIN\r\n"));
  constexpr auto bus = "org.freedesktop.DBus";
  KEDGE_CO_TRY(auto hello, co_await call(bus, "/org/freedesktop/DBus", bus, "Hello", {}));
  (void)hello;
  co_return result<void>();
}

task<result<std::string>> dbus_connection::line() {
  for (;;) {
    if (auto end = in_.find("\r\n"); end != std::string::npos) {
      auto out = in_.substr(0, end);
      in_.erase(0, end + 2);
      co_return out;
    }
    KEDGE_CO_CHECK(co_await receive());
  }
}

task<result<void>> dbus_connection::send(std::string bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    auto n = ::send(socket_.fd(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      KEDGE_CO_CHECK(co_await socket_.writable());
    } else if (errno != EINTR) {
      co_return fail(os_error(errno, "send to the bus"));
    }
  }
  co_return result<void>();
}

task<result<void>> dbus_connection::receive() {
  std::array<char, 4096> piece;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(files_max * sizeof(int))> control;
  for (;;) {
    iovec part{piece.data(), piece.size()};
    msghdr m{};
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    m.msg_control = control.data();
    m.msg_controllen = control.size();
    auto n = ::recvmsg(socket_.fd(), &m, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EAGAIN) {
      KEDGE_CO_CHECK(co_await socket_.readable());
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) co_return fail(os_error(errno, "receive from the bus"));
    if (n == 0) co_return fail(errc::closed, "the bus closed the connection");
    for (auto* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
        files_.emplace_back(fd);
      }
    }
    in_.append(piece.data(), static_cast<std::size_t>(n));
    co_return result<void>();
  }
}

task<result<dbus_message>> dbus_connection::next_message() {
  for (;;) {
    dbus_message m;
    KEDGE_CO_TRY(auto size, parse_dbus_message(in_, m));
    if (size > 0) {
      in_.erase(0, size);
      // The kernel gives a message's descriptors with its first bytes, which may come behind messages without any.
      if (m.files_sent > files_.size()) co_return malformed("it lacks descriptors");
      auto end = files_.begin() + m.files_sent;
      m.files.assign(std::move_iterator(files_.begin()), std::move_iterator(end));
      files_.erase(files_.begin(), end);
      co_return std::move(m);
    }
    KEDGE_CO_CHECK(co_await receive());
  }
}

task<result<dbus_message>> dbus_connection::call(std::string service, std::string path, std::string interface,
                                                 std::string member, dbus_arguments arguments) {
  auto serial = ++serial_;
  std::string m;
  m += little_endian;
  m += static_cast<char>(dbus_message::kind::call);
  m += '\0';
  m += protocol_version;
  put_u32(m, static_cast<std::uint32_t>(arguments.bytes().size()));
  put_u32(m, serial);
  put_u32(m, 0);  // of the fields, below
  put_field(m, of_path, "o", path);
  put_field(m, of_destination, "s", service);
  put_field(m, of_interface, "s", interface);
  put_field(m, of_member, "s", member);
  put_field(m, of_signature, "g", arguments.types());
  std::string size;
  put_u32(size, static_cast<std::uint32_t>(m.size() - fixed_header_bytes));
  m.replace(fixed_header_bytes - size.size(), size.size(), size);
  align(m, 8);
  KEDGE_CO_CHECK(co_await send(m + arguments.bytes()));
  for (;;) {
    KEDGE_CO_TRY(auto answer, co_await next_message());
    if (answer.type == dbus_message::kind::signal) {
      if (signals_.size() >= signals_max) signals_.pop_front();
      signals_.push_back(std::move(answer));
    } else if (answer.answers == serial) {
      if (answer.type == dbus_message::kind::error)
        co_return fail(errc::unavailable, fmt::format("{}: {}: {}", member, answer.error_name, answer.as_text()));
      co_return std::move(answer);
    }
  }
}

task<result<void>> dbus_connection::subscribe(std::string rule) {
  constexpr auto bus = "org.freedesktop.DBus";
  KEDGE_CO_TRY(auto done,
               co_await call(bus, "/org/freedesktop/DBus", bus, "AddMatch", dbus_arguments().text(std::move(rule))));
  (void)done;
  co_return result<void>();
}

task<result<dbus_message>> dbus_connection::next_signal() {
  if (!signals_.empty()) {
    auto out = std::move(signals_.front());
    signals_.pop_front();
    co_return std::move(out);
  }
  for (;;) {
    KEDGE_CO_TRY(auto m, co_await next_message());
    if (m.type == dbus_message::kind::signal) co_return std::move(m);
  }
}

std::string system_bus_socket() {
  auto* told = std::getenv("DBUS_SYSTEM_BUS_ADDRESS");
  if (!told || !*told) return "/run/dbus/system_bus_socket";
  constexpr std::string_view prefix = "unix:path=";
  std::string_view first = split(told, ';')[0];
  if (!first.starts_with(prefix)) return {};
  return std::string(split(first.substr(prefix.size()), ',')[0]);
}

}  // namespace kedge::node
