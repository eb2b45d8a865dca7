// openapi.cc: OpenAPI 3.0 a group version, and Swagger 2.0 of everything, written straight from the tables as text.
//
// Both dialects say the same in two spellings; `dialect` is all that differs. Descriptions are our own, of what is
// asked for most (schema/descriptions.json). What clients rely on is there: kubectl explain finds a kind's schema by
// x-kubernetes-group-version-kind and follows references; kubectl apply looks for a PATCH operation of the kind with
// the query parameter fieldValidation, and for the strategic merge keys; server-side apply's clients read the list and
// map types.
#include "schema/openapi.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/assert.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/openapi_proto.h"
#include "schema/resources.h"
#include "schema/tables.h"
#include "schema/types.h"

namespace kedge::schema {

namespace {

enum class dialect { v2, v3 };

// "core/v1.Pod" → "io.k8s.api.core.v1.Pod": the names that clients see.
std::string public_name(std::string_view name) {
  std::string dotted(name);
  std::ranges::replace(dotted, '/', '.');
  if (name.starts_with("meta/")) return "io.k8s.apimachinery.pkg.apis." + dotted;
  if (name.starts_with("api/") || name.starts_with("util/") || name.starts_with("runtime."))
    return "io.k8s.apimachinery.pkg." + dotted;
  if (name.starts_with("apiextensions/")) return "io.k8s.apiextensions-apiserver.pkg.apis." + dotted;
  if (name.starts_with("apiregistration/")) return "io.k8s.kube-aggregator.pkg.apis." + dotted;
  return "io.k8s.api." + dotted;
}

// JSON text, members one after the other; commas come by themselves.
class writer {
 public:
  writer& open(char c) {
    separate();
    out_ += c;
    first_ = true;
    return *this;
  }
  writer& close(char c) {
    out_ += c;
    first_ = false;
    return *this;
  }
  writer& key(std::string_view name) {
    separate();
    json::write_string(name, out_);
    out_ += ':';
    first_ = true;
    return *this;
  }
  writer& text(std::string_view s) {
    separate();
    json::write_string(s, out_);
    return *this;
  }
  writer& raw(std::string_view json) {
    separate();
    out_ += json;
    return *this;
  }
  writer& member(std::string_view name, std::string_view s) { return key(name).text(s); }
  writer& member_raw(std::string_view name, std::string_view json) { return key(name).raw(json); }
  template <typename List>
  writer& list(std::string_view name, const List& items) {
    key(name).open('[');
    for (auto s : items) text(s);
    return close(']');
  }
  std::string take() {
    first_ = true;
    return std::exchange(out_, {});
  }

 private:
  void separate() {
    if (!first_) out_ += ',';
    first_ = false;
  }
  std::string out_;
  bool first_ = true;
};

// The scalar types with a form of their own are schemas of their own.
const type_info* referenced(const field_info& f) {
  switch (f.base()) {
    case base_type::structure: return f.type();
    case base_type::quantity: return find_type("api/resource.Quantity");
    case base_type::time: return find_type("meta/v1.Time");
    case base_type::micro_time: return find_type("meta/v1.MicroTime");
    case base_type::int_or_string: return find_type("util/intstr.IntOrString");
    case base_type::raw_extension: return find_type("runtime.RawExtension");
    case base_type::fields_v1: return find_type("meta/v1.FieldsV1");
    case base_type::any_json: return find_type("apiextensions/v1.JSON");
    case base_type::schema_or_array: return find_type("apiextensions/v1.JSONSchemaPropsOrArray");
    case base_type::schema_or_bool: return find_type("apiextensions/v1.JSONSchemaPropsOrBool");
    case base_type::schema_or_strings: return find_type("apiextensions/v1.JSONSchemaPropsOrStringArray");
    default: return nullptr;
  }
}

class document {
 public:
  explicit document(dialect d) : v3_(d == dialect::v3) {}

