// main.cc: `hollow`: a crowd of hollow nodes, on as many loops as asked for, until it is told to stop.
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <thread>

#include "base/log.h"
#include "base/strings.h"
#include "hollow/hollow_node.h"
#include "json/write.h"
#include "reactor/signal.h"

using namespace kedge;
using namespace kedge::hollow;

namespace {

constexpr std::string_view help =
    R"(hollow: many nodes of a Kedge (or K3s) cluster in one process; they register, keep their leases, and say of pods what a script says

  hollow --server URL --token TOKEN [flags]

  --server URL          https://HOST:PORT, where agents join
  --token TOKEN         the server's node token (short or full); or the variable K3S_TOKEN
  --nodes N             how many nodes (10)
  --prefix NAME         of their names: NAME-0, NAME-1, … (hollow)
  --first N             the number of the first (0)
  --folder DIR          their passwords and certificates (/var/tmp/kedge-hollow)
  --label KEY=VALUE     a label of each node; may be given again
  --cpu N --memory GIB  what each says that it has (8, 32)
  --script TEXT         what pods do that don't say so by the annotation hollow.kedge.io/script:
                        ready=100ms,exit=5s,code=1,reason=OOMKilled,stop=2s
  --tunnels             each keeps a tunnel to every server, as agents do
  --lease-interval D    how often leases are renewed (10s)
  --report-interval D   how often a node that doesn't change writes its status (5m)
  --at-once N           registrations at the same time (16)
  --threads N           loops that the nodes are spread over (1)
  --for D               end after so long; otherwise at Ctrl-C
  -o json               the summary as JSON
  --debug               tell every failed request
  --help

Prints how far it is each second, and a summary at the end. The nodes stay in the cluster: started again with the same --folder, the same
nodes come back.
)";

struct options {
  settings s;
  unsigned nodes = 10, first = 0, threads = 1;
  std::optional<duration> time;
  bool json = false, debug = false;
};

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "hollow: %s (see --help)\n", what.c_str());
  std::exit(2);
}

unsigned number(std::string_view flag, std::string_view text, unsigned least, unsigned most) {
  auto n = parse_uint(text);
  if (!n || *n < least || *n > most)
    die(fmt::format("{}: {} is not between {} and {}", flag, quote(text), least, most));
  return static_cast<unsigned>(*n);
}

duration time_of(std::string_view flag, std::string_view text) {
  auto d = parse_duration(text);
  if (!d || *d <= duration::zero()) die(fmt::format("{}: {} is no duration, as 10s", flag, quote(text)));
  return *d;
}

