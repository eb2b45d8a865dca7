// A machine that goes down, and one that is out of memory: the kernel's and the bus's words, and which pods go when.
#include "node/pods/shutdown.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "loop.h"
#include "node/machine/oom_log.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

TEST_CASE("pods end by ranges of their priority") {
  std::vector<shutdown_grace> phases = {{0, 60}, {10'000, 20}, {2'000'000'000, 10}};
  auto of = by_phase(phases, {0, 9'999, 10'000, 2'000'001'000, -5, 1'999'999'999});
  REQUIRE(of.size() == 3);
  CHECK(of[0] == std::vector<std::size_t>{0, 1, 4});
  CHECK(of[1] == std::vector<std::size_t>{2, 5});
  CHECK(of[2] == std::vector<std::size_t>{3});
  CHECK(by_phase({}, {1}).empty());
}

TEST_CASE("the kernel's words for a process that it killed") {
  oom_parser p;
  CHECK_FALSE(p.take("Killed process 1 (nobody asked)"));
  CHECK_FALSE(p.take("stress invoked oom-killer: gfp_mask=0x100cca, order=0, oom_score_adj=0"));
  CHECK_FALSE(p.take("CPU: 1 PID: 77 Comm: stress"));
  CHECK_FALSE(
      p.take("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
             "task_memcg=/user.slice,task=stress,pid=77,uid=0"));
  auto of_machine = p.take("Out of memory: Killed process 77 (stress (1)) total-vm:8216kB, anon-rss:8000kB");
  REQUIRE(of_machine);
  CHECK(of_machine->group == "/");
  CHECK(of_machine->process == "stress (1");  // to the first bracket that closes
  CHECK(of_machine->pid == 77);
  CHECK_FALSE(p.take("python invoked oom-killer: gfp_mask=0xcc0"));
  auto of_group = p.take(
      "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=abc,mems_allowed=0,oom_memcg="
      "/kubepods/pod1/abc,task_memcg=/kubepods/pod1/abc,task=dd,pid=42,uid=0");
  REQUIRE(of_group);
  CHECK(of_group->group == "/kubepods/pod1/abc");
  CHECK(of_group->process == "dd");
  CHECK(of_group->pid == 42);
}

TEST_CASE("the log is followed, records and all that comes with them") {
  temporary_folder folder;
  auto path = folder.path() + "/kmsg";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  test_loop t;
  t.run([](std::string file) -> task<void> {
    auto fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);  // before it is read, which would find its end else
    std::vector<oom_kill> told;
    reactor::event any;
    reactor::scope watching;
    watching.spawn([](std::string f, std::vector<oom_kill>& out, reactor::event& e) -> task<void> {
      (void)co_await watch_oom_kills(std::move(f), [&](const oom_kill& k) {
        out.push_back(k);
        e.set();
      });
    }(file, told, any));
    auto say = [&](std::string_view record) {
      REQUIRE(::write(fd, record.data(), record.size()) == static_cast<ssize_t>(record.size()));
    };
    // A FIFO keeps no borders between records: one at a time.
    say("4,1,1,-;dd invoked oom-killer: gfp_mask=0\n SUBSYSTEM=x\n");
    co_await reactor::sleep_for(20ms);
    say("3,2,2,-;Out of memory: Killed process 9 (dd) total-vm:1kB\n");
    co_await any.wait();
    CHECK(told.size() == 1);
    CHECK(told[0].process == "dd");
    ::close(fd);
  }(path));
}

namespace {

struct bus_field {
  char which, type;
  std::string value;  // of type u: its four bytes
};

std::string bus_message(dbus_message::kind kind, const std::vector<bus_field>& fields, std::string_view body) {
  auto u32 = [](std::size_t n) { return std::string{static_cast<char>(n), static_cast<char>(n >> 8), 0, 0}; };
  auto out = std::string{'l', static_cast<char>(kind), 0, 1} + u32(body.size()) + u32(7) + u32(0);
  for (auto& f : fields) {
    out.resize((out.size() + 7) / 8 * 8, '\0');
    out += std::string{f.which, 1, f.type, 0};
    if (f.type == 'g') out += static_cast<char>(f.value.size());
    if (f.type == 's' || f.type == 'o') out += u32(f.value.size());
    out += f.value;
    if (f.type != 'u') out += '\0';
  }
  out.replace(12, 4, u32(out.size() - 16));
  out.resize((out.size() + 7) / 8 * 8, '\0');
  return out + std::string(body);
}

}  // namespace

