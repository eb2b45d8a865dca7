#include "api/write/storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <unordered_set>

#include "api/custom/codec.h"
#include "api/custom/conversion.h"
#include "api/registry/lookup.h"
#include "api/registry/namespace_content.h"
#include "api/write/apart.h"
#include "api/write/applying.h"
#include "api/write/body.h"
#include "api/write/limits.h"
#include "api/write/metadata.h"
#include "api/write/not_yet.h"
#include "api/write/options_object.h"
#include "api/write/pod_size.h"
#include "api/write/traced.h"
#include "base/assert.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/patch.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "schema/apply/managed.h"
#include "schema/decode.h"
#include "schema/defaults.h"
#include "schema/gates.h"
#include "schema/strategic_merge.h"

namespace kedge::api {
namespace {

kind_context context_of(const store::snapshot& cluster, call& c, const service_ranges& services) {
  auto& l = reactor::loop::current();
  return {cluster, c.to.user(), c.to.subresource(), l.wall_now(), l.random(), c.options.dry_run, c.warnings, services};
}

// Kinds of which nothing but themselves and their namespace decides whether one may be created: no class, limit,
// account or address.
bool stands_alone(const served& s) {
  static constexpr std::pair<std::string_view, std::string_view> kinds[] = {{"", "configmaps"},
                                                                            {"", "secrets"},
                                                                            {"", "events"},
                                                                            {"events.k8s.io", "events"},
                                                                            {"coordination.k8s.io", "leases"},
                                                                            {"discovery.k8s.io", "endpointslices"}};
  return std::find(std::begin(kinds), std::end(kinds),
                   std::pair<std::string_view, std::string_view>(s.group, s.resource)) != std::end(kinds);
}

// Whether a new object may be let through by what this server has, without a question to a shared database:
// kube-apiserver's admission looks at its caches, too. What would refuse it (the name taken, the namespace missing or
// ending) may be old news: then the newest decides.
bool may_create_by(const store::snapshot& now, const served& s, const std::string& ns, std::string_view name) {
  if (s.custom || !stands_alone(s)) return false;
  auto home = now.find(object_key("namespaces", {}, ns));
  return home && home->bytes().find("Terminating") == std::string_view::npos &&
         (name.empty() || !now.find(s.key(ns, name)));
}

// The members of `spec` that the rest of the object is: everything but what every object has, and its status.
bool is_system_member(std::string_view name) {
  return name == "kind" || name == "apiVersion" || name == "metadata" || name == "status";
}

// A custom resource without a status of its own counts changes of that too.
bool spec_changed(const served& s, const json::value& now, const json::value& before) {
  auto counts = [&](std::string_view name) {
    return !is_system_member(name) || (name == "status" && s.custom && !s.has_status);
  };
  for (auto& m : *now.object())
    if (counts(m.name) && !(m.value == before[m.name])) return true;
  for (auto& m : *before.object())
    if (counts(m.name) && !now.find(m.name)) return true;
  return false;
}

bool notes_changed(const kind_rules& rules, const json::value& now, const json::value& before) {
  return (rules.annotations_count && !(now["annotations"] == before["annotations"])) ||
         (rules.labels_count && !(now["labels"] == before["labels"]));
}

void keep_member(json::value& now, const json::value& before, std::string_view name) {
  if (auto v = before.find(name))
    now.set(name, *v);
  else
    now.erase(name);
}

void take_labels(json::value& into, const json::value& from) {
  auto& m = into.member("metadata");
  for (auto name : {"labels", "annotations", "finalizers", "ownerReferences"}) keep_member(m, from["metadata"], name);
}

// Of a resize, containers change what they ask for alone. What isn't the same list any more is taken as it is: its
// rules refuse it.
void resize_containers(json::value& pod, const json::value& wanted, std::string_view list) {
  auto& asked = wanted["spec"][list];
  auto into = pod.member("spec").find(list);
  bool same = into && into->size() == asked.size();
  for (std::size_t i = 0; same && i < asked.size(); ++i) same = (*into)[i]["name"] == asked[i]["name"];
  if (!same) return keep_member(pod.member("spec"), wanted["spec"], list);
  if (!into->array()) return;
  for (std::size_t i = 0; i < asked.size(); ++i)
    for (auto member : {"resources", "resizePolicy"}) keep_member((*into->array())[i], asked[i], member);
}

// The object that `next` may make of `old`.
json::value allowed_part(const served& s, json::value next, const json::value& old, part what) {
  if (what == part::own) return next;
  if (what == part::whole) {
    keep_system_metadata(next, old);
    if (s.has_status) keep_member(next, old, "status");
    return next;
  }
  json::value out = old;
  switch (what) {
    case part::status:
      keep_member(out, next, "status");
      if (!s.custom) take_labels(out, next);
      break;
    case part::approval:
      keep_member(out.member("status"), next["status"], "conditions");
      take_labels(out, next);
      break;
    case part::finalize:
      keep_member(out.member("spec"), next["spec"], "finalizers");
      take_labels(out, next);
      break;
    case part::ephemeral_containers: keep_member(out.member("spec"), next["spec"], "ephemeralContainers"); break;
    case part::resize:
      resize_containers(out, next, "containers");
      resize_containers(out, next, "initContainers");
      keep_member(out.member("spec"), next["spec"], "resources");
      break;
    default: break;
  }
  keep_system_metadata(out, old);
  return out;
}

// The version in which an object is judged and changed: a custom resource's is the one that is asked for.
const served& worked_on(const served& s) noexcept { return s.custom ? s : *s.stored; }
bool goes_to_other_version(const served& s) noexcept { return s.custom && !s.native(); }

constexpr std::string_view registry_prefix = "/registry";

}  // namespace

api_result<void> check_body_name(const json::value& body, const authorized& to) {
  auto name = name_in(body);
  if (name.empty())
    return fail(bad_request(
        fmt::format("the name of the object ({} based on URL) was undeterminable: name must be provided", to.name())));
  if (name != to.name())
    return fail(bad_request(
        fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, to.name())));
  return {};
}

