#include "control/object_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "api/custom/definition.h"
#include "api/registry/registry.h"
#include "base/strings.h"
#include "control/applied_text.h"
#include "control/limits.h"
#include "crypto/digest.h"
#include "json/patch.h"
#include "json/write.h"
#include "reactor/sync.h"
#include "schema/strategic_merge.h"

namespace kedge::control {

namespace {

constexpr std::string_view prefix = "objectset.rio.cattle.io/";
constexpr std::string_view hash_label = "objectset.rio.cattle.io/hash";
constexpr std::string_view prune_label = "objectset.rio.cattle.io/prune";
constexpr int apply_tries = 5;  // of one object that others write as well

using json::value;

std::string note(std::string_view name) { return std::string(prefix) + std::string(name); }

std::string_view group_in(std::string_view api_version) {
  auto slash = api_version.find('/');
  return slash == api_version.npos ? std::string_view() : api_version.substr(0, slash);
}

struct place {
  std::string ns, name;
  auto operator<=>(const place&) const = default;
  std::string text() const { return ns.empty() ? name : ns + "/" + name; }
};

// ---- what a patch says, as kubectl makes it of three objects

// The elements of a list by the list's merge key.
std::map<std::string, const value*> by_key(const json::array& list, std::string_view key) {
  std::map<std::string, const value*> out;
  for (auto& e : list) out.emplace(json::write(e[key]), &e);
  return out;
}

// Whether `there` is as it is wanted, and perhaps more.
bool covers(const value& there, const value& wanted) {
  if (auto* members = wanted.object()) {
    if (!there.is_object()) return false;
    return std::ranges::all_of(*members, [&](auto& m) { return covers(there[m.name], m.value); });
  }
  auto* list = wanted.array();
  if (!list || !there.is_array()) return there == wanted;
  if (there.size() != list->size()) return false;
  for (std::size_t i = 0; i < list->size(); ++i)
    if (!covers(there[i], (*list)[i])) return false;
  return true;
}

// Elements that one key doesn't tell apart (port 53 of UDP and of TCP) can't be merged by it: the list as it becomes,
// with what the server knows of each.
json::array joined(const json::array& there, const json::array& wanted, std::string_view key) {
  auto protocol = [](const value& e) { return e["protocol"].as_string("TCP"); };
  json::array out;
  for (auto& e : wanted) {
    auto one = e;
    auto t = std::ranges::find_if(there, [&](auto& x) { return x[key] == e[key] && protocol(x) == protocol(e); });
    if (t != there.end() && t->is_object() && one.is_object())
      for (auto& m : *t->object())
        if (!one.find(m.name)) one.set(m.name, m.value);
    out.push_back(std::move(one));
  }
  out.push_back(json::object{{"$patch", "replace"}});
  return out;
}

value patch_of(const schema::type_info* type, const value& before, const value& wanted, const value& there);

// A list that merges: its elements, those that went, and their order.
void add_list(json::object& patch, const schema::field_info& field, const value& before, const value& wanted,
              const value& there) {
  static const json::array none;
  auto &had = before.array() ? *before.array() : none, &has = *wanted.array();
  auto& is = there.array() ? *there.array() : none;
  auto key = field.patch_merge_key();
  auto name = std::string(field.name());
  json::array changes, order, gone;
  if (key.empty()) {
    const json::value_set kept(wanted);
    for (auto& e : had)
      if (!kept.contains(e)) gone.push_back(e);
    if (gone.empty() && covers(there, wanted)) return;
    if (!gone.empty()) patch.set("$deleteFromPrimitiveList/" + name, std::move(gone));
    changes = order = has;
  } else {
    const auto were = by_key(had, key), are = by_key(has, key), found = by_key(is, key);
    for (auto& [text, e] : were)
      if (!are.contains(text)) gone.push_back(json::object{{"$patch", "delete"}, {std::string(key), (*e)[key]}});
    if (gone.empty() && covers(there, wanted)) return;
    if (are.size() != has.size() || found.size() != is.size()) return patch.set(name, joined(is, has, key));
    auto one_of = [&](auto& all, const value& e) -> const value& {
      static const value nothing;
      auto it = all.find(json::write(e[key]));
      return it == all.end() ? nothing : *it->second;
    };
    for (auto& e : has) {
      changes.push_back(patch_of(field.type(), one_of(were, e), e, one_of(found, e)));
      if (!changes.back().find(key)) changes.back().set(key, e[key]);
      order.push_back(json::object{{std::string(key), e[key]}});
    }
    changes.insert(changes.end(), std::make_move_iterator(gone.begin()), std::make_move_iterator(gone.end()));
  }
  patch.set("$setElementOrder/" + name, std::move(order));
  patch.set(name, std::move(changes));
}

// What is wanted, and null for what was applied before and isn't wanted any more. Without a type: a merge patch.
value patch_of(const schema::type_info* type, const value& before, const value& wanted, const value& there) {
  auto* object = wanted.object();
  if (!object) return wanted;
  json::object patch;
  for (auto& [name, v] : *object) {
    auto* field = type ? type->find(name) : nullptr;
    auto &was = before[name], &is = there[name];
    if (v.is_array() && field && field->patch_merge()) {
      add_list(patch, *field, was, v, is);
    } else if (v.is_object()) {
      auto* below = field && field->is_single() ? field->type() : nullptr;
      auto one = patch_of(below, was, v, is);
      if (field && field->patch_retain_keys()) {
        json::array names;
        for (auto& m : *v.object()) names.emplace_back(m.name);
        one.set("$retainKeys", std::move(names));
      }
      patch.set(name, std::move(one));
    } else {
      patch.set(name, v);
    }
  }
  if (auto* had = before.object())
    for (auto& m : *had)
      if (!m.value.is_null() && !object->find(m.name)) patch.set(m.name, nullptr);
  return patch;
}

// ---- one apply of a set

class application {
 public:
  application(api::objects& client, object_set& set)
      : client_(client),
        set_(set),
        hash_(hash_of(set.owner)),
        whose_(fmt::format("{} {}", set.owner.id, place{set.owner.ns, set.owner.name}.text())) {}

