#include "shim/stdio.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "shim/files.h"
#include "support.h"

using namespace kedge;
using namespace kedge::shim;

namespace {

std::string fifo(const temporary_folder& f, const std::string& name) {
  REQUIRE(::mkfifo((f / name).c_str(), 0600) == 0);
  return f / name;
}

descriptor open_reader(const std::string& path) {
  return descriptor(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

// What can be read now; "EOF" at the end.
std::string read_now(const descriptor& d) {
  char buffer[4096];
  auto n = ::read(d.get(), buffer, sizeof buffer);
  if (n == 0) return "EOF";
  return n < 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(n));
}

std::string text_in(const std::string& path) { return read_file(path, 10'000).value_or(""); }

}  // namespace

TEST_CASE("a process gets the fifos themselves: its end of the output is the reader's end of it") {
  temporary_folder f;
  auto out = fifo(f, "out"), in = fifo(f, "in");
  auto reader = open_reader(out);
  loop l;
  stdio io(l, {.in = in, .out = out});
  run(l, [](stdio& s, const descriptor& r, const std::string& input) -> task<void> {
    auto opened = co_await s.open({}, now_ms() + 1000);
    REQUIRE(opened);
    auto mine = s.for_process();
    CHECK(mine.err == -1);
    descriptor process_out(::dup(mine.out)), process_in(::dup(mine.in));
    s.started();
    CHECK(write_all(process_out.get(), "hello"));
    CHECK(read_now(r) == "hello");
    CHECK(read_now(r).empty());  // not the end: it lives
    process_out.close();
    CHECK(read_now(r) == "EOF");

    // containerd writes, is started anew, and closes: the end of the input is only after CloseIO.
    descriptor writer(::open(input.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    CHECK(write_all(writer.get(), "typed"));
    CHECK(read_now(process_in) == "typed");
    writer.close();
    ::fcntl(process_in.get(), F_SETFL, O_NONBLOCK);
    CHECK(read_now(process_in).empty());
    s.close_in();
    CHECK(read_now(process_in) == "EOF");
    co_await s.close();
  }(io, reader, in));
}

TEST_CASE("output waits in the fifo while nobody reads it, as when containerd is started anew") {
  temporary_folder f;
  auto out = fifo(f, "out");
  auto reader = open_reader(out);
  loop l;
  stdio io(l, {.out = out});
  run(l, [](stdio& s, descriptor& r, const std::string& path) -> task<void> {
    auto opened = co_await s.open({}, now_ms() + 1000);
    REQUIRE(opened);
    r.close();
    CHECK(write_all(s.for_process().out, "kept"));  // no EPIPE
    auto again = open_reader(path);
    CHECK(read_now(again) == "kept");
  }(io, reader, out));
}

TEST_CASE("what a process wrote last is left to its reader for a moment, and not for ever") {
  temporary_folder f;
  auto out = fifo(f, "out");
  auto reader = open_reader(out);
  loop l;
  stdio read(l, {.out = out}), left_alone(l, {.out = out});
  run(l, [](loop& on, stdio& a, stdio& b, descriptor& r) -> task<void> {
    auto opened = co_await a.open({}, now_ms() + 1000);
    REQUIRE(opened);
    CHECK(write_all(a.for_process().out, "last words"));
    a.started();
    std::string got;
    on.set_timer(now_ms() + 20, [&] { got = read_now(r); });
    co_await a.close();
    CHECK(got == "last words");  // before the end

    opened = co_await b.open({}, now_ms() + 1000);
    REQUIRE(opened);
    CHECK(write_all(b.for_process().out, "unread"));
    co_await b.close();
  }(l, read, left_alone, reader));
}

TEST_CASE("a fifo without a reader is waited for, and given up in time") {
  temporary_folder f;
  auto out = fifo(f, "out");
  loop l;
  stdio never(l, {.out = out}), late(l, {.out = out});
  run(l, [](loop& on, stdio& n, stdio& s, const std::string& path) -> task<void> {
    auto refused = co_await n.open({}, now_ms() + 30);
    CHECK(refused.error().code == errc::timeout);
    descriptor reader;
    on.set_timer(now_ms() + 20, [&] { reader = open_reader(path); });
    auto opened = co_await s.open({}, now_ms() + 5000);
    CHECK(opened);
  }(l, never, late, out));
}

TEST_CASE("a file gets both outputs in the order of their writing, through a pipe") {
  temporary_folder f;
  auto file = f / "deep/log";
  loop l;
  stdio io(l, {.out = "file://" + file, .err = "file://" + file});
  run(l, [](stdio& s, const std::string& path) -> task<void> {
    auto opened = co_await s.open({}, now_ms() + 1000);
    REQUIRE(opened);
    auto mine = s.for_process();
    struct stat kind{};
    REQUIRE(::fstat(mine.out, &kind) == 0);
    CHECK(S_ISFIFO(kind.st_mode));  // never the host's file
    for (int i = 0; i < 3; ++i) {
      CHECK(write_all(mine.out, "out\n"));
      CHECK(write_all(mine.err, "err\n"));
    }
    s.started();
    co_await s.close();
    CHECK(text_in(path) == "out\nerr\nout\nerr\nout\nerr\n");
  }(io, file));
}

TEST_CASE("a logging program reads the outputs, gets its arguments, and has time to write the rest") {
  temporary_folder f;
  f.write("logger", "#!/bin/sh\ntrap '' TERM\necho \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\" > " + f.path() +
                        "/args\nexec 5>&-\ncat <&3 > " + f.path() + "/out\ncat <&4 > " + f.path() + "/err\n");
  ::chmod((f / "logger").c_str(), 0755);
  loop l;
  stdio io(l, {.out = "binary://" + (f / "logger") + "?a=1&b=x%20y"});
  run(l, [](stdio& s, const temporary_folder& at) -> task<void> {
    auto opened = co_await s.open({.id = "c1", .space = "k8s.io"}, now_ms() + 5000);
    REQUIRE(opened);
    CHECK(text_in(at / "args") == "c1 k8s.io a 1 b x y\n");
    CHECK(write_all(s.for_process().out, "to out"));
    CHECK(write_all(s.for_process().err, "to err"));
    s.started();
    co_await s.close();
    CHECK(text_in(at / "out") == "to out");
    CHECK(text_in(at / "err") == "to err");
  }(io, f));
}

TEST_CASE("what can't be opened is an error") {
  loop l;
  stdio scheme(l, {.out = "gopher://x"}), program(l, {.out = "binary:///nonexistent"}),
      file(l, {.out = "/nonexistent/x"});
  run(l, [](stdio& a, stdio& b, stdio& c) -> task<void> {
    auto first = co_await a.open({}, now_ms() + 1000);
    CHECK(first.error().message == "unknown STDIO scheme gopher");
    auto second = co_await b.open({}, now_ms() + 1000);
    CHECK(second.error().code == errc::not_found);
    auto third = co_await c.open({}, now_ms() + 1000);
    CHECK(third.error().code == errc::not_found);
  }(scheme, program, file));
}

TEST_CASE("copying goes on as the destination takes it, and loses nothing at the end") {
  int from[2], to[2];
  REQUIRE(::pipe2(from, O_CLOEXEC | O_NONBLOCK) == 0);
  REQUIRE(::pipe2(to, O_CLOEXEC | O_NONBLOCK) == 0);
  ::fcntl(to[1], F_SETPIPE_SZ, 4096);
  descriptor f0(from[0]), f1(from[1]), t0(to[0]), t1(to[1]);
  loop l;
  event done;
  copier c(l, f0.get(), t1.get(), [&] { done.set(); });
  run(l, [](loop& on, copier& of, event& e, descriptor& source, descriptor& sink) -> task<void> {
    std::string sent(60'000, 'x');
    CHECK(write_all(source.get(), sent));
    co_await on.sleep(20);
    of.finish();  // the source is still open: what is there is copied, no more is waited for
    std::string got;
    for (auto latest = now_ms() + 5000; got.size() < sent.size() && now_ms() < latest; co_await on.sleep(1))
      got += read_now(sink);
    CHECK(got.size() == sent.size());
    bool ended = co_await e.until(on, now_ms() + 1000);
    CHECK(ended);
  }(l, c, done, f1, t0));
}
