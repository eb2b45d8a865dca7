#include "api/write/subresources.h"

#include <fmt/format.h>

#include "api/custom/codec.h"
#include "api/custom/conversion.h"
#include "api/write/apart.h"
#include "api/write/applying.h"
#include "base/strings.h"
#include "json/patch.h"
#include "meta/names.h"
#include "meta/selector.h"
#include "reactor/loop.h"
#include "schema/decode.h"
#include "schema/defaults.h"

namespace kedge::api {
namespace {

expected_body body_of(const served_subresource& sub, std::string& version) {
  version = sub.group.empty() ? std::string(sub.version) : fmt::format("{}/{}", sub.group, sub.version);
  return {version, sub.kind, schema::find_kind(version, sub.kind)};
}

task<api_result<json::value>> read_body_apart(subresource_request& q, call& c) {
  auto read = [of = custom::lasting(c.to.what()), sub = &q.sub, format = q.format, validation = c.options.validation](
                  std::string& from, std::vector<std::string>& warnings) {
    std::string version;
    return read_object(from, format, body_of(*sub, version), validation, warnings);
  };
  co_return co_await done_by_size(q.body.size(), read, q.body, c.warnings);
}

json::value success_created() {
  return json::object{
      {"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", json::object{}}, {"status", "Success"}, {"code", 201}};
}

// The Scale of a Deployment, ReplicaSet, StatefulSet or ReplicationController, or of a custom resource.
json::value scale_of(const served& s, const json::value& o) {
  if (s.custom) return custom::scale_of(s, o);
  auto& m = o["metadata"];
  json::object meta{{"name", m["name"]},
                    {"namespace", m["namespace"]},
                    {"uid", m["uid"]},
                    {"resourceVersion", m["resourceVersion"]},
                    {"creationTimestamp", m["creationTimestamp"]}};
  json::object spec;
  if (o["spec"]["replicas"].as_integer() != 0) spec.set("replicas", o["spec"]["replicas"]);
  auto& selector = o["spec"]["selector"];
  auto text = o["kind"].as_string() == "ReplicationController" ? label_selector::from_map(selector).text()
                                                               : label_selector::from_object(selector).text();
  json::object status{{"replicas", o["status"]["replicas"].as_integer()}};
  if (!text.empty()) status.set("selector", text);
  return json::object{{"kind", "Scale"},
                      {"apiVersion", "autoscaling/v1"},
                      {"metadata", std::move(meta)},
                      {"spec", std::move(spec)},
                      {"status", std::move(status)}};
}

void set_replicas(const served& s, json::value& object, std::int64_t wanted) {
  if (s.custom)
    custom::set_replicas(s, object, wanted);
  else
    object.member("spec").set("replicas", wanted);
}

api_result<json::value> scaled(const served& s, const json::value& current, const json::value& scale) {
  auto wanted = scale["spec"]["replicas"].as_integer();
  if (wanted < 0)
    return fail(invalid("autoscaling", "Scale", name_in(current),
                        {invalid_value("spec.replicas", wanted, "must be greater than or equal to 0")}));
  auto version = scale["metadata"]["resourceVersion"].as_string();
  if (!version.empty() && version != current["metadata"]["resourceVersion"].as_string())
    return fail(
        conflict(s.group, s.resource, name_in(current),
                 "the object has been modified; please apply your changes to the latest version and try again"));
  auto next = current;
  set_replicas(s, next, wanted);
  return next;
}

// The condition of that type replaced or added.
void set_condition(json::value& status, json::object condition) {
  auto type = std::string(condition.find("type")->as_string());
  auto& list = status.member("conditions").make_array();
  for (auto& c : list)
    if (c["type"].as_string() == type) {
      c = std::move(condition);
      return;
    }
  list.emplace_back(std::move(condition));
}

// `binding` by a dry run names the key without the prefix of the datastore.
api_result<json::value> bound(const json::value& current, const json::value& binding, bool dry_run) {
  auto refuse = [&](std::string why) { return fail(conflict("", "pods/binding", name_in(current), why)); };
  auto name = name_in(current);
  auto node = binding["target"]["name"].as_string();
  if (current["metadata"]["deletionTimestamp"].is_string())
    return refuse(fmt::format("pod {} is being deleted, cannot be assigned to a host", name));
  if (auto at = current["spec"]["nodeName"].as_string(); !at.empty())
    return refuse(fmt::format("pod {} is already assigned to node {}", name, quote(at)));
  if (!current["spec"]["schedulingGates"].empty())
    return refuse(fmt::format("pod {} has non-empty .spec.schedulingGates", name));
  auto uid = binding["metadata"]["uid"].as_string();
  if (!uid.empty() && uid != current["metadata"]["uid"].as_string())
    return fail(conflict(
        "", "pods", name,
        fmt::format(
            "StorageError: invalid object, Code: 4, Key: {}/pods/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: "
            "Precondition failed: "
            "UID in precondition: {}, UID in object meta: {}",
            dry_run ? "" : "/registry", current["metadata"]["namespace"].as_string(), name, uid,
            current["metadata"]["uid"].as_string())));
  auto next = current;
  next.member("spec").set("nodeName", node);
  if (next["status"].is_object()) next.member("status").erase("nominatedNodeName");  // it promised what now is
  if (auto notes = binding["metadata"]["annotations"].object())
    for (auto& a : *notes) next.member("metadata").member("annotations").set(a.name, a.value);
  // kube-apiserver copies what can be no label, too, which nobody could change any more.
  if (auto labels = binding["metadata"]["labels"].object())
    for (auto& l : *labels)
      if (check_qualified_name(l.name).empty() && check_label_value(l.value.as_string()).empty())
        next.member("metadata").member("labels").set(l.name, l.value);
  auto now = format_rfc3339(reactor::loop::current().wall_now());
  set_condition(next.member("status"),
                json::object{{"type", "PodScheduled"}, {"status", "True"}, {"lastTransitionTime", now}});
  return next;
}

// What a disruption budget says to the eviction of a pod: nullopt means that it may go.
struct budget_verdict {
  std::optional<status> refused;
  bool charge = false;
};

bool pod_ready(const json::value& pod) {
  auto list = pod["status"]["conditions"].array();
  for (std::size_t i = 0; list && i < list->size(); ++i)
    if ((*list)[i]["type"].as_string() == "Ready") return (*list)[i]["status"].as_string() == "True";
  return false;
}

budget_verdict ask_budget(const json::value& pdb, const json::value& pod) {
  auto too_busy = [&](std::string message, std::string why, int after) {
    auto s = too_many_requests(std::move(message), after);
    s.causes.push_back({"DisruptionBudget", std::move(why), ""});
    return budget_verdict{std::move(s), false};
  };
  auto name = name_in(pdb);
  auto healthy = pdb["status"]["currentHealthy"].as_integer(), wanted = pdb["status"]["desiredHealthy"].as_integer();
  if (!pod_ready(pod)) {
    if (pdb["spec"]["unhealthyPodEvictionPolicy"].as_string() == "AlwaysAllow") return {};
    if (healthy >= wanted && wanted > 0) return {};
  }
  if (pdb["status"]["observedGeneration"].as_integer() < pdb["metadata"]["generation"].as_integer())
    return too_busy("Cannot evict pod as it would violate the pod's disruption budget.",
                    fmt::format("The disruption budget {} is still being processed by the server.", name), 10);
  auto allowed = pdb["status"]["disruptionsAllowed"].as_integer();
  if (allowed < 0)
    return {forbidden("policy", "poddisruptionbudgets", name, "pdb disruptions allowed is negative"), false};
  if (allowed == 0)
    return too_busy(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        fmt::format("The disruption budget {} needs {} healthy pods and has {} currently", name, wanted, healthy), 0);
  return {std::nullopt, true};
}

task<api_result<void>> charge_budget(storage& store, const json::value& pod, call& c) {
  auto pdbs = builtin_registry().find("policy", "v1", "poddisruptionbudgets");
  auto cluster = co_await store.objects().latest();
  if (!cluster) co_return fail(from_error(cluster.error()));
  std::vector<json::value> matching;
  auto ns = std::string(namespace_in(pod));
  cluster->scan(pdbs->prefix(ns), {}, [&](const store::object_ref& o) {
    auto v = value_of(*o);
    if (v && label_selector::from_object((*v)["spec"]["selector"]).matches(pod["metadata"]["labels"]))
      matching.push_back(*std::move(v));
    return true;
  });
  if (matching.empty()) co_return api_result<void>();
  if (matching.size() > 1)
    co_return fail(internal_error(
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."));
  auto pod_name = std::string(name_in(pod));
  auto how = [&pod, &pod_name](const json::value& current) -> api_result<json::value> {
    auto verdict = ask_budget(current, pod);
    if (verdict.refused) return fail(*std::move(verdict.refused));
    auto next = current;
    if (!verdict.charge) return next;
    auto& status = next.member("status");
    status.set("disruptionsAllowed", current["status"]["disruptionsAllowed"].as_integer() - 1);
    status.member("disruptedPods").set(pod_name, format_rfc3339(reactor::loop::current().wall_now()));
    return next;
  };
  // The budget is the server's to charge, whoever evicts.
  call own{.to = authorization::own(server_itself(), "update", *pdbs, ns, std::string(name_in(matching[0])), "status"),
           .options = c.options};
  auto done = co_await store.update(how, part::own, false, own);
  if (!done) co_return fail(done.error());
  co_return api_result<void>();
}

// deleteOptions of an Eviction; `dry_run`: what the request itself asks for, which they may only repeat.
api_result<void> check_delete_options(const json::value& given, bool dry_run) {
  auto& asked = given["dryRun"];
  if (dry_run && !asked.empty() && !(asked == json::value(json::array{"All"}))) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < asked.size(); ++i) texts.emplace_back(asked[i].as_string());
    status refused;
    refused.message =
        fmt::format("Non-matching dry-run options in request and content: [All] and [{}]", join(texts, " "));
    return fail(std::move(refused));
  }
  causes found;
  check_propagation(found, given["propagationPolicy"].as_string(), given["orphanDependents"].is_bool());
  if (!found.empty()) return fail(invalid("meta.k8s.io", "DeleteOptions", "", std::move(found)));
  return {};
}

// Admission has seen the Eviction.
task<api_result<written>> evict(storage& store, json::value eviction, call& c) {
  auto cluster = co_await store.objects().latest();
  if (!cluster) co_return fail(from_error(cluster.error()));
  auto found = cluster->find(c.to.key());
  if (!found) co_return fail(not_found("", "pods", c.to.name()));
  KEDGE_CO_TRY(auto pod, value_of(*found));
  auto& given = eviction["deleteOptions"];
  delete_options options;
  options.grace_seconds = given["gracePeriodSeconds"].as_integer(-1);
  options.propagation_policy = given["propagationPolicy"].as_string();
  options.uid = given["preconditions"]["uid"].as_string();
  options.resource_version = given["preconditions"]["resourceVersion"].as_string();
  KEDGE_CO_CHECK(check_delete_options(given, c.options.dry_run));
  if (!given["dryRun"].empty()) c.options.dry_run = true;
  auto phase = pod["status"]["phase"].as_string();
  const bool free = phase == "Succeeded" || phase == "Failed" || phase == "Pending" ||
                    pod["metadata"]["deletionTimestamp"].is_string();
  if (!free) KEDGE_CO_CHECK(co_await charge_budget(store, pod, c));
  if (!c.options.dry_run && options.resource_version.empty()) {
    auto how = [](const json::value& current) -> api_result<json::value> {
      auto next = current;
      set_condition(next.member("status"),
                    json::object{{"type", "DisruptionTarget"},
                                 {"status", "True"},
                                 {"lastTransitionTime", format_rfc3339(reactor::loop::current().wall_now())},
                                 {"reason", "EvictionByEvictionAPI"},
                                 {"message", "Eviction API: evicting"}});
      return next;
    };
    KEDGE_CO_TRY(auto marked, co_await store.update(how, part::own, false, c));
    (void)marked;
  }
  KEDGE_CO_TRY(auto gone, co_await store.remove(std::move(options), c));
  (void)gone;
  co_return written{.code = 201, .value = success_created(), .is_status = true};
}

const std::vector<std::string>& replicas_path(const served& s) {
  static const std::vector<std::string> usual{"spec", "replicas"};
  return s.custom ? s.custom->scale->replicas : usual;
}

api_result<written> as_scale(const served& s, written done) {
  if (done.object) {
    KEDGE_TRY(done.value, value_of(*done.object));
    done.object = {};
  }
  done.value = scale_of(s, done.value);
  return done;
}

}  // namespace

part part_of(std::string_view sub) noexcept {
  if (sub == "status") return part::status;
  if (sub == "approval") return part::approval;
  if (sub == "finalize") return part::finalize;
  if (sub == "ephemeralcontainers") return part::ephemeral_containers;
  if (sub == "resize") return part::resize;
  return part::whole;
}

void check_propagation(causes& out, std::string_view policy, bool orphan_said) {
  if (orphan_said && !policy.empty())
    out.push_back(
        invalid_value("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"));
  if (!policy.empty() && policy != "Orphan" && policy != "Background" && policy != "Foreground")
    out.push_back(not_supported("propagationPolicy", policy, {"Foreground", "Background", "Orphan", "nil"}));
}

api_result<patch_document> parse_patch(std::string_view content_type, std::string_view text) {
  auto type = lower(trim(content_type.substr(0, content_type.find(';'))));
  patch_document out;
  if (type == "application/json-patch+json")
    out.kind = patch_kind::json;
  else if (type == "application/merge-patch+json")
    out.kind = patch_kind::merge;
  else if (type == "application/strategic-merge-patch+json")
    out.kind = patch_kind::strategic;
  else
    return fail(unsupported_media_type("415: Unsupported Media Type"));
  json::parse_options options;
  options.duplicates = &out.duplicates;
  auto v = json::parse(text, options);
  if (!v) return fail(bad_request("invalid JSON patch"));
  if (out.kind == patch_kind::merge && v->is_null()) return fail(bad_request("Invalid JSON Patch"));
  if (out.kind == patch_kind::json ? !v->is_array() : !v->is_object())
    return fail(
        bad_request(fmt::format("{}json: cannot unmarshal {} into Go value of type {}",
                                out.kind == patch_kind::strategic ? "" : "error decoding patch: ", json::kind_name(*v),
                                out.kind == patch_kind::json ? "[]handlers.jsonPatchOp" : "map[string]interface {}")));
  out.patch = *std::move(v);
  return out;
}

json::value connect_options(const served_subresource& sub, const query_values& query, std::string_view rest) {
  std::string version;
  auto expected = body_of(sub, version);
  json::value out(json::object{{"kind", sub.kind}, {"apiVersion", version}});
  if (!expected.type) return out;
  for (std::size_t i = 0; i < expected.type->size(); ++i) {
    auto& f = expected.type->field(i);
    if (!query.has(f.name()) || f.name() == "kind" || f.name() == "apiVersion") continue;
    if (f.base() == schema::base_type::boolean) {
      out.set(f.name(), query.flag(f.name()));
    } else if (f.is_array()) {
      json::array all;
      for (auto& text : query.all(f.name())) {
        auto number = f.base() == schema::base_type::string ? std::nullopt : parse_int(text);
        all.push_back(number ? json::value(*number) : json::value(text));
      }
      out.set(f.name(), std::move(all));
    } else {
      out.set(f.name(), query.get(f.name()));
    }
  }
  if (sub.name == "proxy" && !rest.empty()) out.set("path", rest);
  return out;
}

task<api_result<written>> serve_scale(subresource_request q, call& c) {
  auto& s = c.to.what();
  const projection as_scale_object{
      .kind = "Scale",
      .show = [&s](const json::value& o) { return scale_of(s, o); },
      .take = [&s](json::value& o,
                   const json::value& shown) { set_replicas(s, o, shown["spec"]["replicas"].as_integer()); }};
  c.seen_as = &as_scale_object;
  auto cluster = co_await q.store.objects().latest();
  if (!cluster) co_return fail(from_error(cluster.error()));
  auto found = cluster->find(c.to.key());
  if (!found) co_return fail(not_found(s.group, s.resource, c.to.name()));
  if (c.to.verb() == "get") {
    KEDGE_CO_TRY(auto v, value_of(*found));
    if (s.custom) { KEDGE_CO_TRY(v, co_await custom::bring(q.store.versions(), s, std::move(v))); }
    co_return written{.code = 200, .value = scale_of(s, v)};
  }
  if (c.to.verb() == "patch") {
    const bool applies = is_apply_patch(q.content_type);
    KEDGE_CO_CHECK(check_patch_options(c.options, applies));
    if (applies) {
      KEDGE_CO_TRY(auto done, co_await serve_scale_apply(q.store, {.body = std::move(q.body)}, replicas_path(s), c));
      co_return as_scale(s, std::move(done));
    }
  }
  change how;
  if (c.to.verb() == "update") {
    KEDGE_CO_TRY(auto scale, co_await read_body_apart(q, c));
    if (c.told) c.told->asked(scale);
    how = [&s, scale = std::move(scale)](const json::value& current) { return scaled(s, current, scale); };
  } else {
    auto read = [type = std::string(q.content_type)](std::string& from) { return parse_patch(type, from); };
    KEDGE_CO_TRY(auto document, co_await done_by_size(q.body.size(), read, q.body));
    if (c.told) c.told->asked_to_patch(document.patch);
    how = [&s, document = std::move(document)](const json::value& current) -> api_result<json::value> {
      auto before = scale_of(s, current);
      json::value after;
      if (document.kind == patch_kind::json) {
        auto v = json::apply_json_patch(before, document.patch);
        if (!v) return fail(bad_request(v.error().message));
        after = *std::move(v);
      } else {
        after = json::apply_merge_patch(before, document.patch);
      }
      if (after["spec"]["replicas"].is_null()) after.member("spec").set("replicas", 0);
      if (!after["spec"]["replicas"].is_integer())
        return fail(
            bad_request("json: cannot unmarshal value into Go struct field ScaleSpec.spec.replicas of type int32"));
      return scaled(s, current, after);
    };
  }
  KEDGE_CO_TRY(auto done, co_await q.store.update(std::move(how), part::whole, false, c));
  co_return as_scale(s, std::move(done));
}

// The real server gives some findings as they are, which makes them its own failure.
status plain_failure(const causes& found) {
  std::vector<std::string> texts;
  for (auto& one : found) texts.push_back(fmt::format("{}: {}", one.field, one.message));
  status out;
  out.message = texts.size() == 1 ? texts[0] : fmt::format("[{}]", join(texts, ", "));
  return out;
}

task<api_result<written>> bind_pod(storage& s, json::value binding, call& c) {
  auto& target = binding["target"];
  causes found;
  if (auto kind = target["kind"].as_string(); !kind.empty() && kind != "Node")
    found.push_back(not_supported("target.kind", kind, {"Node", "<empty>"}));
  if (target["name"].as_string().empty()) found.push_back(required("target.name"));
  if (!found.empty()) co_return fail(plain_failure(found));
  auto how = [binding = std::move(binding), dry_run = c.options.dry_run](const json::value& current) {
    return bound(current, binding, dry_run);
  };
  KEDGE_CO_TRY(auto done, co_await s.update(std::move(how), part::own, false, c));
  (void)done;
  co_return written{.code = 201, .value = success_created(), .is_status = true};
}

// The body of a POST on a subresource, as admission leaves it.
task<api_result<json::value>> read_admitted(subresource_request q, call& c) {
  KEDGE_CO_TRY(auto body, co_await read_body_apart(q, c));
  if (c.told) c.told->asked(body);
  if (auto ns = namespace_in(body); !ns.empty() && ns != c.to.ns())
    co_return fail(
        bad_request("the namespace of the provided object does not match the namespace sent on the request"));
  body.member("metadata").set("namespace", c.to.ns());
  KEDGE_CO_CHECK(co_await q.store.judge(operation::create, body, q.sub.kind, c));
  co_return body;
}

task<api_result<written>> serve_pod_action(subresource_request q, call& c) {
  KEDGE_CO_TRY(auto body, co_await read_admitted(q, c));
  if (name_in(body) != c.to.name())
    co_return fail(bad_request(fmt::format("name in URL does not match name in {} object", q.sub.kind)));
  c.admitted = true;
  if (q.sub.name == "binding") co_return co_await bind_pod(q.store, std::move(body), c);
  co_return co_await evict(q.store, std::move(body), c);
}

task<api_result<written>> serve_token(subresource_request q, call& c, const virtual_create& create) {
  if (!create) co_return fail(not_found("", "serviceaccounts/token", c.to.name()));
  KEDGE_CO_TRY(auto body, co_await read_admitted(q, c));
  auto cluster = co_await q.store.objects().latest();
  if (!cluster) co_return fail(from_error(cluster.error()));
  KEDGE_CO_TRY(auto answer, co_await create(c.to, body, *cluster, c.warnings));
  co_return written{.code = 201, .value = std::move(answer)};
}

}  // namespace kedge::api