TEST_CASE("a lock is the message's that it came with, whatever came before that in one piece") {
  temporary_folder folder;
  auto path = folder.path() + "/bus";
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof at.sun_path);
  path.copy(at.sun_path, path.size());
  auto listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  REQUIRE(::listen(listener, 1) == 0);
  test_loop t;
  t.run([](std::string socket, int from) -> task<void> {
    reactor::scope bus;
    bus.spawn([](int l) -> task<void> {
      co_await reactor::sleep_for(20ms);  // the other side has connected by then, or accept waits for it
      auto fd = ::accept4(l, nullptr, nullptr, SOCK_CLOEXEC);
      auto serial = [](char n) { return std::string{n, 0, 0, 0}; };
      // All that it will ever be asked for is there at once.
      auto first = "OK 1\r\nAGREE_UNIX_FD\r\n" + bus_message(dbus_message::kind::answer, {{5, 'u', serial(1)}}, {}) +
                   bus_message(dbus_message::kind::signal, {{3, 's', "NameAcquired"}}, {});
      REQUIRE(::send(fd, first.data(), first.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(first.size()));
      auto last = bus_message(dbus_message::kind::answer, {{5, 'u', serial(2)}, {8, 'g', "h"}, {9, 'u', serial(1)}},
                              std::string(4, '\0'));
      alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
      iovec part{last.data(), last.size()};
      msghdr m{};
      m.msg_iov = &part;
      m.msg_iovlen = 1;
      m.msg_control = control.data();
      m.msg_controllen = control.size();
      auto* c = CMSG_FIRSTHDR(&m);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(c), &l, sizeof l);
      REQUIRE(::sendmsg(fd, &m, MSG_NOSIGNAL) == static_cast<ssize_t>(last.size()));
      co_await reactor::sleep_for(1h);
      ::close(fd);
    }(from));
    auto machine = co_await logind::open(socket);
    REQUIRE_MESSAGE(machine, machine.error().message);
    auto lock = co_await machine->inhibit();
    REQUIRE_MESSAGE(lock, lock.error().message);
    CHECK(*lock);
  }(path, listener));
  ::close(listener);
}

TEST_CASE("the bus's messages: whole ones are read, pieces are waited for, and what is none is refused") {
  // PrepareForShutdown(true), as dbus-daemon passes it on.
  const auto bytes = bus_message(dbus_message::kind::signal,
                                 {{1, 'o', "/org/freedesktop/login1"},
                                  {2, 's', "org.freedesktop.login1.Manager"},
                                  {3, 's', "PrepareForShutdown"},
                                  {8, 'g', "b"}},
                                 std::string("\1\0\0\0", 4));
  dbus_message m;
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    dbus_message part;
    auto read = parse_dbus_message(std::string_view(bytes).substr(0, n), part);
    REQUIRE(read);
    CHECK(*read == 0);
  }
  auto read = parse_dbus_message(bytes, m);
  REQUIRE_MESSAGE(read, read.error().message);
  CHECK(*read == bytes.size());
  CHECK(m.type == dbus_message::kind::signal);
  CHECK(m.path == "/org/freedesktop/login1");
  CHECK(m.interface == "org.freedesktop.login1.Manager");
  CHECK(m.member == "PrepareForShutdown");
  CHECK(m.as_bool() == true);
  CHECK_FALSE(m.as_number_in_variant());
  // Any byte that is another one: read as something, or refused; never read beyond its end.
  for (std::size_t i = 0; i < bytes.size(); ++i)
    for (int other : {0x00, 0x7f, 0xff}) {
      auto changed = bytes;
      changed[i] = static_cast<char>(other);
      dbus_message out;
      auto r = parse_dbus_message(changed, out);
      CHECK((!r || *r <= changed.size()));
    }
}
