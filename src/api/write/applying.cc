#include "api/write/applying.h"

#include <fmt/format.h>

#include "api/custom/definition.h"
#include "api/write/apart.h"
#include "api/write/body.h"
#include "api/write/limits.h"
#include "base/strings.h"
#include "base/time.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "schema/apply/managed.h"
#include "schema/apply/structure.h"
#include "schema/decode.h"
#include "schema/defaults.h"

namespace kedge::api {
namespace {

constexpr std::size_t manager_max_bytes = 128;  // as kube-apiserver's validation of fieldManager

// Top-level members that this part never changes, and so never owns.
std::vector<std::string> reset_by(const served& s, part what) {
  if (what == part::own) return {};
  if (what == part::status || what == part::approval) return {"spec"};
  return s.has_status ? std::vector<std::string>{"status"} : std::vector<std::string>{};
}

schema::apply::writer writer_of(const served& s, part what, const call& c) {
  schema::apply::topology shape = s.type();
  if (s.custom) shape = *s.custom->outline;
  return {.shape = shape,
          .api_version = std::string(s.api_version),
          .manager = c.manager,
          .subresource = c.to.subresource(),
          .reset = reset_by(s, what),
          .now = format_rfc3339(reactor::loop::current().wall_now()),
          .canonicalise = s.custom ? std::function<void(json::value&)>(
                                         [of = custom::lasting(s)](json::value& v) { normalise(*of, v); })
                                   : nullptr};
}

// kube-apiserver calls these internal errors.
status apply_failed(const served& s, const json::value& config, std::string_view what, std::string_view why) {
  auto refused = internal_error("");
  refused.reason.clear();
  refused.causes.clear();
  refused.message =
      fmt::format("failed to {} ({}/{}; {}/{}, Kind={}){}: {}", what, namespace_in(config), name_in(config), s.group,
                  s.version, s.kind, what.starts_with("convert") ? " to proper version" : "", why);
  return refused;
}

status conflicting(const served& s, std::string_view name, const std::vector<schema::apply::conflict>& all) {
  auto refused = conflict(s.group, s.resource, name, "");
  refused.message = schema::apply::conflict_message(all);
  refused.empty_details = false;
  refused.group.clear();
  refused.kind.clear();
  refused.name.clear();
  for (auto& one : all) refused.causes.push_back({"FieldManagerConflict", "conflict with " + one.with, one.field});
  return refused;
}

// The document, its apiVersion and kind checked, duplicate fields handled as asked.
api_result<json::value> read_config(const served& s, const std::string& asked, field_validation validation,
                                    std::string_view body, std::vector<std::string>& warnings) {
  json::duplicate_list duplicates;
  json::parse_options options{.duplicates = &duplicates};
  auto v = json::parse_yaml(body, options);
  if (!v) return fail(bad_request(fmt::format("error decoding YAML: {}", v.error().message)));
  if (!v->is_object()) return fail(bad_request("error decoding YAML: the document is no object"));
  auto version = (*v)["apiVersion"].as_string(), kind = (*v)["kind"].as_string();
  auto gv = schema::split_api_version(version);
  if (version != s.api_version || kind != s.kind)
    return fail(bad_request(fmt::format("invalid object type: {}/{}, Kind={}", gv.group, gv.version, kind)));
  if (!(*v)["metadata"]["managedFields"].is_null()) return fail(bad_request("metadata.managedFields must be nil"));
  auto name = name_in(*v);
  if (!name.empty() && name != asked)
    return fail(
        bad_request(fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, asked)));
  if (!duplicates.empty() && validation == field_validation::strict)
    return fail(bad_request("error strict decoding YAML: " + join(duplicates, ", ")));
  if (validation == field_validation::warn)
    for (auto& d : duplicates) warnings.push_back(d);
  v->member("metadata").set("name", asked);
  schema::apply::topology shape = s.type();
  if (s.custom) shape = *s.custom->outline;
  if (auto ok = schema::apply::fields_of(shape, *v); !ok)
    return fail(apply_failed(s, *v, "create typed patch object", ok.error().message));
  auto copy = *v;
  if (s.custom) {
    KEDGE_CHECK(decode_body(std::move(copy), own_body(s), field_validation::ignore, {}, warnings));
    return *std::move(v);
  }
  if (auto ok = schema::decode(s.type(), copy); !ok)
    return fail(apply_failed(s, *v, "convert new object",
                             fmt::format("unable to convert unstructured object to {}/{}, Kind={}: {}", s.group,
                                         s.version, s.kind, ok.error().message)));
  return *std::move(v);
}

// The change from the current object (null: none yet); leaves what to store of ownership in the call.
change apply_change(part changes, json::value config, const call& c) {
  auto& s = c.to.what();
  auto managed = std::make_shared<json::value>();
  change out = [of = custom::lasting(s), changes, managed, by = writer_of(s, changes, c), force = c.options.force,
                name = c.to.name(), config = shared_apart(std::move(config), goes_apart(c))](
                   const json::value& current) -> api_result<json::value> {
    auto& s = *of;
    *managed = nullptr;
    auto done = schema::apply::apply(by, current, *config, force);
    if (!done) return fail(apply_failed(s, *config, "create typed patch object", done.error().message));
    if (!done->conflicts.empty()) return fail(conflicting(s, name, done->conflicts));
    *managed = std::move(done->managed);
    if (changes == part::whole || changes == part::ephemeral_containers) apply_defaults(s, done->object, true);
    return std::move(done->object);
  };
  out.tell = [managed](call& to) {
    to.ownership = std::move(*managed);
    to.applies = true;
  };
  return out;
}

}  // namespace