  task<std::vector<std::string>> run() {
    auto order = kinds_of(set_.objects);
    for (auto& o : set_.objects) {
      auto kind = kind_of(o);
      if (o["kind"].as_string() == "CustomResourceDefinition")
        brings_.emplace(o["spec"]["group"].as_string(), o["spec"]["names"]["kind"].as_string());
      wanted_[kind.text()].push_back(&o);
    }
    for (auto& k : set_.kinds)
      if (std::ranges::find(order, k) == order.end()) order.push_back(k);
    for (auto& k : order) co_await apply_kind(k);
    if (set_.prune)
      for (auto& k : order) co_await prune_kind(k);
    co_return std::move(problems_);
  }

 private:
  task<bool> find_kind(const versioned_kind& k) {
    auto until = reactor::loop::current().now() + kind_wait;
    const bool comes = brings_.contains({std::string(group_in(k.api_version)), k.kind});
    for (;;) {
      served_ = client_.resources();
      kind_ = served_->find_kind(k.api_version, k.kind);
      if (kind_ || !comes || reactor::loop::current().now() > until) co_return kind_ != nullptr;
      co_await reactor::sleep_for(kind_poll);
    }
  }

  task<void> apply_kind(const versioned_kind& k) {
    auto wanted = wanted_.find(k.text());
    if (wanted == wanted_.end()) co_return;
    if (!co_await find_kind(k) || kind_->is_virtual || kind_->is_measured) {
      problems_.push_back(fmt::format("no matches for kind {} in version {}", quote(k.kind), quote(k.api_version)));
      co_return;
    }
    std::map<place, value> objects;
    for (auto* o : wanted->second) {
      auto& m = (*o)["metadata"];
      place p{std::string(m["namespace"].as_string()), std::string(m["name"].as_string())};
      p.ns = !kind_->namespaced() ? "" : p.ns.empty() ? "default" : p.ns;
      auto one = *o;
      if (kind_->namespaced())
        one.member("metadata").set("namespace", p.ns);
      else
        one.member("metadata").erase("namespace");
      objects.insert_or_assign(p, marked(std::move(one), set_.owner, kind_->namespaced()));
      kept_.emplace(kind_->group + "/" + kind_->kind, p);
      co_await reactor::maybe_yield();
    }
    const api::resource_id resource{kind_->group, kind_->version, kind_->resource};
    reactor::scope group;
    reactor::semaphore turns{writes_at_once};
    for (auto& [p, o] : objects) {
      co_await turns.acquire();
      group.spawn([](application& self, const api::resource_id& r, const versioned_kind& kind, place at, value object,
                     reactor::semaphore& done) -> task<void> {
        co_await self.apply_one(r, kind, std::move(at), std::move(object));
        done.release();
      }(*this, resource, k, p, std::move(o), turns));
    }
    co_await group.join();
  }

