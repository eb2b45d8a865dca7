#include "api/custom/definition.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "api/custom/codec.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/apply/outline.h"

namespace kedge::api::custom {
namespace {

// Custom resources have no rules of their own but these; what their schema says is checked by storage.cc.
const kind_rules custom_rules{.generation = true, .unconditional_update = false, .warn = warn};

const word_list all_verbs = {"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"};
const word_list ending_verbs = {"delete", "deletecollection", "get", "list", "watch"};
const word_list part_verbs = {"get", "patch", "update"};

constexpr std::string_view name_description =
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of "
    "an appropriate name automatically. Name is primarily intended for creation idempotence and configuration "
    "definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
constexpr std::string_view age_description =
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order "
    "across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in "
    "UTC.\n\nPopulated by the system. Read-only. "
    "Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

// What tells one definition from another. Everything else of the object may change freely.
json::value identity_of(const json::value& crd) {
  return json::object{{"spec", crd["spec"]},
                      {"names", crd["status"]["acceptedNames"]},
                      {"uid", crd["metadata"]["uid"]},
                      {"established", has_condition(crd, "Established")},
                      {"terminating", crd["metadata"]["deletionTimestamp"].is_string()}};
}

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001b3;
  return h;
}

webhook_conversion conversion_of(const json::value& webhook) {
  webhook_conversion out{.to = callout::make_target(webhook["clientConfig"])};
  auto& versions = webhook["conversionReviewVersions"];
  for (std::size_t i = 0; i < versions.size() && out.review.empty(); ++i)
    if (auto text = versions[i].as_string(); text == "v1" || text == "v1beta1") out.review = text;
  return out;
}

struct version_rank {
  int stability = 0;  // 3: GA, 2: beta, 1: alpha, 0: none of these
  std::uint64_t major = 0, minor = 0;
};

version_rank rank_of(std::string_view text) {
  version_rank r;
  auto digits = [&]() -> std::optional<std::uint64_t> {
    std::size_t n = 0;
    while (n < text.size() && text[n] >= '0' && text[n] <= '9') ++n;
    auto value = parse_uint(text.substr(0, n));
    text.remove_prefix(n);
    return value;
  };
  if (!text.starts_with('v')) return r;
  text.remove_prefix(1);
  auto major = digits();
  if (!major) return r;
  if (text.empty()) return {3, *major, 0};
  int stability = text.starts_with("beta") ? 2 : text.starts_with("alpha") ? 1 : 0;
  if (!stability) return r;
  text.remove_prefix(stability == 2 ? 4 : 5);
  auto minor = digits();
  if (!minor || !text.empty()) return r;
  return {stability, *major, *minor};
}

}  // namespace

bool version_before(std::string_view a, std::string_view b) noexcept {
  auto x = rank_of(a), y = rank_of(b);
  if (!x.stability && !y.stability) return a < b;
  return std::tuple(x.stability, x.major, x.minor) > std::tuple(y.stability, y.major, y.minor);
}

