#include "shim/messages.h"

#include <doctest/doctest.h>

#include "base/protobuf_wire.h"

using namespace kedge;
using namespace kedge::shim;

namespace {

result<std::string> no_file(const std::string& path) { return fail(errc::not_found, path); }
result<std::string> a_table(const std::string&) { return std::string("BinaryName = \"from-file\"\n"); }

}  // namespace

TEST_CASE("a create request") {
  auto mount = wire::writer().text(1, "overlay").text(2, "overlay").text(4, "ro").text(4, "lowerdir=/a:/b").take();
  auto bytes = wire::writer()
                   .text(1, "id")
                   .text(2, "/bundle")
                   .message(3, mount)
                   .number(4, 1)
                   .text(5, "in")
                   .text(6, "out")
                   .message(10, encode_any("type", "value"))
                   .take();
  auto r = decode_create(bytes);
  REQUIRE(r);
  CHECK(r->id == "id");
  CHECK(r->terminal);
  REQUIRE(r->rootfs.size() == 1);
  CHECK(r->rootfs[0].options == std::vector<std::string_view>{"ro", "lowerdir=/a:/b"});
  CHECK(r->rootfs_bytes[0] == mount);
  CHECK(r->options.value == "value");
  // A mount that isn't one spoils the request.
  CHECK_FALSE(decode_create(wire::writer().text(1, "id").message(3, "\x0a\xff").take()));
}

TEST_CASE("times: Go's zero is the year one") {
  auto unset = encode_time({});
  wire::fields f(unset);
  REQUIRE(f.next());
  CHECK(static_cast<std::int64_t>(f.number()) == -62'135'596'800);
  auto set = encode_time({.tv_sec = 5, .tv_nsec = 6});
  wire::fields g(set);
  REQUIRE(g.next());
  CHECK(g.number() == 5);
  REQUIRE(g.next());
  CHECK(g.number() == 6);
}

TEST_CASE("start is given options alone, or containerd's own message with them in it") {
  auto options = encode_any("containerd.runc.v1.Options", encode_options({.binary = "/usr/bin/crun"}));
  auto plain = decode_start(options);
  REQUIRE(plain);
  CHECK(plain->type == "containerd.runc.v1.Options");
  CHECK(decode_options(*plain, no_file)->binary == "/usr/bin/crun");
  CHECK(decode_start("")->type.empty());

  // As containerd 2.3.2 sends it: id, namespace, version, addresses, program, extensions.
  auto head = wire::writer()
                  .text(1, "6a1f903d")
                  .text(2, "k8s.io")
                  .text(4, "2.3.2")
                  .text(6, "/run/k3s/containerd/containerd.sock")
                  .text(7, "/bin/containerd");
  auto without = wire::writer(head).take();
  REQUIRE(decode_start(without));
  CHECK(decode_start(without)->type.empty());
  auto other = wire::writer().message(1, encode_any("containerd.io/nri.v1.PluginConfig", "x")).take();
  auto with = wire::writer(head).message(8, other).message(8, wire::writer().message(1, options).take()).take();
  auto extended = decode_start(with);
  REQUIRE(extended);
  CHECK(decode_options(*extended, no_file)->binary == "/usr/bin/crun");

  CHECK_FALSE(decode_start("\x0a\x7f"));
  CHECK_FALSE(decode_start(wire::writer(head).message(8, "\x0a\x7f").take()));
}

TEST_CASE("options come as runc's message, as a table in containerd's configuration, or as a file") {
  runtime_options o{
      .binary = "/usr/bin/crun", .root = "/run/x", .no_pivot_root = true, .systemd_cgroup = true, .io_uid = 7};
  auto bytes = encode_options(o);
  auto as_message = decode_options({"containerd.runc.v1.Options", bytes}, no_file);
  REQUIRE(as_message);
  CHECK(as_message->binary == "/usr/bin/crun");
  CHECK(as_message->root == "/run/x");
  CHECK(as_message->no_pivot_root);
  CHECK(as_message->systemd_cgroup);
  CHECK(as_message->io_uid == 7);

  std::string_view table =
      "# of runtimes.kedge\n  BinaryName = '/opt/runc'\nSystemdCgroup = true\nIoUid = 9\nOther = [1, 2]\n";
  auto body = wire::writer().text(3, table).take();
  auto as_table = decode_options({"runtimeoptions.v1.Options", body}, no_file);
  REQUIRE(as_table);
  CHECK(as_table->binary == "/opt/runc");
  CHECK(as_table->systemd_cgroup);
  CHECK(as_table->io_uid == 9);

  auto path = wire::writer().text(2, "/etc/kedge.toml").take();
  CHECK(decode_options({"runtimeoptions.v1.Options", path}, a_table)->binary == "from-file");
  CHECK(decode_options({"runtimeoptions.v1.Options", path}, no_file).error().message == "/etc/kedge.toml");
  CHECK(decode_options({}, no_file)->binary.empty());
  CHECK_FALSE(decode_options({"another.Options", ""}, no_file));
  auto bad = wire::writer().text(3, "IoUid = many\n").take();
  CHECK_FALSE(decode_options({"runtimeoptions.v1.Options", bad}, no_file));
}
