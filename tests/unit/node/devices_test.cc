// Device plugins: which device goes to whom, what is kept of it on the disk, and a plugin's whole life at our socket.
#include "node/devices/device_manager.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "base/protobuf_wire.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "loop.h"
#include "net/http/server.h"
#include "node/devices/pod_resources.h"
#include "node/limits.h"
#include "node/plugins/limits.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view resource = "example.com/r";

json::value make_pod(std::string_view uid, std::string_view spec) {
  auto parsed = json::parse(spec);
  REQUIRE(parsed);
  return json::object{{"metadata", json::object{{"uid", uid}, {"name", uid}, {"namespace", "team"}}},
                      {"spec", *std::move(parsed)}};
}
json::value pod_with(std::string_view uid, int count) {
  return make_pod(uid, R"({"containers": [{"name": "main", "resources": {"limits": {"example.com/r": ")" +
                           std::to_string(count) + R"("}}}]})");
}

std::string device(std::string_view id, bool healthy = true, int numa = -1) {
  wire::writer w;
  w.text(1, id).text(2, healthy ? "Healthy" : "Unhealthy");
  if (numa >= 0)
    w.message(3, wire::writer().message(1, wire::writer().number(1, static_cast<std::uint64_t>(numa)).take()).take());
  return w.take();
}

// A plugin: what it lists, and what it was asked.
// As an admission gives a pod all that it asks for.
task<result<void>> allocate(device_manager& devices, json::value pod) {
  auto turns = co_await devices.turns_for(pod);
  for (auto* list : {"initContainers", "containers"})
    if (auto* all = pod["spec"][list].array())
      for (auto& c : *all) KEDGE_CO_CHECK(co_await devices.give(pod, c, {}));
  co_await devices.given_all();
  co_return result<void>();
}

class fake_plugin final : public net::http::handler {
 public:
  explicit fake_plugin(std::string socket)
      : server_(*this, {.listen = {reactor::endpoint::unix_path(std::move(socket))}, .plain_http2 = true}) {}
  std::vector<std::string> devices;
  reactor::event news;
  std::vector<std::string> asked;
  bool refuses = false, hangs = false;
  reactor::event goes_on;  // after it hung

  task<result<void>> run() { return server_.run(0); }
  reactor::event& ready() { return server_.ready(0); }

  task<void> serve(net::http::exchange& e) override {
    auto body = co_await e.read_all();
    auto method = e.request().path.substr(e.request().path.rfind('/') + 1);
    net::http::response head;
    head.headers.add("content-type", "application/grpc");
    if (!co_await e.start(head)) co_return;
    net::http::headers status;
    if (method == "ListAndWatch") {
      for (;;) {
        wire::writer all;
        for (auto& d : devices) all.message(1, d);
        if (!co_await e.write(net::grpc::frame_message(all.take()))) co_return;
        news.reset();
        co_await news.wait();
      }
    }
    std::string answer;
    if (method == "GetDevicePluginOptions") answer = wire::writer().number(1, 1).number(2, 1).take();
    if (method == "GetPreferredAllocation")  // the last one of those that there are
      answer = wire::writer().message(1, wire::writer().text(1, "d3").take()).take();
    if (method == "Allocate") {
      auto ids = std::string();
      wire::fields outer(std::string_view(*body).substr(5));
      while (outer.next()) {
        wire::fields inner(outer.bytes());
        while (inner.next()) ids += (ids.empty() ? "" : ",") + std::string(inner.bytes());
      }
      asked.push_back("Allocate " + ids);
      if (hangs) co_await goes_on.wait();
      wire::writer one;
      one.message(1, wire::writer().text(1, "IDS").text(2, ids).take());
      one.message(2, wire::writer().text(1, "/in").text(2, "/out").number(3, 1).take());
      one.message(3, wire::writer().text(1, "/dev/x").text(2, "/dev/null").text(3, "rw").take());
      one.message(4, wire::writer().text(1, "note").text(2, "y").take());
      one.message(5, wire::writer().text(1, "example.com/r=one").take());
      answer = wire::writer().message(1, one.take()).take();
    } else if (method != "GetDevicePluginOptions") {
      asked.push_back(method);
    }
    if (refuses && method == "Allocate") {
      status.add("grpc-status", "2");
      status.add("grpc-message", "no luck");
    } else {
      if (!co_await e.write(net::grpc::frame_message(answer))) co_return;
      status.add("grpc-status", "0");
    }
    (void)co_await e.finish(status);
  }