  // All types that `roots` need, by public name.
  static std::map<std::string, const type_info*> reachable(std::vector<const type_info*> pending) {
    std::map<std::string, const type_info*> found;
    while (!pending.empty()) {
      auto t = pending.back();
      pending.pop_back();
      if (!found.emplace(public_name(t->name()), t).second) continue;
      for (std::size_t i = 0; i < t->size(); ++i) {
        if (auto r = referenced(t->field(i))) pending.push_back(r);
        if (auto r = t->field(i).type()) pending.push_back(r);
      }
    }
    return found;
  }

  void schemas(const std::vector<const type_info*>& roots) {
    w.open('{');
    for (auto& [name, t] : reachable(roots)) {
      w.key(name);
      type(*t);
    }
    w.close('}');
  }

  // One type's schema.
  void schema(const type_info& t) { type(t); }

  void resource_paths(const resource_info& r) {
    auto base = r.group().empty() ? "/api/" + std::string(r.version()) : "/apis/" + r.api_version();
    auto plural = std::string(r.plural());
    auto collection = base + (r.namespaced() ? "/namespaces/{namespace}/" : "/") + plural;
    bool listed = r.has_verb("list") || r.has_verb("create") || r.has_verb("deletecollection");
    if (listed) {
      path(collection, r, {}, r.namespaced());
      operation(r, "list", "get", "list");
      operation(r, "create", "post", "post");
      operation(r, "deletecollection", "delete", "deletecollection");
      w.close('}');
    }
    if (r.namespaced() && r.has_verb("list")) {
      path(base + "/" + plural, r, {}, false);
      all_namespaces_ = true;
      operation(r, "list", "get", "list");
      all_namespaces_ = false;
      w.close('}');
    }
    if (r.has_verb("get")) {
      path(collection + "/{name}", r, "name", r.namespaced());
      operation(r, "get", "get", "get");
      operation(r, "update", "put", "put");
      operation(r, "patch", "patch", "patch");
      operation(r, "delete", "delete", "delete");
      w.close('}');
    }
    for (std::size_t i = 0; i < r.subresource_count(); ++i) {
      auto s = r.subresource(i);
      path(collection + "/{name}/" + std::string(s.name), r, "name", r.namespaced());
      sub_ = &s;
      bool connects = s.kind.ends_with("Options");
      operation(r, "get", "get", connects ? "connect" : "get");
      operation(r, "create", "post", connects ? "connect" : "post");
      operation(r, "update", "put", connects ? "connect" : "put");
      operation(r, "patch", "patch", connects ? "connect" : "patch");
      operation(r, "delete", "delete", connects ? "connect" : "delete");
      sub_ = nullptr;
      w.close('}');
    }
  }

  writer w;

 private:
  std::string reference(const type_info& t) const {
    return (v3_ ? "#/components/schemas/" : "#/definitions/") + public_name(t.name());
  }

  // Empty: nothing is said of it.
  static std::string_view described(const tables::description_row* rows, std::size_t count, std::size_t of) {
    auto end = rows + count;
    auto at = std::lower_bound(rows, end, of, [](auto& row, std::size_t wanted) { return row.of < wanted; });
    return at != end && at->of == of ? tables::text(at->text) : std::string_view();
  }
  void describe(std::string_view text) {
    if (!text.empty()) w.member("description", text);
  }

  void type(const type_info& t) {
    w.open('{');
    describe(described(tables::type_descriptions, tables::type_description_count,
                       static_cast<std::size_t>(&t - tables::types)));
    switch (t.base()) {
      case base_type::structure: structure(t); break;
      case base_type::time:
      case base_type::micro_time: w.member("type", "string").member("format", "date-time"); break;
      case base_type::quantity:
        if (v3_)
          w.member_raw("oneOf", R"([{"type":"string"},{"type":"number"}])");
        else
          w.member("type", "string");
        break;
      case base_type::int_or_string:
        if (v3_)
          w.member("format", "int-or-string").member_raw("oneOf", R"([{"type":"integer"},{"type":"string"}])");
        else
          w.member("type", "string").member("format", "int-or-string");
        break;
      case base_type::raw_extension:
      case base_type::fields_v1: w.member("type", "object"); break;
      default: break;  // any JSON
    }
    w.close('}');
  }

