// Every admission plugin is asked about every operation that it names, on every resource and subresource, in both of
// its halves; and so are webhooks that want all of it.
#include <array>
#include <map>
#include <set>

#include "api/admission/chain.h"
#include "api/admission/webhook/webhooks.h"
#include "api/callout/caller.h"
#include "api/custom/tables.h"
#include "api/write/storage.h"
#include "base/strings.h"
#include "harness.h"
#include "samples.h"

namespace kedge::api {
namespace {

// What the spies saw of one request: "mutate CREATE pods/eviction Eviction object".
std::multiset<std::string> seen;

template <bool Mutating>
api_result<void> spy(admission_request& r, plugin_context&) {
  auto& a = r.who;
  seen.insert(fmt::format("{} {} {}{}{} {}{}{}", Mutating ? "mutate" : "validate", operation_text(r.what), a.resource,
                          a.subresource.empty() ? "" : "/", a.subresource, r.kind, r.object ? " object" : "",
                          r.old ? " old" : ""));
  return {};
}

constexpr plugin spies[] = {
    {.name = "OnCreate", .operations = on_create, .mutate = spy<true>, .validate = spy<false>},
    {.name = "OnUpdate", .operations = on_update, .mutate = spy<true>, .validate = spy<false>},
    {.name = "OnRemove", .operations = on_remove, .mutate = spy<true>, .validate = spy<false>},
    {.name = "OnConnect", .operations = on_connect, .mutate = spy<true>, .validate = spy<false>},
};

// What webhooks were sent: "CREATE pods/eviction Eviction object", once each.
std::multiset<std::string> reviewed;

// Stands for their servers, which admit everything.
struct admitting final : callout::caller {
  task<result<callout::answer>> post(callout::call c) override {
    auto review = json::parse(c.body);
    REQUIRE(review.has_value());
    auto& q = (*review)["request"];
    auto sub = q["subResource"].as_string();
    if (c.on_behalf.starts_with("walk-"))
      reviewed.insert(fmt::format("{} {}{}{} {}{}{}", q["operation"].as_string(), q["resource"]["resource"].as_string(),
                                  sub.empty() ? "" : "/", sub, q["kind"]["kind"].as_string(),
                                  q["object"].is_null() ? "" : " object", q["oldObject"].is_null() ? "" : " old"));
    co_return callout::answer{
        200, "application/json",
        fmt::format(
            R"({{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{}","allowed":true}}}})",
            q["uid"].as_string())};
  }
};

bool asks_no_webhook(std::string_view target) {
  for (auto group :
       {"/apis/admissionregistration.k8s.io/", "/apis/authorization.k8s.io/", "/tokenreviews", "/selfsubjectreviews"})
    if (target.find(group) != target.npos) return true;
  return false;
}

struct spied_world : api_world {
  rule_source* sources = nullptr;
  std::unique_ptr<authorizer> authz = make_authorizer(&sources);
  std::unique_ptr<admission_chain> chain =
      admission_chain::of({&spies[0], &spies[1], &spies[2], &spies[3]}, *authz, *sources);

  admitting calls;
  webhook::webhooks hooks{{.objects = *objects, .calls = calls}};

  spied_world() { serve(); }
  virtual ~spied_world() = default;

