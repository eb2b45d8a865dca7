#include "api/admission/policy/input.h"

#include "api/answer/encode.h"
#include "api/registry/lookup.h"
#include "base/assert.h"

namespace kedge::api::policy {
namespace {

json::object kind_value(const kind_name& k) { return {{"group", k.group}, {"version", k.version}, {"kind", k.kind}}; }

json::object resource_value(const served& s) {
  return {{"group", s.group}, {"version", s.version}, {"resource", s.resource}};
}

json::object user_value(const user_info& u) {
  json::object out;
  if (!u.name.empty()) out.set("username", u.name);
  if (!u.uid.empty()) out.set("uid", u.uid);
  if (!u.groups.empty()) {
    json::array groups;
    for (auto& g : u.groups) groups.emplace_back(g);
    out.set("groups", std::move(groups));
  }
  if (u.extra.empty()) return out;
  json::object extra;
  for (auto& [key, values] : u.extra) {
    json::array all;
    for (auto& v : values) all.emplace_back(v);
    extra.set(key, std::move(all));
  }
  out.set("extra", std::move(extra));
  return out;
}

// What namespaces tell policies. Owners and who wrote what are left out.
json::value shown_namespace(const json::value& ns, store::revision at) {
  auto metadata = ns["metadata"];
  for (auto name : {"managedFields", "ownerReferences"}) metadata.erase(name);
  metadata.set("resourceVersion", std::to_string(at));
  return json::object{{"metadata", std::move(metadata)}, {"spec", ns["spec"]}, {"status", ns["status"]}};
}

// Bodies of subresources, and options of connections, are of one version.
bool is_as_it_is(const json::value& o, const served& as) {
  return o["apiVersion"].as_string() == as.api_version || o["kind"].as_string() != as.stored->kind;
}

}  // namespace

std::string_view home_of(const subject& s) noexcept { return s.is_namespace() ? std::string_view() : s.ns; }

json::value request_value(const admission_request& r, const subject& s, const served& as) {
  json::object out{{"kind", kind_value(kind_of(as, s.subresource))}, {"resource", resource_value(as)}};
  if (!s.subresource.empty()) out.set("subResource", s.subresource);
  out.set("requestKind", kind_value(kind_of(s.asked, s.subresource)));
  out.set("requestResource", resource_value(s.asked));
  if (!s.subresource.empty()) out.set("requestSubResource", s.subresource);
  if (!s.name.empty()) out.set("name", s.name);
  if (!s.ns.empty()) out.set("namespace", s.ns);
  out.set("operation", operation_text(r.what));
  out.set("userInfo", user_value(r.who.user));
  out.set("dryRun", r.dry_run);
  if (r.tell_options) out.set("options", r.tell_options());
  return out;
}

task<std::string> inputs::bring(const json::value* o, const served& as, std::deque<versioned>& made) {
  if (!o || !o->is_object() || is_as_it_is(*o, as)) co_return std::string();
  for (auto& one : made)
    if (one.as == &as) co_return std::string();
  auto v = *o;
  if (as.custom) {
    if (custom::may_need_call(as) && request_.let_go) request_.let_go();
    auto brought = co_await custom::bring(versions_, as, std::move(v));
    if (!brought) co_return brought.error().message;
    v = *std::move(brought);
  } else {
    to_served(as, v);
  }
  made.push_back({&as, std::move(v)});
  co_return std::string();
}

const json::value* inputs::in_version(const json::value* o, const served& as, const std::deque<versioned>& made) {
  if (!o || !o->is_object()) return nullptr;
  if (is_as_it_is(*o, as)) return o;
  for (auto& one : made)
    if (one.as == &as) return &one.value;
  kedge_assert(!"not brought to this version");
  return nullptr;
}

const json::value& inputs::request(const served& as) {
  for (auto& one : requests_)
    if (one.as == &as) return one.value;
  return requests_.emplace_back(&as, request_value(request_, subject_, as)).value;
}

const json::value* inputs::home() {
  if (!looked_) {
    looked_ = true;
    if (auto name = home_of(subject_); !name.empty())
      if (auto stored = subject_.cluster.find(object_key("namespaces", {}, name)))
        if (auto ns = parsed(stored)) home_ = shown_namespace(*ns, stored->mod());
  }
  return home_.is_null() ? nullptr : &home_;
}

task<std::string> take_back(json::value& object, json::value changed, const served& as, const served& asked,
                            custom::converter* versions) {
  if (changed["apiVersion"].as_string() == as.api_version && changed["kind"].as_string() == as.kind) {
    if (as.custom && &as != &asked) {
      auto brought = co_await custom::bring(versions, asked, std::move(changed));
      if (!brought) co_return brought.error().message;
      changed = *std::move(brought);
    } else if (as.to_stored) {
      as.to_stored(changed);
    }
    for (auto name : {"kind", "apiVersion"}) changed.set(name, object[name]);
  }
  object = std::move(changed);
  co_return std::string();
}

}  // namespace kedge::api::policy