  void structure(const type_info& t) {
    w.member("type", "object");
    if (t.size() > 0) {
      w.key("properties").open('{');
      for (std::size_t i = 0; i < t.size(); ++i) {
        w.key(t.field(i).name());
        field(t.field(i));
      }
      w.close('}');
    }
    std::vector<std::string_view> required;
    for (std::size_t i = 0; i < t.size(); ++i)
      if (t.field(i).required()) required.push_back(t.field(i).name());
    if (!required.empty()) w.list("required", required);
    kinds(t);
    if (t.map_type() != map_type::unset)
      w.member("x-kubernetes-map-type", t.map_type() == map_type::atomic ? "atomic" : "granular");
  }

  void group_version_kind(std::string_view group, std::string_view version, std::string_view kind) {
    w.open('{').member("group", group).member("kind", kind).member("version", version).close('}');
  }

  void kinds(const type_info& t) {
    bool any = false;
    for (std::size_t i = 0; i < kind_count(); ++i) {
      auto k = kind_at(i);
      if (k.type != &t) continue;
      if (!any) w.key("x-kubernetes-group-version-kind").open('[');
      any = true;
      auto gv = split_api_version(k.api_version);
      group_version_kind(gv.group, gv.version, k.kind);
    }
    if (any) w.close(']');
  }

  void field(const field_info& f) {
    w.open('{');
    describe(described(tables::field_descriptions, tables::field_description_count,
                       static_cast<std::size_t>(&f - tables::fields)));
    switch (f.shape()) {
      case shape::single:
        element(f, true);
        if (auto text = f.default_json(); !text.empty()) w.member_raw("default", text);
        break;
      case shape::array:
        w.member("type", "array").key("items").open('{');
        element(f, false);
        w.close('}');
        break;
      case shape::map:
        w.member("type", "object").key("additionalProperties").open('{');
        element(f, false);
        w.close('}');
        break;
      case shape::map_of_arrays:
        w.member("type", "object").key("additionalProperties").open('{').member("type", "array").key("items").open('{');
        element(f, false);
        w.close('}').close('}');
        break;
    }
    extensions(f);
    w.close('}');
  }

  // v3: a reference may not stand beside other members, so it goes into allOf.
  void element(const field_info& f, bool beside) {
    if (auto r = referenced(f)) {
      bool value_type = beside && !f.pointer() && f.base() == base_type::structure;
      if (v3_ && beside)
        w.key("allOf").open('[').open('{').member("$ref", reference(*r)).close('}').close(']');
      else
        w.member("$ref", reference(*r));
      if (v3_ && value_type) w.member_raw("default", "{}");
      return;
    }
    switch (f.base()) {
      case base_type::boolean: w.member("type", "boolean"); break;
      case base_type::int32: w.member("type", "integer").member("format", "int32"); break;
      case base_type::int64: w.member("type", "integer").member("format", "int64"); break;
      case base_type::float64: w.member("type", "number").member("format", "double"); break;
      case base_type::bytes: w.member("type", "string").member("format", "byte"); break;
      default: w.member("type", "string"); break;
    }
    if (!f.enum_values().empty()) w.list("enum", f.enum_values());
  }

  void extensions(const field_info& f) {
    static constexpr std::string_view list_names[] = {"", "atomic", "map", "set"};
    if (f.list_type() != list_type::unset)
      w.member("x-kubernetes-list-type", list_names[static_cast<int>(f.list_type())]);
    if (!f.list_map_keys().empty()) w.list("x-kubernetes-list-map-keys", f.list_map_keys());
    if (f.map_type() != map_type::unset)
      w.member("x-kubernetes-map-type", f.map_type() == map_type::atomic ? "atomic" : "granular");
    std::string strategy = f.patch_merge() ? "merge" : f.patch_replace() ? "replace" : "";
    if (f.patch_retain_keys()) strategy += strategy.empty() ? "retainKeys" : ",retainKeys";
    if (!strategy.empty()) w.member("x-kubernetes-patch-strategy", strategy);
    if (!f.patch_merge_key().empty()) w.member("x-kubernetes-patch-merge-key", f.patch_merge_key());
  }