options read(int argc, char** argv) {
  options o;
  o.s.folder = "/var/tmp/kedge-hollow";
  if (auto token = std::getenv("K3S_TOKEN")) o.s.token = token;
  for (int i = 1; i < argc; ++i) {
    std::string_view flag = argv[i], given;
    if (auto equals = flag.find('='); flag.starts_with("--") && equals != flag.npos) {
      given = flag.substr(equals + 1);
      flag = flag.substr(0, equals);
    }
    auto take = [&]() -> std::string_view {
      if (given.data()) return given;
      if (++i == argc) die(fmt::format("{} needs a value", flag));
      return argv[i];
    };
    if (flag == "--help" || flag == "-h") {
      std::fwrite(help.data(), 1, help.size(), stdout);
      std::exit(0);
    } else if (flag == "--server") {
      o.s.server_url = take();
    } else if (flag == "--token") {
      o.s.token = take();
    } else if (flag == "--nodes") {
      o.nodes = number(flag, take(), 1, 50'000);
    } else if (flag == "--first") {
      o.first = number(flag, take(), 0, 1'000'000);
    } else if (flag == "--prefix") {
      o.s.prefix = take();
    } else if (flag == "--folder") {
      o.s.folder = take();
    } else if (flag == "--label") {
      o.s.labels.emplace_back(take());
    } else if (flag == "--cpu") {
      o.s.cpus = static_cast<int>(number(flag, take(), 1, 4096));
    } else if (flag == "--memory") {
      o.s.memory_bytes = std::uint64_t(number(flag, take(), 1, 65'536)) << 30;
    } else if (flag == "--script") {
      auto s = parse_script(take());
      if (!s) die("--script: " + s.error().message);
      o.s.pods = *s;
    } else if (flag == "--tunnels") {
      o.s.tunnels = true;
    } else if (flag == "--lease-interval") {
      o.s.lease_interval = time_of(flag, take());
    } else if (flag == "--report-interval") {
      o.s.report_interval = time_of(flag, take());
    } else if (flag == "--at-once") {
      o.s.registering_at_once = number(flag, take(), 1, 1024);
    } else if (flag == "--threads") {
      o.threads = number(flag, take(), 1, 256);
    } else if (flag == "--for") {
      o.time = time_of(flag, take());
    } else if (flag == "-o") {
      if (take() != "json") die("-o: json is all that there is");
      o.json = true;
    } else if (flag == "--debug") {
      o.debug = true;
    } else {
      die("unknown flag " + quote(flag));
    }
  }
  if (o.s.server_url.empty()) die("--server says where to join");
  if (o.s.token.empty()) die("--token is missing");
  o.threads = std::min(o.threads, o.nodes);
  return o;
}

task<void> live(hollow_node& n, reactor::semaphore& turn, unsigned which) {
  auto ended = co_await n.run(turn);
  if (!ended) std::fprintf(stderr, "hollow: node %u ended: %s\n", which, ended.error().message.c_str());
}

// One loop's nodes, until it is stopped.
void run_some(const options& o, unsigned from, unsigned upto, counts& c, std::atomic<reactor::loop*>& here) {
  auto backend = reactor::make_backend(reactor::io_backend::automatic);
  if (!backend) die(backend.error().message);
  reactor::loop loop(*std::move(backend));
  reactor::loop::current_guard current(loop);
  reactor::semaphore turn(std::max(1u, o.s.registering_at_once / o.threads));
  std::vector<std::unique_ptr<hollow_node>> nodes;
  {
    reactor::scope living;
    for (auto i = from; i < upto; ++i) {
      nodes.push_back(std::make_unique<hollow_node>(o.s, o.first + i, c));
      living.spawn(live(*nodes.back(), turn, o.first + i));
    }
    here.store(&loop, std::memory_order_release);
    loop.run();
  }
  nodes.clear();
}

std::string progress(const counts& c, unsigned nodes) {
  auto n = [](auto& a) { return a.load(std::memory_order_relaxed); };
  return fmt::format(
      "{} of {} nodes ready, {} registered; pods: {} seen, {} running, {} ended, {} deleted; {} leases, {} statuses, "
      "{} failures",
      n(c.ready), nodes, n(c.registered), n(c.pods_seen), n(c.pods_running), n(c.pods_ended), n(c.pods_deleted),
      n(c.leases), n(c.statuses), n(c.failures));
}

double processor_seconds() {
  rusage u{};
  ::getrusage(RUSAGE_SELF, &u);
  auto s = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return s(u.ru_utime) + s(u.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
  auto o = read(argc, argv);
  (void)log::configure({.least = o.debug ? log::level::debug : log::level::error});
  ::signal(SIGPIPE, SIG_IGN);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  counts c;
  std::vector<std::thread> threads;
  std::vector<std::atomic<reactor::loop*>> loops(o.threads);
  const auto began = monotonic_clock::now();
  for (unsigned t = 0; t < o.threads; ++t)
    threads.emplace_back([&, t] { run_some(o, o.nodes * t / o.threads, o.nodes * (t + 1) / o.threads, c, loops[t]); });
  std::optional<duration> all_ready;
  std::string told;
  for (;;) {
    timespec second{1, 0};
    const bool stopped = ::sigtimedwait(&ends, nullptr, &second) > 0;
    auto since = monotonic_clock::now() - began;
    if (!all_ready && c.ready.load() == o.nodes) all_ready = since;
    if (auto now = progress(c, o.nodes); now != told) {
      told = std::move(now);
      std::fprintf(stderr, "%5.0f s  %s\n", std::chrono::duration<double>(since).count(), told.c_str());
    }
    if (stopped || (o.time && since >= *o.time)) break;
  }
  for (auto& l : loops)
    if (auto* loop = l.load(std::memory_order_acquire)) loop->post([loop] { loop->stop(); });
  for (auto& t : threads) t.join();
  auto seconds = [](duration d) { return std::chrono::duration<double>(d).count(); };
  if (o.json) {
    auto n = [](auto& a) { return static_cast<std::int64_t>(a.load()); };
    json::object out{{"nodes", std::int64_t(o.nodes)},
                     {"ready", n(c.ready)},
                     {"leases", n(c.leases)},
                     {"statuses", n(c.statuses)},
                     {"podsSeen", n(c.pods_seen)},
                     {"podsEnded", n(c.pods_ended)},
                     {"podsDeleted", n(c.pods_deleted)},
                     {"failures", n(c.failures)},
                     {"slowestLeaseMilliseconds", static_cast<double>(c.slowest_lease_us.load()) / 1000},
                     {"processorSeconds", processor_seconds()}};
    out.set("readyAfterSeconds", all_ready ? json::value(seconds(*all_ready)) : json::value());
    std::printf("%s\n", json::write(std::move(out)).c_str());
  } else {
    std::printf("%s\nall nodes ready after %s; slowest lease %.1f ms; %.1f s of processor time in %.0f s\n",
                progress(c, o.nodes).c_str(),
                all_ready ? fmt::format("{:.1f} s", seconds(*all_ready)).c_str() : "- (not all)",
                static_cast<double>(c.slowest_lease_us.load()) / 1000, processor_seconds(),
                seconds(monotonic_clock::now() - began));
  }
  return c.ready.load() == o.nodes ? 0 : 1;
}