  void serve() {
    chain->call_webhooks(hooks);
    hooks.follow();
    virtual_resource virtuals;
    virtuals.handles = [](std::string_view, std::string_view, std::string_view) { return true; };
    virtuals.create = [](const authorized&, const json::value& body, const store::snapshot&,
                         std::vector<std::string>&) -> task<api_result<json::value>> { co_return body; };
    virtuals.connect = [](net::http::exchange& e, const authorized&, std::string) -> task<void> {
      net::http::response head;
      head.status = 200;
      (void)co_await e.respond(head, std::string_view("there"));
    };
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = may,
                                                      .rules = *chain,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .ranges = ranges,
                                                      .virtuals = std::move(virtuals),
                                                      .server_address = "10.0.0.1:6443"});
    place_hooks();
  }
  void take_hooks() {
    for (auto plural : {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"})
      remove(fmt::format("/apis/admissionregistration.k8s.io/v1/{}", plural));
  }
  // One of each kind, for everything.
  void place_hooks() {
    for (auto [kind, plural] : {std::pair("Mutating", "mutatingwebhookconfigurations"),
                                std::pair("Validating", "validatingwebhookconfigurations")})
      post(
          fmt::format("/apis/admissionregistration.k8s.io/v1/{}", plural),
          fmt::format(
              R"({{"apiVersion":"admissionregistration.k8s.io/v1","kind":"{0}WebhookConfiguration","metadata":{{"name":"walk-{1}"}},"webhooks":[{{"name":"h.ex.io","admissionReviewVersions":["v1"],"sideEffects":"None","clientConfig":{{"url":"https://h/"}},"rules":[{{"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*/*"]}}]}}]}})",
              kind, lower(kind)));
    loop.turn(monotonic_clock::now() + std::chrono::milliseconds(1));  // the core hears of them
  }
  // The object as it lies in the store, whatever was there.
  void put_raw(const served& s, json::value o) {
    auto key = s.stored->key(namespace_in(o), name_in(o));
    o.member("metadata").set("uid", "u-" + key);
    o.member("metadata").set("creationTimestamp", "2026-01-01T00:00:00Z");
    if (s.to_stored) s.to_stored(o);
    apply_defaults(*s.stored, o);
    auto there = objects->current().find(key);
    store::mutation m{there ? store::write_kind::update : store::write_kind::create, key, stored_text(*s.stored, o),
                      there ? there->mod() : 0, 0};
    REQUIRE(loop.run_until(objects->write(std::move(m))).has_value());
  }
  void drop(const served& s, std::string_view ns, std::string_view word) {
    (void)loop.run_until(
        objects->write({store::write_kind::remove, s.stored->key(ns, sample_name(s, word)), {}, 0, 0}));
  }
  // Both halves see it once, and nothing else is seen.
  virtual void expect(std::string_view method, const std::string& target, std::string_view body, std::string_view type,
                      std::string_view what) {
    seen.clear();
    reviewed.clear();
    auto a = ask(method, target, body, type.empty() ? header_list{} : header_list{{"Content-Type", std::string(type)}});
    std::multiset<std::string> wanted;
    if (!what.empty()) wanted = {fmt::format("mutate {}", what), fmt::format("validate {}", what)};
    std::string got;
    for (auto& line : seen) got += line + "; ";
    CHECK_MESSAGE(seen == wanted, method << " " << target << " → " << a.code << ": wanted " << what << ", seen " << got
                                         << "\n"
                                         << a.body.substr(0, 400));
    std::multiset<std::string> sent;
    if (!what.empty() && !asks_no_webhook(target)) sent = {std::string(what), std::string(what)};
    got.clear();
    for (auto& line : reviewed) got += line + "; ";
    CHECK_MESSAGE(reviewed == sent, method << " " << target << " → " << a.code << ": webhooks were sent " << got);
  }
};

// The same with policies about everything, which tell what they see: in a warning, and of connections, whose answers
// are another server's, by refusing them.
struct governed_world final : spied_world {
  std::unique_ptr<admission_chain> obeying;

  governed_world() {
    admission_settings alone{.enable = {}, .disable = {"ResourceQuota"}};
    for (auto p : all_plugins())
      if (check_plugin_names({std::string(p->name)})) alone.disable.emplace_back(p->name);
    auto made = admission_chain::create(alone, *authz, *sources, objects.get());
    REQUIRE(made.has_value());
    obeying = *std::move(made);
    obeying->obey_policies([] { return custom::builtin_tables(); });
    std::swap(chain, obeying);
    serve();
  }

  // The walk deletes collections of policies, too.
  void govern() {
    bool fresh = false;
    for (auto [name, operations, action] : {std::array{"sees", R"(["CREATE","UPDATE","DELETE"])", "Warn"},
                                            std::array{"connects", R"(["CONNECT"])", "Deny"}}) {
      const auto policy = fmt::format(
          R"({{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","metadata":{{"name":"{}"}},"spec":{{
            "matchConstraints":{{"resourceRules":[{{"apiGroups":["*"],"apiVersions":["*"],"operations":{},"resources":["*/*"]}}]}},
            "validations":[{{"expression":"false","messageExpression":
              "request.operation + ' ' + request.resource.resource + (has(request.subResource) ? '/' + request.subResource : '') + ' ' + request.kind.kind"}}]}}}})",
          name, operations);
      const auto bound = fmt::format(
          R"({{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicyBinding","metadata":{{"name":"{0}"}},
            "spec":{{"policyName":"{0}","validationActions":["{1}"]}}}})",
          name, action);
      fresh |= post("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", policy).code == 201;
      fresh |= post("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", bound).code == 201;
    }
    for (int i = 0; fresh && i < 20; ++i) loop.turn(loop.now());
  }

  void expect(std::string_view method, const std::string& target, std::string_view body, std::string_view type,
              std::string_view what) override {
    govern();
    auto a = ask(method, target, body, type.empty() ? header_list{} : header_list{{"Content-Type", std::string(type)}});
    // A policy can't be about policies, nor about who may: nobody could mend what it refuses.
    const bool exempt = target.find("admissionpolic") != target.npos || target.find("accessreviews") != target.npos ||
                        target.find("rulesreviews") != target.npos || target.find("subjectreviews") != target.npos ||
                        target.find("tokenreviews") != target.npos;
    auto told = what;
    for (std::string_view end : {" object old", " object", " old"})
      if (what.ends_with(end)) {
        told = what.substr(0, what.size() - end.size());
        break;
      }
    std::vector<std::string> seen_by;
    auto take = [&](std::string_view text, std::string_view before, std::string_view after) {
      if (auto at = text.find(before); at != text.npos)
        seen_by.emplace_back(text.substr(at + before.size(), text.find(after, at) - at - before.size()));
    };
    for (auto& h : a.headers) take(h.second, "with binding 'sees': ", "\"");
    take(a.body.substr(0, a.body.find("\"reason\"")), "with binding 'connects' denied request: ", "\"");
    const auto wanted =
        exempt || what.empty() ? std::vector<std::string>() : std::vector<std::string>{std::string(told)};
    CHECK_MESSAGE(seen_by == wanted, method << " " << target << " → " << a.code << ": wanted " << told << ", seen "
                                            << (seen_by.empty() ? "nothing" : seen_by[0]) << " " << seen_by.size()
                                            << "\n"
                                            << a.body.substr(0, 400));
  }
};