  void parameter(std::string_view name, std::string_view in, std::string_view type) {
    w.open('{').member("name", name).member("in", in);
    if (in == "path") w.member_raw("required", "true");
    if (v3_)
      w.key("schema").open('{').member("type", type).member_raw("uniqueItems", "true").close('}');
    else
      w.member("type", type).member_raw("uniqueItems", "true");
    w.close('}');
  }

  void path(std::string_view text, const resource_info&, std::string_view name, bool namespaced) {
    w.key(text).open('{').key("parameters").open('[');
    if (!name.empty()) parameter("name", "path", "string");
    if (namespaced) parameter("namespace", "path", "string");
    parameter("pretty", "query", "string");
    w.close(']');
  }

  // "apps", "v1" → "AppsV1"; "rbac.authorization.k8s.io" → "RbacAuthorization"; core is "Core".
  static std::string group_words(std::string_view group, std::string_view version) {
    std::string out;
    if (group.empty()) group = "core";
    if (group.ends_with(".k8s.io")) group.remove_suffix(7);
    bool upper = true;
    for (char c : group) {
      if (c == '.' || c == '-') {
        upper = true;
        continue;
      }
      out += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      upper = false;
    }
    upper = true;
    for (char c : version) {
      out += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      upper = false;
    }
    return out;
  }

  // One operation of a path, when the resource (or subresource) has the verb.
  void operation(const resource_info& r, std::string_view verb, std::string_view method, std::string_view action) {
    if (sub_ ? !sub_->verbs.contains(verb) : !r.has_verb(verb)) return;
    auto kind = sub_ ? sub_->kind : r.kind();
    auto group = sub_ ? sub_->group : r.group();
    auto version = sub_ ? sub_->version : r.version();
    auto api_version = (group.empty() ? "" : std::string(group) + "/") + std::string(version);
    auto type = find_kind(api_version, kind);
    bool connects = action == "connect";
    auto list_type = verb == "list" ? find_kind(r.api_version(), std::string(r.kind()) + "List") : nullptr;
    auto answers = connects                                         ? nullptr
                   : verb == "list"                                 ? list_type
                   : verb == "delete" || verb == "deletecollection" ? find_kind("v1", "Status")
                                                                    : type;

    w.key(method).open('{');
    w.key("tags").open('[').text(tag(r)).close(']');
    w.member("operationId", operation_id(r, verb, method, connects));
    w.key("parameters").open('[');
    if (!v3_) body_parameter(verb, type, connects);
    query_parameters(verb, connects);
    w.close(']');
    if (v3_) request_body(verb, type, connects);
    if (!v3_) {
      if (verb == "patch") w.list("consumes", patch_types);
      w.list("produces", media_types);
    }
    w.key("responses").open('{');
    response("200", "OK", answers);
    if (verb == "create" || verb == "update" || verb == "patch") response("201", "Created", answers);
    if (verb == "create" || verb == "delete") response("202", "Accepted", answers);
    w.close('}');
    w.member("x-kubernetes-action", action);
    w.key("x-kubernetes-group-version-kind");
    group_version_kind(group, version, kind);
    w.close('}');
  }

  static std::string tag(const resource_info& r) {
    auto words = group_words(r.group(), {});
    words[0] = static_cast<char>(words[0] - 'A' + 'a');
    return words + "_" + std::string(r.version());
  }

  std::string operation_id(const resource_info& r, std::string_view verb, std::string_view method, bool connects) {
    static const std::map<std::string_view, std::string_view> words = {
        {"get", "read"},    {"list", "list"},     {"create", "create"},          {"update", "replace"},
        {"patch", "patch"}, {"delete", "delete"}, {"deletecollection", "delete"}};
    std::string id(connects ? "connect" : words.at(verb));
    if (connects) id += static_cast<char>(method[0] - 'a' + 'A') + std::string(method.substr(1));
    id += group_words(r.group(), r.version());
    if (verb == "deletecollection") id += "Collection";
    if (r.namespaced() && !all_namespaces_) id += "Namespaced";
    id += r.kind();
    if (sub_) id += static_cast<char>(sub_->name[0] - 'a' + 'A') + std::string(sub_->name.substr(1));
    if (all_namespaces_) id += "ForAllNamespaces";
    return id;
  }