 private:
  net::http::server server_;
};

template <typename F>
task<void> until(F holds) {
  while (!holds()) co_await reactor::sleep_for(2ms);
}

task<result<std::string>> call(std::string socket, std::string method, std::string message) {
  net::grpc::channel c({.at = reactor::endpoint::unix_path(socket)});
  co_return co_await c.unary(std::move(method), std::move(message));
}

std::string registration(std::string_view endpoint, std::string_view version = "v1beta1",
                         std::string_view name = resource) {
  return wire::writer().text(1, version).text(2, endpoint).text(3, name).take();
}

}  // namespace

TEST_CASE("what the kubelet keeps of devices is read, and its checksum is ours") {
  // As the kubelet 1.37.2 writes them.
  constexpr std::string_view kept[] = {
      R"({"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":3467439661})",
      R"({"Data":{"PodDeviceEntries":[],"RegisteredDevices":{"a.b/c":null,"example.com/r":["d2","d1"]}},"Checksum":4154811851})",
      R"({"Data":{"PodDeviceEntries":[{"PodUID":"u-1","ContainerName":"main","ResourceName":"example.com/r","DeviceIDs":{"-1":["d1","d \"q\""],"0":["x"]},"AllocResp":"AQL/YQ=="},{"PodUID":"u-2","ContainerName":"side","ResourceName":"example.com/r","DeviceIDs":{},"AllocResp":""}],"RegisteredDevices":{"example.com/r":[]}},"Checksum":2783642656})",
  };
  for (auto text : kept) {
    device_ledger l;
    auto read = l.restore(text);
    CHECK_MESSAGE(read, text, read ? "" : read.error().message);
    auto other = std::string(text);
    other[other.size() - 2] ^= 1;
    CHECK(device_ledger().restore(other).error().code == errc::corrupt);
  }
  device_ledger l;
  REQUIRE(l.restore(kept[2]));
  CHECK(l.knows(resource));
  CHECK(l.counts().at(std::string(resource)) == device_count{});
  CHECK_FALSE(l.find("u-1", "main"));  // its answer is none of a plugin's
  REQUIRE(l.find("u-2", "side", resource));
  l.update(resource, {{"d2", true, {2}}, {"d10", true, {10, 2}}});
  l.give("u-3", "main", resource, {"d2", "d10"}, "");
  device_ledger again;
  REQUIRE(again.restore(l.checkpoint()));
  CHECK(ids_of(again.find("u-3", "main", resource)->devices) == device_ids{"d10", "d2"});
  CHECK(again.find("u-3", "main", resource)->devices.at(2).size() == 2);
}

