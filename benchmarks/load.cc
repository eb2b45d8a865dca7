// load.cc: the clients that wrk can't be: many watchers of one collection, and many idle connections with a watch each.
//
//   load watch HOST PORT CA TOKEN WATCHERS UPDATES IN_FLIGHT   makes UPDATES updates, IN_FLIGHT at a time; prints
//   events/s
//                                                              and latencies from an update's sending to each event
//   load idle HOST PORT CA TOKEN CONNECTIONS [PATH]            connects, says "connected" and holds until standard
//   input ends;
//                                                              watches PATH, where # is the connection's number
//   load crowd HOST PORT CA TOKEN QUIET SLOW                   QUIET connections that have asked once, and SLOW that
//   send a body a byte a
//                                                              second; who is turned away comes again. Says
//                                                              "connected", holds until standard input ends, and says
//                                                              how many stood then
//   load floor CONNECTIONS ROUNDS BYTES                        what the kernel alone can do here: bytes to every
//   connection in
//                                                              turn over plain loopback TCP, to be read by another
//                                                              process
//
// It shares the machine with the server that it measures, so it does as little as it can: OpenSSL on epoll, one thread,
// no HTTP beyond what these requests need, and none of the server's own code.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t read_bytes = 16 * 1024 + 64;  // a whole TLS record, and what was carried over
constexpr std::string_view mark = "\"round\":\"<";  // in front of the eight digits that say which update it is
constexpr std::size_t digits = 8;
constexpr const char* collection = "/api/v1/namespaces/default/configmaps";

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "load: %s\n", what.c_str());
  std::exit(1);
}

double seconds_of(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}
double now() { return seconds_of(CLOCK_MONOTONIC); }
double cpu() { return seconds_of(CLOCK_PROCESS_CPUTIME_ID); }

struct connection {
  SSL* ssl = nullptr;
  int fd = -1;
  std::string carry;       // the end of what was read, when a mark may be cut there
  std::size_t object = 0;  // an updater's: which object
  bool updater = false;
};

struct target {
  sockaddr_in address{};
  std::string token;
  SSL_CTX* context = nullptr;
};

target make_target(char** argv) {
  target t;
  t.address.sin_family = AF_INET;
  t.address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[1])));
  if (inet_pton(AF_INET, argv[0], &t.address.sin_addr) != 1) die(std::string("not an IPv4 address: ") + argv[0]);
  t.context = SSL_CTX_new(TLS_client_method());
  if (SSL_CTX_load_verify_locations(t.context, argv[2], nullptr) != 1) die(std::string("can't read ") + argv[2]);
  SSL_CTX_set_verify(t.context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_session_cache_mode(t.context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(t.context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(t.context, 1);
  t.token = argv[3];
  return t;
}

std::string head(const target& t, std::string_view method, std::string_view path, std::size_t body) {
  std::string out(method);
  out += ' ';
  out += path;
  out += " HTTP/1.1\r\nHost: kedge\r\nAuthorization: Bearer " + t.token + "\r\n";
  if (body) out += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body) + "\r\n";
  return out + "\r\n";
}

std::string object(std::size_t which, std::uint64_t round) {
  char number[digits + 1];
  std::snprintf(number, sizeof number, "%08llu", static_cast<unsigned long long>(round));
  return R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"watched-)" + std::to_string(which) +
         R"("},"data":{"round":"<)" + number + R"(>","filler":")" + std::string(900, 'x') + "\"}}";
}

connection connect_to(const target& t) {
  connection c;
  c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c.fd < 0 || connect(c.fd, reinterpret_cast<const sockaddr*>(&t.address), sizeof t.address) != 0)
    die(std::string("connect: ") + std::strerror(errno));
  int one = 1;
  setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  c.ssl = SSL_new(t.context);
  SSL_set_fd(c.ssl, c.fd);
  if (SSL_connect(c.ssl) != 1) die("the TLS handshake failed");
  return c;
}

void send_text(connection& c, std::string_view text) {
  if (SSL_write(c.ssl, text.data(), static_cast<int>(text.size())) != static_cast<int>(text.size()))
    die("a request could not be sent");
}

