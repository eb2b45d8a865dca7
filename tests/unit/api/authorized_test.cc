// What was authorized against what was touched: every shape of path, by every method, on every resource.
#include <map>
#include <set>

#include "api/custom/tables.h"
#include "api/write/storage.h"
#include "harness.h"
#include "samples.h"

namespace kedge::api {
namespace {

// Lets everything pass and remembers what it was asked.
class recording_authorizer final : public authorizer {
 public:
  std::vector<attributes> asked;
  decision authorize(const attributes& a, const store::snapshot&) override {
    asked.push_back(a);
    return {decision::kind::allow, "recorded"};
  }
};

// Two of everything: objects "a" and "b", in two namespaces where they have some. Each object's uid is its key, so that
// an answer tells which objects it shows.
struct recorded_world : api_world {
  recording_authorizer recorder;
  custom::tables tables{*objects};
  std::shared_ptr<const registry> served_here;  // kept: what the requests do to definitions changes the tables
  std::map<std::string, std::string> stored;    // key → text, as it shall be
  std::map<std::string, std::set<std::pair<std::string, std::string>>, std::less<>>
      kinds;  // key prefix → group, resource

  recorded_world() {
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = recorder,
                                                      .rules = rules,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .ranges = ranges,
                                                      .virtuals = virtuals(),
                                                      .server_address = "10.0.0.1:6443",
                                                      .custom = &tables});
    tables.follow();
    define("wells", "Well", "Namespaced");
    define("moons", "Moon", "Cluster");
    define("namespaces", "Space", "Cluster");
    tables.refresh();
    served_here = tables.current();
    for (auto s : resources()) {
      kinds[s->key_prefix].emplace(s->group, s->resource);
      if (s->is_virtual || s->resource == "componentstatuses") continue;
      for (auto ns : {"mine", "other"})
        for (auto word : {"a", "b"})
          keep(*s, s->namespaced() ? ns : "", s->resource == "namespaces" && s->group.empty() ? ns : word);
    }
  }
  std::vector<const served*> resources() const { return served_here->all(); }

  static virtual_resource virtuals() {
    virtual_resource out;
    out.handles = [](std::string_view, std::string_view, std::string_view) { return true; };
    out.create = [](const authorized&, const json::value& body, const store::snapshot&,
                    std::vector<std::string>&) -> task<api_result<json::value>> { co_return body; };
    // Tells what it was led to.
    out.connect = [](net::http::exchange& e, const authorized& to, std::string) -> task<void> {
      net::http::response head;
      head.status = 200;
      (void)co_await e.respond(head, fmt::format("\"uid\":\"{}\"", to.key()));
    };
    return out;
  }

