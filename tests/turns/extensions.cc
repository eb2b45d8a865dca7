#include "extensions.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "json/parse.h"
#include "json/write.h"

namespace kedge::turns {
namespace {

constexpr std::string_view things = "/apis/turn.example/v1/namespaces/mine/things",
                           governed = "/api/v1/namespaces/mine/configmaps",
                           policies = "/apis/admissionregistration.k8s.io/v1/";
// So many compared with as many cost nearly what one expression may (expressions::call_budget).
constexpr std::size_t compared = 300;
// So many such expressions cost nearly what an object's may all together (expressions::object_budget).
constexpr int heavy_expressions = 9;

std::string heavy_rules() {
  std::string out;
  for (int i = 0; i < heavy_expressions; ++i)
    out += fmt::format(R"x({}{{"rule":"self.numbers.all(a, self.numbers.all(b, a + b >= -{}))"}})x", i ? "," : "", i);
  return out;
}

std::string definition() {
  return fmt::format(
      R"({{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"things.turn.example"}},
"spec":{{"group":"turn.example","scope":"Namespaced","names":{{"plural":"things","singular":"thing","kind":"Thing","listKind":"ThingList"}},
"versions":[{{"name":"v1","served":true,"storage":true,"subresources":{{"status":{{}}}},
"additionalPrinterColumns":[{{"name":"First","type":"string","jsonPath":".spec.items[0].name"}}],
"schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"status":{{"type":"object","x-kubernetes-preserve-unknown-fields":true}},
"spec":{{"type":"object","properties":{{
 "numbers":{{"type":"array","maxItems":1000,"items":{{"type":"integer"}}}},
 "items":{{"type":"array","maxItems":100000,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
   "items":{{"type":"object","required":["name"],"x-kubernetes-validations":[{{"rule":"self.size != 7"}}],
     "properties":{{"name":{{"type":"string","pattern":"^[a-z0-9]+$","maxLength":20}},"size":{{"type":"integer","default":1,"minimum":0}},
                    "kind":{{"type":"string","enum":["one","other"],"default":"one"}}}}}}}},
 "notes":{{"type":"object","additionalProperties":{{"type":"string","maxLength":50}}}},
 "set":{{"type":"array","x-kubernetes-list-type":"set","items":{{"type":"string"}}}},
 "free":{{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}},
 "x-kubernetes-validations":[{{"rule":"true"}}]}},
"heavy":{{"type":"object","properties":{{"numbers":{{"type":"array","maxItems":600,"items":{{"type":"integer"}}}}}},
 "x-kubernetes-validations":[{}]}}}}}}}}}}]}}}})",
      heavy_rules());
}

void define(world& w) {
  auto must = [&](const request_shape& q, int code) {
    auto done = w.ask(q);
    REQUIRE_MESSAGE(done.code == code, done.answer.substr(0, 2000));
    return json::parse(done.answer).value_or(json::value());
  };
  constexpr std::string_view path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  auto crd = must({"POST", std::string(path), definition(), "application/json", {}}, 201);
  crd.member("status").set("acceptedNames", crd["spec"]["names"]);
  crd.member("status").set("conditions", json::array{json::object{{"type", "Established"},
                                                                  {"status", "True"},
                                                                  {"reason", "x"},
                                                                  {"message", ""},
                                                                  {"lastTransitionTime", "2026-01-01T00:00:00Z"}}});
  must({"PUT", fmt::format("{}/things.turn.example/status", path), json::write(crd), "application/json", {}}, 200);
  // A body's text, and so `others`, differ from case to case: what is written is never what stands there.
}

enum class content : unsigned char { items, notes, set, free };
constexpr std::pair<content, std::string_view> contents[] = {{content::items, "a map list"},
                                                             {content::notes, "a map"},
                                                             {content::set, "a set"},
                                                             {content::free, "what no schema says"}};

