// harness.h: a real store in memory that tests fill with YAML, and requests as the API layer would make them.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "api/admission/chain.h"
#include "api/authorization/rbac.h"
#include "api/registry/indexes.h"
#include "api/registry/lookup.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "json/write.h"
#include "store/open.h"

namespace kedge::api::testing {

inline json::value yaml(std::string_view text) {
  auto parsed = json::parse_yaml(text);
  REQUIRE_MESSAGE(parsed.has_value(), (parsed ? std::string() : parsed.error().message));
  return std::move(*parsed);
}

inline std::string directory_of(std::string_view kind) {
  if (kind == "Node") return "minions";
  auto name = lower(kind);
  if (name.ends_with("class")) return name + "es";
  return name + "s";
}

class cluster {
 public:
  cluster() {
    store::store_options o;
    o.log = datastore::make_memory_log(database_);
    o.loops = {&loop};
    o.indexes = builtin_indexes();
    auto opened = loop.run_until(store::open_store(std::move(o)));
    REQUIRE(opened.has_value());
    objects = std::move(*opened);
  }
  ~cluster() { loop.run_until(objects->close()); }

  static std::string key_of(const json::value& o) {
    return object_key(directory_of(o["kind"].as_string()), namespace_of(o), name_of(o));
  }

  // Creates or replaces the objects of a YAML stream.
  void put(std::string_view text) {
    auto all = json::parse_yaml_all(text);
    REQUIRE_MESSAGE(all.has_value(), (all ? std::string() : all.error().message));
    for (auto& o : *all) put(o);
  }
  void put(json::value& o) {
    store::mutation m;
    m.key = key_of(o);
    auto there = now().find(m.key);
    m.kind = there ? store::write_kind::update : store::write_kind::create;
    m.expected = there ? there->mod() : 0;
    // Canonical order: kind and apiVersion first, then metadata.
    json::value canonical;
    for (auto name : {"kind", "apiVersion", "metadata"}) canonical.set(name, o[name]);
    for (auto& [name, value] : *o.object())
      if (!canonical.find(name)) canonical.set(name, value);
    m.value = json::write(canonical);
    auto done = loop.run_until(objects->write(std::move(m)));
    REQUIRE_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
  }
  void remove(std::string key) {
    auto done = loop.run_until(objects->write({store::write_kind::remove, std::move(key), {}, 0, 0}));
    REQUIRE(done.has_value());
  }
  store::snapshot now() const { return objects->current(); }
  json::value get(const std::string& key) const {
    auto found = read_object(now(), key);
    REQUIRE_MESSAGE(found.has_value(), key);
    return std::move(*found);
  }

  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};

 private:
  datastore::memory_database database_;

 public:
  std::unique_ptr<store::store> objects;
};

inline user_info user(std::string name, std::vector<std::string> groups = {"system:authenticated"}) {
  user_info out;
  out.name = std::move(name);
  out.groups = std::move(groups);
  return out;
}
inline user_info node(const std::string& name) {
  return user("system:node:" + name, {"system:nodes", "system:authenticated"});
}
inline user_info admin() { return user("system:admin", {"system:masters", "system:authenticated"}); }

// "get pods.apps/log in default named a": written as "get", "apps", "pods/log", "default", "a".
inline attributes ask(user_info who, std::string verb, std::string group, std::string resource, std::string ns = {},
                      std::string name = {}) {
  attributes a;
  a.user = std::move(who);
  a.verb = std::move(verb);
  a.is_resource = true;
  a.api_group = std::move(group);
  a.api_version = "v1";
  auto slash = resource.find('/');
  a.subresource = slash == std::string::npos ? std::string() : resource.substr(slash + 1);
  a.resource = resource.substr(0, slash);
  a.ns = std::move(ns);
  a.name = std::move(name);
  return a;
}
inline attributes ask_path(user_info who, std::string verb, std::string path) {
  attributes a;
  a.user = std::move(who);
  a.verb = std::move(verb);
  a.path = std::move(path);
  return a;
}

// One write through the whole admission chain: the changed object, or the refusal's message.
struct admitted {
  bool good = false;
  json::value object;
  std::string message;
  status why;
  std::vector<std::string> warnings;
};

class gate {
 public:
  explicit gate(cluster& c, admission_settings settings = {}) : cluster_(c), authz_(make_authorizer(&rules_)) {
    auto made = admission_chain::create(settings, *authz_, *rules_, c.objects.get());
    REQUIRE_MESSAGE(made.has_value(), (made ? std::string() : made.error().message));
    chain_ = std::move(*made);
  }

  admitted run(operation what, const attributes& who, const json::value* object, const json::value* old = nullptr,
               bool dry_run = false) {
    admitted out;
    if (object) out.object = *object;
    auto kind = std::string((object ? *object : *old)["kind"].as_string());
    admission_request r{what, who, kind, object ? &out.object : nullptr, old, dry_run, {}};
    auto done = cluster_.loop.run_until(chain_->mutate(r, cluster_.now()));
    if (done) done = cluster_.loop.run_until(chain_->validate(r, cluster_.now()));
    out.good = done.has_value();
    if (!done) out.why = done.error(), out.message = done.error().message;
    out.warnings = std::move(r.warnings);
    return out;
  }
  admitted create(const user_info& who, std::string_view text, bool dry_run = false) {
    auto object = yaml(text);
    return run(operation::create, attributes_for(who, "create", object), &object, nullptr, dry_run);
  }
  admitted update(const user_info& who, std::string_view now, std::string_view before, std::string subresource = {}) {
    auto object = yaml(now), old = yaml(before);
    auto a = attributes_for(who, "update", object);
    a.subresource = std::move(subresource);
    return run(operation::update, a, &object, &old);
  }
  admitted remove(const user_info& who, std::string_view text) {
    auto old = yaml(text);
    return run(operation::remove, attributes_for(who, "delete", old), nullptr, &old);
  }
  admission_chain& chain() { return *chain_; }

  static attributes attributes_for(const user_info& who, std::string verb, const json::value& object) {
    auto version = std::string(object["apiVersion"].as_string());
    auto slash = version.find('/');
    auto resource = directory_of(object["kind"].as_string());
    if (resource == "minions") resource = "nodes";
    if (resource == "csinodes") resource = "csinodes";
    return ask(who, std::move(verb), slash == std::string::npos ? "" : version.substr(0, slash), resource,
               std::string(namespace_of(object)), std::string(name_of(object)));
  }

 private:
  cluster& cluster_;
  rule_source* rules_ = nullptr;
  std::unique_ptr<authorizer> authz_;
  std::unique_ptr<admission_chain> chain_;
};

}  // namespace kedge::api::testing
