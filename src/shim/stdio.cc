#include "shim/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/strings.h"
#include "shim/limits.h"
#include "shim/spawn.h"

namespace kedge::shim {

namespace {

constexpr int rounds_max = 16;  // of reading, before others have their turn

bool is_fifo(const std::string& path) {
  struct stat s{};
  return ::stat(path.c_str(), &s) == 0 && S_ISFIFO(s.st_mode);
}

void set_blocking(int fd, bool blocking) {
  int flags = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

// "scheme://path": the scheme, which is empty for a plain path.
std::string_view scheme_of(std::string_view path) {
  auto end = path.find("://");
  return end == std::string_view::npos ? std::string_view() : path.substr(0, end);
}
std::string_view after_scheme(std::string_view path) {
  auto scheme = scheme_of(path);
  return scheme.empty() ? path : path.substr(scheme.size() + 3);
}

result<std::pair<descriptor, descriptor>> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return fail(os_error(errno, "pipe"));
  return std::pair(descriptor(fds[0]), descriptor(fds[1]));
}

void make_folders(const std::string& file) {
  for (auto slash = file.find('/', 1); slash != std::string::npos; slash = file.find('/', slash + 1))
    ::mkdir(file.substr(0, slash).c_str(), 0755);
}

}  // namespace

copier::copier(loop& l, int from, int to, std::function<void()> at_end)
    : loop_(l), from_(from), to_(to), at_end_(std::move(at_end)) {
  wait_for(side::from);
}

copier::~copier() { wait_for(side::none); }

void copier::wait_for(side s) {
  if (waits_ == s) return;
  if (waits_ != side::none) loop_.unwatch(waits_ == side::from ? from_ : to_, *this);
  waits_ = s;
  if (s == side::from) loop_.watch(from_, EPOLLIN, *this);
  if (s == side::to) loop_.watch(to_, EPOLLOUT, *this);
}

// False: the destination takes no more for now.
bool copier::flush() {
  while (!pending_.empty()) {
    auto n = ::write(to_, pending_.data(), pending_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return false;
    if (n <= 0) break;  // nobody reads any more, or the disk is full: it is lost, the process isn't held up
    pending_.erase(0, static_cast<std::size_t>(n));
  }
  std::string().swap(pending_);
  return true;
}

void copier::ready(std::uint32_t) {
  if (ended_) return;
  for (int round = 0; round < rounds_max; ++round) {
    if (!flush()) return wait_for(side::to);
    std::array<char, copy_bytes> part;
    auto n = ::read(from_, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (finishing_) return end();
      return wait_for(side::from);
    }
    if (n <= 0) return end();  // EIO of a terminal: nobody has it open
    pending_.assign(part.data(), static_cast<std::size_t>(n));
  }
  if (!flush()) return wait_for(side::to);
  wait_for(side::from);
}

void copier::finish() {
  finishing_ = true;
  if (waits_ != side::to) ready(0);
  // What is more than a turn's worth comes by the loop: the source can still be read.
}

void copier::end() {
  wait_for(side::none);
  ended_ = true;
  auto call = std::move(at_end_);
  call();  // may destroy this
}

stdio::~stdio() {
  if (!console_path_.empty()) ::unlink(console_path_.c_str());
}

runtime::standard stdio::for_process() const { return {child_in_.get(), child_out_.get(), child_err_.get()}; }

void stdio::started() {
  child_in_.close();
  child_out_.close();
  child_err_.close();
}

// Waits until somebody reads the fifo, so that whoever opens it for that finds a writer; then holds it open for
// reading.
task<result<void>> stdio::open_output(const std::string& path, descriptor& child, descriptor& keep,
                                      std::int64_t deadline) {
  auto latest = std::min(deadline, now_ms() + fifo_reader_timeout_ms);
  for (std::int64_t pause = fifo_poll_least_ms;; pause = std::min<std::int64_t>(pause * 2, fifo_poll_most_ms)) {
    child = descriptor(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    if (child) break;
    if (errno != ENXIO) co_return fail(os_error(errno, "opening w/o fifo " + quote(path) + " failed"));
    if (now_ms() >= latest)
      co_return fail(errc::timeout, "opening w/o fifo " + quote(path) + " failed: nobody reads it");
    co_await loop_.sleep(pause);
  }
  keep = descriptor(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!keep) co_return fail(os_error(errno, "opening r/o fifo " + quote(path) + " failed"));
  co_return result<void>();
}

result<void> stdio::open_input(descriptor& read_end) {
  read_end = descriptor(::open(paths_.in.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!read_end) return fail(os_error(errno, "failed to open stdin fifo " + paths_.in));
  keep_in_ = descriptor(::open(paths_.in.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  if (!keep_in_) return fail(os_error(errno, "failed to open stdin fifo " + paths_.in));
  return {};
}

task<result<void>> stdio::open(names n, std::int64_t deadline) {
  if (!paths_.in.empty()) {
    KEDGE_CO_CHECK(open_input(child_in_));
    set_blocking(child_in_.get(), true);
    if (::fchown(child_in_.get(), n.uid, n.gid) < 0) co_return fail(os_error(errno, "chown " + paths_.in));
  }
  auto scheme = scheme_of(paths_.out);
  if (scheme == "binary") co_return co_await start_logger(paths_.out, n);
  if (scheme == "file") {
    auto file = std::string(after_scheme(paths_.out));
    make_folders(file);
    co_return copy_to_file(file, n);
  }
  if (!scheme.empty() && scheme != "fifo") co_return fail(errc::invalid, "unknown STDIO scheme " + std::string(scheme));
  struct output {
    std::string path;
    descriptor *child, *keep;
  };
  output both[] = {{std::string(after_scheme(paths_.out)), &child_out_, &keep_out_},
                   {std::string(after_scheme(paths_.err)), &child_err_, &keep_err_}};
  if (!both[0].path.empty() && both[0].path == both[1].path && !is_fifo(both[0].path))
    co_return copy_to_file(both[0].path, n);
  for (auto& o : both) {
    if (o.path.empty()) continue;
    if (!is_fifo(o.path)) {
      KEDGE_CO_TRY(auto ends, make_pipe());
      descriptor file(::open(o.path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
      if (!file) co_return fail(os_error(errno, "opening file " + quote(o.path) + " failed"));
      *o.child = std::move(ends.second);
      copy_file(std::move(ends.first), std::move(file));
      continue;
    }
    KEDGE_CO_CHECK(co_await open_output(o.path, *o.child, *o.keep, deadline));
    set_blocking(o.child->get(), true);
    if (::fchown(o.child->get(), n.uid, n.gid) < 0) co_return fail(os_error(errno, "chown " + o.path));
  }
  co_return result<void>();
}

// Both outputs, in one pipe, in the order in which they were written.
result<void> stdio::copy_to_file(const std::string& path, names n) {
  descriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!file) return fail(os_error(errno, "opening file " + quote(path) + " failed"));
  KEDGE_TRY(auto ends, make_pipe());
  if (::fchown(ends.second.get(), n.uid, n.gid) < 0) return fail(os_error(errno, "chown a pipe"));
  child_err_ = descriptor(::fcntl(ends.second.get(), F_DUPFD_CLOEXEC, 3));
  child_out_ = std::move(ends.second);
  copy_file(std::move(ends.first), std::move(file));
  return {};
}

void stdio::copy_file(descriptor from, descriptor to) {
  set_blocking(from.get(), false);
  ++copying_;
  auto& f = files_.emplace_back(std::move(from), std::move(to));
  f.copy = std::make_unique<copier>(loop_, f.from.get(), f.to.get(), [this] {
    if (--copying_ == 0) files_done_.set();
  });
}

// A program that reads the outputs at its descriptors 3 and 4, and closes 5 (or writes there) when it is ready. Its
// arguments are the query's names and values.
task<result<void>> stdio::start_logger(std::string_view url, names n) {
  auto rest = after_scheme(url);
  auto path = rest.substr(0, rest.find('?'));
  program p{.argv = {std::string(path)}, .environment = {"CONTAINER_ID=" + n.id, "CONTAINER_NAMESPACE=" + n.space}};
  if (path.size() < rest.size())
    for (auto part : split(rest.substr(path.size() + 1), '&')) {
      auto equals = part.find('=');
      KEDGE_CO_TRY(auto name, percent_decode(part.substr(0, equals), true));
      p.argv.push_back(std::move(name));
      if (equals == std::string_view::npos) continue;
      KEDGE_CO_TRY(auto value, percent_decode(part.substr(equals + 1), true));
      p.argv.push_back(std::move(value));
    }
  KEDGE_CO_TRY(auto out, make_pipe());
  KEDGE_CO_TRY(auto err, make_pipe());
  KEDGE_CO_TRY(auto ready, make_pipe());
  p.more = {out.first.get(), err.first.get(), ready.second.get()};
  auto pid = spawn(p);
  if (!pid) co_return fail(std::move(pid.error()).with("failed to start binary process: "));
  logger_ = *pid;
  logger_ended_ = std::make_shared<event>();
  loop_.know(logger_, [ended = logger_ended_](const exit_state&) { ended->set(); });
  ready.second.close();
  struct readable final : watcher {
    event is;
    void ready(std::uint32_t) override { is.set(); }
  } begun;
  loop_.watch(ready.first.get(), EPOLLIN, begun);
  bool in_time = co_await begun.is.until(loop_, now_ms() + fifo_reader_timeout_ms);
  loop_.unwatch(ready.first.get(), begun);
  if (!in_time) co_return fail(errc::timeout, "the logging program " + p.argv[0] + " didn't become ready");
  child_out_ = std::move(out.second);
  child_err_ = std::move(err.second);
  co_return result<void>();
}

task<void> stdio::stop_logger() {
  if (logger_ == 0 || logger_ended_->is_set()) co_return;
  ::kill(logger_, SIGTERM);
  if (!co_await logger_ended_->until(loop_, now_ms() + logger_grace_ms)) ::kill(logger_, SIGKILL);
}

result<void> stdio::listen(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof address.sun_path) return fail(errc::invalid, "the path of a console socket is too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  console_socket_ = descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!console_socket_) return fail(os_error(errno, "console socket"));
  ::unlink(path.c_str());
  console_path_ = path;
  if (::bind(console_socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
      ::chmod(path.c_str(), 0600) < 0 || ::listen(console_socket_.get(), 1) < 0)
    return fail(os_error(errno, "failed to create OCI runtime console socket"));
  return {};
}

namespace {

// The descriptor that comes with a message.
result<descriptor> receive_descriptor(int socket) {
  std::array<char, 4096> name;  // the terminal's, of which we need nothing
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> space{};
  iovec part{name.data(), name.size()};
  msghdr m{};
  m.msg_iov = &part;
  m.msg_iovlen = 1;
  m.msg_control = space.data();
  m.msg_controllen = space.size();
  if (::recvmsg(socket, &m, MSG_CMSG_CLOEXEC) < 0) return fail(os_error(errno, "recvmsg"));
  auto* c = CMSG_FIRSTHDR(&m);
  if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
    return fail(errc::protocol, "no terminal was sent");
  int fd;
  std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
  return descriptor(fd);
}

}  // namespace

task<result<void>> stdio::take_console(names n, std::int64_t deadline) {
  descriptor peer(::accept4(console_socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!peer) co_return fail(os_error(errno, "failed to retrieve console master"));
  auto got = receive_descriptor(peer.get());
  if (!got) co_return fail(std::move(got.error()).with("failed to retrieve console master: "));
  console_ = std::move(*got);
  console_socket_.close();
  ::unlink(console_path_.c_str());
  console_path_.clear();
  set_blocking(console_.get(), false);

  if (scheme_of(paths_.out) == "binary") {
    // What the program gets as its second output is never written.
    KEDGE_CO_CHECK(co_await start_logger(paths_.out, n));
    console_out_ = std::move(child_out_);
    child_err_.close();
    set_blocking(console_out_.get(), false);
  } else if (auto path = std::string(after_scheme(paths_.out)); path.empty() || !is_fifo(path)) {
    console_out_ = descriptor(::open(path.empty() ? "/dev/null" : path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (!console_out_) co_return fail(os_error(errno, "failed to start console copy: open " + path));
  } else {
    auto opened = co_await open_output(path, console_out_, keep_out_, deadline);
    if (!opened) co_return fail(std::move(opened.error()).with("failed to start console copy: "));
  }
  from_console_ = std::make_unique<copier>(loop_, console_.get(), console_out_.get(), [this] { console_ended(); });
  if (paths_.in.empty()) co_return result<void>();
  KEDGE_CO_CHECK(open_input(console_in_));
  // A descriptor of its own to wait on; console_ is waited on for reading.
  child_in_ = descriptor(::fcntl(console_.get(), F_DUPFD_CLOEXEC, 3));
  to_console_ = std::make_unique<copier>(loop_, console_in_.get(), child_in_.get(), [this] {
    if (from_console_ && !from_console_->ended()) from_console_->finish();  // its end hangs the terminal up
  });
  co_return result<void>();
}

void stdio::console_ended() {
  to_console_.reset();
  child_in_.close();
  console_.close();
  console_out_.close();
  console_in_.close();
  keep_in_.close();
  console_done_.set();
}

result<void> stdio::resize(unsigned width, unsigned height) {
  if (!console_) return {};  // without a terminal there is nothing to resize, as the Go shim has it
  winsize size{};
  size.ws_col = static_cast<unsigned short>(width);
  size.ws_row = static_cast<unsigned short>(height);
  if (::ioctl(console_.get(), TIOCSWINSZ, &size) < 0) return fail(os_error(errno, "resize"));
  return {};
}

void stdio::close_in() { keep_in_.close(); }

void stdio::process_ended() {
  if (from_console_ && !from_console_->ended()) from_console_->finish();
  keep_in_.close();
}

task<void> stdio::wait_until_read() {
  auto unread = [](const descriptor& d) {
    int bytes = 0;
    return d && ::ioctl(d.get(), FIONREAD, &bytes) == 0 && bytes > 0;
  };
  auto latest = now_ms() + unread_ms;
  for (std::int64_t pause = 1; (unread(keep_out_) || unread(keep_err_)) && now_ms() < latest; pause *= 2)
    co_await loop_.sleep(pause);
}

task<void> stdio::close() {
  auto latest = now_ms() + drain_ms;
  if (from_console_) co_await console_done_.until(loop_, latest);
  if (copying_ > 0) co_await files_done_.until(loop_, latest);
  co_await stop_logger();
  co_await wait_until_read();
  from_console_.reset();
  to_console_.reset();
  files_.clear();
  for (auto* d : {&console_, &console_out_, &console_in_, &keep_in_, &keep_out_, &keep_err_}) d->close();
}

}  // namespace kedge::shim
