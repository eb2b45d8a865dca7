// A CSI driver that registers with a node by itself, for tests: Identity, Node and pluginregistration over gRPC on unix
// sockets. Volumes are folders of its own, bind-mounted; block volumes are device nodes that nothing opens.
//
//   csi_driver NAME SOCKET REGISTRATION_SOCKET FOLDER NODE_ID
//
//   FOLDER/calls           a line of JSON for each call: its method and what was asked
//   FOLDER/fail-<method>   while it is there, the method answers with the status in it: "13 why"
//   FOLDER/hang-<method>   while it is there, the method doesn't answer
//   FOLDER/registered      what the node said of the registration
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#include "base/protobuf_wire.h"
#include "json/write.h"
#include "net/grpc.h"
#include "net/http/server.h"
#include "reactor/backends.h"
#include "reactor/scope.h"

using namespace kedge;
using json::value;

namespace {

// What of a message the driver reads, by field number.
struct shape {
  enum class kind : unsigned char { text, number, map, capability };
  std::string_view name;
  kind is = kind::text;
};
using shapes = std::map<int, shape>;

const std::map<std::string, shapes, std::less<>>& requests() {
  using k = shape::kind;
  static const std::map<std::string, shapes, std::less<>> all{
      {"NodeStageVolume",
       {{1, {"volume"}},
        {2, {"publishContext", k::map}},
        {3, {"staging"}},
        {4, {"capability", k::capability}},
        {5, {"secrets", k::map}},
        {6, {"context", k::map}}}},
      {"NodePublishVolume",
       {{1, {"volume"}},
        {2, {"publishContext", k::map}},
        {3, {"staging"}},
        {4, {"target"}},
        {5, {"capability", k::capability}},
        {6, {"readOnly", k::number}},
        {7, {"secrets", k::map}},
        {8, {"context", k::map}}}},
      {"NodeUnpublishVolume", {{1, {"volume"}}, {2, {"target"}}}},
      {"NodeUnstageVolume", {{1, {"volume"}}, {2, {"staging"}}}},
      {"NodeExpandVolume", {{1, {"volume"}}, {2, {"target"}}, {4, {"staging"}}}},
      {"NodeGetVolumeStats", {{1, {"volume"}}, {2, {"target"}}}},
      {"NotifyRegistrationStatus", {{1, {"registered", k::number}}, {2, {"problem"}}}},
  };
  return all;
}

value capability_of(std::string_view message) {
  value out;
  (void)wire::read_fields(message, [&](const wire::field& f) {
    if (f.id == 1) out.set("block", true);
    if (f.id == 3)
      (void)wire::read_fields(f.data, [&](const wire::field& mode) { out.set("mode", static_cast<int>(mode.number)); });
    if (f.id != 2) return;
    (void)wire::read_fields(f.data, [&](const wire::field& mount) {
      if (mount.id == 1) out.set("fsType", mount.data);
      if (mount.id == 2) out.member("flags").push_back(mount.data);
      if (mount.id == 3) out.set("group", mount.data);
    });
  });
  return out;
}

value read_request(std::string_view method, std::string_view message) {
  value out(json::object{{"method", method}});
  auto known = requests().find(method);
  if (known == requests().end()) return out;
  (void)wire::read_fields(message, [&](const wire::field& f) {
    auto field = known->second.find(f.id);
    if (field == known->second.end()) return;
    auto& [name, kind] = field->second;
    switch (kind) {
      case shape::kind::text: out.set(name, f.data); break;
      case shape::kind::number: out.set(name, static_cast<std::int64_t>(f.number)); break;
      case shape::kind::capability: out.set(name, capability_of(f.data)); break;
      case shape::kind::map: {
        std::string key, text;
        (void)wire::read_fields(f.data, [&](const wire::field& part) { (part.id == 1 ? key : text) = part.data; });
        out.member(name).set(key, text);
      }
    }
  });
  return out;
}

// A status of gRPC; nothing: it went well.
using refusal = std::optional<std::pair<int, std::string>>;

refusal failed(std::string_view what, const std::string& path) {
  constexpr int internal = 13;
  return std::pair(internal, os_error(errno, fmt::format("{} {}", what, path)).message);
}

refusal bind_mount(const std::string& from, const std::string& to) {
  if (::mkdir(to.c_str(), 0750) != 0 && errno != EEXIST) return failed("make", to);
  if (::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0) return failed("mount", to);
  return {};
}

refusal unmount(const std::string& at) {
  if (::umount2(at.c_str(), 0) != 0 && errno != EINVAL && errno != ENOENT) return failed("unmount", at);
  return {};
}

class driver final : public net::http::handler {
 public:
  driver(std::string name, std::string socket, std::string folder, std::string node)
      : name_(std::move(name)), socket_(std::move(socket)), folder_(std::move(folder)), node_(std::move(node)) {}