TEST_CASE("a container is given what is free and healthy, and near where that is asked for") {
  device_ledger l;
  auto begin = [&](std::size_t n, std::optional<numa_mask> near = {}, const device_ids& reusable = {}) {
    return l.begin("u1", "main", resource, n, reusable, near);
  };
  CHECK(begin(1).error().message == "cannot allocate unregistered device example.com/r");
  l.connect(resource);
  CHECK(begin(1).error().message == "no healthy devices present; cannot allocate unhealthy devices example.com/r");
  l.update(resource, {{"a", true, {0}}, {"b", true, {1}}, {"c", true, {}}, {"d", false, {0}}});
  CHECK(l.counts().at(std::string(resource)) == device_count{4, 3});
  CHECK(begin(4).error().message ==
        "requested number of devices unavailable for example.com/r. Requested: 4, Available: 3");
  auto placed = begin(2, mask_of(1));
  REQUIRE((placed && *placed));
  CHECK((*placed)->aligned == device_ids{"b"});
  CHECK((*placed)->unaligned == device_ids{"a"});
  CHECK((*placed)->unplaced == device_ids{"c"});
  CHECK((*begin(2))->unplaced.size() == 3);
  auto again = begin(1, {}, {"a"});  // of an init container that has ended
  REQUIRE((again && *again));
  CHECK((*again)->taken == device_ids{"a"});
  l.give("u1", "main", resource, {"a"}, "");
  CHECK_FALSE(*begin(1));
  CHECK(begin(2).error().message ==
        "pod \"u1\" container \"main\" changed request for resource \"example.com/r\" from 1 to 2");
  CHECK(l.update(resource, {{"a", false, {0}}, {"b", true, {}}}) == std::set<std::string>{"u1"});
  CHECK(begin(1).error().message ==
        "previously allocated devices are no longer healthy; cannot allocate unhealthy devices example.com/r");
  l.disconnect(resource, time_point(1h));
  CHECK(l.counts().at(std::string(resource)) == device_count{2, 0});
  CHECK_FALSE(l.expire(time_point(1h) + 5min));
  CHECK(l.expire(time_point(1h) + 6min));
  CHECK(l.counts().at(std::string(resource)) == device_count{});
  CHECK(l.knows(resource));  // of what u1 has
  l.keep_only({});
  CHECK_FALSE(l.knows(resource));
}