  void define(std::string_view plural, std::string_view kind, std::string_view scope) {
    auto text = fmt::format(
        R"({{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{{"name":"{0}.ex.io","uid":"crd-{0}"}},
      "spec":{{"group":"ex.io","scope":"{2}","names":{{"plural":"{0}","kind":"{1}","listKind":"{1}List","singular":"{0}"}},"versions":[{{"name":"v1","served":true,"storage":true,
      "subresources":{{"status":{{}}}},"schema":{{"openAPIV3Schema":{{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}}]}},
      "status":{{"acceptedNames":{{"plural":"{0}","kind":"{1}","listKind":"{1}List","singular":"{0}"}},"conditions":[{{"type":"Established","status":"True"}}]}}}})",
        plural, kind, scope);
    write(fmt::format("/registry/apiextensions.k8s.io/customresourcedefinitions/{}.ex.io", plural),
          json::write(*json::parse(text)));
  }
  void keep(const served& s, std::string_view ns, std::string_view word) {
    if (&s != s.stored) return;  // once, in the version that is stored
    auto o = sample(s, ns, word);
    auto key = s.key(ns, name_in(o));
    o.member("metadata").set("uid", key);
    o.member("metadata").set("creationTimestamp", "2026-01-01T00:00:00Z");
    apply_defaults(s, o);
    write(key, stored_text(s, o));
  }
  void write(const std::string& key, const std::string& text) {
    put_back(key, text);
    stored[key] = text;
  }
  void put_back(const std::string& key, const std::string& text) {
    auto there = objects->current().find(key);
    store::mutation m{there ? store::write_kind::update : store::write_kind::create, key, text,
                      there ? there->mod() : 0, 0};
    auto done = loop.run_until(objects->write(std::move(m)));
    REQUIRE_MESSAGE(done.has_value(), key << ": " << (done ? std::string() : done.error().message));
  }

  // The keys that differ from what shall be there, and puts all back as it was. What is new is in `created`, too.
  std::set<std::string> changed_since(store::revision before, std::set<std::string>& created) {
    std::set<std::string> out;
    if (objects->current().at() == before) return out;
    std::set<std::string> there;
    std::vector<std::string> foreign;
    objects->current().scan("/registry/", {}, [&](const store::object_ref& o) {
      auto key = std::string(o->key());
      if (key == "/registry/health") return true;  // the store's own
      there.insert(key);
      if (o->mod() > before) out.insert(key);
      if (!stored.contains(key)) foreign.push_back(key);
      return true;
    });
    for (auto& [key, text] : stored)
      if (!there.contains(key)) out.insert(key);
    for (auto& key : foreign) {
      out.insert(key);
      created.insert(key);
      REQUIRE(loop.run_until(objects->write({store::write_kind::remove, key, {}, 0, 0})).has_value());
    }
    for (auto& key : out)
      if (auto it = stored.find(key); it != stored.end()) put_back(key, it->second);
    return out;
  }

  // Whether something that was allowed covers this key.
  bool covered(std::string_view key, std::string_view verb = {}) const {
    for (auto& [prefix, names] : kinds) {
      if (!key.starts_with(prefix)) continue;
      for (auto& a : recorder.asked) {
        auto s = served_here->find(a.api_group, a.api_version, a.resource);
        // Who may create bindings in a namespace may bind its pods.
        const bool binds = a.resource == "bindings" && a.api_group.empty() && names.contains({"", "pods"});
        if (!names.contains({a.api_group, a.resource}) && !binds) continue;
        auto rest = key.substr(prefix.size());
        std::string_view ns, name = rest;
        if (!s || s->namespaced()) {
          auto slash = rest.find('/');
          ns = rest.substr(0, slash);
          name = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
          if (!a.ns.empty() && a.ns != ns) continue;
        } else if (!a.ns.empty() && a.ns != name) {
          continue;  // a Namespace in itself
        }
        if ((a.name.empty() || a.name == name) && (verb.empty() || verb == a.verb)) return true;
      }
    }
    return false;
  }

  struct outcome {
    int code;
    std::set<std::string> shown, changed, created;
  };
  outcome play(std::string_view method, const std::string& target, std::string_view body, const header_list& headers) {
    recorder.asked.clear();
    const auto before = objects->current().at();
    memory_exchange e;
    fill(e, method, target, body, headers);
    {
      reactor::scope work;
      work.spawn(handler->serve(e));
      // A watch goes on; its first events are there when nothing more comes.
      for (std::size_t last = 1, quiet = 0; !e.finished && !e.aborted && quiet < 3; last = e.answer.size()) {
        loop.turn(monotonic_clock::now());
        quiet = e.started() && e.answer.size() == last ? quiet + 1 : 0;
      }
    }
    REQUIRE(e.started());
    outcome out{e.head.status, {}, {}, {}};
    out.changed = changed_since(before, out.created);
    constexpr std::string_view mark = "\"uid\":\"/registry/";
    for (auto at = e.answer.find(mark); at != std::string::npos; at = e.answer.find(mark, at + 1)) {
      auto begin = at + mark.size() - std::string_view("/registry/").size();
      out.shown.insert(e.answer.substr(begin, e.answer.find('"', begin) - begin));
    }
    return out;
  }
};

// Every way to spell a path to `s` that could be taken for another: the routes there are, and those that there aren't.
std::vector<std::string> paths_to(const served& s) {
  const auto root = s.group.empty() ? "/api/" + s.version : "/apis/" + s.group + "/" + s.version;
  const auto r = std::string(s.resource), a = sample_name(s, "a"), b = sample_name(s, "b");
  std::vector<std::string> out;
  for (auto& watch : {root, root + "/watch", root + "/proxy"})
    for (auto& home : {watch, watch + "/namespaces/mine", watch + "/namespaces/mine/namespaces/other",
                       watch + "/namespaces/mine/" + r + "/" + a, watch + "/namespaces/",
                       watch + "/namespaces/mine%2Fnamespaces%2Fother"}) {
      out.push_back(home + "/" + r);
      out.push_back(home + "/" + r + "/");
      out.push_back(home + "/" + r + "/" + a);
      out.push_back(home + "/" + r + "/" + a + "%2F");
      out.push_back(home + "/" + r + "//" + a);
      out.push_back(home + "/" + r + "/" + a + "/" + r + "/" + b);
      out.push_back(home + "/" + r + "/..%2F" + b);
      for (auto& sub : s.subresources) {
        out.push_back(home + "/" + r + "/" + a + "/" + std::string(sub.name));
        out.push_back(home + "/" + r + "/" + a + "/" + std::string(sub.name) + "/" + b);
      }
      out.push_back(home + "/" + r + "/" + a + "/nothing");
    }
  for (auto ns : {"mine", "other"})
    for (auto tail :
         {"", "/status", "/finalize", "/status/x", "/namespaces", "/namespaces/other", "/namespaces/other/finalize"})
      out.push_back(root + "/namespaces/" + ns + tail);
  return out;
}

}  // namespace