json::value spec_of(content what, std::size_t bytes, bool others) {
  const std::size_t from = others ? 1'000'000 : 0;
  json::object spec;
  if (what == content::items) {
    json::array list;
    for (std::size_t i = 0, n = bytes / 27; i < n; ++i)
      list.push_back(json::object{{"name", fmt::format("n{}", from + i)}, {"size", 3}});
    spec.set("items", std::move(list));
  } else if (what == content::set) {
    json::array list;
    for (std::size_t i = 0, n = bytes / 12; i < n; ++i) list.emplace_back(fmt::format("v{}", from + i));
    spec.set("set", std::move(list));
  } else {
    json::object map;
    for (std::size_t i = 0, n = bytes / 22; i < n; ++i) map.append(fmt::format("k{}", from + i), fmt::format("v{}", i));
    spec.set(what == content::notes ? "notes" : "free", std::move(map));
  }
  return spec;
}

json::value thing(content what, std::size_t bytes, bool others) {
  return json::object{{"apiVersion", "turn.example/v1"},
                      {"kind", "Thing"},
                      {"metadata", json::object{{"name", "big"}, {"namespace", world::ns}}},
                      {"spec", spec_of(what, bytes, others)}};
}

struct custom_way {
  std::string_view name, method, query, content_type, accept;
};
constexpr custom_way custom_ways[] = {
    {"create", "POST", "", "application/json", ""},
    {"create from YAML", "POST", "", "application/yaml", ""},
    {"PUT others", "PUT", "", "application/json", ""},
    {"merge patch", "PATCH", "", "application/merge-patch+json", ""},
    {"apply of others", "PATCH", "?fieldManager=m&force=true", "application/apply-patch+yaml", ""},
    {"GET as Table", "GET", "", "", "application/json;as=Table;v=v1;g=meta.k8s.io"},
    {"GET as YAML", "GET", "", "", "application/yaml"},
};

measured ask_custom(world& w, const custom_way& how, content what, std::size_t bytes) {
  const auto here = fmt::format("{}/big", things);
  (void)w.ask({"DELETE", here, {}, {}, {}});
  std::string version;
  if (how.method != "POST") {
    measured made;
    // With what is noted of its fields an object may be larger than one may be.
    for (;; bytes -= bytes / 4) {
      made = w.ask({"POST", std::string(things), json::write(thing(what, bytes, false)), "application/json", {}});
      if (made.code != 413) break;
    }
    REQUIRE_MESSAGE(made.code == 201, made.answer.substr(0, 1000));
    version = (*json::parse(made.answer))["metadata"]["resourceVersion"].as_string();
  }
  request_shape q{.method = std::string(how.method),
                  .target = how.method == "POST" ? std::string(things) : here + std::string(how.query),
                  .body = {},
                  .content_type = std::string(how.content_type),
                  .accept = std::string(how.accept)};
  if (how.method != "GET") {
    auto body = thing(what, bytes, how.method != "POST");
    if (how.method == "PUT") body.member("metadata").set("resourceVersion", version);
    q.body = json::write(body);
  }
  auto done = w.ask(q);
  // Two halves of a map that is patched together may be too much, or too many.
  REQUIRE_MESSAGE((done.code < 300 || done.code == 413 || done.code == 422), done.answer.substr(0, 1000));
  return done;
}

// Expressions that cost what they may, by what somebody sends.
measured ask_rules(world& w) {
  (void)w.ask({"DELETE", fmt::format("{}/heavy", things), {}, {}, {}});
  json::array numbers;
  for (std::size_t i = 0; i < compared; ++i) numbers.emplace_back(static_cast<std::int64_t>(i));
  auto done = w.ask({"POST",
                     std::string(things),
                     json::write(json::object{{"apiVersion", "turn.example/v1"},
                                              {"kind", "Thing"},
                                              {"metadata", json::object{{"name", "heavy"}}},
                                              {"heavy", json::object{{"numbers", std::move(numbers)}}}}),
                     "application/json",
                     {}});
  REQUIRE_MESSAGE(done.code == 201, done.answer.substr(0, 1000));
  return done;
}

constexpr std::string_view heavy = "object.data.all(a, object.data.all(b, a != b || a == b))";

