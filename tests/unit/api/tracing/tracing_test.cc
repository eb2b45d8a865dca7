// Whose trace a request is of, what is told of it to a collector, and what becomes of that when there is none.
#include "api/tracing/collector.h"

#include <doctest/doctest.h>

#include <map>

#include "../../net/support.h"
#include "api/tracing/encode.h"
#include "api/tracing/limits.h"
#include "base/protobuf_wire.h"
#include "support/temporary_folder.h"

namespace kedge::api::tracing {
namespace {

constexpr std::string_view parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST_CASE("a traceparent is read as the W3C has it, and written again") {
  auto c = parse_traceparent(parent);
  REQUIRE(c.has_value());
  CHECK(c->sampled);
  CHECK(traceparent(*c) == parent);
  CHECK(!parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")->sampled);
  CHECK(parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03")->sampled);
  // A later version may say more.
  CHECK(parse_traceparent("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09-more")->sampled);
  for (auto wrong : {"", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                     "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
                     "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
                     "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                     "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
                     "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
                     "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-04",
                     "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                     "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                     "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"})
    CHECK_MESSAGE(!parse_traceparent(wrong), wrong);
}

TEST_CASE("as many new traces are chosen as are asked for, by their ids alone") {
  seeded_random random(1);
  int chosen = 0;
  for (int i = 0; i < 100'000; ++i) {
    const auto id = new_trace_id(random);
    CHECK(!is_chosen(id, 0));
    CHECK(is_chosen(id, 1'000'000));
    chosen += is_chosen(id, 100'000);
  }
  CHECK(chosen > 9'500);
  CHECK(chosen < 10'500);
  trace_id id{};
  id[8] = 0x1f;  // 0.12 of all
  CHECK(is_chosen(id, 130'000));
  CHECK(!is_chosen(id, 120'000));
}

TEST_CASE("a collector is where the file says") {
  auto at = [](std::string_view endpoint) { return target_of(endpoint).value(); };
  CHECK(at("localhost:4317").host == "localhost");
  CHECK(at("localhost:4317").at.port == 4317);
  CHECK(at("dns:///c.example:1").host == "c.example");
  CHECK(at("dns://1.1.1.1/c.example:1").host == "c.example");
  CHECK(at("dns:c.example").at.port == 443);
  CHECK(at("[::1]:5").host == "::1");
  CHECK(at("unix:///run/c").at.address == "/run/c");
  CHECK(at("unix:/run/c").at.address == "/run/c");
  CHECK(at("unix-abstract:c").at.address == std::string("\0c", 2));
  for (auto wrong : {"", ":4317", "a:x", "a:0", "a:70000", "unix:"}) CHECK_MESSAGE(!target_of(wrong), wrong);
}

// A message's fields by number, the last of each.
std::map<int, std::string> fields_of(std::string_view message) {
  std::map<int, std::string> out;
  wire::fields in(message);
  while (in.next()) out[in.field()] = in.bytes().empty() ? std::to_string(in.number()) : std::string(in.bytes());
  CHECK(in.ok());
  return out;
}

// A collector that frames by hand, and keeps the last span of each batch.
struct fake_collector {
  explicit fake_collector(const std::string& path)
      : server(
            [this](net::http::exchange& e) -> task<void> {
              auto body = co_await e.read_all();
              paths.push_back(e.request().path);
              last = fields_of(fields_of(fields_of(fields_of(std::string_view(*body).substr(5))[1])[2])[2]);
              net::http::response head;
              head.headers.add("content-type", "application/grpc");
              (void)co_await e.start(head);
              std::string partial, answer;
              if (refuses > 0) {
                wire::put_number(1, static_cast<std::uint64_t>(refuses), partial);
                wire::put_bytes(2, "too many", partial);
                wire::put_bytes(1, partial, answer);
              }
              (void)co_await e.write(net::grpc::frame_message(answer));
              net::http::headers trailers;
              trailers.add("grpc-status", "0");
              (void)co_await e.finish(trailers);
            },
            listening(path)) {}
  static net::http::server_options listening(const std::string& path) {
    net::http::server_options o;
    o.plain_http2 = true;
    o.listen.push_back(reactor::endpoint::unix_path(path));
    return o;
  }
  std::vector<std::string> paths;
  std::map<int, std::string> last;
  int refuses = 0;
  test::running_server server;
};

std::unique_ptr<collector> made(const std::string& path, std::uint32_t per_million = 0) {
  auto out = collector::make({.endpoint = "unix:" + path, .per_million = per_million}, {{"service.name", "apiserver"}},
                             reactor::loop::current());
  REQUIRE(out.has_value());
  return *std::move(out);
}

beginning of(std::string_view named, bool trusted) {
  return {
      .name = "GET", .named = parse_traceparent(named), .trusted = trusted, .at = reactor::loop::current().wall_now()};
}

TEST_CASE("a trusted client's trace goes on, another's is only named, and each piece is told") {
  const temporary_folder folder;
  test::on_each_backend([&]() -> task<void> {
    const auto socket = folder.path() + "/c" + std::to_string(reactor::loop::current().random().next());
    fake_collector there(socket);
    auto traces = made(socket);
    traces->start();
    net::http::headers out;
    {
      auto request = traces->begin(of(parent, true));
      CHECK(request.told());
      auto work = request.child("Create");
      work.add({"verb", "POST"});
      work.happened("done", {{"len", std::int64_t{5}}});
      auto call = work.child("HTTP POST", span_kind::client);
      call.tell(out);
      call.failed("no way");
    }
    CHECK(out.get("traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    CHECK(out.get("traceparent").ends_with("-01"));
    CHECK(out.get("traceparent") != parent);
    // Not sampled: nobody is told, but others are told that it isn't.
    {
      auto request = traces->begin(of(parent, false));
      CHECK(!request.told());
      net::http::headers to_others;
      request.child("Get").tell(to_others);
      CHECK(to_others.get("traceparent").ends_with("-00"));
      CHECK(!to_others.get("traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    }
    co_await traces->end();
    CHECK(there.paths == std::vector<std::string>{"/opentelemetry.proto.collector.trace.v1.TraceService/Export"});
    CHECK(traces->sent() == 3);
    CHECK(traces->dropped() == 0);
    // The piece within is in the second scope, which comes last.
    CHECK(there.last[5] == "Create");
    CHECK(there.last[4].size() == 8);
    CHECK(fields_of(there.last[9])[1] == "verb");
    CHECK(fields_of(there.last[11])[2] == "done");
  });
}

TEST_CASE("a client's own trace that isn't followed stands as a link in the new one") {
  const temporary_folder folder;
  test::on_each_backend([&]() -> task<void> {
    const auto socket = folder.path() + "/c" + std::to_string(reactor::loop::current().random().next());
    fake_collector there(socket);
    auto traces = made(socket, 1'000'000);
    traces->start();
    there.refuses = 1;
    { auto request = traces->begin(of(parent, false)); }
    co_await traces->end();
    CHECK(there.last[4].empty());
    CHECK(fields_of(there.last[13])[1].size() == 16);
    CHECK(traces->sent() == 0);
    CHECK(traces->dropped() == 1);  // the collector said so
  });
}

TEST_CASE("without a collector nothing grows, and the end comes soon") {
  const temporary_folder folder;
  test::on_each_backend([&]() -> task<void> {
    auto traces = made(folder.path() + "/nobody", 1'000'000);
    for (std::size_t i = 0; i < queue_spans_max + 10; ++i) auto request = traces->begin(of({}, false));
    CHECK(traces->dropped() == 10);
    traces->start();
    co_await traces->end();
    CHECK(traces->sent() == 0);
    CHECK(traces->dropped() == queue_spans_max + 10);
  });
}

TEST_CASE("a trace passes through a server that tells of none") {
  net::http::headers from, to;
  from.add("traceparent", std::string(parent));
  from.add("tracestate", "a=1,b=2");
  auto passing = passed_on(from);
  CHECK(!passing.told());
  passing.child("HTTP POST", span_kind::client).tell(to);
  CHECK(to.get("traceparent") == parent);
  CHECK(to.get("tracestate") == "a=1,b=2");
  net::http::headers nothing, none;
  passed_on(nothing).child("x").tell(none);
  CHECK(none.size() == 0);
}

TEST_CASE("a configuration is refused with all that is wrong in it") {
  constexpr std::string_view head = "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n";
  auto read = [&](std::string_view more) { return parse_configuration(std::string(head) + std::string(more)); };
  CHECK(read("").value().endpoint == "localhost:4317");
  CHECK(read("samplingRatePerMillion: 100").value().per_million == 100);
  CHECK(parse_configuration("").has_value());
  for (auto wrong : {"samplingRatePerMillion: -1", "samplingRatePerMillion: 1000001", "endpoint: http://localhost:4317",
                     "foo: bar", "endpoint: a\nendpoint: b", "samplingRatePerMillion: x"})
    CHECK_MESSAGE(!read(wrong), wrong);
}

}  // namespace
}  // namespace kedge::api::tracing