constexpr std::string_view as_json = "application/json", as_merge = "application/merge-patch+json",
                           as_apply = "application/apply-patch+yaml";

std::string body_of_subresource(std::string_view sub) {
  if (sub == "binding")
    return R"({"apiVersion":"v1","kind":"Binding","metadata":{"name":"a"},"target":{"kind":"Node","name":"n1"}})";
  if (sub == "eviction") return R"({"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"a"}})";
  if (sub == "token")
    return R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":["x"]}})";
  if (sub == "scale")
    return R"({"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"a"},"spec":{"replicas":2}})";
  return {};
}

// Every resource, verb and subresource; what admission sees of each. Gives how many requests it should see.
std::size_t walk(spied_world& w) {
  std::size_t asked = 0;
  for (auto s : builtin_registry().all()) {
    if (s->resource == "componentstatuses") continue;
    CAPTURE(s->group);
    const auto ns = s->namespaced() ? std::string("mine") : std::string();
    const auto root = (s->group.empty() ? "/api/" + s->version : "/apis/" + s->group + "/" + s->version) +
                      (ns.empty() ? "/" : "/namespaces/mine/") + std::string(s->resource);
    const auto one = root + "/" + sample_name(*s, "a"), missing = root + "/" + sample_name(*s, "new");
    const auto kind = s->stored->kind;
    if (asks_no_webhook(root))
      w.take_hooks();
    else
      w.place_hooks();
    auto base = [&] {
      auto o = sample(*s, ns, "a");
      if (s->resource == "namespaces") o.member("spec").set("finalizers", json::array{json::value("kubernetes")});
      w.put_raw(*s, std::move(o));
    };
    auto op = [&](std::string_view what, std::string_view with, std::string_view sub = {}, std::string_view of = {}) {
      ++asked;
      return fmt::format("{} {}{}{} {} {}", what, s->resource, sub.empty() ? "" : "/", sub,
                         of.empty() ? std::string_view(kind) : of, with);
    };
    auto fresh = json::write(sample(*s, ns, "new"));
    if (s->is_virtual) {
      w.expect("POST", root, fresh, as_json, op("CREATE", "object"));
      continue;
    }
    if (s->has_verb("create")) {
      w.expect("POST", root, fresh, as_json, op("CREATE", "object"));
      w.drop(*s, ns, "new");
      w.expect("POST", root + "?dryRun=All", fresh, as_json, op("CREATE", "object"));
    }
    if (s->rules->create_by_update) {
      w.expect("PUT", missing, fresh, as_json, op("CREATE", "object"));
      w.drop(*s, ns, "new");
    } else {
      w.expect("PUT", missing, fresh, as_json, "");
    }
    w.expect("PATCH", missing + "?fieldManager=m", fresh, as_apply, op("CREATE", "object"));
    w.drop(*s, ns, "new");
    w.expect("PATCH", missing, "{}", as_merge, "");
    base();
    auto changed = w.must(w.get(one), 200);
    changed.member("metadata").set("labels", json::object{{"x", "y"}});
    w.expect("PUT", one, json::write(changed), as_json, op("UPDATE", "object old"));
    base();
    w.expect("PATCH", one, R"({"metadata":{"labels":{"x":"z"}}})", as_merge, op("UPDATE", "object old"));
    base();
    w.expect("PATCH", one + "?fieldManager=m&force=true", json::write(sample(*s, ns, "a")), as_apply,
             op("UPDATE", "object old"));
    base();
    w.expect("GET", one, "", "", "");
    w.expect("GET", root, "", "", "");
    w.expect("DELETE", one + "?dryRun=All", "", "", op("DELETE", "old"));
    w.expect("DELETE", one, "", "", op("DELETE", "old"));
    w.drop(*s, ns, "a");
    w.expect("DELETE", one, "", "", "");
    if (s->has_verb("deletecollection")) {
      base();
      w.expect("DELETE", root, "", "", op("DELETE", "old"));
    }
    // A DELETE that only marks is a DELETE.
    auto kept = sample(*s, ns, "a");
    kept.member("metadata").set("finalizers", json::array{json::value("example.com/f")});
    w.put_raw(*s, kept);
    w.expect("DELETE", one, "", "", op("DELETE", "old"));
    w.drop(*s, ns, "a");

    for (auto& sub : s->subresources) {
      base();
      const auto path = one + "/" + std::string(sub.name);
      const bool connects =
          sub.name == "exec" || sub.name == "attach" || sub.name == "portforward" || sub.name == "proxy";
      for (auto verb : sub.verbs) {
        base();
        std::string_view method = verb == "get"      ? "GET"
                                  : verb == "update" ? "PUT"
                                  : verb == "patch"  ? "PATCH"
                                  : verb == "delete" ? "DELETE"
                                                     : "POST";
        if (connects) {
          w.expect(method, path, "", "", op("CONNECT", "object", sub.name, sub.kind));
        } else if (verb == "get") {
          w.expect("GET", path, "", "", "");
        } else if (verb == "create") {
          w.expect("POST", path, body_of_subresource(sub.name), as_json, op("CREATE", "object", sub.name, sub.kind));
        } else if (sub.name == "scale") {
          w.expect(method, path, verb == "patch" ? R"({"spec":{"replicas":3}})" : body_of_subresource(sub.name),
                   verb == "patch" ? as_merge : as_json, op("UPDATE", "object old", sub.name, "Scale"));
        } else {
          w.expect(method, path, verb == "patch" ? std::string("{}") : json::write(w.must(w.get(one), 200)),
                   verb == "patch" ? as_merge : as_json, op("UPDATE", "object old", sub.name));
        }
      }
      w.drop(*s, ns, "a");
    }
  }
  return asked;
}

}  // namespace