// `spec` is a policy's, for ConfigMaps whose label says `name`.
void govern(world& w, std::string_view kind, std::string_view name, const std::string& spec) {
  auto lower_kind = kind == "Validating" ? "validating" : "mutating";
  auto put = [&](const std::string& resource, const std::string& body) {
    auto done = w.ask({"POST", std::string(policies) + resource, body, "application/json", {}});
    REQUIRE_MESSAGE(done.code == 201, done.answer.substr(0, 2000));
  };
  put(fmt::format("{}admissionpolicies", lower_kind),
      fmt::format(
          R"({{"apiVersion":"admissionregistration.k8s.io/v1","kind":"{}AdmissionPolicy","metadata":{{"name":"{}"}},"spec":{{{},
"matchConstraints":{{"objectSelector":{{"matchLabels":{{"policy":"{}"}}}},"resourceRules":[{{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["configmaps"]}}]}}}}}})",
          kind, name, spec, name));
  put(fmt::format("{}admissionpolicybindings", lower_kind),
      fmt::format(
          R"({{"apiVersion":"admissionregistration.k8s.io/v1","kind":"{}AdmissionPolicyBinding","metadata":{{"name":"{}"}},"spec":{{"policyName":"{}"{}}}}})",
          kind, name, name, kind == "Validating" ? R"(,"validationActions":["Deny"])" : ""));
}

measured ask_governed(world& w, std::string_view policy) {
  (void)w.ask({"DELETE", fmt::format("{}/heavy", governed), {}, {}, {}});
  json::object data;
  for (std::size_t i = 0; i < compared; ++i) data.append(fmt::format("k{}", i), "v");
  auto done = w.ask({"POST",
                     std::string(governed),
                     json::write(json::object{
                         {"apiVersion", "v1"},
                         {"kind", "ConfigMap"},
                         {"metadata", json::object{{"name", "heavy"}, {"labels", json::object{{"policy", policy}}}}},
                         {"data", std::move(data)}}),
                     "application/json",
                     {}});
  REQUIRE_MESSAGE(done.code == 201, done.answer.substr(0, 1000));
  return done;
}

std::string validations() {
  std::string out;
  for (int i = 0; i < heavy_expressions; ++i) out += fmt::format(R"({}{{"expression":"{}"}})", i ? "," : "", heavy);
  return fmt::format(R"("validations":[{}])", out);
}

std::string variables() {
  std::string out, all;
  for (int i = 0; i < heavy_expressions; ++i) {
    out += fmt::format(R"({}{{"name":"v{}","expression":"{}"}})", i ? "," : "", i, heavy);
    all += fmt::format("{}variables.v{}", i ? " && " : "", i);
  }
  return fmt::format(R"("variables":[{}],"validations":[{{"expression":"{}"}}])", out, all);
}

// By the costs each comparison is one step, however much it looks at.
std::string comparisons() {
  return R"x("validations":[{"expression":"[1,2,3,4,5,6,7,8,9].all(n, object.data.all(a, [object.data] == [object.data]))"}])x";
}

std::string mutations() {
  std::string out;
  for (int i = 0; i < heavy_expressions; ++i)
    out += fmt::format(
        R"({}{{"patchType":"ApplyConfiguration","applyConfiguration":{{"expression":"{} ? Object{{metadata: Object.metadata{{labels: Object.metadata.labels{{more: 'x{}'}}}}}} : Object{{}}"}}}})",
        i ? "," : "", heavy, i);
  return fmt::format(R"("reinvocationPolicy":"Never","mutations":[{}])", out);
}

}  // namespace

std::vector<extension_case> extension_cases(world& w) {
  define(w);
  govern(w, "Validating", "validations", validations());
  govern(w, "Validating", "variables", variables());
  govern(
      w, "Validating", "conditions",
      fmt::format(
          R"("matchConditions":[{{"name":"a","expression":"{0}"}},{{"name":"b","expression":"{0}"}}],"validations":[{{"expression":"true"}}])",
          heavy));
  govern(w, "Validating", "comparisons", comparisons());
  govern(w, "Mutating", "mutations", mutations());
  std::vector<extension_case> out;
  for (auto& [what, name] : contents)
    for (auto& how : custom_ways)
      out.push_back({fmt::format("a custom resource, {}, {}", name, how.name), true,
                     [how, what](world& at, std::size_t bytes) { return ask_custom(at, how, what, bytes); }});
  out.push_back({"a custom resource's rules", false, [](world& at, std::size_t) { return ask_rules(at); }});
  for (std::string_view policy : {"validations", "variables", "conditions", "comparisons", "mutations"})
    out.push_back({fmt::format("a policy's {}", policy), false,
                   [policy](world& at, std::size_t) { return ask_governed(at, policy); }});
  return out;
}

}  // namespace kedge::turns