  task<void> apply_one(const api::resource_id& r, const versioned_kind& k, place p, value wanted) {
    auto refused = [&](std::string_view what, std::string_view why) {
      problems_.push_back(fmt::format("failed to {} {} {} for {}: {}", what, p.text(), k.text(), whose_, why));
    };
    for (int i = 0; i < apply_tries; ++i) {
      auto there = client_.get(r, p.ns, p.name);
      if (!there && there.error().code != 404) co_return refused("get", there.error().message);
      if (!there) {
        auto made = co_await client_.create(r, p.ns, wanted);
        if (made) co_return;
        if (made.error().code == 409 && made.error().reason == "AlreadyExists") continue;
        co_return refused("create", made.error().message);
      }
      auto next = applied(*there, wanted);
      if (!next) co_return refused("update", next.error().message);
      if (*next == *there) co_return;
      if (set_.decide) {
        auto how = set_.decide(*there);
        if (!how) co_return refused("update", how.error().message);
        if (*how == object_set::decision::replace) {
          auto gone = co_await client_.remove(
              r, p.ns, p.name,
              {.propagation_policy = "Background", .uid = std::string((*there)["metadata"]["uid"].as_string())});
          if (!gone && gone.error().code != 404) co_return refused("delete", gone.error().message);
          problems_.push_back(fmt::format("DesiredSet - Replace Wait {} {} for {}", k.text(), p.text(), whose_));
          co_return;
        }
      }
      auto done = co_await client_.update(r, p.ns, *std::move(next));
      if (done) co_return;
      if (done.error().code != 409) co_return refused("update", done.error().message);
    }
    refused("update", "others change it all the time");
  }

  task<void> prune_kind(const versioned_kind& k) {
    served_ = client_.resources();
    kind_ = served_->find_kind(k.api_version, k.kind);
    if (!kind_ || kind_->is_virtual || kind_->is_measured) co_return;
    const api::resource_id resource{kind_->group, kind_->version, kind_->resource};
    const auto all = kind_->prefix({});
    const auto group_kind = kind_->group + "/" + kind_->kind;
    std::vector<store::object_ref> found;
    std::string start;
    for (bool more = true; more;) {
      std::size_t seen = 0;
      more = false;
      client_.objects_store().current().scan(all, start, [&](const store::object_ref& o) {
        if (++seen > labels_piece) {
          start = std::string(o->key());
          more = true;
          return false;
        }
        if (o->labels_text().contains(hash_)) found.push_back(o);
        return true;
      });
      co_await reactor::maybe_yield();
    }
    for (auto& o : found) {
      auto key = o->key().substr(all.size());
      auto slash = key.find('/');
      place p = slash == key.npos ? place{"", std::string(key)}
                                  : place{std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))};
      if (kept_.contains({group_kind, p})) continue;
      auto there = client_.get(resource, p.ns, p.name);
      if (!there) continue;
      auto& m = (*there)["metadata"];
      if (m["labels"][hash_label].as_string() != hash_ || m["labels"][prune_label].as_string() == "false" ||
          !m["deletionTimestamp"].is_null())
        continue;
      auto gone = co_await client_.remove(
          resource, p.ns, p.name, {.propagation_policy = "Background", .uid = std::string(m["uid"].as_string())});
      if (!gone && gone.error().code != 404 && gone.error().code != 409)
        problems_.push_back(
            fmt::format("failed to delete {} {} for {}: {}", p.text(), k.text(), whose_, gone.error().message));
    }
  }

