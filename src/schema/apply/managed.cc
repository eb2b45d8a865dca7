#include "schema/apply/managed.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/decode.h"
#include "schema/limits.h"

namespace kedge::schema::apply {
namespace {

constexpr std::string_view before_first_apply = "before-first-apply";
constexpr std::string_view ancient_changes = "ancient-changes";
constexpr std::string_view last_applied_annotation = "kubectl.kubernetes.io/last-applied-configuration";

constexpr std::size_t last_applied_max_bytes = 256 * 1024;  // what all annotations together may hold

struct entry {
  std::string manager, operation, api_version, time, subresource;
  field_set fields;

  bool applies() const noexcept { return operation == "Apply"; }
  // An applier has one entry whatever the version; an updater one a version.
  bool is(const entry& o) const noexcept {
    return manager == o.manager && operation == o.operation && subresource == o.subresource &&
           (applies() || api_version == o.api_version);
  }
};
using entries = std::vector<entry>;

result<entries> read_entries(const json::value& list) {
  entries out;
  auto a = list.array();
  if (!a) return out;
  for (auto& v : *a) {
    entry e{std::string(v["manager"].as_string()),     std::string(v["operation"].as_string()),
            std::string(v["apiVersion"].as_string()),  std::string(v["time"].as_string()),
            std::string(v["subresource"].as_string()), {}};
    if (e.operation != "Apply" && e.operation != "Update")
      return fail(errc::invalid, "operation must be `Apply` or `Update`");
    if (e.api_version.empty()) return fail(errc::invalid, "apiVersion must not be empty");
    if (v["fieldsType"].as_string() != "FieldsV1") return fail(errc::invalid, "invalid fieldsType in managed fields");
    if (v["fieldsV1"].is_object()) { KEDGE_TRY(e.fields, from_fields_v1(v["fieldsV1"])); }
    out.push_back(std::move(e));
  }
  return out;
}

constexpr std::size_t entry_members = 7;

json::value write_entries(entries all) {
  std::erase_if(all, [](const entry& e) { return e.fields.empty(); });
  std::ranges::sort(all, [](const entry& a, const entry& b) {
    return std::tie(a.operation, a.time, a.manager, a.api_version, a.subresource) <
           std::tie(b.operation, b.time, b.manager, b.api_version, b.subresource);
  });
  json::array out;
  out.reserve(all.size());
  for (auto& e : all) {
    json::object o;
    o.reserve(entry_members);
    o.append("manager", std::move(e.manager));
    o.append("operation", std::move(e.operation));
    o.append("apiVersion", std::move(e.api_version));
    if (!e.time.empty()) o.append("time", std::move(e.time));
    o.append("fieldsType", "FieldsV1");
    o.append("fieldsV1", to_fields_v1(e.fields));
    if (!e.subresource.empty()) o.append("subresource", std::move(e.subresource));
    out.emplace_back(std::move(o));
  }
  return out;
}

entry entry_of(const writer& w, std::string operation, field_set fields) {
  return {w.manager.empty() ? "unknown" : w.manager,
          std::move(operation),
          w.api_version,
          w.now,
          w.subresource,
          std::move(fields)};
}

entry* find(entries& all, const entry& like) {
  auto it = std::ranges::find_if(all, [&](const entry& e) { return e.is(like); });
  return it == all.end() ? nullptr : &*it;
}

// Without what nobody owns: the object's identity, and what the server sets.
field_set stripped(field_set set) {
  static const field_set never = [] {
    field_set s;
    s.insert({"f:apiVersion"});
    s.insert({"f:kind"});
    s.insert({"f:metadata"});
    for (auto name : {"name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
                      "managedFields", "resourceVersion"})
      s.insert({"f:metadata", "f:" + std::string(name)});
    return s;
  }();
  return subtract(std::move(set), never);
}

field_set without_reset(field_set set, const writer& w) {
  for (auto& name : w.reset) set.children.erase("f:" + name);
  return set;
}

difference compared(const writer& w, const json::value& before, const json::value& after) {
  auto d = compare(w.shape, before, after);
  if (w.reset.empty()) return d;
  d.added = without_reset(std::move(d.added), w);
  d.removed = without_reset(std::move(d.removed), w);
  d.modified = without_reset(std::move(d.modified), w);
  return d;
}

// Members by name, at all depths, as Go writes a map.
json::value sorted(json::value v) {
  if (auto a = v.array()) {
    for (auto& e : *a) e = sorted(std::move(e));
  } else if (auto o = v.object()) {
    std::map<std::string, json::value> by_name;
    for (auto& m : *o) by_name.emplace(m.name, sorted(std::move(m.value)));
    json::object out;
    for (auto& [name, value] : by_name) out.append(name, std::move(value));
    return out;
  }
  return v;
}

json::value unmanaged(json::value v) {
  if (auto m = v.find("metadata")) m->erase("managedFields");
  return v;
}

// What a new object is before anything is set in it: of a built-in kind what its Go struct prints, made once a type and
// core.
const json::value& nothing_yet(const writer& w) {
  thread_local std::unordered_map<const type_info*, json::value> known;
  auto [at, added] = known.try_emplace(w.shape.type, json::object());
  if (added && w.shape.type) schema::normalise(*w.shape.type, at->second);
  return at->second;
}

std::string manager_text(const entry& e) {
  auto out = quote(e.manager);
  if (!e.subresource.empty()) out += " with subresource " + quote(e.subresource);
  if (e.applies()) return out;
  return out + " using " + e.api_version;
}

// What a write sets, which others own no longer, and what is gone, which nobody does.
struct change {
  field_set taken, lost;
  explicit operator bool() const noexcept { return !taken.empty() || !lost.empty(); }
};

change change_of(const writer& w, const json::value& before, const json::value& after) {
  auto d = compared(w, before, after);
  return {stripped(unite(std::move(d.added), d.modified)), stripped(std::move(d.removed))};
}

void record(entries& all, const writer& w, change c) {
  for (auto& e : all)
    if (e.api_version == w.api_version) e.fields = subtract(subtract(std::move(e.fields), c.lost), c.taken);
  if (c.taken.empty()) return;
  auto mine = entry_of(w, "Update", std::move(c.taken));
  if (auto old = find(all, mine)) {
    old->fields = unite(std::move(mine.fields), old->fields);
    old->time = w.now;
  } else {
    all.push_back(std::move(mine));
  }
}

// The oldest updates become one entry a version, until there are few enough.
void cap_updates(entries& all) {
  std::erase_if(all, [](const entry& e) { return e.fields.empty(); });
  if (all.size() <= update_managers_max) return;
  std::vector<entry> updates, out;
  for (auto& e : all) (e.applies() ? out : updates).push_back(std::move(e));
  auto left = updates.size();
  std::ranges::sort(updates, [](const entry& a, const entry& b) {
    return std::tie(a.time, a.manager, a.api_version, a.subresource) <
           std::tie(b.time, b.manager, b.api_version, b.subresource);
  });
  std::map<std::string, entry*, std::less<>> buckets;  // by version: the one that the others go into
  for (auto& e : updates)
    if (e.manager == ancient_changes && e.subresource.empty()) buckets.emplace(e.api_version, &e);
  for (auto& e : updates) {
    if (left <= update_managers_max) break;
    auto& bucket = buckets.try_emplace(e.api_version, &e).first->second;
    if (bucket == &e) continue;
    bucket->manager = ancient_changes;
    bucket->subresource.clear();
    bucket->fields = unite(std::move(bucket->fields), e.fields);
    bucket->time = e.time;
    e.fields = {};
    --left;
  }
  for (auto& e : updates)
    if (!e.fields.empty()) out.push_back(std::move(e));
  all = std::move(out);
}

// `merged` without what `last` named, the applier names no more, and nobody else owns.
json::value pruned(const writer& w, const json::value& merged, const field_set& last, const entries& all) {
  auto& type = w.shape;
  auto set_of = [&](const json::value& v) {
    auto s = fields_of(type, v);
    return s ? with_parents(type, *s) : field_set();
  };
  auto named = with_parents(type, last);
  auto everything = set_of(merged);
  field_set owned;
  for (auto& e : all)
    if (e.api_version == w.api_version) owned = unite(std::move(owned), e.fields);
  owned = with_parents(type, owned);
  auto first = without(type, merged, named);
  auto second = without(type, merged, subtract(everything, unite(set_of(first), owned)));
  return without(type, merged, intersect(subtract(everything, set_of(second)), named));
}

// Fields of the last client-side apply that are still as it left them: kubectl may take these over.
field_set fields_last_applied(const writer& w, const json::value& live) {
  auto text = live["metadata"]["annotations"][last_applied_annotation].as_string();
  if (text.empty()) return {};
  auto last = json::parse(text);
  if (!last || (*last)["apiVersion"].as_string() != w.api_version) return {};
  auto set = fields_of(w.shape, *last);
  if (!set) return {};
  auto d = compare(w.shape, *last, live);
  return subtract(*set, unite(d.modified, unite(d.added, d.removed)));
}

// kubectl's own record of what was applied follows its server-side applies, where there is one, so that a user may go
// back.
void keep_last_applied(const writer& w, json::value& object, const json::value& config) {
  if (w.manager != "kubectl" || object["metadata"]["annotations"][last_applied_annotation].as_string().empty()) return;
  auto plain = config;
  auto& m = plain.member("metadata");
  if (auto notes = m.find("annotations")) notes->erase(last_applied_annotation);
  auto text = json::write(sorted(std::move(plain))) + "\n";
  auto& notes = object.member("metadata").member("annotations");
  if (text.size() > last_applied_max_bytes)
    notes.erase(last_applied_annotation);
  else
    notes.set(last_applied_annotation, std::move(text));
}

}  // namespace

void writer::normalise(json::value& v) const {
  if (canonicalise)
    canonicalise(v);
  else
    schema::normalise(*shape.type, v);
}

std::string conflict_message(const std::vector<conflict>& all) {
  if (all.size() == 1) return "Apply failed with 1 conflict: conflict with " + all[0].with + ": " + all[0].field;
  std::map<std::string_view, std::vector<std::string_view>> by_manager;
  for (auto& c : all) by_manager[c.with].push_back(c.field);
  std::string out = "Apply failed with " + std::to_string(all.size()) + " conflicts: ";
  bool first = true;
  for (auto& [with, fields] : by_manager) {
    out += std::string(first ? "" : "\n") + "conflicts with " + std::string(with) + ":";
    first = false;
    for (auto f : fields) out += "\n- " + std::string(f);
  }
  return out;
}

result<applied> apply(const writer& w, const json::value& live, const json::value& config, bool force) {
  KEDGE_TRY(auto set, fields_of(w.shape, config));
  set = without_reset(std::move(set), w);
  auto mine = entry_of(w, "Apply", {});
  applied out;
  if (live.is_null()) {
    out.object = config;
    w.normalise(out.object);
    mine.fields = stripped(std::move(set));
    out.managed = write_entries({std::move(mine)});
    return out;
  }
  auto current = unmanaged(live);
  auto read = read_entries(live["metadata"]["managedFields"]);
  if (!read) return fail(errc::invalid, "failed to decode managed fields: " + read.error().message);
  auto all = *std::move(read);
  if (all.empty()) {
    auto first = w;
    first.manager = before_first_apply;
    record(all, first, change_of(first, nothing_yet(w), current));
  }
  auto merged = merge(w.shape, current, config);
  field_set last;
  std::string last_time;
  if (auto old = find(all, mine)) {
    last = old->fields;
    last_time = old->time;
    old->fields = set;
    old->api_version = w.api_version;
  } else {
    auto& added = all.emplace_back(mine);
    added.fields = set;
  }
  if (!last.empty()) merged = pruned(w, merged, last, all);
  const bool same = current == merged;
  auto d = compared(w, current, merged);
  auto changed = unite(d.modified, d.added);
  std::vector<std::pair<const entry*, field_set>> contested;
  field_set contested_fields;
  for (auto& e : all) {
    if (e.is(mine) || e.api_version != w.api_version) continue;
    auto both = intersect(e.fields, changed);
    if (both.empty()) continue;
    contested_fields = unite(std::move(contested_fields), both);
    contested.emplace_back(&e, std::move(both));
  }
  if (!contested.empty() && !force) {
    std::ranges::sort(contested, {}, [](auto& c) {
      return std::tie(c.first->manager, c.first->operation, c.first->api_version, c.first->subresource);
    });
    field_set allowed = w.manager == "kubectl" ? fields_last_applied(w, current) : field_set();
    for (auto& [e, fields] : contested)
      subtract(fields, allowed).for_each([&, who = manager_text(*e)](const field_path& p) {
        if (out.conflicts.size() < conflicts_named_max) out.conflicts.push_back({who, path_text(p)});
      });
    if (!out.conflicts.empty()) return out;
  }
  const auto lost = unite(contested_fields, d.removed);
  for (auto& e : all)
    if (!e.is(mine) && e.api_version == w.api_version) e.fields = subtract(std::move(e.fields), lost);
  auto own = find(all, mine);
  own->fields = stripped(std::move(own->fields));
  // The time tells when the object was changed: an apply that only shares what is there has none of its own.
  own->time = same ? last_time : w.now;
  keep_last_applied(w, merged, config);
  w.normalise(merged);
  out.object = std::move(merged);
  out.managed = write_entries(std::move(all));
  return out;
}

json::value after_create(const writer& w, const json::value& object, const json::value& asked) {
  auto all = read_entries(asked);
  if (!all) all = entries();
  record(*all, w, change_of(w, nothing_yet(w), object));
  cap_updates(*all);
  return write_entries(*std::move(all));
}

json::value after_update(const writer& w, const json::value& before, const json::value& after, const json::value& held,
                         const json::value& asked) {
  const bool sent = w.subresource.empty() && asked.is_array();
  if (sent && (asked.empty() || (asked.size() == 1 && asked[0].empty()))) return {};
  result<entries> all = entries();
  if (sent && !(asked == held)) all = read_entries(asked);
  const bool from_writer = all && !all->empty();
  if (!from_writer && held.empty()) return {};
  auto c = change_of(w, before, after);
  if (!c && !from_writer) return held;
  if (!from_writer) all = read_entries(held);
  if (!all || all->empty()) return {};
  record(*all, w, std::move(c));
  cap_updates(*all);
  auto out = write_entries(*std::move(all));
  return out.empty() ? json::value() : out;
}

bool same_but_for_times(const json::value& a, const json::value& b) {
  if (a.size() != b.size()) return false;
  auto covers = [](const json::value& x, const json::value& y) {
    auto o = x.object();
    return o && std::ranges::all_of(*o, [&](auto& m) { return m.name == "time" || m.value == y[m.name]; });
  };
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!covers(a[i], b[i]) || !covers(b[i], a[i])) return false;
  return true;
}

}  // namespace kedge::schema::apply