TEST_CASE("a plugin registers, is asked, is missed, and its devices stay given over a restart of the agent") {
  temporary_folder folder;
  test_loop t;
  t.run([](std::string at) -> task<void> {
    std::optional<std::set<std::string, std::less<>>> active = {{"u1", "u2", "u3"}};
    int changes = 0;
    auto make = [&] {
      return std::make_unique<device_manager>(
          device_manager::parts{.folder = at, .active = [&] { return active; }, .changed = [&](auto&) { ++changes; }});
    };
    std::optional<fake_plugin> plugin(at + "/plugin.sock");
    plugin->devices = {device("d1"), device("d2"), device("d3", true, 0), device("d4", false)};
    auto devices = make();
    std::optional<reactor::scope> ours, theirs;
    ours.emplace().spawn(devices->run());
    co_await until([&] { return std::filesystem::exists(at + "/kubelet.sock"); });
    theirs.emplace().spawn([](fake_plugin& p) -> task<void> { (void)co_await p.run(); }(*plugin));
    co_await plugin->ready().wait();
    const std::string socket = at + "/kubelet.sock", path = "/v1beta1.Registration/Register";
    auto refused = co_await call(socket, path, registration("plugin.sock", "v1"));
    REQUIRE(!refused);
    CHECK(refused.error().message ==
          "Unknown: requested API version \"v1\" is not supported by kubelet. Supported version is [\"v1beta1\"]");
    for (auto* name : {"cpu", "kubernetes.io/x", "a/b/c", "requests.x/y"}) {
      refused = co_await call(socket, path, registration("plugin.sock", "v1beta1", name));
      REQUIRE(!refused);
      CHECK(refused.error().message == std::string("Unknown: the ResourceName \"") + name + "\" is invalid");
    }
    CHECK_FALSE(co_await call(socket, path, registration("../plugin.sock")));
    auto registered = co_await call(socket, path, registration("plugin.sock"));
    REQUIRE_MESSAGE(registered, registered.error().message);
    auto counts = [&] { return devices->ledger().counts()[std::string(resource)]; };
    co_await until([&] { return counts() == device_count{4, 3}; });

    // Two pods: the first has what its plugin likes best.
    REQUIRE(co_await allocate(*devices, pod_with("u1", 1)));
    CHECK(plugin->asked == std::vector<std::string>{"GetPreferredAllocation", "Allocate d3"});
    auto second = co_await allocate(*devices, pod_with("u2", 3));
    REQUIRE(!second);
    CHECK(second.error().message ==
          "requested number of devices unavailable for example.com/r. Requested: 3, Available: 2");
    plugin->refuses = true;
    auto unlucky = co_await allocate(*devices, pod_with("u2", 2));
    REQUIRE(!unlucky);
    CHECK(unlucky.error().message == "rpc error: code = Unknown desc = no luck");
    plugin->refuses = false;
    REQUIRE(co_await allocate(*devices, pod_with("u2", 2)));

    auto pod = pod_with("u1", 1);
    plugin->asked.clear();
    auto options = co_await devices->options_for(pod, pod["spec"]["containers"][0]);
    REQUIRE_MESSAGE(options, options.error().message);
    CHECK(plugin->asked == std::vector<std::string>{"PreStartContainer"});
    CHECK(options->env == text_map{{"IDS", "d3"}});
    CHECK(options->annotations == text_map{{"note", "y"}});
    CHECK(options->cdi_devices == std::vector<std::string>{"example.com/r=one"});
    REQUIRE(options->mounts.size() == 1);
    CHECK(options->mounts[0].read_only);
    REQUIRE(options->devices.size() == 1);
    CHECK(options->devices[0].host_path == "/dev/null");

    // What monitors are told.
    pod_resources told({.folder = at + "/told",
                        .devices = *devices,
                        .pods = [&] { return std::vector{std::make_shared<const json::value>(pod_with("u1", 1))}; },
                        .memory = [](auto uid, auto container) -> std::vector<memory_block> {
                          if (uid != "u1" || container != "main") return {};
                          return {{{0, 1}, "hugepages-2Mi", 4096}};
                        },
                        .allocatable_memory = [] { return std::vector<memory_block>{{{1}, "memory", 7}}; }});
    reactor::scope telling;
    telling.spawn(told.run());
    co_await until([&] { return std::filesystem::exists(at + "/told/kubelet.sock"); });
    auto list = co_await call(at + "/told/kubelet.sock", "/v1.PodResourcesLister/List", {});
    REQUIRE(list);
    auto has = wire::writer()
                   .text(1, resource)
                   .text(2, "d3")
                   .message(3, wire::writer().message(1, wire::writer().take()).take())
                   .take();
    auto second_node = wire::writer().number(1, 1).take();
    auto nodes = wire::writer().message(1, wire::writer().take()).message(1, second_node).take();
    auto memory = wire::writer().text(1, "hugepages-2Mi").number(2, 4096).message(3, nodes).take();
    auto expected = wire::writer()
                        .text(1, "u1")
                        .text(2, "team")
                        .message(3, wire::writer().text(1, "main").message(2, has).message(4, memory).take())
                        .take();
    CHECK(*list == wire::writer().message(1, expected).take());
    auto allocatable = co_await call(at + "/told/kubelet.sock", "/v1.PodResourcesLister/GetAllocatableResources", {});
    REQUIRE(allocatable);
    CHECK(allocatable->ends_with(wire::writer()
                                     .message(3, wire::writer()
                                                     .text(1, "memory")
                                                     .number(2, 7)
                                                     .message(3, wire::writer().message(1, second_node).take())
                                                     .take())
                                     .take()));
    auto one = co_await call(at + "/told/kubelet.sock", "/v1.PodResourcesLister/Get",
                             wire::writer().text(1, "u1").text(2, "team").take());
    REQUIRE(one);
    CHECK(*one == *list);
    auto none = co_await call(at + "/told/kubelet.sock", "/v1.PodResourcesLister/Get",
                              wire::writer().text(1, "x").text(2, "team").take());
    REQUIRE(!none);
    CHECK(none.error().message == "Unknown: pod x in namespace team not found");
    CHECK((co_await call(at + "/told/kubelet.sock", "/v1.PodResourcesLister/Nothing", {})).error().code ==
          errc::unsupported);

    // One more device; then the plugin ends.
    plugin->devices.push_back(device("d5"));
    plugin->news.set();
    co_await until([&] { return counts() == device_count{5, 4}; });
    theirs.reset();
    co_await until([&] { return counts() == device_count{5, 0}; });
    auto without = co_await allocate(*devices, pod_with("u3", 1));
    REQUIRE(!without);
    CHECK(without.error().message == "no healthy devices present; cannot allocate unhealthy devices example.com/r");

    // Another agent: what was given is known, and free when its pod isn't there any more.
    ours.reset();
    telling.cancel();
    devices = make();
    ours.emplace().spawn(devices->run());
    active = {{"u1"}};
    co_await until([&] { return devices->ledger().knows(resource); });
    CHECK(counts() == device_count{});
    CHECK(devices->ledger().find("u2", "main"));
    devices->free_unused();
    CHECK_FALSE(devices->ledger().find("u2", "main"));
    options = co_await devices->options_for(pod, pod["spec"]["containers"][0]);
    REQUIRE(options);
    CHECK(options->env == text_map{{"IDS", "d3"}});
    ours.reset();
  }(folder.path()));
}