bool has_condition(const json::value& crd, std::string_view type) noexcept {
  auto& list = crd["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return list[i]["status"].as_string() == "True";
  return false;
}

std::shared_ptr<const definition> definition::make(const store::object_ref& crd,
                                                   const std::shared_ptr<const definition>& previous) {
  auto v = json::parse(crd->bytes());
  auto value = v ? *std::move(v) : json::value(json::object{});
  auto identity = identity_of(value);
  // Compared by their hashes: the values of a large schema take ten times its text.
  const auto fingerprint = fnv1a(json::write(identity)), spec_fingerprint = fnv1a(json::write(identity["spec"]));
  if (previous && previous->fingerprint_ == fingerprint) return previous;
  std::shared_ptr<definition> d(new definition);
  d->source_ = crd;
  d->since_ = previous && previous->spec_fingerprint_ == spec_fingerprint ? previous->since_ : crd->mod();
  d->fingerprint_ = fingerprint;
  d->spec_fingerprint_ = spec_fingerprint;
  d->compile(value);
  return d;
}

std::string_view definition::keep(std::string_view text) {
  if (text.empty()) return {};
  return texts_.emplace_back(text);
}

void definition::compile(const json::value& crd) {
  auto& spec = crd["spec"];
  name_ = crd["metadata"]["name"].as_string();
  group_ = spec["group"].as_string();
  kind_ = crd["status"]["acceptedNames"]["kind"].as_string();
  terminating_ = crd["metadata"]["deletionTimestamp"].is_string();
  if (spec["conversion"]["strategy"].as_string() == "Webhook") webhook_ = conversion_of(spec["conversion"]["webhook"]);
  if (!has_condition(crd, "Established") || kind_.empty()) return;
  for (std::size_t i = 0; i < spec["versions"].size(); ++i) {
    auto& v = spec["versions"][i];
    if (v["served"].as_bool() || v["storage"].as_bool()) compile_version(crd, v);
  }
  const served* stored = nullptr;
  for (std::size_t i = 0; i < spec["versions"].size(); ++i)
    for (auto& one : all_)
      if (spec["versions"][i]["storage"].as_bool() && spec["versions"][i]["name"].as_string() == one.s.version)
        stored = &one.s;
  if (!stored) return;
  for (auto& one : all_) {
    one.s.stored = stored;
    for (std::size_t i = 0; i < spec["versions"].size(); ++i)
      if (spec["versions"][i]["served"].as_bool() && spec["versions"][i]["name"].as_string() == one.s.version)
        served_.push_back(&one.s);
  }
}

void definition::compile_version(const json::value& crd, const json::value& v) {
  auto& names = crd["status"]["acceptedNames"];
  auto& one = all_.emplace_back();
  auto& s = one.s;
  s.custom = &one.v;
  s.rules = &custom_rules;
  s.group = group_;
  s.version = v["name"].as_string();
  s.api_version = s.group + "/" + s.version;
  s.resource = names["plural"].as_string();
  s.kind = kind_;
  s.key_prefix = schema::custom_key_prefix(group_, s.resource);
  s.list_kind = names["listKind"].as_string();
  if (s.list_kind.empty()) s.list_kind = kind_ + "List";
  s.list_head = fmt::format("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"",
                            s.list_kind, s.api_version);
  s.singular = keep(names["singular"].as_string());
  for (std::size_t i = 0; i < names["shortNames"].size(); ++i)
    s.short_names.push_back(keep(names["shortNames"][i].as_string()));
  for (std::size_t i = 0; i < names["categories"].size(); ++i)
    s.categories.push_back(keep(names["categories"][i].as_string()));
  s.verbs = terminating_ ? ending_verbs : all_verbs;
  s.is_namespaced = crd["spec"]["scope"].as_string() == "Namespaced";

  auto& c = one.v;
  c.owner = this;
  if (v["deprecated"].as_bool()) {
    c.warning = v["deprecationWarning"].as_string();
    if (c.warning.empty()) c.warning = fmt::format("{} {} is deprecated", s.api_version, s.kind);
  }
  c.outline = std::make_shared<const schema::apply::outline>(schema::apply::outline_of(v["schema"]["openAPIV3Schema"]));
  if (auto& schema = v["schema"]["openAPIV3Schema"]; schema.is_object()) {
    c.schema = structural::compile(schema);
    c.has_schema = true;
    c.rules = rule_tree::compile(schema);
  }
  if (v["subresources"]["status"].is_object()) {
    s.has_status = true;
    s.subresources.push_back({"status", s.group, s.version, s.kind, part_verbs});
  }
  if (auto& scale = v["subresources"]["scale"]; scale.is_object()) {
    auto members = [&](const char* name) {
      auto p = json_path::parse(scale[name].as_string());
      return p ? p->members() : std::vector<std::string>();
    };
    c.scale = std::make_unique<scale_paths>(
        scale_paths{members("specReplicasPath"), members("statusReplicasPath"), members("labelSelectorPath")});
    s.subresources.push_back({"scale", "autoscaling", "v1", "Scale", part_verbs});
  }

  s.columns.push_back({"Name", "string", "name", name_description, 0});
  auto& columns = v["additionalPrinterColumns"];
  for (std::size_t i = 0; i < columns.size(); ++i) {
    auto& column = columns[i];
    auto path = json_path::parse(column["jsonPath"].as_string());
    if (!path) continue;
    auto description = std::string(column["description"].as_string());
    if (description.empty())
      description =
          fmt::format("Custom resource definition column (in JSONPath format): {}", column["jsonPath"].as_string());
    s.columns.push_back({keep(column["name"].as_string()), keep(column["type"].as_string()),
                         keep(column["format"].as_string()), keep(description),
                         static_cast<int>(column["priority"].as_integer())});
    c.columns.push_back({std::string(column["type"].as_string()), *std::move(path)});
  }
  if (columns.empty()) {
    s.columns.push_back({"Age", "date", "", age_description, 0});
    c.columns.push_back({"date", *json_path::parse(".metadata.creationTimestamp")});
  }
  for (std::size_t i = 0; i < v["selectableFields"].size(); ++i) {
    auto text = v["selectableFields"][i]["jsonPath"].as_string();
    auto path = json_path::parse(text);
    if (!path) continue;
    auto& f = c.fields.emplace_back(
        selectable_field{std::string(text.starts_with('.') ? text.substr(1) : text), *std::move(path), {}, {}});
    auto members = f.path.members();
    if (std::none_of(members.begin(), members.end(), [](auto& m) { return m.find('.') != std::string::npos; }))
      f.plain_path = join(members, ".");
    // Another schema may default the field to something else, so its index is another one.
    f.index = fmt::format("{}{}:{}@{:x}.{}", s.key_prefix, s.version, f.name, fingerprint_, since_);
  }
}

std::vector<store::index> definition::indexes() const {
  std::vector<store::index> out;
  if (webhook_) return out;  // what a field has in its version only another server knows
  for (auto s : served_) {
    for (auto& f : s->custom->fields) {
      auto values = [self = shared_from_this(), s, &f](const store::object& o, const store::value_visitor& give) {
        std::string buffer;
        give(field_text(*s, f, o, buffer));
      };
      out.push_back({f.index, s->key_prefix, values});
    }
  }
  return out;
}

json::value definition::schema_json(std::string_view version) const {
  auto crd = json::parse(source_->bytes());
  if (!crd) return {};
  auto& versions = (*crd)["spec"]["versions"];
  for (std::size_t i = 0; i < versions.size(); ++i)
    if (versions[i]["name"].as_string() == version) return versions[i]["schema"]["openAPIV3Schema"];
  return {};
}

}  // namespace kedge::api::custom
