#include "node/runtime/cri_messages.h"

#include <doctest/doctest.h>

#include "base/protobuf_wire.h"

using namespace kedge;
using namespace kedge::node;

namespace {

std::string condition(std::string_view type, bool status, std::string_view reason, std::string_view message) {
  wire::writer w;
  w.text(1, type);
  w.number(2, status);
  w.text(3, reason);
  w.text(4, message);
  return w.take();
}

}  // namespace

TEST_CASE("malformed messages are refused") {
  using namespace std::string_view_literals;
  for (auto bad : {"\x0a\x05"
                   "ab"sv,
                   "\x08"sv, "\x08\x80\x80"sv, "\x00\x01"sv, "\x0b"sv,
                   "\x09"
                   "1234"sv,
                   "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv}) {
    CAPTURE(bad);
    CHECK_FALSE(decode_version_response(bad));
  }
}

TEST_CASE("a status answer tells readiness, and silence is not readiness") {
  wire::writer status;
  status.message(1, condition("RuntimeReady", true, "", ""));
  status.message(1, condition("NetworkReady", false, "NetworkPluginNotReady", "cni plugin not initialized"));
  wire::writer answer;
  answer.message(1, status.take());
  wire::writer handler;
  handler.text(1, "runc");
  answer.message(3, handler.take());
  auto s = decode_status_response(answer.take()).value();
  CHECK(s.runtime.ready);
  CHECK_FALSE(s.network.ready);
  CHECK(s.network.reason == "NetworkPluginNotReady");
  CHECK(s.network.message == "cni plugin not initialized");
  REQUIRE(s.handlers.size() == 1);
  CHECK(s.handlers[0].name == "runc");
  auto silent = decode_status_response("").value();
  CHECK_FALSE(silent.runtime.ready);
  CHECK_FALSE(silent.network.ready);
}

TEST_CASE("a runtime tells who makes its control groups, or nothing") {
  auto answer = [](std::uint64_t driver) {
    wire::writer linux_, w;
    if (driver != 0) linux_.number(1, driver);  // a zero isn't written
    w.message(1, linux_.take());
    return w.take();
  };
  CHECK(decode_uses_systemd(answer(0)).value());
  CHECK_FALSE(decode_uses_systemd(answer(1)).value());
  CHECK_FALSE(decode_uses_systemd("").value());
  CHECK_FALSE(decode_uses_systemd("\x0a\x05"));
}

TEST_CASE("images list their digests before their tags") {
  wire::writer image;
  image.text(1, "sha256:1");
  image.text(2, "docker.io/library/busybox:latest");
  image.text(3, "docker.io/library/busybox@sha256:2");
  image.number(4, 2007685);
  wire::writer answer;
  answer.message(1, image.take());
  auto images = decode_list_images_response(answer.take()).value();
  REQUIRE(images.size() == 1);
  CHECK(images[0] ==
        runtime_image{{"docker.io/library/busybox@sha256:2", "docker.io/library/busybox:latest"}, 2007685});
}