TEST_CASE("a plugin that hangs holds up its own resource alone, and plugins are found by their own sockets") {
  temporary_folder folder;
  test_loop t;
  t.run([](std::string at) -> task<void> {
    std::set<std::string, std::less<>> active = {"u1", "u2", "u3"};
    device_manager devices(
        {.folder = at + "/device-plugins", .active = [&] { return std::optional(active); }, .changed = [](auto&) {}});
    fake_plugin hung(at + "/hung.sock"), well(at + "/well.sock");
    hung.devices = well.devices = {device("d1")};
    hung.hangs = true;
    reactor::scope tasks;
    for (auto* p : {&hung, &well}) {
      tasks.spawn([](fake_plugin& one) -> task<void> { (void)co_await one.run(); }(*p));
      co_await p->ready().wait();
    }
    tasks.spawn(devices.run());
    plugin_handler& watched = devices;
    plugin_info first{"DevicePlugin", std::string(resource), at + "/hung.sock", {"v1beta1"}};
    plugin_info second{"DevicePlugin", "example.com/other", at + "/well.sock", {"v1beta1"}};
    CHECK(watched.type() == "DevicePlugin");
    CHECK(watched.check({"DevicePlugin", "cpu", "", {"v1beta1"}}).error().message ==
          "the ResourceName \"cpu\" is invalid");
    for (auto& p : {first, second}) {
      REQUIRE(watched.check(p));
      REQUIRE(co_await watched.add(p));
    }
    auto healthy = [&](std::string_view of) { return devices.ledger().counts()[std::string(of)].allocatable; };
    co_await until([&] { return healthy(resource) == 1 && healthy("example.com/other") == 1; });

    reactor::scope waiting;
    waiting.spawn([](device_manager& d) -> task<void> { (void)co_await allocate(d, pod_with("u1", 1)); }(devices));
    co_await until([&] { return !hung.asked.empty() && hung.asked.back() == "Allocate d1"; });
    auto soon = [&] { return reactor::loop::current().now() + 20s; };
    auto other =
        make_pod("u2", R"({"containers": [{"name": "main", "resources": {"limits": {"example.com/other": "1"}}}]})");
    CHECK(co_await reactor::with_deadline(allocate(devices, other), soon()));
    CHECK(co_await reactor::with_deadline(allocate(devices, make_pod("u3", R"({"containers": [{"name": "main"}]})")),
                                          soon()));
    // The socket goes, though whoever served it still does.
    co_await watched.remove(second);
    co_await until([&] { return healthy("example.com/other") == 0; });
    CHECK(healthy(resource) == 1);
  }(folder.path()));
}

