// cluster.h: the objects that a plan is asked about, without a store, and plans as lines that a test can state.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "api/custom/tables.h"
#include "api/registry/indexes.h"
#include "api/write/storage.h"
#include "control/plan.h"
#include "control/view.h"
#include "json/parse.h"
#include "json/write.h"
#include "store/indexed_tree.h"
#include "store/object.h"
#include "store/snapshot.h"

namespace kedge::control {

inline json::value yaml(std::string_view text) {
  auto v = json::parse_yaml(text);
  REQUIRE_MESSAGE(v.has_value(), (v ? std::string() : v.error().message));
  return *std::move(v);
}

class cluster {
 public:
  // Puts an object, as YAML or as a value: new, or instead of the one of its name. Each gets a uid ("uid-NAME" when it
  // says none) and the next resourceVersion.
  cluster& put(json::value o) {
    if (o.is_string()) o = yaml(o.as_string());
    auto* s = api::builtin_registry().find_kind(o["apiVersion"].as_string(), o["kind"].as_string());
    REQUIRE(s);
    auto& m = o.member("metadata");
    if (m["uid"].as_string().empty()) m.set("uid", "uid-" + std::string(m["name"].as_string()));
    if (m["creationTimestamp"].as_string().empty()) m.set("creationTimestamp", "2026-01-01T00:00:00Z");
    auto key = s->key(m["namespace"].as_string(), m["name"].as_string());
    ++revision_;
    objects_.put(store::object_access::make(key, api::stored_text(*s, o), revision_, revision_, 0));
    return *this;
  }
  cluster& remove(const std::string& key) {
    ++revision_;
    objects_.erase(key);
    return *this;
  }
  view now() const { return view(store::store_access::make(revision_, objects_), api::custom::builtin_tables()); }

 private:
  store::revision revision_ = 0;
  store::indexed_tree objects_{std::make_shared<const store::index_list>(api::builtin_indexes(), 1)};
};

// "update pods/status default/a", "remove pods default/a uid-a@3 grace 0", "event Warning Reason about Pod default/a:
// message", "again 5s".
inline std::vector<std::string> lines(const plan& p) {
  std::vector<std::string> out;
  auto place = [](const std::string& ns, const std::string& name) { return ns.empty() ? name : ns + "/" + name; };
  auto told = [&](const notice& n) {
    return fmt::format("event {} {} about {} {}: {}", n.warning ? "Warning" : "Normal", n.reason, n.about.kind,
                       place(n.about.ns, n.about.name), n.message);
  };
  for (auto& s : p.steps)
    for (auto& c : s.changes) {
      auto what = c.resource.plural + (c.subresource.empty() ? "" : "/" + c.subresource) + " " + place(c.ns, c.name);
      switch (c.kind) {
        case change::what::create: out.push_back("create " + what); break;
        case change::what::update: out.push_back("update " + what); break;
        case change::what::apply: out.push_back("apply " + what + " as " + c.manager); break;
        case change::what::remove:
          out.push_back("remove " + what + " " + c.options.uid +
                        (c.options.resource_version.empty() ? "" : "@" + c.options.resource_version) +
                        (c.options.grace_seconds >= 0 ? fmt::format(" grace {}", c.options.grace_seconds) : ""));
          break;
      }
      if (c.on_done) out.push_back("then " + told(*c.on_done));
    }
  for (auto& n : p.notices) out.push_back(told(n));
  if (p.again) out.push_back("again " + format_duration(*p.again));
  return out;
}
using text = std::vector<std::string>;

// The object that a plan's only update of `what` ("pods/status") writes.
inline json::value updated(const plan& p) {
  json::value out;
  int n = 0;
  for (auto& s : p.steps)
    for (auto& c : s.changes)
      if (c.kind == change::what::update || c.kind == change::what::create || c.kind == change::what::apply) {
        out = c.object;
        ++n;
      }
  REQUIRE(n == 1);
  return out;
}

inline moment at(std::string_view wall = "2026-01-01T12:00:00Z", duration since_start = std::chrono::hours(1)) {
  return {time_point(since_start), *parse_rfc3339(wall), nullptr};
}

}  // namespace kedge::control