bool is_apply_patch(std::string_view content_type) noexcept {
  return iequals(trim(content_type.substr(0, content_type.find(';'))), apply_patch_type);
}

api_result<void> check_patch_options(const write_options& o, bool applies) {
  causes found;
  if (applies && o.field_manager.empty()) found.push_back(required("fieldManager", "is required for apply patch"));
  if (!applies && o.has_force)
    found.push_back(cause{"FieldValueForbidden", "Forbidden: may not be specified for non-apply patch", "force"});
  if (!found.empty()) return fail(invalid("meta.k8s.io", "PatchOptions", "", std::move(found)));
  return {};
}

std::string manager_of(const write_options& o, std::string_view user_agent) {
  if (!o.field_manager.empty()) return o.field_manager;
  std::string out;
  for (unsigned char ch : user_agent.substr(0, user_agent.find('/')))
    if (ch >= 0x20 && ch < 0x7f && out.size() < manager_max_bytes) out += static_cast<char>(ch);
  return out;
}

task<api_result<written>> serve_apply(storage& to, apply_request q, call& c) {
  auto& s = c.to.what();
  const bool apart = goes_apart(c);
  auto read = [of = custom::lasting(s), name = c.to.name(), validation = c.options.validation](
                  std::string& from, std::vector<std::string>& warnings) {
    return read_config(*of, name, validation, from, warnings);
  };
  KEDGE_CO_TRY(auto config, apart ? co_await done_apart(read, q.body, c.warnings) : read(q.body, c.warnings));
  const auto how = apply_change(q.changes, std::move(config), c);
  for (int tries = 1;; ++tries) {
    auto done = co_await to.update(how, q.changes, false, c);
    if (done || done.error().code != 404 || q.changes != part::whole || !c.may_create) co_return done;
    KEDGE_CO_TRY(auto creation, co_await c.may_create());
    json::value nothing;
    KEDGE_CO_TRY(auto object, co_await make_change(how, nothing, apart, c));
    std::swap(c.to, creation);
    auto created = co_await to.create(std::move(object), c);
    std::swap(c.to, creation);
    // Another writer made it meanwhile: then it is an update after all.
    if (created || created.error().reason != "AlreadyExists" || tries >= conflict_tries) co_return created;
  }
}

task<api_result<written>> serve_scale_apply(storage& to, apply_request q, const std::vector<std::string>& replicas,
                                            call& c) {
  auto read = [](std::string& from) { return json::parse_yaml(from); };
  auto scale = co_await done_by_size(q.body.size(), read, q.body);
  if (!scale) co_return fail(bad_request(fmt::format("error decoding YAML: {}", scale.error().message)));
  auto version = (*scale)["apiVersion"].as_string(), kind = (*scale)["kind"].as_string();
  if (version != "autoscaling/v1" || kind != "Scale") {
    auto gv = schema::split_api_version(version);
    co_return fail(bad_request(fmt::format("invalid object type: {}/{}, Kind={}", gv.group, gv.version, kind)));
  }
  // The object itself, as far as its Scale tells of it.
  json::value config(json::object{
      {"apiVersion", c.to.what().api_version}, {"kind", c.to.what().kind}, {"metadata", (*scale)["metadata"]}});
  if (auto& wanted = (*scale)["spec"]["replicas"]; !wanted.is_null()) {
    auto at = &config;
    for (auto& step : replicas) at = &at->member(step);
    *at = wanted;
  }
  q.body = json::write(std::move(config));
  c.may_create = nullptr;  // the scale of nothing
  co_return co_await serve_apply(to, q, c);
}

json::value take_ownership(json::value& object) {
  auto m = object.find("metadata");
  auto list = m ? m->find("managedFields") : nullptr;
  if (!list) return {};
  auto out = std::move(*list);
  m->erase("managedFields");
  return out;
}

task<json::value> ownership_of_new(const served& s, json::value& object, call& c) {
  auto asked = take_ownership(object);
  if (c.applies) co_return std::move(c.ownership);
  auto w = writer_of(s, part::whole, c);
  if (!goes_apart(c)) co_return schema::apply::after_create(w, object, asked);
  co_return co_await done_apart(
      [by = std::move(w)](json::value& o, json::value& sent) { return schema::apply::after_create(by, o, sent); },
      object, asked);
}

task<json::value> ownership_after(const served& s, json::value& before, json::value& after, json::value& held,
                                  json::value& asked, part what, call& c) {
  if (c.applies) co_return std::move(c.ownership);
  if (what == part::own) co_return held;
  auto w = writer_of(s, what, c);
  if (!goes_apart(c)) co_return schema::apply::after_update(w, before, after, held, asked);
  co_return co_await done_apart(
      [by = std::move(w)](json::value& was, json::value& is, json::value& owned, json::value& sent) {
        return schema::apply::after_update(by, was, is, owned, sent);
      },
      before, after, held, asked);
}

}  // namespace kedge::api