TEST_CASE("nothing is touched but what was authorized: every path × method × resource × selector") {
  recorded_world w;
  std::map<std::string, std::size_t> read, written;
  std::size_t requests = 0;
  for (auto s : w.resources()) {
    const auto b = sample_name(*s, "b");
    const std::string queries[] = {"",
                                   "?watch=1",
                                   "?fieldSelector=metadata.name%3D" + b,
                                   "?watch=1&fieldSelector=metadata.name%3D" + b,
                                   "?fieldSelector=metadata.name!%3Dx%5C,metadata.name%3D" + sample_name(*s, "a"),
                                   "?fieldSelector=metadata.namespace%3Dother",
                                   "?labelSelector=a%3Db"};
    auto body_of = [&](std::string_view ns, std::string_view word) { return json::write(sample(*s, ns, word)); };
    auto named = sample(*s, s->namespaced() ? "mine" : "", "b");
    named.member("metadata").set("labels", json::object{{"touched", "yes"}});
    auto generated = sample(*s, "", "");
    generated.member("metadata").set("generateName", "gen-");
    struct ask {
      std::string_view method;
      std::string body;
      std::string_view type;
      bool with_queries;
    };
    const ask asks[] = {
        {"GET", "", "", true},
        {"HEAD", "", "", false},
        {"POST", body_of("", "new"), "application/json", false},
        {"POST", body_of("other", "new"), "application/json", false},
        {"PUT", json::write(named), "application/json", true},
        {"PUT", body_of("", "a"), "application/json", true},
        {"PUT", body_of("", "new"), "application/json", false},
        {"PUT", json::write(generated), "application/json", false},
        {"PATCH", R"({"metadata":{"labels":{"touched":"yes"}}})", "application/merge-patch+json", true},
        {"PATCH", R"({"metadata":{"name":")" + b + R"(","namespace":"other"}})", "application/merge-patch+json", false},
        {"PATCH", body_of("", "b"), "application/apply-patch+yaml", false},
        {"DELETE", "", "", true},
        {"OPTIONS", "", "", false},
        {"BREW", "", "", false}};
    for (auto& path : paths_to(*s))
      for (auto& a : asks)
        for (auto& query : queries) {
          if (!a.with_queries && !query.empty()) continue;
          auto target = path + (a.type == "application/apply-patch+yaml" ? "?fieldManager=m" : query);
          auto got = w.play(a.method, target, a.body,
                            a.type.empty() ? header_list{} : header_list{{"Content-Type", std::string(a.type)}});
          ++requests;
          for (auto& keys : {got.shown, got.changed})
            for (auto& key : keys)
              if (!w.covered(key, got.created.contains(key) ? "create" : "")) {
                std::string asked;
                for (auto& x : w.recorder.asked)
                  asked += fmt::format("{} {}/{} {} ns={} name={}; ", x.verb, x.resource, x.subresource, x.path, x.ns,
                                       x.name);
                FAIL_CHECK(
                    fmt::format("{} {} {} → {}: touched {}, asked {}", a.method, target, a.body, got.code, key, asked));
              }
          if (!got.shown.empty()) ++read[s->resource];
          if (!got.changed.empty()) ++written[s->resource];
        }
  }
  // The walk has touched what there is, or it has shown nothing.
  for (auto s : w.resources()) {
    if (s->is_virtual || s->resource == "componentstatuses") continue;
    CAPTURE(s->resource);
    CHECK(read[s->resource] > 10);
    CHECK(written[s->resource] > 5);
  }
  MESSAGE(requests << " requests");
}

}  // namespace kedge::api