  api::objects& client_;
  object_set& set_;
  const std::string hash_, whose_;
  std::map<std::string, std::vector<const value*>> wanted_;  // by the kind's text
  std::set<std::pair<std::string, std::string>> brings_;     // group and kind of definitions in the set
  std::set<std::pair<std::string, place>> kept_;             // "group/Kind" and where
  std::shared_ptr<const api::registry> served_;              // keeps kind_
  const api::served* kind_ = nullptr;
  std::vector<std::string> problems_;
};

}  // namespace

std::string versioned_kind::text() const {
  auto slash = api_version.contains('/');
  return (slash ? "" : "/") + api_version + ", Kind=" + kind;
}

versioned_kind versioned_kind::parse(std::string_view text) {
  constexpr std::string_view between = ", Kind=";
  auto at = text.find(between);
  if (at == text.npos || at == 0) return {};
  auto version = text.substr(0, at);
  if (version.front() == '/') version.remove_prefix(1);
  return {std::string(version), std::string(text.substr(at + between.size()))};
}

versioned_kind kind_of(const value& object) {
  return {std::string(object["apiVersion"].as_string()), std::string(object["kind"].as_string())};
}

std::string hash_of(const set_owner& o) {
  return hex(as_bytes(crypto::sha1(as_bytes(o.id + o.what.text() + o.name + o.ns))));
}

std::vector<versioned_kind> kinds_of(const std::vector<value>& objects) {
  std::vector<versioned_kind> out;
  for (auto& o : objects)
    if (auto k = kind_of(o); std::ranges::find(out, k) == out.end()) out.push_back(std::move(k));
  auto rank = [](const versioned_kind& k) {
    return k.kind == "CustomResourceDefinition" ? 0 : k.kind == "Namespace" && k.api_version == "v1" ? 1 : 2;
  };
  std::ranges::stable_sort(out, {}, rank);
  return out;
}

value marked(value object, const set_owner& owner, bool is_namespaced) {
  auto& m = object.member("metadata");
  m.member("labels").set(hash_label, hash_of(owner));
  auto& notes = m.member("annotations").make_object();
  notes.erase(applied_annotation);
  notes.set(note("id"), owner.id);
  notes.set(note("owner-gvk"), owner.what.text());
  notes.set(note("owner-name"), owner.name);
  notes.set(note("owner-namespace"), owner.ns);
  // An owner can't be in another namespace, or in one when the object is in none.
  if (!owner.uid.empty() && is_namespaced && m["namespace"].as_string() == owner.ns) {
    auto& owners = m.member("ownerReferences").make_array();
    if (std::ranges::none_of(owners, [&](auto& o) { return o["uid"].as_string() == owner.uid; }))
      owners.push_back(json::object{{"apiVersion", owner.what.api_version},
                                    {"kind", owner.what.kind},
                                    {"name", owner.name},
                                    {"uid", owner.uid},
                                    {"controller", false},
                                    {"blockOwnerDeletion", false}});
  }
  auto text = to_applied_text(object);
  object.member("metadata").member("annotations").set(applied_annotation, std::move(text));
  return object;
}

api::api_result<value> applied(const value& there, const value& wanted) {
  auto& noted = there["metadata"]["annotations"][applied_annotation];
  auto before = from_applied_text(noted.as_string());
  auto next = wanted;
  // The same content in other bytes (another gzip) is no change.
  auto& notes = next.member("metadata").member("annotations").make_object();
  if (noted.is_string() && before == from_applied_text(notes.find(applied_annotation)->as_string()))
    notes.set(applied_annotation, noted);
  if (before.is_object() && before["metadata"].is_object()) {
    before.member("metadata").member("annotations").set(applied_annotation, "");
    before.member("metadata").erase("creationTimestamp");
  }
  for (auto name : {"status", "apiVersion", "kind"}) {
    next.erase(name);
    before.erase(name);
  }
  auto* type = schema::find_kind(there["apiVersion"].as_string(), there["kind"].as_string());
  auto patch = patch_of(type, before, next, there);
  if (!type) return json::apply_merge_patch(there, patch);
  auto done = schema::strategic_merge(*type, there, patch);
  if (!done) return api::fail(api::bad_request(done.error().message));
  return *std::move(done);
}

task<std::vector<std::string>> apply_set(api::objects& client, object_set set) {
  application one(client, set);
  co_return co_await one.run();
}

}  // namespace kedge::control
