// metrics.k8s.io: what nodes tell is read whatever it is, and served as metrics-server serves it.
#include "api/usage/usage.h"

#include <doctest/doctest.h>

#include "api/custom/tables.h"
#include "api/usage/limits.h"
#include "harness.h"

namespace kedge::api {

namespace {

constexpr std::int64_t now_ms = 1'800'000'000'000;

result<node_sample> read(std::string_view text, std::size_t piece = 4096) {
  sample_reader r(now_ms);
  for (std::size_t at = 0; at < text.size(); at += piece) KEDGE_CHECK(r.feed(text.substr(at, piece)));
  return r.finish();
}

std::string container_text(std::string_view pod, std::string_view name, double cpu, std::uint64_t memory,
                           std::int64_t at_ms, std::int64_t started_s = 0) {
  auto labels = fmt::format("container=\"{}\",namespace=\"default\",pod=\"{}\"", name, pod);
  auto out = fmt::format(
      "container_cpu_usage_seconds_total{{{0}}} {1} {3}\ncontainer_memory_working_set_bytes{{{0}}} {2} {3}\n", labels,
      cpu, memory, at_ms);
  if (started_s) out += fmt::format("container_start_time_seconds{{{}}} {}\n", labels, started_s);
  return out;
}
std::string node_text(double cpu, std::uint64_t memory, std::int64_t at_ms) {
  return fmt::format("node_cpu_usage_seconds_total {0} {2}\nnode_memory_working_set_bytes {1} {2}\n", cpu, memory,
                     at_ms);
}

told_usage after(std::initializer_list<std::string> texts) {
  usage_record r;
  for (auto& t : texts) {
    auto s = read(t);
    REQUIRE(s.has_value());
    r.take(*std::move(s));
  }
  return r.told();
}

}  // namespace

TEST_CASE("a kubelet's figures, in pieces of any size") {
  const std::string text =
      "# HELP container_cpu_usage_seconds_total [STABLE] Cumulative\n"
      "# TYPE container_cpu_usage_seconds_total counter\n"
      "container_cpu_usage_seconds_total{container=\"a\",namespace=\"ns\",pod=\"p\"} 1.5 1800000000123\n"
      "container_memory_working_set_bytes{pod=\"p\",container=\"a\",namespace=\"ns\"} 2.048e+06 1800000000456\n"
      "container_start_time_seconds{container=\"a\",namespace=\"ns\",pod=\"p\"} 1.79999999e+09\n"
      "container_swap_usage_bytes{container=\"a\",namespace=\"ns\",pod=\"p\"} 7\n"
      "node_cpu_usage_seconds_total 100.25 1800000000000\n"
      "node_memory_working_set_bytes 4096\n";
  for (std::size_t piece : {1u, 7u, 64u, 4096u}) {
    auto s = read(text, piece);
    REQUIRE(s.has_value());
    REQUIRE(s->pods.contains("ns/p"));
    auto& a = s->pods.at("ns/p").at("a");
    CHECK(a.cpu_nanoseconds == 1'500'000'000);
    CHECK(a.memory_bytes == 2'048'000);
    CHECK(a.at_ms == 1'800'000'000'123);  // the processor's
    CHECK(a.started_ms == 1'799'999'990'000);
    CHECK(s->node.cpu_nanoseconds == 100'250'000'000);
    CHECK(s->node.memory_bytes == 4096);
    CHECK(s->node.complete());
  }
}

TEST_CASE("what a node that lies or is broken tells counts for nothing") {
  for (auto* text :
       {"node_cpu_usage_seconds_total NaN\nnode_memory_working_set_bytes +Inf\n",
        "node_cpu_usage_seconds_total -1\nnode_memory_working_set_bytes -0.5\n",
        "node_cpu_usage_seconds_total 1e300\nnode_memory_working_set_bytes 1e19\n",
        "node_cpu_usage_seconds_total 1 -5\nnode_memory_working_set_bytes 1 99999999999999999\n",
        "node_cpu_usage_seconds_total\nnode_memory_working_set_bytes x\n", "node_cpu_usage_seconds_total{a=\"b 1\n",
        "container_cpu_usage_seconds_total{container=\"a\\\",pod=\"p\"} 1\n", "container_cpu_usage_seconds_total 1\n",
        "container_cpu_usage_seconds_total{container=\"a\",pod=\"p\"} 1\n", "{}\n", "\n\n \n", "<html>\n"}) {
    auto s = read(text);
    REQUIRE(s.has_value());
    CHECK_MESSAGE(!s->node.complete(), text);
    CHECK_MESSAGE(s->pods.empty(), text);
  }
  // A line that is too long is passed over, also when it never ends.
  auto s = read("container_cpu_usage_seconds_total{container=\"" + std::string(10 * usage_line_bytes_max, 'a') +
                "\",namespace=\"n\",pod=\"p\"} 1\n" + node_text(1, 1, now_ms));
  REQUIRE(s.has_value());
  CHECK(s->pods.empty());
  CHECK(s->node.complete());
  CHECK(read(std::string(1024 * 1024, 'x'))->pods.empty());
  // Labels may hold what ends them elsewhere.
  s = read("container_cpu_usage_seconds_total{container=\"a}\\\"b\",namespace=\"n\",pod=\"p\"} 1\n");
  CHECK(s->pods.at("n/p").contains("a}\"b"));
}

TEST_CASE("an answer without end, or with too many containers, is given up") {
  sample_reader endless(now_ms);
  const std::string piece(64 * 1024, '\n');
  std::size_t fed = 0;
  while (endless.feed(piece)) REQUIRE((fed += piece.size()) <= usage_answer_bytes_max);
  sample_reader many(now_ms);
  std::size_t n = 0;
  while (many.feed(container_text(fmt::format("p{}", n), "a", 1, 1, now_ms))) REQUIRE(++n <= usage_containers_max);
  CHECK(n == usage_containers_max);
}

TEST_CASE("usage is what two readings differ by") {
  auto one = node_text(100, 1000, now_ms) + container_text("p", "a", 10, 500, now_ms, 1'000'000'000);
  auto two =
      node_text(107.5, 2000, now_ms + 15'000) + container_text("p", "a", 13, 600, now_ms + 15'000, 1'000'000'000);
  CHECK_FALSE(after({one}).node.has_value());
  CHECK(after({one}).pods.empty());
  auto told = after({one, two});
  REQUIRE(told.node.has_value());
  CHECK(told.node->nanocores == 500'000'000);
  CHECK(told.node->memory_bytes == 2000);
  CHECK(told.node->at_ms == now_ms + 15'000);
  CHECK(told.node->window_ms == 15'000);
  REQUIRE(told.pods.contains("default/p"));
  CHECK(told.pods.at("default/p")[0].second.nanocores == 200'000'000);
  // The same reading twice: the one before it still counts.
  told = after({one, two, two});
  REQUIRE(told.node.has_value());
  CHECK(told.node->window_ms == 15'000);
  CHECK(told.pods.contains("default/p"));
  // A clock that goes back.
  told = after({two, one});
  CHECK_FALSE(told.node.has_value());
  CHECK(told.pods.empty());
}

TEST_CASE("a container that began anew, a new one, and one that isn't told of whole") {
  const auto began = now_ms / 1000 - 1000;
  auto first = container_text("p", "a", 10, 500, now_ms, began);
  // Another run of it counts from nothing.
  CHECK(after({first, container_text("p", "a", 12, 1, now_ms + 15'000, now_ms / 1000 + 8)}).pods.empty());
  // … and has its rate since its start when that was ten seconds and more ago.
  auto told = after({first, container_text("p", "a", 6, 1, now_ms + 15'000, now_ms / 1000 + 3)});
  REQUIRE(told.pods.contains("default/p"));
  CHECK(told.pods.at("default/p")[0].second.nanocores == 500'000'000);
  CHECK(told.pods.at("default/p")[0].second.window_ms == 12'000);
  // Part of a pod would mislead.
  CHECK(after({first, container_text("p", "a", 11, 1, now_ms + 15'000, began) +
                          container_text("p", "b", 11, 1, now_ms + 15'000, began)})
            .pods.empty());
  // Counters that go down, and more use than any machine has.
  CHECK(after({first, container_text("p", "a", 9, 1, now_ms + 15'000, began)}).pods.empty());
  CHECK(after({first, container_text("p", "a", 9e9, 1, now_ms + 15'000, began)}).pods.empty());
}

namespace {

struct usage_world : api_world {
  custom::tables tables;
  usage_by_node told;

  usage_world() : tables(*objects, usage_resources()) {
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = may,
                                                      .rules = rules,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .ranges = ranges,
                                                      .server_address = "10.0.0.1:6443",
                                                      .custom = &tables,
                                                      .usage = [this]() -> task<std::shared_ptr<const usage_by_node>> {
                                                        co_return std::make_shared<const usage_by_node>(told);
                                                      }});
    for (auto* name : {"n1", "n2"})
      must(post("/api/v1/nodes", fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}",)"
                                             R"("labels":{{"zone":"{}z"}}}}}})",
                                             name, name)),
           201);
    add_pod("default", "web", "n1", "web");
    add_pod("default", "db", "n2", "db");
    add_pod("other", "web", "n1", "web");
    const usage some{.nanocores = 250'368'152, .memory_bytes = 12 * 1024, .at_ms = now_ms, .window_ms = 15'250};
    told_usage n1;
    n1.node = some;
    n1.pods["default/web"] = {{"a", some}, {"b", some}};
    n1.pods["other/web"] = {{"a", some}};
    n1.pods["default/db"] = {{"lie", some}};  // which n2 has
    told.emplace("n1", std::make_shared<const told_usage>(std::move(n1)));
  }
  ~usage_world() { handler.reset(); }
  void add_pod(std::string_view ns, std::string_view name, std::string_view node, std::string_view app) {
    must(post(fmt::format("/api/v1/namespaces/{}/pods", ns),
              fmt::format(R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}","labels":{{"app":"{}"}}}},)"
                          R"("spec":{{"nodeName":"{}","containers":[{{"name":"a","image":"i"}}]}}}})",
                          name, app, node)),
         201);
  }
  std::string names(std::string_view path) {
    std::string out;
    auto list = must(get(path), 200);
    for (std::size_t i = 0; i < list["items"].size(); ++i) {
      auto& m = list["items"][i]["metadata"];
      out += fmt::format("{}/{} ", m["namespace"].as_string("-"), m["name"].as_string());
    }
    return out;
  }
};

const std::string root = "/apis/metrics.k8s.io/v1beta1";

}  // namespace

TEST_CASE("metrics.k8s.io: nodes and pods as metrics-server tells of them") {
  usage_world w;
  auto node = w.must(w.get(root + "/nodes/n1"), 200);
  CHECK(node["kind"].as_string() == "NodeMetrics");
  CHECK(node["apiVersion"].as_string() == "metrics.k8s.io/v1beta1");
  CHECK(node["metadata"]["labels"]["zone"].as_string() == "n1z");
  CHECK(node["timestamp"].as_string() == "2027-01-15T08:00:00Z");
  CHECK(node["window"].as_string() == "15.25s");
  CHECK(json::write(node["usage"]) == R"({"cpu":"250368152n","memory":"12Ki"})");

  auto list = w.must(w.get(root + "/nodes"), 200);
  CHECK(list["kind"].as_string() == "NodeMetricsList");
  CHECK(json::write(list["metadata"]) == "{}");
  REQUIRE(list["items"].size() == 1);  // n2 doesn't answer: it is missing
  CHECK(list["items"][0]["kind"].is_null());

  auto pod = w.must(w.get(root + "/namespaces/default/pods/web"), 200);
  CHECK(pod["kind"].as_string() == "PodMetrics");
  CHECK(pod["metadata"]["namespace"].as_string() == "default");
  CHECK(pod["containers"].size() == 2);
  CHECK(pod["containers"][1]["name"].as_string() == "b");
  CHECK(pod["containers"][1]["usage"]["memory"].as_string() == "12Ki");

  // A node tells of its own pods alone, whatever it says.
  CHECK(w.names(root + "/pods") == "default/web other/web ");
  CHECK(w.names(root + "/namespaces/default/pods") == "default/web ");
  CHECK(w.names(root + "/pods?labelSelector=app%3Dweb&limit=1") == "default/web other/web ");
  CHECK(w.names(root + "/pods?labelSelector=app%3Ddb") == "");
  CHECK(w.names(root + "/pods?fieldSelector=metadata.namespace%3Dother") == "other/web ");
  CHECK(w.names(root + "/nodes?labelSelector=zone%3Dn1z") == "-/n1 ");
  CHECK(w.names(root + "/nodes?labelSelector=zone%3Dn2z") == "");
}

TEST_CASE("metrics.k8s.io: what isn't there, and what may not be asked for") {
  usage_world w;
  auto message = [&](const answer_text& a, int code) { return std::string(w.must(a, code)["message"].as_string()); };
  CHECK(message(w.get(root + "/nodes/n3"), 404) == "nodes \"n3\" not found");
  CHECK(message(w.get(root + "/nodes/n2"), 404) == "nodes.metrics.k8s.io \"n2\" not found");
  CHECK(message(w.get(root + "/namespaces/default/pods/none"), 404) == "pods \"none\" not found");
  CHECK(message(w.get(root + "/namespaces/default/pods/db"), 404) == "pods.metrics.k8s.io \"default/db\" not found");
  CHECK(message(w.get(root + "/pods?fieldSelector=spec.nodeName%3Dn1"), 400) ==
        "\"spec.nodeName\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"");
  w.must(w.get(root + "/pods?labelSelector=a%3D%3D%3Db"), 400);
  w.must(w.get(root + "/pods?watch=true"), 405);
  w.must(w.remove(root + "/nodes/n1"), 405);
  w.must(w.post(root + "/nodes", "{}"), 405);
  w.must(w.get(root + "/namespaces/default/nodes/n1"), 404);
  w.may.denied_verb = "list";
  w.must(w.get(root + "/pods"), 403);
  w.must(w.get(root + "/nodes/n1"), 200);
}

TEST_CASE("metrics.k8s.io: tables, other forms, discovery") {
  usage_world w;
  const header_list as_table = {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}};
  auto table = w.must(w.get(root + "/pods", as_table), 200);
  CHECK(table["kind"].as_string() == "Table");
  CHECK(table["columnDefinitions"][1]["name"].as_string() == "cpu");
  REQUIRE(table["rows"].size() == 2);
  CHECK(json::write(table["rows"][0]["cells"]) == R"(["web","500736304n","24Ki","15.25s"])");
  CHECK(table["rows"][0]["object"]["metadata"]["namespace"].as_string() == "default");
  table = w.must(w.get(root + "/nodes/n1", as_table), 200);
  CHECK(json::write(table["rows"][0]["cells"]) == R"(["n1","250368152n","12Ki","15.25s"])");
  // Clients that would rather have protobuf take JSON.
  auto a = w.get(root + "/nodes/n1", {{"Accept", "application/vnd.kubernetes.protobuf,application/json"}});
  CHECK(a.code == 200);
  CHECK(a.headers.get("Content-Type") == "application/json");
  CHECK(w.get(root + "/nodes", {{"Accept", "application/yaml"}})
            .body.starts_with("apiVersion: metrics.k8s.io/v1beta1\n"));

  auto groups = w.must(w.get("/apis"), 200)["groups"];
  CHECK(groups[groups.size() - 1]["name"].as_string() == "metrics.k8s.io");  // behind all others
  auto resources = w.must(w.get(root), 200)["resources"];
  REQUIRE(resources.size() == 2);
  CHECK(json::write(resources[0]) == R"({"name":"nodes","singularName":"","namespaced":false,"kind":"NodeMetrics",)"
                                     R"("verbs":["get","list"]})");
  CHECK(json::write(resources[1]) == R"({"name":"pods","singularName":"","namespaced":true,"kind":"PodMetrics",)"
                                     R"("verbs":["get","list"]})");
  // Where it isn't served there is nothing of it.
  api_world without;
  without.must(without.get(root + "/nodes"), 404);
  CHECK(without.get(root).code == 404);
}

}  // namespace kedge::api
