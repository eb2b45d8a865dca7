// The policy, the lines, the log and the webhook of audit.
#include <dirent.h>
#include <unistd.h>
#include <zlib.h>

#include <fmt/format.h>
#include <algorithm>

#include "../../net/support.h"
#include "../access_harness.h"
#include "api/audit/backends.h"
#include "api/audit/log.h"
#include "api/audit/webhook.h"
#include "crypto/files.h"
#include "support/temporary_folder.h"

namespace kedge::api {
namespace {

using namespace testing;

audit_policy policy_of(std::string_view rules) {
  std::vector<std::string> warnings;
  auto read = audit_policy::parse("apiVersion: audit.k8s.io/v1\nkind: Policy\n" + std::string(rules), warnings);
  REQUIRE_MESSAGE(read.has_value(), (read ? std::string() : read.error().message));
  CHECK(warnings.empty());
  return *std::move(read);
}

std::string refusal(std::string_view text) {
  std::vector<std::string> warnings;
  auto read = audit_policy::parse(text, warnings);
  return read ? std::string() : read.error().message;
}

attributes path(user_info who, std::string verb, std::string at) {
  attributes a;
  a.user = std::move(who);
  a.verb = std::move(verb);
  a.path = std::move(at);
  return a;
}

TEST_CASE("the first rule of an audit policy that fits decides") {
  auto level = [](const audit_policy& p, const attributes& a) { return std::string(name_of(p.evaluate(a).level)); };
  const auto bob = user("bob", {"dev", "system:authenticated"});
  struct row {
    std::string_view rule;
    attributes asked;
    bool fits;
  };
  const row rows[] = {
      {"{}", ask(bob, "get", "", "pods", "a"), true},
      {"{users: [bob]}", ask(bob, "get", "", "pods", "a"), true},
      {"{users: [ann]}", ask(bob, "get", "", "pods", "a"), false},
      {"{users: [bob]}", ask({}, "get", "", "pods", "a"), false},
      {"{userGroups: [x, dev]}", ask(bob, "get", "", "pods", "a"), true},
      {"{userGroups: [ops]}", ask(bob, "get", "", "pods", "a"), false},
      {"{verbs: [list, get]}", ask(bob, "get", "", "pods", "a"), true},
      {"{verbs: [list]}", ask(bob, "get", "", "pods", "a"), false},
      {"{namespaces: [a]}", ask(bob, "get", "", "pods", "a"), true},
      {"{namespaces: ['']}", ask(bob, "get", "", "nodes"), true},
      {"{namespaces: [b]}", ask(bob, "get", "", "pods", "a"), false},
      {"{namespaces: [a]}", path(bob, "get", "/healthz"), false},
      {"{resources: [{group: ''}]}", ask(bob, "get", "", "pods", "a"), true},
      {"{resources: [{group: apps}]}", ask(bob, "get", "", "pods", "a"), false},
      {"{resources: [{group: '*'}]}", ask(bob, "get", "apps", "deployments", "a"), true},
      {"{resources: [{resources: [pods]}]}", ask(bob, "get", "", "pods", "a"), true},
      {"{resources: [{resources: [pods]}]}", ask(bob, "get", "", "pods/log", "a"), false},
      {"{resources: [{resources: [pods/log]}]}", ask(bob, "get", "", "pods/log", "a"), true},
      {"{resources: [{resources: ['pods/*']}]}", ask(bob, "get", "", "pods/log", "a"), true},
      {"{resources: [{resources: ['pods/*']}]}", ask(bob, "get", "", "pods", "a"), true},
      {"{resources: [{resources: ['*/log']}]}", ask(bob, "get", "", "pods/log", "a"), true},
      {"{resources: [{resources: ['*/log']}]}", ask(bob, "get", "", "pods", "a"), false},
      {"{resources: [{resources: ['*']}]}", ask(bob, "get", "", "pods/log", "a"), true},
      {"{resources: [{resources: [pods], resourceNames: [x]}]}", ask(bob, "get", "", "pods", "a", "x"), true},
      {"{resources: [{resources: [pods], resourceNames: [x]}]}", ask(bob, "get", "", "pods", "a", "y"), false},
      {"{nonResourceURLs: ['/health*']}", path(bob, "get", "/healthz"), true},
      {"{nonResourceURLs: ['*']}", path(bob, "get", "/healthz"), true},
      {"{nonResourceURLs: [/health]}", path(bob, "get", "/healthz"), false},
      {"{nonResourceURLs: ['*']}", ask(bob, "get", "", "pods", "a"), false},
  };
  for (auto& r : rows) {
    CAPTURE(r.rule);
    auto rule = std::string(r.rule);
    rule.insert(1, rule == "{}" ? "level: Request" : "level: Request, ");
    CHECK(level(policy_of("rules: [" + rule + ", {level: Metadata}]"), r.asked) == (r.fits ? "Request" : "Metadata"));
  }
  CHECK(level(policy_of("rules: [{level: Request, users: [ann]}]"), ask(bob, "get", "", "pods", "a")) == "None");
}

TEST_CASE("stages and managed fields are left out for all, and for a rule") {
  auto p = policy_of(
      "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n"
      "- {level: Metadata, verbs: [get], omitStages: [ResponseStarted], omitManagedFields: false}\n- {level: Request}");
  auto of_get = p.evaluate(ask(user("bob"), "get", "", "pods")),
       of_list = p.evaluate(ask(user("bob"), "list", "", "pods"));
  CHECK(of_get.omits(audit_stage::request_received));
  CHECK(of_get.omits(audit_stage::response_started));
  CHECK(!of_get.omits(audit_stage::response_complete));
  CHECK(!of_get.omit_managed_fields);
  CHECK(!of_list.omits(audit_stage::response_started));
  CHECK(of_list.omit_managed_fields);
}

TEST_CASE("what is wrong with an audit policy is named, all of it") {
  CHECK(refusal("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: []") == "loaded illegal policy with 0 rules");
  CHECK(refusal("kind: Policy\napiVersion: audit.k8s.io/v1beta1\nrules: [{level: None}]") ==
        "it is \"Policy\" of \"audit.k8s.io/v1beta1\", not Policy of audit.k8s.io/v1");
  CHECK(refusal("kind: Policy\napiVersion: audit.k8s.io/v1\nkind: Policy").find("already set") != std::string::npos);
  auto all = refusal(R"(
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [Never]
rules:
- {users: bob}
- {level: All}
- {level: None, nonResourceURLs: [healthz, '/a*b', '*'], namespaces: [x]}
- {level: None, resources: [{group: a/v1}, {resourceNames: [x]}]}
)");
  for (auto part : {"omitStages[0]: Invalid value: \"Never\": allowed stages are", "rules[0].level: Required value",
                    "rules[0].users: must be a list, not \"bob\"",
                    "rules[1].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\"",
                    "rules[2].nonResourceURLs[0]: Invalid value: \"healthz\": non-resource URL rules must begin",
                    "rules[2].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards",
                    "rules cannot apply to both", "rules[3].resources[0].group: Invalid value: \"a/v1\"",
                    "rules[3].resources[1].resourceNames: Invalid value: [\"x\"]"})
    CHECK_MESSAGE(all.find(part) != std::string::npos, all);
  std::vector<std::string> warnings;
  CHECK(audit_policy::parse("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, user: [x]}]", warnings));
  CHECK(warnings == std::vector<std::string>{"unknown field \"rules[0].user\""});
}

audit_event example() {
  audit_event e;
  e.verdict.level = audit_level::metadata;
  e.audit_id = "id-1";
  e.uri = "/api/v1/namespaces/default/pods/p?x=\"";
  e.sources = {"10.0.0.7"};
  e.user_agent = "kubectl";
  e.request = ask(user("ann"), "get", "", "pods/log", "default", "p");
  e.status = json::object{{"metadata", json::object{}}, {"code", 403}};
  e.annotations["a"] = "b";
  return e;
}

TEST_CASE("an audit event is one line, in the order of the real one's fields") {
  auto e = example();
  e.acting_as = admin();
  e.request_object = R"({"a":1})";
  auto line = audit_json(e, audit_stage::response_complete, wall_time{});
  CHECK(line.find('\n') == std::string::npos);
  auto event = json::parse(line);
  REQUIRE_MESSAGE(event.has_value(), line);
  std::string order;
  for (auto& m : *event->object()) order += m.name + ' ';
  CHECK(order ==
        "kind apiVersion level auditID stage requestURI verb user impersonatedUser sourceIPs userAgent objectRef "
        "responseStatus requestObject requestReceivedTimestamp stageTimestamp annotations ");
  CHECK((*event)["stage"].as_string() == "ResponseComplete");
  CHECK((*event)["objectRef"]["subresource"].as_string() == "log");
  CHECK((*event)["impersonatedUser"]["username"].as_string() == "system:admin");
  CHECK((*event)["requestObject"]["a"].as_integer() == 1);
  CHECK(
      audit_text(example(), audit_stage::response_complete) ==
      "1970-01-01T00:00:00Z AUDIT: id=\"id-1\" stage=\"ResponseComplete\" ip=\"10.0.0.7\" method=\"get\" user=\"ann\" "
      "groups=\"\\\"system:authenticated\\\"\" as=\"<self>\" asgroups=\"<lookup>\" user-agent=\"kubectl\" "
      "namespace=\"default\" uri=\"/api/v1/namespaces/default/pods/p?x=\\\"\" response=\"403\"");
}

TEST_CASE("addresses that proxies tell of come before the peer's") {
  using list = std::vector<std::string>;
  CHECK(source_addresses("", "", "10.0.0.1") == list{"10.0.0.1"});
  CHECK(source_addresses("1.1.1.1, x, 2.2.2.2", "3.3.3.3", "10.0.0.1") ==
        list{"1.1.1.1", "2.2.2.2", "3.3.3.3", "10.0.0.1"});
  CHECK(source_addresses("1.1.1.1", "1.1.1.1", "1.1.1.1") == list{"1.1.1.1"});
}

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> names;
  auto opened = ::opendir(folder.c_str());
  while (auto entry = ::readdir(opened))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  ::closedir(opened);
  std::ranges::sort(names);
  return names;
}

TEST_CASE("the file is rotated by size, compressed, and old files go by number and by age") {
  temporary_folder folder;
  auto path = folder.path() + "/made/audit.log";
  auto of = [&](audit_log_settings s) {
    s.path = path;
    s.common.mode = audit_mode::batch;
    auto log = audit_log::open(s);
    REQUIRE_MESSAGE(log.has_value(), (log ? std::string() : log.error().message));
    return *log;
  };
  auto fill = [](audit_log& log, int lines) {
    for (int i = 0; i < lines; ++i) {
      CHECK(log.post(log.text_of(example(), audit_stage::response_complete, {})));
      log.flush();
      ::usleep(1'500);  // rotated files are told apart by the millisecond
    }
    CHECK(log.lost_events() == 0);
  };
  fill(*of({.max_bytes = 2'000, .max_backups = 2}), 40);
  CHECK(files_in(folder.path() + "/made").size() == 3);
  auto text = crypto::read_file(path);
  REQUIRE(text.has_value());
  CHECK(text->size() <= 2'000);
  CHECK(text->ends_with("}\n"));
  REQUIRE(crypto::write_file(folder.path() + "/made/audit-2020-01-01T00-00-00.000.log", "old").has_value());
  fill(*of({.max_bytes = 2'000, .max_backups = 0, .max_age_days = 5, .compress = true}), 10);
  auto names = files_in(folder.path() + "/made");
  CHECK(std::ranges::count_if(names, [](auto& n) { return n.ends_with(".log.gz"); }) >= 1);
  CHECK(std::ranges::find(names, "audit-2020-01-01T00-00-00.000.log") == names.end());
  auto packed = std::ranges::find_if(names, [](auto& n) { return n.ends_with(".gz"); });
  auto opened = ::gzopen((folder.path() + "/made/" + *packed).c_str(), "rb");
  char begin[9] = {};
  CHECK(::gzread(opened, begin, 8) == 8);
  ::gzclose(opened);
  CHECK(std::string(begin) == "{\"kind\":");
  CHECK(!audit_log::open({.path = path + "/below/a/file"}).has_value());
}

TEST_CASE("what is too large is truncated, or lost and counted") {
  temporary_folder folder;
  auto log =
      *audit_log::open({.path = folder.path() + "/a.log", .common = {.truncate = true, .event_max_bytes = 1'000}});
  auto e = example();
  e.verdict.level = audit_level::request;
  e.request_object = "\"" + std::string(2'000, 'x') + "\"";
  auto event = json::parse(log->text_of(e, audit_stage::response_complete, {}));
  REQUIRE(event.has_value());
  CHECK((*event)["requestObject"].is_null());
  CHECK((*event)["annotations"]["audit.k8s.io/truncated"].as_string() == "true");
  e.uri = std::string(2'000, 'x');
  CHECK(log->text_of(e, audit_stage::response_complete, {}).empty());
  metrics measures;
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  audit_backends all(policy_of("rules: [{level: Metadata}]"), {log}, measures);
  loop.run_until(all.process(e, audit_stage::response_complete, {}));
  CHECK(log->lost_events() == 1);
  CHECK(measures.text().find("apiserver_audit_error_total{plugin=\"log\"} 1\n") != std::string::npos);
}

TEST_CASE("a request waits for its line, and a strict log that can't write refuses it") {
  temporary_folder folder;
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  metrics measures;
  auto opened = [&](audit_mode mode, std::string path) {
    return *audit_log::open({.path = std::move(path), .common = {.mode = mode}});
  };
  auto path = folder.path() + "/a.log";
  auto log = opened(audit_mode::blocking, path);
  audit_backends all(policy_of("rules: [{level: Metadata}]"), {log}, measures);
  for (std::size_t i = 1; i <= 3; ++i) {
    CHECK(loop.run_until(all.process(example(), audit_stage::request_received, {})));
    auto text = crypto::read_file(path);
    REQUIRE(text.has_value());
    CHECK(static_cast<std::size_t>(std::ranges::count(*text, '\n')) == i);
  }
  audit_backends patient(policy_of("rules: [{level: Metadata}]"), {opened(audit_mode::blocking, "/dev/full")},
                         measures);
  CHECK(loop.run_until(patient.process(example(), audit_stage::request_received, {})));
  audit_backends strict(policy_of("rules: [{level: Metadata}]"), {opened(audit_mode::blocking_strict, "/dev/full")},
                        measures);
  CHECK(!loop.run_until(strict.process(example(), audit_stage::request_received, {})));
  CHECK(measures.text().find("apiserver_audit_requests_rejected_total 1\n") != std::string::npos);
}

// A webhook with TLS and a token, and what it was sent.
struct webhook_world {
  test::pem_pair pair = test::make_certificate("localhost");
  std::vector<json::value> lists;
  int refuse_first = 0;
  reactor::event came;
  test::running_server server{[this](net::http::exchange& e) -> task<void> {
                                auto body = co_await e.read_all();
                                CHECK(e.request().headers.get("Authorization") == "Bearer t0");
                                CHECK(e.request().path == "/audit");
                                if (refuse_first > 0) {
                                  --refuse_first;
                                  (void)co_await e.respond({.status = 503}, "not now");
                                  co_return;
                                }
                                lists.push_back(*json::parse(*body));
                                came.pulse();
                                (void)co_await e.respond({}, "{}");
                              },
                              test::with_tls(pair)};
  std::shared_ptr<const remote_server> remote() {
    auto config = fmt::format(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
        "clusters: [{{name: k, cluster: {{server: 'https://127.0.0.1:{}/audit', certificate-authority-data: {}}}}}]\n"
        "users: [{{name: u, user: {{token: t0}}}}]\n",
        server.at().port, base64(as_bytes(pair.certificate)));
    auto read = parse_kubeconfig(config, "");
    REQUIRE_MESSAGE(read.has_value(), (read ? std::string() : read.error().message));
    return *read;
  }
};

TEST_CASE("a webhook gets batches, again when it refuses them, and the rest at the end") {
  test::on_each_backend([]() -> task<void> {
    webhook_world w;
    w.refuse_first = 2;
    auto& loop = reactor::loop::current();
    audit_webhook hook({.server = w.remote(),
                        .first_pause = std::chrono::milliseconds(5),
                        .batch_events = 3,
                        .batch_wait = std::chrono::minutes(5)},
                       loop);
    hook.start();
    for (int i = 0; i < 7; ++i) CHECK(hook.post(hook.text_of(example(), audit_stage::response_complete, {})));
    while (w.lists.size() < 2) co_await w.came.wait();
    CHECK(w.lists.front()["kind"].as_string() == "EventList");
    CHECK(w.lists.front()["items"].size() == 3);
    CHECK(w.lists.front()["items"][0]["auditID"].as_string() == "id-1");
    CHECK(w.lists.size() == 2);
    co_await hook.end();
    CHECK(w.lists.size() == 3);
    CHECK(w.lists.back()["items"].size() == 1);
    CHECK(hook.lost_events() == 0);
  });
}

TEST_CASE("what a webhook's queue can't hold, and what it can't be sent, is counted") {
  test::on_each_backend([]() -> task<void> {
    webhook_world w;
    w.refuse_first = 100;
    audit_webhook hook({.server = w.remote(),
                        .first_pause = std::chrono::milliseconds(1),
                        .batch_events = 10,
                        .common = {.buffer_events = 2}},
                       reactor::loop::current());
    for (int i = 0; i < 3; ++i) CHECK(hook.post("{}") == (i < 2));
    CHECK(hook.lost_events() == 1);
    hook.start();
    co_await hook.end();
    CHECK(hook.lost_events() == 3);
    w.refuse_first = 0;
    CHECK(co_await hook.write("{}"));
    CHECK(w.lists.size() == 1);
  });
}

TEST_CASE("a kubeconfig that can't be obeyed is refused by field") {
  auto refused = [](std::string_view cluster, std::string_view who = "{}") {
    auto read = parse_kubeconfig(
        fmt::format("current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\nclusters: [{{name: "
                    "k, cluster: {}}}]\nusers: [{{name: u, user: {}}}]\n",
                    cluster, who),
        "/nowhere");
    return read ? std::string() : read.error().message;
  };
  CHECK(refused("{server: 'http://127.0.0.1:1/'}") == "");
  CHECK(refused("{server: 'ftp://x'}") == "cluster.server: not an http or https URL: \"ftp://x\"");
  CHECK(refused("{server: 'http://x', proxy-url: 'http://y'}").starts_with("cluster.proxy-url: "));
  CHECK(refused("{server: 'https://x', certificate-authority: ca.crt}").starts_with("cluster.certificate-authority: "));
  CHECK(refused("{server: 'https://x', certificate-authority-data: '%'}") ==
        "cluster.certificate-authority-data: is not base64");
  CHECK(refused("{server: 'http://x'}", "{exec: {}}").starts_with("user.exec: "));
  CHECK(refused("{server: 'http://x'}", "{tokenFile: t}").starts_with("user.tokenFile: "));
  CHECK(parse_kubeconfig("{}", "").error().message == "current-context: Required value");
}

}  // namespace
}  // namespace kedge::api