// A whole answer with Content-Length, or the head of one without; on a blocking connection.
std::string read_answer(connection& c) {
  std::string text;
  for (;;) {
    char piece[4096];
    int n = SSL_read(c.ssl, piece, sizeof piece);
    if (n <= 0) die("the connection ended: " + text);
    text.append(piece, static_cast<std::size_t>(n));
    auto end = text.find("\r\n\r\n");
    if (end == text.npos) continue;
    auto length = text.find("Content-Length: ");
    if (length == text.npos || length > end) return text;
    if (text.size() >= end + 4 + static_cast<std::size_t>(std::atol(text.c_str() + length + 16))) return text;
  }
}

int status_of(std::string_view answer) {
  return answer.size() > 12 ? std::atoi(std::string(answer.substr(9, 3)).c_str()) : 0;
}

// The revision to watch from; without one a watch would begin with all that is there.
std::string newest_revision(connection& c, const target& t) {
  send_text(c, head(t, "GET", std::string(collection) + "?limit=1", 0));
  auto answer = read_answer(c);
  auto at = answer.find("\"resourceVersion\":\"");
  if (status_of(answer) != 200 || at == answer.npos) die("list: " + answer);
  return std::to_string(std::atoll(answer.c_str() + at + 19));
}

connection open_watch(const target& t, std::string what, const std::string& revision) {
  auto c = connect_to(t);
  what += what.find('?') == what.npos ? '?' : '&';
  send_text(c, head(t, "GET", what + "watch=1&allowWatchBookmarks=true&resourceVersion=" + revision, 0));
  auto answer = read_answer(c);
  if (status_of(answer) != 200) die("watch: " + answer);
  return c;
}

class watch_run {
 public:
  watch_run(target t, std::size_t watchers, std::size_t updates, std::size_t in_flight)
      : target_(std::move(t)),
        watchers_(watchers),
        updates_(updates),
        in_flight_(std::min(in_flight, updates)),
        sent_(updates + 1),
        seen_(updates + 1),
        object_of_(updates + 1) {
    latencies_ms_.reserve(watchers * updates);
  }

  void run() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    connections_.reserve(in_flight_ + watchers_);
    for (std::size_t i = 0; i < in_flight_; ++i) {
      auto c = connect_to(target_);
      auto body = object(i, 0);
      send_text(c, head(target_, "POST", collection, body.size()) + body);
      auto answer = read_answer(c);
      if (status_of(answer) != 201 && status_of(answer) != 409) die("create: " + answer);
      c.updater = true;
      c.object = i;
      connections_.push_back(std::move(c));
    }
    auto revision = newest_revision(connections_.front(), target_);
    for (std::size_t i = 0; i < watchers_; ++i) connections_.push_back(open_watch(target_, collection, revision));
    for (auto& c : connections_) {
      fcntl(c.fd, F_SETFL, O_NONBLOCK);
      epoll_event e{.events = EPOLLIN, .data = {.ptr = &c}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &e);
    }
    auto began = now(), cpu_began = cpu();
    for (std::size_t i = 0; i < in_flight_; ++i) update(i);
    while (finished_ < updates_) turn();
    auto took = now() - began, worked = cpu() - cpu_began;
    std::sort(latencies_ms_.begin(), latencies_ms_.end());
    auto n = latencies_ms_.size();
    std::printf("{\"events_per_second\":%.0f,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"client_us_per_event\":%.2f}\n",
                static_cast<double>(n) / took, latencies_ms_[n / 2], latencies_ms_[n * 99 / 100],
                worked / static_cast<double>(n) * 1e6);
  }

 private:
  void update(std::size_t which) {
    if (next_ > updates_) return;
    auto round = next_++;
    object_of_[round] = which;
    auto body = object(which, round);
    sent_[round] = now();
    send_text(connections_[which],
              head(target_, "PUT", std::string(collection) + "/watched-" + std::to_string(which), body.size()) + body);
  }

  void turn() {
    epoll_event events[256];
    int n = epoll_wait(epoll_, events, 256, 10'000);
    if (n <= 0) die("nothing came for 10 s");
    for (int i = 0; i < n; ++i) drain(*static_cast<connection*>(events[i].data.ptr));
  }

  void drain(connection& c) {
    for (;;) {
      auto kept = c.carry.size();
      std::memcpy(buffer_, c.carry.data(), kept);
      int n = SSL_read(c.ssl, buffer_ + kept, static_cast<int>(read_bytes - kept));
      if (n <= 0) {
        if (SSL_get_error(c.ssl, n) == SSL_ERROR_WANT_READ) return;
        die("a connection ended");
      }
      std::string_view text(buffer_, kept + static_cast<std::size_t>(n));
      if (c.updater) {
        if (text.starts_with("HTTP/1.1 ") && !text.starts_with("HTTP/1.1 200")) die("update: " + std::string(text));
        continue;
      }
      scan(c, text);
      if (!SSL_has_pending(c.ssl)) return;  // the next event tells of more: saves the read that finds nothing
    }
  }

  void scan(connection& c, std::string_view text) {
    std::size_t at = 0;
    double when = now();
    for (;;) {
      auto* p = static_cast<const char*>(memmem(text.data() + at, text.size() - at, mark.data(), mark.size()));
      if (!p || static_cast<std::size_t>(text.data() + text.size() - p) < mark.size() + digits) {
        auto from = p ? static_cast<std::size_t>(p - text.data())
                      : std::max(at, text.size() - std::min(text.size(), mark.size()));
        c.carry.assign(text.substr(from));
        return;
      }
      at = static_cast<std::size_t>(p - text.data()) + mark.size();
      std::size_t round = 0;
      for (std::size_t i = 0; i < digits; ++i) round = round * 10 + static_cast<std::size_t>(text[at + i] - '0');
      at += digits;
      if (round == 0 || round > updates_) continue;
      latencies_ms_.push_back((when - sent_[round]) * 1e3);
      // The next update of this object goes out when every watcher has this one.
      if (++seen_[round] == watchers_) {
        ++finished_;
        update(object_of_[round]);
      }
    }
  }

  target target_;
  std::size_t watchers_, updates_, in_flight_;
  int epoll_ = -1;
  std::vector<connection> connections_;  // the updaters first
  std::vector<double> sent_;
  std::vector<std::size_t> seen_;
  std::vector<std::size_t> object_of_;  // which object a round updates
  std::vector<double> latencies_ms_;
  std::size_t next_ = 1, finished_ = 0;
  char buffer_[read_bytes];
};