namespace {

// A dry run's check names the key without the prefix of the datastore.
api_result<void> check_uid(const served& s, const json::value& next, const store::object& current,
                           const json::value& old, bool dry_run) {
  auto name = name_in(old);
  auto uid = next["metadata"]["uid"].as_string();
  if (!uid.empty() && uid != old["metadata"]["uid"].as_string())
    return fail(
        conflict(s.group, s.resource, name,
                 fmt::format("StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: "
                             "Precondition failed: UID in "
                             "precondition: {}, UID in object meta: {}",
                             current.key().substr(dry_run ? registry_prefix.size() : 0), uid,
                             old["metadata"]["uid"].as_string())));
  return {};
}

api_result<void> check_revision(const served& s, const json::value& next, const store::object& current, part what) {
  auto name = name_in(next);
  auto version = next["metadata"]["resourceVersion"].as_string();
  if (version.empty()) {
    if (s.rules->unconditional_update || what == part::own) return {};
    return fail(invalid(s.group, s.resource, name,
                        {invalid_value("metadata.resourceVersion", 0, "must be specified for an update")}));
  }
  if (!parse_uint(version)) {
    auto refused = internal_error("");
    refused.reason.clear();
    refused.causes.clear();
    refused.message = fmt::format("strconv.ParseUint: parsing {}: invalid syntax", quote(version));
    return fail(std::move(refused));
  }
  if (version != std::to_string(current.mod()))
    return fail(
        conflict(s.group, s.resource, name,
                 "the object has been modified; please apply your changes to the latest version and try again"));
  return {};
}

bool has_finalizers(const json::value& o) { return !o["metadata"]["finalizers"].empty(); }

// A namespace also waits for its spec.finalizers.
bool may_go(const served& s, const json::value& o) {
  if (has_finalizers(o)) return false;
  return !(s.resource == "namespaces" && s.group.empty() && !o["spec"]["finalizers"].empty());
}

status write_failed(const served& s, std::string_view name, const error& e) {
  switch (e.code) {
    case errc::already_exists: return already_exists(s.group, s.resource, name);
    case errc::not_found: return not_found(s.group, s.resource, name);
    case errc::conflict:
      return conflict(s.group, s.resource, name,
                      "the object has been modified; please apply your changes to the latest version and try again");
    default: return from_error(e);
  }
}

constexpr std::size_t metadata_added_max = 6;  // name, namespace, uid, generation, creationTimestamp, managedFields

// What is stored of an object, which goes when it isn't needed any more: to take a large one apart costs time, too.
auto text_writer(const served& s, bool goes) {
  return [of = custom::lasting(s), goes](json::value& o) {
    auto text = stored_text(*of, o);
    if (goes) o = nullptr;
    return text;
  };
}

void set_ownership(json::value& o, json::value list) {
  if (!list.empty()) o.member("metadata").set("managedFields", std::move(list));
}

// kube-apiserver tells its own kinds' causes once each; not those of what its extensions serve.
status refuse(const served& s, std::string_view name, causes found) {
  if (!s.custom && s.group != "apiextensions.k8s.io" && s.group != "apiregistration.k8s.io") {
    std::unordered_set<std::string> told;
    std::erase_if(found,
                  [&](const cause& c) { return !told.insert(fmt::format("{}: {}", c.field, c.message)).second; });
  }
  return invalid(s.stored->group, s.stored->kind, name, std::move(found));
}

void validate_update(causes& out, const kind_rules& rules, const json::value& now, const json::value& before) {
  if (rules.validate_update)
    rules.validate_update(out, now, before);
  else if (rules.validate)
    rules.validate(out, now);
}

metadata_rules rules_for_metadata(const served& s) {
  return {s.namespaced(), s.rules->name, s.rules->name_stands,
          s.custom || s.group == "apiextensions.k8s.io" || s.group == "apiregistration.k8s.io"};
}

}  // namespace

