#include "shim/publisher.h"

#include <sys/stat.h>

#include <memory>
#include <vector>

#include "base/protobuf_wire.h"
#include "shim/files.h"
#include "shim/limits.h"
#include "shim/messages.h"
#include "shim/server.h"
#include "shim/socket_address.h"
#include "support.h"

using namespace kedge;
using namespace kedge::shim;

namespace {

// A containerd that takes events, as long as it is there.
struct containerd {
  loop& l;
  std::string path;
  std::vector<std::string> topics, spaces, types;
  int refuse = 0;  // so many more
  errc with = errc::unavailable;
  std::unique_ptr<server> up = {};

  void start() {
    up = std::make_unique<server>(l, std::move(*listen_at(path)), [this](const ttrpc::request& r, reply answer) {
      CHECK(r.service == "containerd.services.events.ttrpc.v1.Events");
      CHECK(r.method == "Forward");
      if (refuse > 0) {
        --refuse;
        return answer(fail(with, "not now"));
      }
      wire::fields request(r.payload);
      REQUIRE(request.next());
      wire::fields envelope(request.bytes());
      while (envelope.next()) {
        if (envelope.field() == 2) spaces.emplace_back(envelope.bytes());
        if (envelope.field() == 3) topics.emplace_back(envelope.bytes());
        if (envelope.field() == 4) types.emplace_back(decode_any(envelope.bytes())->type);
      }
      answer(std::string());
    });
  }
};

using topics = std::vector<std::string>;

}  // namespace

TEST_CASE("events are told in their order, and wait while containerd isn't there") {
  temporary_folder f;
  loop l;
  containerd c{l, f / "s/ttrpc"};
  publisher p(l, {.space = "k8s.io", .ttrpc_address = c.path});
  run(l, [](loop& on, containerd& to, publisher& by) -> task<void> {
    by.publish("/one", "T1", "a");
    by.publish("/two", "T2", "b");
    bool told = co_await by.flush(now_ms() + 50);
    CHECK_FALSE(told);
    to.start();
    told = co_await by.flush(now_ms() + 5000);
    CHECK(told);
    CHECK(to.topics == topics{"/one", "/two"});
    CHECK(to.spaces == topics{"k8s.io", "k8s.io"});
    CHECK(to.types == topics{"T1", "T2"});

    // It is started anew between two events.
    to.up.reset();
    ::unlink(to.path.c_str());
    by.publish("/three", "T3", "c");
    on.set_timer(now_ms() + 30, [&] { to.start(); });
    told = co_await by.flush(now_ms() + 5000);
    CHECK(told);
    CHECK(to.topics == topics{"/one", "/two", "/three"});
  }(l, c, p));
}

TEST_CASE("an event that can't be taken now is told again; one that is refused is not") {
  temporary_folder f;
  loop l;
  containerd c{l, f / "s/ttrpc"};
  c.start();
  publisher p(l, {.space = "x", .ttrpc_address = c.path});
  run(l, [](containerd& to, publisher& by) -> task<void> {
    to.refuse = 1;
    by.publish("/again", "T", "");
    bool told = co_await by.flush(now_ms() + 5000);
    CHECK(told);
    CHECK(to.topics == topics{"/again"});
    to.refuse = 1;
    to.with = errc::invalid;
    by.publish("/bad", "T", "");
    by.publish("/good", "T", "");
    told = co_await by.flush(now_ms() + 5000);
    CHECK(told);
    CHECK(to.topics == topics{"/again", "/good"});
  }(c, p));
}

TEST_CASE("what waits is bounded: the oldest goes") {
  temporary_folder f;
  loop l;
  containerd c{l, f / "s/ttrpc"};
  publisher p(l, {.space = "x", .ttrpc_address = c.path});
  run(l, [](containerd& to, publisher& by) -> task<void> {
    for (std::size_t i = 0; i < events_max + 10; ++i) by.publish("/" + std::to_string(i), "T", "");
    to.start();
    bool told = co_await by.flush(now_ms() + 9000);
    CHECK(told);
    CHECK(to.topics.size() == events_max);
    CHECK(to.topics.back() == "/" + std::to_string(events_max + 9));
  }(c, p));
}

TEST_CASE("without an address the program that containerd named publishes") {
  temporary_folder f;
  f.write("containerd", "#!/bin/sh\necho \"$*\" > " + f.path() + "/args\ncat > " + f.path() + "/event\n");
  ::chmod((f / "containerd").c_str(), 0755);
  loop l;
  publisher p(l, {.space = "k8s.io", .address = "/run/c.sock", .program = f / "containerd"});
  run(l, [](publisher& by, const temporary_folder& at) -> task<void> {
    by.publish("/tasks/exit", "T", "body");
    bool told = co_await by.flush(now_ms() + 5000);
    CHECK(told);
    CHECK(read_file(at / "args", 1000) == "--address /run/c.sock publish --topic /tasks/exit --namespace k8s.io\n");
    CHECK(read_file(at / "event", 1000) == encode_any("T", "body"));
  }(p, f));
}