void idle(const target& t, std::size_t count, const std::string& path) {
  auto first = connect_to(t);
  auto revision = newest_revision(first, t);
  std::vector<connection> all;
  for (std::size_t i = 0; i < count; ++i) {
    auto own = path;
    if (auto at = own.find('#'); at != own.npos) own.replace(at, 1, std::to_string(i));
    all.push_back(open_watch(t, own, revision));
  }
  std::printf("connected\n");
  std::fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) {}
}

// Clients that nobody asked for.
class crowd {
 public:
  crowd(target t, std::size_t quiet, std::size_t slow) : target_(std::move(t)), all_(quiet + slow), slow_(slow) {}

  void run() {
    for (std::size_t i = 0; i < all_.size(); ++i) come(i);
    std::printf("connected\n");
    std::fflush(stdout);
    pollfd input{.fd = 0, .events = POLLIN, .revents = 0};
    char byte;
    while (poll(&input, 1, 1000) == 0 || read(0, &byte, 1) > 0) tick();
    std::size_t standing = 0;
    for (auto& c : all_) standing += c.ssl != nullptr;
    std::printf("{\"standing\":%zu,\"came_again\":%zu}\n", standing, again_);
  }

 private:
  static constexpr std::size_t tries_a_tick = 500;

  void leave(connection& c) {
    SSL_free(c.ssl);
    if (c.fd >= 0) close(c.fd);
    c = {};
  }

  void come(std::size_t i) {
    auto& c = all_[i];
    c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    // From several addresses, which have ports of their own; a server that takes its time is not waited for.
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(1 + i % 8));
    timeval patience{.tv_sec = 5, .tv_usec = 0};
    int one = 1;
    setsockopt(c.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (c.fd < 0 || bind(c.fd, reinterpret_cast<sockaddr*>(&from), sizeof from) != 0 ||
        connect(c.fd, reinterpret_cast<const sockaddr*>(&target_.address), sizeof target_.address) != 0)
      return leave(c);
    c.ssl = SSL_new(target_.context);
    SSL_set_fd(c.ssl, c.fd);
    auto text = i < slow_ ? head(target_, "POST", collection, 1'000'000)
                          : head(target_, "GET", std::string(collection) + "/none", 0);
    if (SSL_connect(c.ssl) != 1 || SSL_write(c.ssl, text.data(), static_cast<int>(text.size())) <= 0) return leave(c);
    char piece[4096];
    if (i >= slow_ && SSL_read(c.ssl, piece, sizeof piece) <= 0) leave(c);
  }