  void query_parameters(std::string_view verb, bool connects) {
    if (connects) return;
    auto strings = [&](std::initializer_list<std::string_view> names) {
      for (auto n : names) parameter(n, "query", "string");
    };
    if (verb == "create" || verb == "update" || verb == "patch") strings({"dryRun", "fieldManager", "fieldValidation"});
    if (verb == "patch") parameter("force", "query", "boolean");
    if (verb == "delete" || verb == "deletecollection") {
      strings({"dryRun", "propagationPolicy"});
      parameter("gracePeriodSeconds", "query", "integer");
      parameter("orphanDependents", "query", "boolean");
      parameter("ignoreStoreReadErrorWithClusterBreakingPotential", "query", "boolean");
    }
    if (verb == "list" || verb == "deletecollection") {
      strings({"continue", "fieldSelector", "labelSelector", "resourceVersion", "resourceVersionMatch"});
      parameter("limit", "query", "integer");
      parameter("sendInitialEvents", "query", "boolean");
      parameter("timeoutSeconds", "query", "integer");
    }
    if (verb == "list") {
      parameter("allowWatchBookmarks", "query", "boolean");
      parameter("watch", "query", "boolean");
    }
  }

  static constexpr std::string_view media_types[] = {"application/json", "application/yaml",
                                                     "application/vnd.kubernetes.protobuf"};
  static constexpr std::string_view patch_types[] = {"application/json-patch+json", "application/merge-patch+json",
                                                     "application/strategic-merge-patch+json",
                                                     "application/apply-patch+yaml"};

  static const type_info* body_type(std::string_view verb, const type_info* type) {
    if (verb == "create" || verb == "update") return type;
    return verb == "delete" || verb == "deletecollection" ? find_kind("v1", "DeleteOptions") : nullptr;
  }

  void body_parameter(std::string_view verb, const type_info* type, bool connects) {
    if (connects) return;
    auto body = body_type(verb, type);
    if (!body && verb != "patch") return;
    w.open('{').member("name", "body").member("in", "body");
    if (verb == "create" || verb == "update" || verb == "patch") w.member_raw("required", "true");
    w.key("schema").open('{');
    if (body)
      w.member("$ref", reference(*body));
    else
      w.member("type", "object");
    w.close('}').close('}');
  }

  void content(std::string_view media_type, const type_info* type) {
    w.key(media_type).open('{').key("schema").open('{');
    if (type)
      w.member("$ref", reference(*type));
    else
      w.member("type", "object");
    w.close('}').close('}');
  }

  void request_body(std::string_view verb, const type_info* type, bool connects) {
    if (connects) return;
    if (verb == "patch") {
      w.key("requestBody").open('{').key("content").open('{');
      for (auto media : patch_types) content(media, nullptr);
      w.close('}').member_raw("required", "true").close('}');
    } else if (auto body = body_type(verb, type)) {
      w.key("requestBody").open('{').key("content").open('{');
      content("*/*", body);
      w.close('}');
      if (verb == "create" || verb == "update") w.member_raw("required", "true");
      w.close('}');
    }
  }

  void response(std::string_view code, std::string_view description, const type_info* type) {
    w.key(code).open('{').member("description", description);
    if (type && v3_) {
      w.key("content").open('{');
      for (auto media : media_types) content(media, type);
      w.close('}');
    } else if (type) {
      w.key("schema").open('{').member("$ref", reference(*type)).close('}');
    }
    w.close('}');
  }

