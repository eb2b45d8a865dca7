// at_work.h: one controller over a store in memory, a key at a time: what it does, without waiting for anything.
#pragma once

#include "api/local_objects.h"
#include "cluster.h"
#include "control/controllers.h"
#include "control/settings.h"
#include "datastore/memory/memory_log.h"
#include "reactor/loop.h"
#include "store/open.h"
#include "support/no_admission.h"

namespace kedge::control {

class at_work {
 public:
  // `ask`: who answers what isn't in the store.
  explicit at_work(std::string_view name, settings s = {}, api::asker ask = nullptr) {
    auto opened = loop_.run_until(store::open_store(
        {.log = datastore::make_memory_log(database_), .loops = {&loop_}, .indexes = api::builtin_indexes()}));
    REQUIRE(opened.has_value());
    store_ = *std::move(opened);
    client_ = api::make_objects(*store_, rules_, ranges_, nullptr, api::server_itself(), "kedge", std::move(ask));
    auto* row = find_controller(name);
    REQUIRE(row);
    what_ = row->make(s);
    recorder_.emplace(*client_, std::string(row->component));
    frame_.emplace(shell::parts{std::string(name), *client_, *recorder_, 1}, *what_);
    sources_ = what_->sources();
    for (auto ns : {"default", "kube-system"})
      put(fmt::format("{{kind: Namespace, apiVersion: v1, metadata: {{name: {}}}, status: {{phase: Active}}}}", ns));
  }
  ~at_work() {
    frame_.reset();
    recorder_.reset();
    client_.reset();
    loop_.run_until(store_->close());
  }

  // Writes the object (a value, or YAML) as it is, status and all, past the API; the controller hears of it.
  void put(json::value o) {
    if (o.is_string()) o = yaml(o.as_string());
    auto& s = served(o);
    auto& m = o.member("metadata");
    if (m["uid"].as_string().empty()) m.set("uid", "uid-" + std::string(m["name"].as_string()));
    if (m["creationTimestamp"].as_string().empty()) m.set("creationTimestamp", "2026-01-01T00:00:00Z");
    auto key = s.key(m["namespace"].as_string(), m["name"].as_string());
    auto before = store_->current().find(key);
    auto done = loop_.run_until(store_->write({before ? store::write_kind::update : store::write_kind::create, key,
                                               api::stored_text(s, o), before ? before->mod() : 0, 0}));
    REQUIRE(done.has_value());
    hear(before ? store::event_type::modified : store::event_type::added, done->object, before);
  }
  // The same through the API, with its defaults.
  void create(json::value o) {
    auto& s = served(o);
    auto done = loop_.run_until(
        client_->create({s.group, s.version, s.resource}, std::string(o["metadata"]["namespace"].as_string()), o));
    REQUIRE_MESSAGE(done.has_value(), (done ? std::string() : done.error().message));
    put(*std::move(done));
  }
  void erase(const std::string& key) {
    auto before = store_->current().find(key);
    REQUIRE(before);
    auto done = loop_.run_until(store_->write({store::write_kind::remove, key, {}, before->mod(), 0}));
    REQUIRE(done.has_value());
    hear(store::event_type::deleted, done->object, before);
  }

  // The keys that were named since the last time.
  std::vector<std::string> named() {
    std::vector<std::string> out;
    while (auto key = queue().take()) {
      out.push_back(*key);
      queue().done(*key);
    }
    return out;
  }
  // One turn of work on a key; "" or the refusal.
  std::string work(const std::string& key) {
    auto done = loop_.run_until(what_->work(*frame_, key));
    return done ? "" : done.error().message;
  }
  plan look(const std::string& key, const moment& now) { return what_->look(frame_->now(), key, now); }
  // What is there now; a null value when it isn't.
  json::value get(const std::string& key) {
    auto o = store_->current().find(key);
    return o ? *json::parse(o->bytes()) : json::value();
  }
  std::vector<std::string> keys_under(std::string_view prefix) {
    std::vector<std::string> out;
    store_->current().scan(prefix, {}, [&](const store::object_ref& o) {
      out.emplace_back(o->key().substr(prefix.size()));
      return true;
    });
    return out;
  }
  shell& frame() { return *frame_; }
  keys& queue() { return frame_->queue(); }
  reactor::loop& loop() { return loop_; }

 private:
  static const api::served& served(const json::value& o) {
    auto* s = api::builtin_registry().find_kind(o["apiVersion"].as_string(), o["kind"].as_string());
    REQUIRE(s);
    return *s;
  }
  void hear(store::event_type type, const store::object_ref& now, const store::object_ref& before) {
    for (auto& s : sources_) {
      auto prefix = s.resource.plural.empty() ? std::string("/registry/") : client_->prefix(s.resource);
      if (!now->key().starts_with(prefix)) continue;
      s.names(seen(type, now, before, prefix), queue());
    }
  }

  reactor::loop loop_{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here_{loop_};
  datastore::memory_database database_;
  tests::no_admission rules_;
  api::service_ranges ranges_;
  std::unique_ptr<store::store> store_;
  std::unique_ptr<api::objects> client_;
  std::unique_ptr<controller> what_;
  std::optional<event_recorder> recorder_;
  std::optional<shell> frame_;
  std::vector<source> sources_;
};

}  // namespace kedge::control