TEST_CASE("admission sees every write: resource × verb × subresource, in both halves") {
  spied_world w;
  CHECK(walk(w) > 600);
}

TEST_CASE("policies see every write, too, but those of policies and of who may") {
  governed_world w;
  CHECK(walk(w) > 600);
}

TEST_CASE("a pod that is told to end, and one that is evicted, were asked about once") {
  spied_world w;
  auto pods = builtin_registry().find("", "v1", "pods");
  auto pod = sample(*pods, "mine", "a");
  pod.member("spec").set("nodeName", "n1");
  pod.member("status").set("phase", "Running");
  w.put_raw(*pods, pod);
  w.expect("DELETE", "/api/v1/namespaces/mine/pods/a", "", "", "DELETE pods Pod old");  // marked: 30 s are left
  w.expect("DELETE", "/api/v1/namespaces/mine/pods/a?gracePeriodSeconds=0", "", "", "DELETE pods Pod old");
  w.put_raw(*pods, pod);
  w.expect("POST", "/api/v1/namespaces/mine/pods/a/eviction", body_of_subresource("eviction"), as_json,
           "CREATE pods/eviction Eviction object");
}

// The operations that each plugin of kube-apiserver 1.37 handles. Priority's and LimitRanger's Delete does nothing
// there.
TEST_CASE("plugins name the operations that upstream's do") {
  const std::map<std::string_view, operations> wanted = {{"NamespaceLifecycle", on_create | on_update | on_remove},
                                                         {"LimitRanger", on_create | on_update},
                                                         {"ServiceAccount", on_create | on_update},
                                                         {"NodeRestriction", on_create | on_update | on_remove},
                                                         {"TaintNodesByCondition", on_create},
                                                         {"AlwaysPullImages", on_create | on_update},
                                                         {"PodSecurity", on_create | on_update},
                                                         {"Priority", on_create | on_update},
                                                         {"DefaultTolerationSeconds", on_create | on_update},
                                                         {"DefaultStorageClass", on_create},
                                                         {"StorageObjectInUseProtection", on_create},
                                                         {"PersistentVolumeClaimResize", on_update},
                                                         {"RuntimeClass", on_create},
                                                         {"CertificateApproval", on_update},
                                                         {"CertificateSigning", on_update},
                                                         {"CertificateSubjectRestriction", on_create},
                                                         {"DefaultIngressClass", on_create},
                                                         {"PodTopologyLabels", on_create},
                                                         {"NodeDeclaredFeatureValidator", on_create | on_update},
                                                         {"PodResizeValidator", on_update},
                                                         {"DenyServiceExternalIPs", on_create | on_update},
                                                         {"RBACEscalation", on_create | on_update},
                                                         {"DeviceClaimStatus", on_update},
                                                         {"PodCertificateSigning", on_update}};
  for (auto p : all_plugins()) {
    CAPTURE(p->name);
    REQUIRE(wanted.contains(p->name));
    CHECK(p->operations == wanted.at(p->name));
    CHECK((p->mutate || p->validate));
  }
  CHECK(all_plugins().size() == wanted.size());
}

}  // namespace kedge::api