namespace {

void take_findings(admission_request& from, call& to) {
  std::ranges::move(from.warnings, std::back_inserter(to.warnings));
  std::ranges::move(from.annotations, std::back_inserter(to.annotations));
}

}  // namespace

task<void> storage::take_again(call& c, bool had) {
  if (!had || c.turn) co_return;
  co_await large_.acquire();
  c.turn.emplace(large_);
}

task<api_result<json::value>> storage::bring(const served& to, json::value object, call& c) {
  const bool had_turn = c.turn.has_value();
  if (custom::may_need_call(to) && object["apiVersion"].as_string() != to.api_version) {
    c.turn.reset();
  } else if (goes_apart(c)) {
    auto bring_here = [of = custom::lasting(to)](json::value& o) {
      custom::bring_to(*of, o);
      return true;
    };
    co_await done_apart(bring_here, object);
    co_return std::move(object);
  }
  auto out = co_await custom::bring(versions_, to, std::move(object), c.span);
  co_await take_again(c, had_turn);
  co_return out;
}

task<api_result<void>> storage::admit(operation what, json::value* object, const json::value* old, call& c,
                                      const store::snapshot& cluster, bool mutating, const beside& b) {
  if (c.admitted) co_return api_result<void>();
  auto whole = object;
  admission_request r{.what = what, .who = c.to.asked(), .kind = c.to.what().stored->kind, .asked = &c.to.what()};
  r.owned = b.owned;
  r.owned_before = b.owned_before;
  r.revision = b.revision;
  r.revision_before = b.revision_before;
  r.span = c.span;
  r.tell_options = [&c, what] { return options_object(c, what); };
  const bool had_turn = c.turn.has_value();
  r.let_go = [&c] { c.turn.reset(); };
  json::value shown, shown_old;
  if (c.seen_as) {
    r.kind = c.seen_as->kind;
    if (object) object = &(shown = c.seen_as->show(*object));
    if (old) old = &(shown_old = c.seen_as->show(*old));
  }
  r.object = object;
  r.old = old;
  r.dry_run = c.options.dry_run;
  auto answer = mutating ? co_await admission_.mutate(r, cluster) : co_await admission_.validate(r, cluster);
  take_findings(r, c);
  co_await take_again(c, had_turn);
  if (answer && mutating && c.seen_as && whole) c.seen_as->take(*whole, shown);
  co_return answer;
}

task<api_result<void>> storage::judge(operation what, json::value& body, std::string_view kind, call& c) {
  auto cluster = co_await store_.latest();
  if (!cluster) co_return fail(from_error(cluster.error()));
  admission_request r{
      .what = what, .who = c.to.asked(), .kind = std::string(kind), .object = &body, .dry_run = c.options.dry_run};
  r.asked = &c.to.what();
  r.span = c.span;
  if (what != operation::connect) r.tell_options = [&c, what] { return options_object(c, what); };
  auto answer = co_await admission_.mutate(r, *cluster);
  if (answer) answer = co_await admission_.validate(r, *cluster);
  take_findings(r, c);
  co_return answer;
}