TEST_CASE("a device of a plugin that registers while pods are given others goes to one of them") {
  temporary_folder folder;
  test_loop t;
  t.run([](std::string at) -> task<void> {
    std::set<std::string, std::less<>> active = {"u1", "u2"};
    device_manager devices(
        {.folder = at + "/device-plugins", .active = [&] { return std::optional(active); }, .changed = [](auto&) {}});
    fake_plugin early(at + "/early.sock"), late(at + "/late.sock");
    early.devices = late.devices = {device("d1")};
    early.hangs = late.hangs = true;
    reactor::scope tasks;
    for (auto* p : {&early, &late}) {
      tasks.spawn([](fake_plugin& one) -> task<void> { (void)co_await one.run(); }(*p));
      co_await p->ready().wait();
    }
    tasks.spawn(devices.run());
    auto registers = [&](std::string name, std::string socket) -> task<void> {
      REQUIRE(co_await devices.add({"DevicePlugin", name, at + socket, {"v1beta1"}}));
      co_await until([&] { return devices.ledger().counts()[name].allocatable == 1; });
    };
    co_await registers(std::string(resource), "/early.sock");
    auto both = make_pod("u1", R"({"containers": [{"name": "main", "resources": {"limits": {"example.com/r": "1",
                                 "example.com/s": "1"}}}]})");
    auto one = make_pod("u2", R"({"containers": [{"name": "main", "resources": {"limits": {"example.com/s": "1"}}}]})");
    auto admitted = [&](json::value pod, reactor::event& done) -> task<void> {
      CHECK(co_await allocate(devices, std::move(pod)));
      done.set();
    };
    reactor::event first, second;
    reactor::scope admissions;
    admissions.spawn(admitted(both, first));
    co_await until([&] { return !early.asked.empty() && early.asked.back() == "Allocate d1"; });
    co_await registers("example.com/s", "/late.sock");
    admissions.spawn(admitted(one, second));
    co_await until([&] { return !late.asked.empty() && late.asked.back() == "Allocate d1"; });
    early.goes_on.set();
    auto times = [&] { return std::ranges::count(late.asked, "Allocate d1"); };
    co_await until([&] { return first.is_set() || times() > 1; });
    CHECK(times() == 1);
    CHECK(devices.ledger().find("u1", "main", resource));
    CHECK_FALSE(devices.ledger().find("u1", "main", "example.com/s"));
    late.goes_on.set();
    co_await second.wait();
    CHECK(devices.ledger().find("u2", "main", "example.com/s"));
    // What it lacks it is to get when its container is made; by then there is none left.
    auto lacks = co_await devices.options_for(both, both["spec"]["containers"][0]);
    REQUIRE(!lacks);
    CHECK(lacks.error().message ==
          "requested number of devices unavailable for example.com/s. Requested: 1, Available: 0");
  }(folder.path()));
}

TEST_CASE("no more is read of a plugin's answer than a node can have") {
  wire::writer list;
  for (std::size_t i = 0; i <= plugin_devices_max; ++i) list.message(1, std::string_view());
  CHECK(decode_devices(list.take()).error().code == errc::too_large);
  wire::writer options;
  for (std::size_t i = 0; i < allocation_bytes_max / 8; ++i)
    options.message(1, wire::writer().text(1, std::to_string(i)).text(2, "x").take());
  CHECK(first_allocation(wire::writer().message(1, options.take()).take()).error().code == errc::too_large);
}

TEST_CASE("a device whose name is no text is refused: what would be kept of it couldn't be read again") {
  CHECK(decode_devices(wire::writer().message(1, device("\xff")).take()).error().code == errc::protocol);
  device_ledger l;
  l.update(resource, {{"\xff", true, {}}});
  l.give("u1", "main", resource, {"\xff"}, "");
  CHECK_FALSE(device_ledger().restore(l.checkpoint()));
}

TEST_CASE("bytes that are no answer of a plugin are refused") {
  device_options to;
  for (std::string_view wrong :
       {"\x0a", "\x0a\x05", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x12\x02\x0a\x09"})
    CHECK_FALSE(add_allocation(wrong, to));
  CHECK_FALSE(decode_devices("\x0a\x7f"));
  CHECK_FALSE(decode_registration("\x0a\x7f"));
  CHECK_FALSE(first_allocation("\x0a\x02\x0a\x09"));
}
