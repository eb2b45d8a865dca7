#include "world.h"

#include <algorithm>

#include "api/registry/indexes.h"
#include "api/write/storage.h"

namespace kedge::turns {

world::world() {
  store::store_options o;
  o.log = datastore::make_memory_log(database_);
  o.loops = {&loop_};
  o.indexes = api::builtin_indexes();
  auto opened = loop_.run_until(store::open_store(std::move(o)));
  REQUIRE(opened.has_value());
  objects_ = *std::move(opened);
  api::rule_source* rules = nullptr;
  may_ = api::make_authorizer(&rules);
  auto chain = api::admission_chain::create({}, *may_, *rules, objects_.get());
  REQUIRE(chain.has_value());
  rules_ = *std::move(chain);
  tables_ = std::make_unique<api::custom::tables>(*objects_);
  tables_->follow();
  rules_->obey_policies([this] { return tables_->current(); });
  handler_ = std::make_unique<api::api_handler>(api::api_parts{.objects = *objects_,
                                                               .who = who_,
                                                               .may = *may_,
                                                               .rules = *rules_,
                                                               .checks = checks_,
                                                               .measures = measures_,
                                                               .ranges = ranges_,
                                                               .server_address = "10.0.0.1:6443",
                                                               .custom = tables_.get()});
  client_ = api::make_objects(*objects_, *rules_, ranges_, tables_.get());
  for (auto body : {R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"mine"}})"})
    CHECK(ask({"POST", "/api/v1/namespaces", body, {}, {}}).code == 201);
  CHECK(ask({"POST",
             "/api/v1/namespaces/mine/serviceaccounts",
             R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}})",
             {},
             {}})
            .code == 201);
}

world::~world() {
  handler_.reset();
  client_.reset();
  rules_.reset();
  tables_.reset();
  loop_.run_until(objects_->close());
  objects_.reset();
}

measured world::ask(const request_shape& q) {
  api::memory_exchange e;
  api::header_list headers;
  if (!q.content_type.empty()) headers.emplace_back("Content-Type", q.content_type);
  if (!q.accept.empty()) headers.emplace_back("Accept", q.accept);
  api::api_world::fill(e, q.method, q.target, q.body, headers);
  bool done = false;
  measured m;
  reactor::scope work;
  const auto began = time_of(CLOCK_PROCESS_CPUTIME_ID);
  auto before = time_of(CLOCK_THREAD_CPUTIME_ID);
  auto turn_ends = [&] {
    auto now = time_of(CLOCK_THREAD_CPUTIME_ID);
    m.longest = std::max(m.longest, now - before);
    before = now;
  };
  work.spawn([](api::api_handler& h, api::memory_exchange& x, bool& flag) -> task<void> {
    co_await h.serve(x);
    flag = true;
  }(*handler_, e, done));
  turn_ends();
  while (!done) {
    loop_.turn(loop_.has_work() ? time_point{} : monotonic_clock::now() + std::chrono::milliseconds(100));
    turn_ends();
  }
  m.all = time_of(CLOCK_PROCESS_CPUTIME_ID) - began;
  m.code = e.head.status;
  m.answer = std::move(e.answer);
  return m;
}

void world::put(const api::served& s, json::value object) {
  auto& m = object.member("metadata");
  m.set("uid", "00000000-0000-4000-8000-000000000001");
  m.set("creationTimestamp", "2026-01-01T00:00:00Z");
  auto name = std::string(api::name_in(object)), in = std::string(api::namespace_in(object));
  forget(s, in, name);
  auto text = api::stored_text(s, object);
  auto done =
      loop_.run_until(objects_->write({store::write_kind::create, s.stored->key(in, name), std::move(text), 0, 0}));
  REQUIRE_MESSAGE(done.has_value(), done.error().message);
}

void world::forget(const api::served& s, std::string_view in, std::string_view name) {
  (void)loop_.run_until(objects_->write({store::write_kind::remove, s.stored->key(in, name), {}, 0, 0}));
}

}  // namespace kedge::turns