namespace {

status wrong_namespace() {
  return bad_request("the namespace of the provided object does not match the namespace sent on the request");
}

// By the definition's schema and its rules: at once where nobody waits for it.
task<void> validate_custom(causes& found, const served& s, json::value& object, json::value* before, call& c) {
  if (!goes_apart(c)) co_return co_await custom::validate(found, c.warnings, s, object, before);
  auto all = [of = custom::lasting(s)](json::value& now, json::value& was, causes& into,
                                       std::vector<std::string>& warnings) {
    custom::validate_at_once(into, warnings, *of, now, was.is_null() ? nullptr : &was);
    return true;
  };
  json::value none;
  co_await done_apart(all, object, before ? *before : none, found, c.warnings);
}

// Into another form: it may be a text in the one that is a list in the other.
task<void> reform(json::value& o, void (*how)(json::value&), call& c) {
  if (!goes_apart(c)) co_return how(o);
  auto work = [how](json::value& v) {
    how(v);
    return true;
  };
  co_await done_apart(work, o);
}

task<void> drop_repeats(json::value& o, bool changed_by_admission, call& c) {
  auto drop = [changed_by_admission](json::value& from, std::vector<std::string>& warnings) {
    drop_repeated_owners(from, warnings, changed_by_admission);
    return true;
  };
  if (goes_apart(c) && o["metadata"]["ownerReferences"].size() > 1)
    co_await done_apart(drop, o, c.warnings);
  else
    drop(o, c.warnings);
}

// Before admission goes over its containers.
api_result<void> check_size(const served& s, const json::value& o, const json::value& before) {
  causes found;
  if (!s.custom) check_pod_size(found, o, before);
  if (found.empty()) return {};
  return fail(refuse(s, name_in(o), std::move(found)));
}

// Of a new object what no client says, before admission sees it.
api_result<void> clear_system_metadata(const authorized& to, json::value& o) {
  auto& m = o.member("metadata").make_object();
  m.reserve(m.size() + metadata_added_max);
  if (auto ns = namespace_in(o); !ns.empty() && (!to.what().namespaced() || ns != to.ns()))
    return fail(wrong_namespace());
  if (to.what().namespaced()) m.set("namespace", to.ns());
  for (auto name : {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"})
    m.erase(name);
  return {};
}

// What becomes of it once admission has had its say.
api_result<void> prepare_create(const served& s, json::value& o, const kind_context& k) {
  auto& m = o.member("metadata").make_object();
  if (!o["metadata"]["resourceVersion"].as_string().empty() && !k.dry_run) {
    auto refused = internal_error("");
    refused.reason.clear();
    refused.causes.clear();
    refused.message = "resourceVersion should not be set on objects to be created";
    return fail(std::move(refused));
  }
  if (s.has_status && !s.rules->keeps_status_on_create) o.erase("status");
  if (s.rules->generation) m.set("generation", 1);
  if (auto base = o["metadata"]["generateName"].as_string(); !base.empty() && name_in(o).empty())
    m.set("name", std::string(base.substr(0, generated_base_max)) + k.random.name_suffix());
  if (!s.custom) schema::drop_gated(s.stored->type(), o, nullptr);
  if (s.rules->prepare_create) s.rules->prepare_create(o, k);
  return {};
}

}  // namespace

task<api_result<written>> storage::create(json::value object, call& c) {
  auto& s = c.to.what();
  kedge_assert(c.to.verb() == "create");
  if (!c.to.name().empty()) KEDGE_CO_CHECK(check_body_name(object, c.to));
  const dropped_apart rest(goes_apart(c), object);
  if (s.rules->convert) co_await reform(object, s.rules->convert, c);
  if (!c.applies) co_await drop_repeats(object, false, c);
  KEDGE_CO_CHECK(check_size(s, object, {}));
  co_await reactor::maybe_yield();
  auto owners = co_await ownership_of_new(s, object, c);
  co_await reactor::maybe_yield();
  if (s.to_stored) co_await reform(object, s.to_stored, c);
  auto cluster = result<store::snapshot>(store_.current());
  if (!may_create_by(*cluster, s, c.to.ns(), name_in(object))) cluster = co_await store_.latest();
  if (!cluster) co_return fail(from_error(cluster.error()));
  KEDGE_CO_CHECK(clear_system_metadata(c.to, object));
  KEDGE_CO_CHECK(co_await admit(operation::create, &object, nullptr, c, *cluster, true, {.owned = &owners}));
  // Nor does a webhook say it, or make the object somewhere else than was authorized.
  KEDGE_CO_CHECK(clear_system_metadata(c.to, object));
  if (!c.to.name().empty()) KEDGE_CO_CHECK(check_body_name(object, c.to));
  co_await drop_repeats(object, true, c);
  const bool generated = name_in(object).empty() && !object["metadata"]["generateName"].as_string().empty();
  for (int tries = 0;; ++tries) {
    auto copy = generated ? object : std::move(object);
    const dropped_apart rest_of_copy(goes_apart(c), copy);
    // What admission waited for may have taken long.
    if (auto now = store_.current(); now.at() > cluster->at()) cluster = std::move(now);
    if (tries > 0) cluster = co_await store_.latest();
    if (!cluster) co_return fail(from_error(cluster.error()));
    KEDGE_CO_CHECK(prepare_create(s, copy, context_of(*cluster, c, ranges_)));
    auto& l = reactor::loop::current();
    auto& m = copy.member("metadata");
    // In the order in which they are stored: what stands as it shall isn't built again.
    if (copy["metadata"]["uid"].is_null()) m.set("uid", l.random().uuid());  // a Job's rules chose it already
    m.set("creationTimestamp", format_rfc3339(l.wall_now()));
    set_ownership(copy, generated ? owners : std::move(owners));
    co_await reactor::maybe_yield();
    auto fill = [as = custom::lasting(worked_on(s)), applies = c.applies](json::value& o) {
      apply_defaults(*as, o, applies);
      return true;
    };
    if (goes_apart(c))
      co_await done_apart(fill, copy);
    else
      fill(copy);
    auto out = co_await store_new(s, std::move(copy), c, *cluster);
    const bool clash = !out && out.error().code == 409 && out.error().reason == "AlreadyExists";
    if (!clash || !generated) co_return out;
    if (tries + 1 >= generate_name_tries) {
      out.error().retry_after_seconds = 1;
      co_return out;
    }
  }
}

task<api_result<written>> storage::store_new(const served& s, json::value object, call& c,
                                             const store::snapshot& cluster) {
  const dropped_apart rest(goes_apart(c), object);
  auto key = s.key(namespace_in(object), name_in(object));
  auto name = std::string(name_in(object));
  causes found;
  if (s.rules->check_settings) s.rules->check_settings(found, object, nullptr, ranges_);
  if (!found.empty()) co_return fail(refuse(s, name, std::move(found)));
  if (s.rules->validate_in_cluster) s.rules->validate_in_cluster(found, object, context_of(cluster, c, ranges_));
  co_await reactor::maybe_yield();
  auto validate = [of = custom::lasting(s)](json::value& o, causes& into) {
    check_metadata(into, o["metadata"], rules_for_metadata(*of));
    if (of->rules->validate) of->rules->validate(into, o);
    return true;
  };
  if (goes_apart(c))
    co_await done_apart(validate, object, found);
  else
    validate(object, found);
  if (s.custom) co_await validate_custom(found, s, object, nullptr, c);
  if (!found.empty()) co_return fail(refuse(s, name, std::move(found)));
  co_await reactor::maybe_yield();
  if (s.rules->warn) s.rules->warn(c.warnings, object, nullptr);
  warn_not_yet(c.warnings, s.group, s.resource, object);
  co_await reactor::maybe_yield();
  KEDGE_CO_CHECK(co_await admit(operation::create, &object, nullptr, c, cluster, false, {}));
  if (s.custom && custom::is_ending(*s.custom->owner, cluster))
    co_return fail(
        forbidden(s.group, s.resource, name, "create not allowed while custom resource definition is terminating"));
  if (cluster.find(key)) co_return fail(already_exists(s.group, s.resource, name));

  const bool service = s.resource == "services" && s.group.empty();
  allocation claims(store_, ranges_);
  if (service) {
    auto claimed =
        co_await claims.claim(object, nullptr, c.options.dry_run, cluster, reactor::loop::current().random());
    if (!claimed) {
      co_await claims.give_back();
      co_return fail(std::move(claimed).error());
    }
  }
  written out{.code = 201};
  if (goes_to_other_version(s)) {
    if (c.options.dry_run) out.value = object;
    KEDGE_CO_TRY(object, co_await bring(*s.stored, std::move(object), c));
  }
  // Who is dropped here would keep what was claimed.
  auto write = text_writer(s, !service && !c.options.dry_run);
  auto text = !service && goes_apart(c) ? co_await done_apart(write, object) : write(object);
  if (!service) co_await reactor::maybe_yield();
  if (c.options.dry_run) {
    if (!goes_to_other_version(s)) out.value = std::move(object);
    co_return out;
  }
  object = nullptr;  // many wait for the disk at once: each with its text alone
  bool unknown = false;
  auto writing = storage_span(c, "Create etcd3", key);
  auto created = co_await write_new(s, std::move(key), std::move(text), c, cluster, unknown);
  if (!created) writing.happened("Txn call failed", {{"err", created.error().message}});
  writing.end();
  if (!created) {
    if (service && !unknown) co_await claims.give_back();
    co_return fail(std::move(created).error());
  }
  KEDGE_CO_TRY(out.object, co_await custom::show(versions_, s, *std::move(created), c.span));
  co_return out;
}

// It lands only while its namespace is as it was judged by; when that has changed and still takes content, it is sent
// again.
task<api_result<store::object_ref>> storage::write_new(const served& s, std::string key, std::string text, call& c,
                                                       const store::snapshot& cluster, bool& unknown) {
  auto& ns = c.to.ns();
  const auto name = key.substr(key.rfind('/') + 1);
  const auto home_key = s.namespaced() ? object_key("namespaces", {}, ns) : std::string();
  auto home = home_key.empty() ? store::object_ref() : cluster.find(home_key);
  // Without that plugin of admission things may be made anywhere.
  const bool guarded = home && takes_content(home, ns, s.group, s.resource, name);
  for (int tries = 1;; ++tries) {
    store::mutation creation{store::write_kind::create, key, {}, 0, s.rules->lease_seconds};
    creation.value = guarded ? text : std::move(text);
    if (guarded) creation.guards.push_back({home_key, home->mod()});
    auto done = co_await store_.write(std::move(creation));
    if (done) co_return std::move(done->object);
    unknown = done.error().code == errc::unknown_outcome;
    if (!guarded || done.error().code != errc::conflict || tries == namespace_tries)
      co_return fail(write_failed(s, name, done.error()));
    auto now = co_await store_.latest();
    if (!now) co_return fail(from_error(now.error()));
    home = now->find(home_key);
    KEDGE_CO_CHECK(takes_content(home, ns, s.group, s.resource, name));
  }
}

task<result<void>> storage::take_turn(call& c, std::size_t bytes) {
  if (bytes <= large_bytes || c.turn) co_return result<void>();
  co_await large_.acquire();
  c.turn.emplace(large_);
  co_return result<void>();
}

task<api_result<written>> storage::update(change how, part what, bool create_missing, call& c) {
  if (auto there = store_.current().find(c.to.key())) (void)co_await take_turn(c, there->bytes().size());
  for (int tries = 1;; ++tries) {
    bool lost_race = false;
    auto out = co_await update_once(how, what, create_missing, c, lost_race);
    if (!lost_race || tries >= conflict_tries) co_return out;
  }
}

// A PUT of what isn't there: another verb, which is asked about first.
task<api_result<written>> storage::create_missing_object(const change& how, call& c) {
  KEDGE_CO_TRY(auto body, how.make(json::value()));
  KEDGE_CO_CHECK(check_body_name(body, c.to));
  KEDGE_CO_TRY(c.to, co_await c.may_create());
  body.member("metadata").erase("resourceVersion");
  co_return co_await create(std::move(body), c);
}

task<api_result<written>> storage::update_once(const change& how, part what, bool create_missing, call& c,
                                               bool& lost_race) {
  auto& s = c.to.what();
  auto &ns = c.to.ns(), &name = c.to.name();
  auto cluster = co_await store_.latest();
  if (!cluster) co_return fail(from_error(cluster.error()));
  auto key = c.to.key();
  auto current = cluster->find(key);
  if (!current) {
    if (create_missing && c.may_create && s.rules->create_by_update && what == part::whole)
      co_return co_await create_missing_object(how, c);
    co_return fail(not_found(s.group, s.resource, name));
  }
  const auto writing = storage_span(c, "GuaranteedUpdate etcd3", key);
  const bool apart = goes_apart(c);
  auto read = [of = custom::lasting(s), current] -> api_result<json::value> {
    KEDGE_TRY(auto v, value_of(*current));
    if (of->custom) return v;
    if (of->rules->convert) of->rules->convert(v);
    apply_defaults(*of->stored, v);  // an older server may have stored it
    return v;
  };
  KEDGE_CO_TRY(auto old, apart ? co_await done_apart(read) : read());
  if (s.custom) { KEDGE_CO_TRY(old, co_await bring(s, std::move(old), c)); }
  const dropped_apart rest_of_old(apart, old);
  co_await reactor::maybe_yield();
  api_result<json::value> next = json::value();
  std::optional<json::value> shown;  // in the served version, where that is another
  if (s.from_stored) {
    auto show = [of = custom::lasting(s)](json::value& stored) {
      auto v = stored;
      of->from_stored(v);
      v.set("kind", of->kind);
      schema::normalise(of->type(), v);
      return v;
    };
    shown = apart ? co_await done_apart(show, old) : show(old);
    next = co_await make_change(how, *shown, apart, c);
  } else {
    next = co_await make_change(how, old, apart, c);
  }
  if (!next) {
    auto refused = std::move(next).error();
    // Causes found without knowing the object: now its name is known.
    if (refused.code == 422 && refused.kind.empty() && !refused.causes.empty())
      refused = invalid(s.group, s.kind, name, std::move(refused.causes));
    co_return fail(std::move(refused));
  }
  co_await reactor::maybe_yield();
  if (s.rules->convert) co_await reform(*next, s.rules->convert, c);
  auto asked = take_ownership(*next), held = take_ownership(old);
  if (shown) take_ownership(*shown);
  const dropped_apart rest(apart, old, shown, *next, asked, held);
  auto owners = co_await ownership_after(s, shown ? *shown : old, *next, held, asked, what, c);
  co_await reactor::maybe_yield();
  if (s.to_stored) co_await reform(*next, s.to_stored, c);
  if (auto body_name = name_in(*next); body_name.empty())
    next->member("metadata").set("name", name);
  else if (body_name != name)
    co_return fail(bad_request(
        fmt::format("the name of the object ({}) does not match the name on the URL ({})", body_name, name)));
  if (s.namespaced()) {
    if (auto body_ns = namespace_in(*next); !body_ns.empty() && body_ns != ns)
      co_return fail(
          bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    next->member("metadata").set("namespace", ns);
  }
  KEDGE_CO_CHECK(check_uid(s, *next, *current, old, c.options.dry_run));
  old.member("metadata").erase("resourceVersion");
  if (c.to.verb() != "patch") co_await drop_repeats(*next, false, c);
  KEDGE_CO_CHECK(check_size(s, *next, old));
  co_await reactor::maybe_yield();
  // Those who may change it see what was sent. What becomes of that, and of their changes, is cut to what the request
  // may change.
  beside told{.owned = &owners, .owned_before = &held, .revision_before = current->mod()};
  KEDGE_CO_CHECK(co_await admit(operation::update, &*next, &old, c, *cluster, true, told));
  KEDGE_CO_CHECK(check_revision(s, *next, *current, what));
  auto allow = [of = custom::lasting(s), what](json::value& wanted, json::value& before) {
    return allowed_part(*of, std::move(wanted), before, what);
  };
  auto object = apart ? co_await done_apart(allow, *next, old) : allow(*next, old);
  const dropped_apart made(apart, object, owners);
  co_await reactor::maybe_yield();
  object.member("metadata").erase("resourceVersion");
  co_await drop_repeats(object, true, c);
  auto k = context_of(*cluster, c, ranges_);
  if (!s.custom) schema::drop_gated(s.stored->type(), object, &old);
  if (s.rules->metadata_stands && what == part::status) keep_metadata(object, old);
  if (s.rules->prepare_update && what != part::own) s.rules->prepare_update(object, old, k);
  co_await reactor::maybe_yield();
  auto fill = [of = custom::lasting(s), what, applies = c.applies](json::value& now, json::value& before) {
    apply_defaults(worked_on(*of), now, applies);
    normalise(worked_on(*of), now);
    // A binding is no change of what the user wants: the server's own changes don't count.
    const bool noted = what == part::whole && notes_changed(*of->rules, now["metadata"], before["metadata"]);
    if (of->rules->generation && what != part::own && (noted || spec_changed(*of, now, before)))
      now.member("metadata").set("generation", before["metadata"]["generation"].as_integer() + 1);
    return true;
  };
  if (apart)
    co_await done_apart(fill, object, old);
  else
    fill(object, old);
  co_await reactor::maybe_yield();

  causes found;
  if (s.rules->check_settings && what == part::whole) s.rules->check_settings(found, object, &old, ranges_);
  if (!found.empty()) co_return fail(refuse(s, name, std::move(found)));
  co_await reactor::maybe_yield();
  auto validate = [of = custom::lasting(s), what, subresource = c.to.subresource()](json::value& now,
                                                                                    json::value& before, causes& into) {
    check_metadata_update(into, now["metadata"], before["metadata"], rules_for_metadata(*of));
    if (what == part::whole)
      validate_update(into, *of->rules, now, before);
    else if (what != part::own && of->rules->validate_part)
      of->rules->validate_part(into, now, before, subresource);
    return true;
  };
  if (apart)
    co_await done_apart(validate, object, old, found);
  else
    validate(object, old, found);
  if (s.custom) co_await validate_custom(found, s, object, &old, c);
  if (!found.empty()) co_return fail(refuse(s, name, std::move(found)));
  co_await reactor::maybe_yield();
  if (what == part::whole && s.rules->warn) s.rules->warn(c.warnings, object, &old);
  if (what == part::status && s.rules->warn_status) s.rules->warn_status(c.warnings, object);
  if (what == part::whole) warn_not_yet(c.warnings, s.group, s.resource, object);
  co_await reactor::maybe_yield();
  told.revision = current->mod();
  KEDGE_CO_CHECK(co_await admit(operation::update, &object, &old, c, *cluster, false, told));

  const bool service = s.resource == "services" && s.group.empty() && what == part::whole;
  allocation claims(store_, ranges_);
  if (service) {
    auto claimed = co_await claims.claim(object, &old, c.options.dry_run, *cluster, k.random);
    if (!claimed) {
      co_await claims.give_back();
      co_return fail(std::move(claimed).error());
    }
  }
  // Who is dropped in a pause would keep what was claimed.
  if (!service) co_await reactor::maybe_yield();
  // Times alone are no change.
  auto same = [](json::value& now, json::value& before, json::value& owned, json::value& owned_before) {
    return now == before && schema::apply::same_but_for_times(owned, owned_before);
  };
  const bool untouched =
      !service && apart ? co_await done_apart(same, object, old, owners, held) : same(object, old, owners, held);
  set_ownership(object, std::move(untouched ? held : owners));

  // The last finalizer of an object that is being deleted went: so does the object.
  const bool deleting = old["metadata"]["deletionTimestamp"].is_string();
  if (deleting && may_go(s, object) && (!may_go(s, old)) &&
      object["metadata"]["deletionGracePeriodSeconds"].as_integer() == 0 && !c.options.dry_run)
    co_return co_await finish_removal(s, current, std::move(object), c, lost_race);

  if (!service) co_await reactor::maybe_yield();
  written out;
  if (goes_to_other_version(s)) {
    if (c.options.dry_run) out.value = object;
    KEDGE_CO_TRY(object, co_await bring(*s.stored, std::move(object), c));
  }
  const bool goes = !service && !c.options.dry_run;
  auto write = [write_one = text_writer(s, goes), goes](json::value& now, json::value& before) {
    if (goes) before = nullptr;
    return write_one(now);
  };
  auto text = !service && apart ? co_await done_apart(write, object, old) : write(object, old);
  if (!service) co_await reactor::maybe_yield();
  if (same_as_stored(*current, text) && !(outdated_ && !c.options.dry_run && outdated_(*current))) {
    KEDGE_CO_TRY(out.object, co_await custom::show(versions_, s, std::move(current), c.span));
    co_return out;
  }
  if (c.options.dry_run) {
    if (!goes_to_other_version(s)) out.value = std::move(object);
    out.value.member("metadata").set("resourceVersion", std::to_string(current->mod()));
    co_return out;
  }
  if (!service) object = old = nullptr;  // many wait for the disk at once: each with its text alone
  auto done = co_await store_.write(
      {store::write_kind::update, std::move(key), std::move(text), current->mod(), s.rules->lease_seconds});
  if (!done) {
    if (service && done.error().code != errc::unknown_outcome) co_await claims.give_back();
    lost_race = done.error().code == errc::conflict;
    co_return fail(write_failed(s, name, done.error()));
  }
  if (service) co_await allocation::release(store_, old, &object);
  KEDGE_CO_TRY(out.object, co_await custom::show(versions_, s, std::move(done->object), c.span));
  co_return out;
}

task<api_result<written>> storage::finish_removal(const served& s, const store::object_ref& current, json::value last,
                                                  call&, bool& lost_race) {
  auto done = co_await store_.write({store::write_kind::remove, std::string(current->key()), {}, current->mod(), 0});
  if (!done) {
    lost_race = done.error().code == errc::conflict;
    co_return fail(write_failed(s, name_in(last), done.error()));
  }
  if (s.resource == "services" && s.group.empty()) co_await allocation::release(store_, last, nullptr);
  last.member("metadata").set("resourceVersion", std::to_string(done->at));
  written out;
  out.value = std::move(last);
  co_return out;
}

task<api_result<json::value>> make_change(const change& how, json::value& current, bool apart, call& c) {
  if (!how.tell) co_return how.make(current);
  api_result<json::value> next = json::value();
  if (apart)
    next = co_await done_apart(how.make, current);
  else
    next = how.make(current);
  how.tell(c);
  co_return std::move(next);
}

change storage::put_change(json::value body, bool large) {
  change out = [body = shared_apart(std::move(body), large)](const json::value&) -> api_result<json::value> {
    return *body;
  };
  out.tell = [](call&) {};
  return out;
}

change storage::patch_change(const served& s, patch_kind how, json::value patch, json::duplicate_list duplicates,
                             part what, field_validation validation, bool large) {
  auto document = shared_apart(std::move(patch), large);
  auto warnings = std::make_shared<std::vector<std::string>>();
  change out = [of = custom::lasting(s), how, document, duplicates = std::move(duplicates), what, validation,
                warnings](const json::value& current) -> api_result<json::value> {
    auto& s = *of;
    auto& patch = *document;
    json::value next;
    switch (how) {
      case patch_kind::json: {
        auto v = json::apply_json_patch(current, patch);
        if (!v) {
          if (v.error().code == errc::too_large) return fail(too_large(v.error().message));
          if (v.error().code == errc::conflict) {
            status refused = invalid("", "", "", {});
            refused.message = "the server rejected our request due to an error in our request";
            refused.empty_details = true;
            return fail(std::move(refused));
          }
          return fail(bad_request(v.error().message));
        }
        next = *std::move(v);
        break;
      }
      case patch_kind::merge: next = json::apply_merge_patch(current, patch); break;
      case patch_kind::strategic: {
        auto v = schema::strategic_merge(s.type(), current, patch);
        if (!v) return fail(bad_request(v.error().message));
        next = *std::move(v);
        break;
      }
    }
    if (!next.is_object()) return fail(bad_request("the patch leaves no object"));
    warnings->clear();
    KEDGE_TRY(auto object, decode_body(std::move(next), own_body(s), validation, duplicates, *warnings, true));
    if (what == part::whole || what == part::ephemeral_containers || s.custom) apply_defaults(s, object);
    if (object["metadata"]["uid"].as_string() != current["metadata"]["uid"].as_string())
      return fail(invalid(s.group, s.kind, name_in(current),
                          {invalid_value("metadata.uid", object["metadata"]["uid"], "field is immutable")}));
    return object;
  };
  out.tell = [warnings](call& c) { c.warnings = *warnings; };
  return out;
}

}  // namespace kedge::api