  void tick() {
    std::vector<pollfd> looks;
    for (auto& c : all_) looks.push_back({.fd = c.fd, .events = POLLIN, .revents = 0});
    poll(looks.data(), looks.size(), 0);
    std::size_t tries = 0;
    for (std::size_t i = 0; i < all_.size(); ++i) {
      auto& c = all_[i];
      // Whatever comes unasked is a refusal, or the end.
      bool gone = !c.ssl || looks[i].revents != 0 || (i < slow_ && SSL_write(c.ssl, "x", 1) != 1);
      if (!gone || tries == tries_a_tick) continue;
      leave(c);
      come(i);
      ++tries;
      ++again_;
    }
  }

  target target_;
  std::vector<connection> all_;  // the slow ones first
  std::size_t slow_, again_ = 0;
};

void floor_of_kernel(std::size_t connections, std::size_t rounds, std::size_t size) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), done[2];
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof a;
  if (bind(listener, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || listen(listener, 1024) != 0 || pipe(done) != 0)
    die("listen");
  getsockname(listener, reinterpret_cast<sockaddr*>(&a), &length);
  if (fork() == 0) {
    int epoll = epoll_create1(0);
    for (std::size_t i = 0; i < connections; ++i) {
      int fd = socket(AF_INET, SOCK_STREAM, 0);
      if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) _exit(1);
      epoll_event e{.events = EPOLLIN, .data = {.fd = fd}};
      epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
    }
    std::vector<char> buffer(64 * 1024);
    std::size_t got = 0;
    for (std::size_t round = 0; round < rounds;) {
      epoll_event events[256];
      int n = epoll_wait(epoll, events, 256, -1);
      for (int i = 0; i < n; ++i)
        got += static_cast<std::size_t>(std::max<ssize_t>(0, read(events[i].data.fd, buffer.data(), buffer.size())));
      for (; got >= connections * size; got -= connections * size, ++round)
        if (write(done[1], "", 1) != 1) _exit(1);
    }
    _exit(0);
  }
  std::vector<int> accepted;
  for (std::size_t i = 0; i < connections; ++i) {
    accepted.push_back(accept(listener, nullptr, nullptr));
    int one = 1;
    setsockopt(accepted.back(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  std::vector<char> piece(size, 'x');
  auto began = now(), cpu_began = cpu();
  for (std::size_t round = 0; round < rounds; ++round) {
    for (int fd : accepted)
      if (send(fd, piece.data(), size, 0) != static_cast<ssize_t>(size)) die("send");
    char byte;
    if (read(done[0], &byte, 1) != 1) die("the reader ended");
  }
  auto events = static_cast<double>(connections * rounds);
  std::printf("{\"events_per_second\":%.0f,\"sender_us_per_event\":%.2f}\n", events / (now() - began),
              (cpu() - cpu_began) / events * 1e6);
  wait(nullptr);
}

std::size_t number(const char* text) { return static_cast<std::size_t>(std::max(1L, std::atol(text))); }

}  // namespace

int main(int argc, char** argv) {
  std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "watch" && argc == 9) {
    auto run = std::make_unique<watch_run>(make_target(argv + 2), number(argv[6]), number(argv[7]), number(argv[8]));
    run->run();
  } else if (mode == "idle" && (argc == 7 || argc == 8)) {
    idle(make_target(argv + 2), number(argv[6]), argc == 8 ? argv[7] : collection);
  } else if (mode == "crowd" && argc == 8) {
    signal(SIGPIPE, SIG_IGN);
    rlimit most{};
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
    crowd(make_target(argv + 2), number(argv[6]), number(argv[7])).run();
  } else if (mode == "floor" && argc == 5) {
    floor_of_kernel(number(argv[2]), number(argv[3]), number(argv[4]));
  } else {
    std::fprintf(stderr,
                 "usage: load watch HOST PORT CA TOKEN WATCHERS UPDATES IN_FLIGHT\n       load idle HOST PORT CA TOKEN "
                 "CONNECTIONS [PATH]\n       load crowd HOST PORT CA TOKEN QUIET SLOW\n"
                 "       load floor CONNECTIONS ROUNDS BYTES\n");
    return 2;
  }
  return 0;
}