  task<void> serve(net::http::exchange& e) override {
    constexpr std::size_t prefix_bytes = 5;
    auto method = e.request().path.substr(e.request().path.rfind('/') + 1);
    auto body = co_await e.read_all();
    auto request =
        read_request(method, body && body->size() >= prefix_bytes ? std::string_view(*body).substr(prefix_bytes)
                                                                  : std::string_view());
    std::ofstream(folder_ + "/calls", std::ios::app) << json::write(request) << "\n";
    while (::access((folder_ + "/hang-" + method).c_str(), F_OK) == 0)
      co_await reactor::sleep_for(std::chrono::milliseconds(20));
    std::string answer;
    auto problem = wanted_failure(method);
    if (!problem) problem = act(method, request, answer);
    net::http::response head;
    head.headers.add("content-type", "application/grpc");
    if (!co_await e.start(head)) co_return;
    if (!problem && !co_await e.write(net::grpc::frame_message(answer))) co_return;
    net::http::headers status;
    status.add("grpc-status", problem ? std::to_string(problem->first) : "0");
    if (problem) status.add("grpc-message", problem->second);
    (void)co_await e.finish(status);
  }

 private:
  refusal wanted_failure(const std::string& method) const {
    std::ifstream in(folder_ + "/fail-" + method);
    int code = 0;
    std::string why;
    if (!(in >> code)) return {};
    std::getline(in >> std::ws, why);
    return std::pair(code, why);
  }

  // A volume's folder, made when it is asked for.
  std::string data_of(const value& request) const {
    auto path = fmt::format("{}/{}", folder_, request["volume"].as_string());
    (void)::mkdir(path.c_str(), 0755);
    return path;
  }

  refusal act(std::string_view method, const value& request, std::string& answer) {
    using w = wire::writer;
    constexpr int unimplemented = 12;
    std::string staging(request["staging"].as_string()), target(request["target"].as_string());
    const bool block = request["capability"]["block"].as_bool();
    if (method == "GetInfo") {
      answer = w().text(1, "CSIPlugin").text(2, name_).text(3, socket_).message(4, "1.0.0").take();
    } else if (method == "NotifyRegistrationStatus") {
      std::ofstream(folder_ + "/registered") << json::write(request);
    } else if (method == "NodeGetInfo") {
      auto segment = w().text(1, "topology.test/zone").text(2, "one").take();
      answer = w().text(1, node_).number(2, 7).message(3, w().message(1, segment).take()).take();
    } else if (method == "NodeGetCapabilities") {
      for (int type : {1, 2, 3, 5})
        answer += w().message(1, w().message(1, w().number(1, static_cast<std::uint64_t>(type)).take()).take()).take();
    } else if (method == "NodeStageVolume") {
      if (!block) return bind_mount(data_of(request), staging);
    } else if (method == "NodePublishVolume") {
      if (block) {
        constexpr unsigned loop_major = 7;
        if (::mknod(target.c_str(), S_IFBLK | 0600, makedev(loop_major, 0)) != 0 && errno != EEXIST)
          return failed("make", target);
        return {};
      }
      if (!published_.insert(target).second) return {};
      return bind_mount(staging.empty() ? data_of(request) : staging, target);
    } else if (method == "NodeUnpublishVolume") {
      published_.erase(target);
      if (auto problem = unmount(target)) return problem;
      if (::remove(target.c_str()) != 0 && errno != ENOENT) return failed("remove", target);
    } else if (method == "NodeUnstageVolume") {
      return unmount(staging);
    } else if (method == "NodeExpandVolume") {
    } else if (method == "NodeGetVolumeStats") {
      auto bytes = w().number(1, 600).number(2, 1000).number(3, 400).number(4, 1).take();
      auto inodes = w().number(1, 60).number(2, 100).number(3, 40).number(4, 2).take();
      answer = w().message(1, bytes).message(1, inodes).take();
    } else {
      return std::pair(unimplemented, std::string(method));
    }
    return {};
  }

  const std::string name_, socket_, folder_, node_;
  std::set<std::string> published_;
};

task<int> run(std::string name, std::string socket, std::string registration, std::string folder, std::string node) {
  driver d(std::move(name), socket, std::move(folder), std::move(node));
  net::http::server own(d, {.listen = {reactor::endpoint::unix_path(socket)}, .plain_http2 = true});
  net::http::server registers(d, {.listen = {reactor::endpoint::unix_path(registration)}, .plain_http2 = true});
  reactor::scope first;
  first.spawn([](net::http::server& s) -> task<void> { (void)co_await s.run(0); }(own));
  co_await own.ready(0).wait();
  auto ended = co_await registers.run(0);
  std::fprintf(stderr, "%s\n", ended ? "it ended" : ended.error().message.c_str());
  co_return 1;
}

}  // namespace

int main(int count, char** arguments) {
  constexpr int arguments_count = 6;
  if (count != arguments_count) {
    std::fputs("csi_driver NAME SOCKET REGISTRATION_SOCKET FOLDER NODE_ID\n", stderr);
    return 2;
  }
  auto backend = reactor::make_backend(reactor::io_backend::automatic);
  if (!backend) return 1;
  reactor::loop loop(std::move(*backend));
  return loop.run_until(run(arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]));
}