  bool v3_;
  bool all_namespaces_ = false;
  const subresource_info* sub_ = nullptr;
};

std::string path_of(const resource_info& r) {
  return r.group().empty() ? "api/" + std::string(r.version()) : "apis/" + r.api_version();
}

// The kinds of a group version (or of all), and what every operation answers with.
std::vector<const type_info*> roots_of(std::string_view api_version, bool all) {
  std::vector<const type_info*> roots{find_kind("v1", "Status"), find_kind("v1", "DeleteOptions")};
  for (std::size_t i = 0; i < kind_count(); ++i)
    if (auto k = kind_at(i); all || k.api_version == api_version) roots.push_back(k.type);
  return roots;
}

}  // namespace

std::vector<std::string> openapi_v3_paths() {
  std::set<std::string> paths;
  for (auto& r : all_resources()) paths.insert(path_of(r));
  return {paths.begin(), paths.end()};
}

result<std::string> openapi_v3(std::string_view path, std::string_view version) {
  document d(dialect::v3);
  std::vector<const resource_info*> resources;
  for (auto& r : all_resources())
    if (path_of(r) == path) resources.push_back(&r);
  if (resources.empty()) return fail(errc::not_found, "no OpenAPI document " + std::string(path));
  auto roots = roots_of(resources.front()->api_version(), false);
  // Bodies of subresources may be kinds of other groups (Scale, Eviction, TokenRequest).
  for (auto r : resources)
    for (std::size_t i = 0; i < r->subresource_count(); ++i) {
      auto s = r->subresource(i);
      if (auto t = find_kind((s.group.empty() ? "" : std::string(s.group) + "/") + std::string(s.version), s.kind))
        roots.push_back(t);
    }
  d.w.open('{').member("openapi", "3.0.0");
  d.w.key("info").open('{').member("title", "Kubernetes").member("version", version).close('}');
  d.w.key("paths").open('{');
  for (auto r : resources) d.resource_paths(*r);
  d.w.close('}').key("components").open('{').key("schemas");
  d.schemas(roots);
  d.w.close('}').close('}');
  return d.w.take();
}

std::string openapi_hash(std::string_view path, std::string_view version) {
  // Only that it changes whenever a document does matters: the fingerprint is of the facts and of this file.
  std::string out;
  for (int i = 0; i < 8; ++i) {
    std::uint64_t h = 0xcbf29ce484222325 + static_cast<std::uint64_t>(i);
    for (auto part :
         {path, std::string_view("\n"), version, std::string_view("\n"), std::string_view(tables::fingerprint)})
      for (char c : part) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    for (int k = 60; k >= 0; k -= 4) out += "0123456789abcdef"[h >> k & 15];
  }
  return out;
}

std::string openapi_v3_index(std::string_view version) {
  writer w;
  w.open('{').key("paths").open('{');
  for (auto& path : openapi_v3_paths())
    w.key(path)
        .open('{')
        .member("serverRelativeURL", "/openapi/v3/" + path + "?hash=" + openapi_hash(path, version))
        .close('}');
  w.close('}').close('}');
  return w.take();
}

std::string openapi_v2(std::string_view version) {
  document d(dialect::v2);
  d.w.open('{').member("swagger", "2.0");
  d.w.key("info").open('{').member("title", "Kubernetes").member("version", version).close('}');
  d.w.key("paths").open('{');
  for (auto& r : all_resources()) d.resource_paths(r);
  d.w.close('}').key("definitions");
  d.schemas(roots_of({}, true));
  d.w.close('}');
  return d.w.take();
}

std::string openapi_v2_protobuf(std::string_view version) {
  openapi_proto_writer out(json::object{{"title", "Kubernetes"}, {"version", version}});
  document d(dialect::v2);
  // Small pieces of our own JSON, so that neither the text nor the values of the whole are ever in memory.
  for (auto& r : all_resources()) {
    d.w.open('{');
    d.resource_paths(r);
    d.w.close('}');
    auto paths = json::parse(d.w.take());
    kedge_assert(paths.has_value());
    for (auto& m : *paths->object()) out.path(m.name, m.value);
  }
  for (auto& [name, t] : document::reachable(roots_of({}, true))) {
    d.schema(*t);
    auto schema = json::parse(d.w.take());
    kedge_assert(schema.has_value());
    out.definition(name, *schema);
  }
  return std::move(out).take();
}

}  // namespace kedge::schema
