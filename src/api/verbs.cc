// verbs.cc: requests on resources, by verb.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include <algorithm>
#include <iterator>
#include "api/audit/started_exchange.h"
#include "api/custom/conversion.h"

#include "api/custom/tables.h"
#include "api/handler.h"
#include "api/read/list_answer.h"
#include "api/request_trace.h"
#include "api/write/apart.h"
#include "api/write/applying.h"
#include "api/write/body.h"
#include "api/write/subresources.h"
#include "base/strings.h"
#include "json/parse.h"
#include "meta/names.h"
#include "reactor/sync.h"
#include "schema/decode.h"

namespace kedge::api {
namespace {

// `work` within the request's time: 504 after it.
task<api_result<written>> within(task<api_result<written>> work, time_point deadline) {
  auto out = co_await reactor::with_deadline(
      [](task<api_result<written>> w) -> task<result<api_result<written>>> {
        co_return result<api_result<written>>(co_await w);
      }(std::move(work)),
      deadline);
  if (!out) co_return fail(timeout("request did not complete within the allotted timeout"));
  co_return *std::move(out);
}

status patch_type_not_served() {
  return unsupported_media_type(
      "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
      "application/merge-patch+json, application/apply-patch+yaml");
}

std::string_view deprecation(const served& s) {
  if (s.custom) return s.custom->warning;
  if (s.group.empty() && s.resource == "endpoints")
    return "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
  if (s.group.empty() && s.resource == "componentstatuses") return "v1 ComponentStatus is deprecated in v1.19+";
  return {};
}

std::string_view options_kind(std::string_view verb) {
  return verb == "create"   ? "CreateOptions"
         : verb == "update" ? "UpdateOptions"
         : verb == "patch"  ? "PatchOptions"
                            : "DeleteOptions";
}

// An apply's text is YAML. What can't be read is refused by whoever applies it.
task<void> tell_applied(request_witness& told, std::string& text) {
  auto read = [](std::string& from) { return json::parse_yaml(from); };
  if (auto patch = co_await done_by_size(text.size(), read, text)) told.asked_to_patch(*patch);
}

// As kube-apiserver tells of them, whichever version they came in.
void tell_options(request_witness& told, const json::value& given) {
  json::value out = json::object{{"kind", "DeleteOptions"}, {"apiVersion", "meta.k8s.io/__internal"}};
  if (auto members = given.object())
    for (auto& [name, value] : *members)
      if (name != "kind" && name != "apiVersion") out.set(name, value);
  told.asked(out);
}

// Of what is served, so there is an end of them.
void count_deprecated(metrics& all, const request_labels& l) {
  all.gauge(
         "apiserver_requested_deprecated_apis",
         "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, "
         "and removed_release.",
         fmt::format("group=\"{}\",removed_release=\"\",resource=\"{}\",subresource=\"{}\",version=\"{}\"", l.group,
                     l.resource, l.subresource, l.version))
      .set(1);
}

// As kube-apiserver names the part of a request that is a write.
std::string_view work_name(std::string_view verb) {
  return verb == "create" ? "Create" : verb == "update" ? "Update" : verb == "patch" ? "Patch" : "Delete";
}

void trace_within(const api_request& r, call& c) {
  c.span = &r.work;
  c.audit_id = r.answer.audit_id;
}

bool leads_to_a_node(std::string_view sub) {
  return sub == "log" || sub == "exec" || sub == "attach" || sub == "portforward" || sub == "proxy";
}

api_result<json::value> delete_options_in(std::string_view body, wire format) {
  expected_body expected{"v1", "DeleteOptions", schema::find_kind("v1", "DeleteOptions")};
  json::duplicate_list ignored;
  json::parse_options how;
  how.duplicates = &ignored;
  auto parsed = format == wire::json ? json::parse(body, how) : result<json::value>();
  if (!parsed) return fail(bad_request("couldn't get version/kind; json parse error: " + parsed.error().message));
  KEDGE_TRY(auto v, parse_body(body, format, expected, &ignored));
  if (auto fits = schema::decode(*expected.type, v, nullptr); !fits) return fail(bad_request(fits.error().message));
  auto kind = v["kind"].as_string();
  if (!kind.empty() && kind != "DeleteOptions")
    return fail(bad_request(fmt::format("converting (v1.{}) to (v1.DeleteOptions): unknown conversion", kind)));
  return v;
}

// Of the body and query: the body wins.
api_result<delete_options> merged_options(const query_values& q, const json::value& v, call& c) {
  delete_options o;
  KEDGE_TRY(auto grace, q.integer("gracePeriodSeconds"));
  if (grace) o.grace_seconds = *grace < 0 ? 1 : *grace;
  if (v["gracePeriodSeconds"].is_integer())
    o.grace_seconds = v["gracePeriodSeconds"].as_integer() < 0 ? 1 : v["gracePeriodSeconds"].as_integer();
  o.propagation_policy = v["propagationPolicy"].as_string(q.get("propagationPolicy"));
  auto orphan = v["orphanDependents"].is_bool() ? std::optional<bool>(v["orphanDependents"].as_bool())
                                                : q.optional_flag("orphanDependents");
  causes found;
  check_propagation(found, o.propagation_policy, orphan.has_value());
  if (orphan && o.propagation_policy.empty()) o.propagation_policy = *orphan ? "Orphan" : "Background";
  o.uid = v["preconditions"]["uid"].as_string();
  o.resource_version = v["preconditions"]["resourceVersion"].as_string();
  for (std::size_t i = 0; i < v["dryRun"].size(); ++i) {
    if (v["dryRun"][i].as_string() != "All") found.push_back(not_supported("dryRun", v["dryRun"], {"All"}));
    c.options.dry_run = true;
  }
  if (!found.empty()) return fail(invalid("meta.k8s.io", "DeleteOptions", "", std::move(found)));
  return o;
}

task<api_result<delete_options>> read_delete_options(const api_request& r, std::string body, call& c) {
  json::value v;
  if (!body.empty()) {
    KEDGE_CO_TRY(auto format, body_format(r.http.request().headers.get("Content-Type"), true));
    auto read = [format](std::string& from) { return delete_options_in(from, format); };
    KEDGE_CO_TRY(v, co_await done_by_size(body.size(), read, body));
    if (c.told) tell_options(*c.told, v);
  }
  co_return merged_options(r.query, v, c);
}

}  // namespace

// The resource that the URL names, in the tables that the request keeps. What is not known yet may have come since.
task<const served*> api_handler::find_served(api_request& r) {
  auto& i = r.info;
  auto s = r.tables->find(i.api_group, i.api_version, i.resource);
  if (s || !parts_.custom || i.api_group.find('.') == std::string::npos) co_return s;
  if (!co_await parts_.objects.latest()) co_return nullptr;
  parts_.custom->refresh();
  r.tables = parts_.custom->current();
  co_return r.tables->find(i.api_group, i.api_version, i.resource);
}

// Kept out of line, and so in frames of their own: the compiler would put all of them into the frame of their caller,
// and a GET would carry the room for a deletion of collections, 30 KB.
#define KEDGE_OWN_FRAME [[gnu::noinline]]

task<void> api_handler::serve_resource(api_request& r, permission may, std::unique_ptr<prepared_watch>& watch) {
  auto& i = r.info;
  if (i.malformed || i.deeper) {
    co_await send_plain(r, 404, "404 page not found\n");
    co_return;
  }
  auto s = co_await find_served(r);
  if (!s) {
    co_await refuse(r, no_such_resource());
    co_return;
  }
  auto target = std::move(may).on(*s, i);
  if (!target) {
    co_await refuse(r, target.error());
    co_return;
  }
  auto& to = *target;
  if (!to.subresource().empty() && !s->subresource(to.subresource())) {
    co_await refuse(r, no_such_resource());
    co_return;
  }
  if (i.bad_method) {
    co_await refuse(r, method_not_allowed());
    co_return;
  }
  // Nothing can have such a name, whatever its kind's own rule is; it isn't looked for.
  if (auto wrong = i.names_one ? check_path_segment(to.name()) : problems(); !wrong.empty()) {
    co_await refuse(r, bad_request(fmt::format("Name parameter invalid: {}: {}", quote(to.name()), join(wrong, ";"))));
    co_return;
  }
  if (auto text = deprecation(*s); !text.empty()) {
    r.answer.warnings.emplace_back(text);
    // Endpoints still have no release that they go with.
    if (s->resource != "endpoints") count_deprecated(parts_.measures, labels_for(r));
  }
  const bool stream = to.verb() == "watch";
  if (!leads_to_a_node(to.subresource())) {
    auto m = negotiate(r.http.request().headers.get("Accept"),
                       {.protobuf = !s->custom && !s->is_measured, .shapes = !s->is_virtual, .stream = stream});
    if (!m) {
      co_await refuse(r, m.error());
      co_return;
    }
    m->pretty = r.answer.as.as.pretty && !stream;
    r.answer.as.as = *m;
    if (m->as == shape::table) {
      auto include = parse_include_object(r.query.get("includeObject"));
      if (!include) {
        co_await refuse(r, include.error());
        co_return;
      }
      r.answer.as.include = *include;
    }
  }
  if (!to.subresource().empty()) {
    co_await serve_subresource(r, std::move(to));
    co_return;
  }
  const bool ends = s->custom && s->custom->owner->terminating();
  if (ends && to.verb() == "create") {
    co_await refuse(r, forbidden(s->group, s->resource, to.name(),
                                 "create not allowed while custom resource definition is terminating"));
    co_return;
  }
  // Discovery no longer tells of them, but finalizers must be taken off.
  if (!s->has_verb(to.verb()) && !(ends && (to.verb() == "update" || to.verb() == "patch"))) {
    co_await refuse(r, method_not_allowed());
    co_return;
  }
  if (s->is_virtual) co_return co_await serve_virtual(r, std::move(to));
  if (s->is_measured) co_return co_await serve_usage(r, to);
  if (to.verb() == "get") co_return co_await serve_get(r, to);
  if (to.verb() == "list") co_return co_await serve_list(r, to);
  if (to.verb() == "deletecollection") co_return co_await serve_delete_collection(r, to);
  if (stream) {
    auto ok = co_await start_watch(r, to, watch);
    if (!ok) co_await refuse(r, ok.error());
    co_return;
  }
  co_await serve_write(r, std::move(to));
}

KEDGE_OWN_FRAME task<void> api_handler::serve_get(api_request& r, const authorized& to) {
  auto& s = to.what();
  r.work = begin_work(r, "Get");
  r.work.happened("About to Get from storage");
  auto reading = begin_reading(r, s, "cacher.Get");
  auto cluster = co_await snapshot_for(parts_.objects, s, std::string(r.query.get("resourceVersion")), {}, false);
  reading.end();
  if (!cluster) {
    co_await refuse(r, cluster.error());
    co_return;
  }
  auto found = cluster->find(to.key());
  if (!found) {
    co_await refuse(r, not_found(s.group, s.resource, to.name()));
    co_return;
  }
  auto shown = co_await custom::show(storage_.versions(), s, std::move(found), &r.work);
  if (!shown) co_return co_await refuse(r, shown.error());
  r.work.happened("About to write a response");
  auto answering = begin_answer(r);
  co_await send_object(r.http, r.answer, s, 200, *std::move(shown));
  answering.end();
  r.work.happened("Writing http response done");
}

KEDGE_OWN_FRAME task<void> api_handler::serve_list(api_request& r, const authorized& to) {
  auto options = parse_list_options(r.query, false);
  if (!options) co_return co_await refuse(r, options.error());
  auto which = make_selection(to, options->label_selector, options->field_selector);
  if (!which) co_return co_await refuse(r, which.error());
  r.work = begin_work(r, "List");
  auto reading = begin_reading(r, to.what(), "cacher.GetList");
  auto p =
      co_await read_page(parts_.objects, to, *std::move(options), *std::move(which), storage_.versions(), &reading);
  if (!p) co_return co_await refuse(r, p.error());
  if (reading.told()) reading.happened("Filtered items", {{"count", static_cast<std::int64_t>(p->objects.size())}});
  reading.end();
  auto answering = begin_answer(r);
  co_await send_page(r.http, r.answer, to.what(), *std::move(p));
}

task<api_result<void>> api_handler::start_watch(api_request& r, const authorized& to,
                                                std::unique_ptr<prepared_watch>& watch) {
  KEDGE_CO_TRY(auto options, parse_list_options(r.query, true));
  KEDGE_CO_TRY(auto which, make_selection(to, options.label_selector, options.field_selector));
  if (options.send_initial_events.value_or(false) && options.allow_bookmarks) r.work = begin_work(r, "WatchList");
  auto reading = begin_reading(r, to.what(), "cacher.Watch");
  KEDGE_CO_TRY(auto start, co_await open_watch(parts_.objects, to, std::move(options), std::move(which), r.answer.as,
                                               parts_.custom));
  watch = std::make_unique<prepared_watch>();
  watch->head = head_of(r.answer, 200, r.answer.as.as.content_type());
  watch->start = std::move(start);
  co_return api_result<void>();
}

void api_handler::take_findings(api_request& r, call& c) {
  std::ranges::move(c.warnings, std::back_inserter(r.answer.warnings));
  if (r.trail)
    for (auto& [key, text] : c.annotations) r.trail->annotate(std::move(key), std::move(text));
  c.warnings.clear();
  c.annotations.clear();
}

KEDGE_OWN_FRAME task<void> api_handler::serve_write(api_request& r, authorized to) {
  auto& s = to.what();
  auto options = parse_write_options(r.query, options_kind(to.verb()));
  if (!options) co_return co_await refuse(r, options.error());
  call c{.to = std::move(to), .options = *std::move(options)};
  c.told = r.answer.witness;
  r.work = begin_work(r, work_name(c.to.verb()));
  trace_within(r, c);
  c.manager = manager_of(c.options, r.http.request().headers.get("User-Agent"));
  // The call lives in this frame, which awaits all that is asked of it.
  c.may_create = [this, &c] { return authorization_.also(c.to, "create"); };
  auto done = co_await write(r, c);
  c.turn.reset();  // the answer may take as long as its reader likes
  take_findings(r, c);
  if (!done) co_return co_await refuse(r, done.error());
  r.work.happened("About to write a response");
  auto answering = begin_answer(r);
  if (done->object)
    co_await send_object(r.http, r.answer, s, done->code, std::move(done->object));
  else if (done->is_status)
    co_await send_value(r.http, r.answer, done->code, done->value);
  else
    co_await send_stored_form(r.http, r.answer, s, done->code, std::move(done->value));
  answering.end();
  r.work.happened("Writing http response done");
}

task<api_result<written>> api_handler::write(api_request& r, call& c) {
  auto& verb = c.to.verb();
  if (verb == "create") return create(r, c);
  if (verb == "update") return update(r, c);
  if (verb == "patch") return patch(r, c);
  return remove(r, c);
}

task<api_result<std::string>> api_handler::read_body(api_request& r, call& c) {
  KEDGE_CO_TRY(auto text, std::move(r.body));
  if (r.work.told()) r.work.happened("limitedReadBody succeeded", {{"len", static_cast<std::int64_t>(text.size())}});
  if (auto turn = co_await reactor::with_deadline(storage_.take_turn(c, text.size()), r.deadline); !turn)
    co_return fail(timeout("request did not complete within the allotted timeout"));
  co_return std::move(text);
}

// The text is gone when it is read: what comes next waits for the disk.
task<api_result<json::value>> api_handler::read_own_object(api_request& r, call& c) {
  auto& s = c.to.what();
  KEDGE_CO_TRY(auto format, body_format(r.http.request().headers.get("Content-Type"), !s.custom));
  KEDGE_CO_TRY(auto text, co_await read_body(r, c));
  const auto wanted = own_body(s);
  if (goes_apart(c)) {
    auto read = co_await done_apart(
        [format, wanted, of = custom::lasting(s), validation = c.options.validation](
            std::string& from, std::vector<std::string>& warnings) {
          return read_object(from, format, wanted, validation, warnings);
        },
        text, c.warnings);
    if (read && c.told) c.told->asked(*read);
    co_return read;
  }
  json::duplicate_list duplicates;
  KEDGE_CO_TRY(auto raw, parse_body(text, format, wanted,
                                    c.options.validation == field_validation::ignore ? nullptr : &duplicates));
  text = {};
  co_await reactor::maybe_yield();
  KEDGE_CO_TRY(auto object,
               decode_body(std::move(raw), wanted, c.options.validation, std::move(duplicates), c.warnings));
  co_await reactor::maybe_yield();
  apply_defaults(s, object);
  if (c.told) c.told->asked(object);
  co_return std::move(object);
}

task<api_result<written>> api_handler::create(api_request& r, call& c) {
  if (!c.to.name().empty()) co_return fail(method_not_allowed());
  KEDGE_CO_TRY(auto object, co_await read_own_object(r, c));
  co_return co_await within(storage_.create(std::move(object), c), r.deadline);
}

task<api_result<written>> api_handler::update(api_request& r, call& c) {
  if (c.to.name().empty()) co_return fail(method_not_allowed());
  KEDGE_CO_TRY(auto object, co_await read_own_object(r, c));
  KEDGE_CO_CHECK(check_body_name(object, c.to));
  co_return co_await within(
      storage_.update(storage::put_change(std::move(object), goes_apart(c)), part_of(c.to.subresource()), true, c),
      r.deadline);
}

task<api_result<written>> api_handler::patch(api_request& r, call& c) {
  if (c.to.name().empty()) co_return fail(method_not_allowed());
  auto& s = c.to.what();
  auto content_type = std::string(r.http.request().headers.get("Content-Type"));
  const bool applies = is_apply_patch(content_type);
  KEDGE_CO_CHECK(check_patch_options(c.options, applies));
  KEDGE_CO_TRY(auto text, co_await read_body(r, c));
  auto p = part_of(c.to.subresource());
  if (applies && c.told) co_await tell_applied(*c.told, text);
  if (applies) co_return co_await within(serve_apply(storage_, {.changes = p, .body = std::move(text)}, c), r.deadline);
  auto read = [content_type](std::string& from) { return parse_patch(content_type, from); };
  KEDGE_CO_TRY(auto document, c.turn ? co_await done_apart(read, text) : read(text));
  if (c.told) c.told->asked_to_patch(document.patch);
  co_await reactor::maybe_yield();
  if (s.custom && document.kind == patch_kind::strategic) co_return fail(patch_type_not_served());
  auto how = storage::patch_change(s, document.kind, std::move(document.patch), std::move(document.duplicates), p,
                                   c.options.validation, goes_apart(c));
  co_return co_await within(storage_.update(std::move(how), p, false, c), r.deadline);
}

task<api_result<written>> api_handler::remove(api_request& r, call& c) {
  auto& s = c.to.what();
  KEDGE_CO_TRY(auto text, std::move(r.body));
  KEDGE_CO_TRY(auto options, co_await read_delete_options(r, std::move(text), c));
  if (s.group == "batch" && s.resource == "jobs" && options.propagation_policy.empty())
    c.warnings.emplace_back(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
        "set "
        "propagationPolicy=Orphan to suppress this warning");
  co_return co_await within(storage_.remove(std::move(options), c), r.deadline);
}

KEDGE_OWN_FRAME task<void> api_handler::serve_delete_collection(api_request& r, const authorized& to) {
  auto& s = to.what();
  auto write = parse_write_options(r.query, "DeleteOptions");
  if (!write) co_return co_await refuse(r, write.error());
  call c{.to = to, .options = *std::move(write)};
  c.told = r.answer.witness;
  r.work = begin_work(r, "Delete");
  trace_within(r, c);
  auto text = std::move(r.body);
  if (!text) co_return co_await refuse(r, text.error());
  auto options = co_await read_delete_options(r, *std::move(text), c);
  if (!options) co_return co_await refuse(r, options.error());
  auto list = parse_list_options(r.query, false);
  if (!list) co_return co_await refuse(r, list.error());
  auto which = make_selection(to, list->label_selector, list->field_selector);
  if (!which) co_return co_await refuse(r, which.error());
  auto p = co_await read_page(parts_.objects, to, *std::move(list), *std::move(which), storage_.versions());
  if (!p) co_return co_await refuse(r, p.error());
  const auto prefix = to.prefix().size();
  for (auto o : p->objects) {
    c.to = to.narrowed(std::string(o->key().substr(prefix)));
    auto done = co_await within(storage_.remove(*options, c), r.deadline);
    // Gone already is as good.
    take_findings(r, c);
    if (!done && done.error().code != 404) co_return co_await refuse(r, done.error());
  }
  co_await send_page(r.http, r.answer, s, *std::move(p));
}

KEDGE_OWN_FRAME task<void> api_handler::serve_virtual(api_request& r, authorized to) {
  auto& s = to.what();
  auto format = body_format(r.http.request().headers.get("Content-Type"), true);
  if (!format) co_return co_await refuse(r, format.error());
  auto text = std::move(r.body);
  if (!text) co_return co_await refuse(r, text.error());
  auto options = parse_write_options(r.query, "CreateOptions");
  if (!options) co_return co_await refuse(r, options.error());
  call c{.to = std::move(to), .options = *std::move(options)};
  c.told = r.answer.witness;
  r.work = begin_work(r, "Create");
  trace_within(r, c);
  auto read = [as = *format, wanted = own_body(s), validation = c.options.validation](
                  std::string& from, std::vector<std::string>& warnings) {
    return read_object(from, as, wanted, validation, warnings);
  };
  auto body = co_await done_by_size(text->size(), read, *text, c.warnings);
  if (!body) co_return co_await refuse(r, body.error());
  if (c.told) c.told->asked(*body);
  auto judged = co_await storage_.judge(operation::create, *body, s.kind, c);
  take_findings(r, c);
  if (!judged) co_return co_await refuse(r, judged.error());
  if (s.resource == "bindings" && s.group.empty()) {
    // The old way to bind: the pod's name is the Binding's. Who may create bindings in a namespace may bind each of its
    // pods.
    c.to = authorization::own(c.to.asked().user, "create", *builtin_registry().find("", "v1", "pods"), c.to.ns(),
                              std::string(name_in(*body)), "binding");
    c.admitted = true;
    auto done = co_await within(bind_pod(storage_, *std::move(body), c), r.deadline);
    if (!done) co_return co_await refuse(r, done.error());
    co_return co_await send_value(r.http, r.answer, done->code, done->value);
  }
  if (!parts_.virtuals.handles || !parts_.virtuals.handles(s.group, s.resource, ""))
    co_return co_await refuse(r, method_not_allowed());
  auto cluster = co_await parts_.objects.latest();
  if (!cluster) co_return co_await refuse(r, from_error(cluster.error()));
  auto answer = co_await parts_.virtuals.create(c.to, *body, *cluster, r.answer.warnings);
  if (!answer) co_return co_await refuse(r, answer.error());
  co_await send_value(r.http, r.answer, 201, *answer);
}

// To a node, a pod or a service.
KEDGE_OWN_FRAME task<void> api_handler::serve_connect(api_request& r, authorized to, const served_subresource& sub) {
  if (sub.name != "log") {
    // A stream into a container is no reading, though a websocket's is asked for by GET.
    if (sub.name != "proxy" && to.verb() != "create")
      if (auto may = co_await authorization_.also(to, "create"); !may) co_return co_await refuse(r, may.error());
    auto options = connect_options(sub, r.query, r.info.rest);
    call c{.to = to};
    auto judged = co_await storage_.judge(operation::connect, options, sub.kind, c);
    take_findings(r, c);
    if (!judged) co_return co_await refuse(r, judged.error());
  }
  if (!parts_.virtuals.connect) co_return co_await refuse(r, unavailable("no way to the node"));
  if (!r.trail) co_return co_await parts_.virtuals.connect(r.http, to, r.info.rest);
  started_exchange told(r.http, *r.trail, r.answer.code);
  co_await parts_.virtuals.connect(told, to, r.info.rest);
}

KEDGE_OWN_FRAME task<void> api_handler::serve_subresource(api_request& r, authorized to) {
  auto& sub = *to.what().subresource(to.subresource());
  // A proxy takes every method that there is; the API has no verb for OPTIONS.
  if (!sub.has_verb(to.verb()) && sub.name != "proxy") co_return co_await refuse(r, method_not_allowed());
  if (leads_to_a_node(sub.name)) co_return co_await serve_connect(r, std::move(to), sub);
  if (sub.name == "scale" || sub.name == "binding" || sub.name == "eviction" || sub.name == "token") {
    const bool reads = to.verb() == "get";
    auto format =
        body_format(to.verb() == "patch" ? std::string_view() : r.http.request().headers.get("Content-Type"), true);
    if (!format) co_return co_await refuse(r, format.error());
    std::string text;
    if (!reads) {
      auto body = std::move(r.body);
      if (!body) co_return co_await refuse(r, body.error());
      text = *std::move(body);
    }
    auto options = parse_write_options(r.query, options_kind(to.verb()));
    if (!options) co_return co_await refuse(r, options.error());
    call c{.to = std::move(to), .options = *std::move(options)};
    c.told = r.answer.witness;
    r.work = begin_work(r, reads ? "Get" : work_name(c.to.verb()));
    trace_within(r, c);
    c.manager = manager_of(c.options, r.http.request().headers.get("User-Agent"));
    subresource_request q{.store = storage_,
                          .sub = sub,
                          .body = std::move(text),
                          .format = *format,
                          .content_type = r.http.request().headers.get("Content-Type")};
    api_result<written> done = written{};
    if (sub.name == "scale")
      done = co_await within(serve_scale(q, c), r.deadline);
    else if (sub.name == "token")
      done = co_await within(serve_token(q, c, parts_.virtuals.create), r.deadline);
    else
      done = co_await within(serve_pod_action(q, c), r.deadline);
    c.turn.reset();
    take_findings(r, c);
    if (!done) co_return co_await refuse(r, done.error());
    r.answer.as.as.as = shape::whole;
    co_return co_await send_value(r.http, r.answer, done->code, done->value);
  }
  // status, approval, finalize, ephemeralcontainers, resize: a part of the object itself.
  if (to.verb() == "get") co_return co_await serve_get(r, to);
  co_await serve_write(r, std::move(to));
}

}  // namespace kedge::api
