#include "api/objects.h"

#include "api/answer/encode.h"
#include "api/custom/tables.h"
#include "api/local_objects.h"
#include "api/write/applying.h"
#include "api/write/body.h"
#include "api/write/subresources.h"
#include "json/write.h"
#include "schema/defaults.h"

namespace kedge::api {
namespace {

class local_objects final : public objects {
 public:
  local_objects(store::store& s, admission& a, const service_ranges& ranges, custom::tables* tables, user_ref as,
                std::string manager, asker ask)
      : store_(s),
        storage_(s, a, ranges, tables ? tables->versions() : nullptr),
        tables_(tables),
        as_(std::move(as)),
        manager_(std::move(manager)),
        ask_(std::move(ask)) {}

  task<result<raw_answer>> ask(raw_request q) override {
    if (!ask_) co_return raw_answer{404, {}};
    co_return co_await ask_(as_, std::move(q));
  }

  api_result<json::value> get(const resource_id& r, std::string_view ns, std::string_view name) override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    if (!s) return fail(no_such_resource());
    auto found = store_.current().find(s->key(ns, name));
    if (!found) return fail(not_found(s->group, s->resource, name));
    return served_value(*s, *found);
  }

  std::vector<json::value> list(const resource_id& r, std::string_view ns) override {
    std::vector<json::value> out;
    each(r, ns, {}, [&](const json::value& v) {
      out.push_back(v);
      return true;
    });
    return out;
  }

  void each(const resource_id& r, std::string_view ns, const label_selector& which,
            const std::function<bool(const json::value&)>& visit) override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    if (!s) return;
    store_.current().scan(s->prefix(ns), {}, [&](const store::object_ref& o) {
      if (!which.matches_text(o->labels_text())) return true;
      auto v = served_value(*s, *o);
      return !v || visit(*v);
    });
  }

  task<api_result<json::value>> create(resource_id r, std::string ns, json::value object) override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    if (!s) co_return fail(no_such_resource());
    auto c = call_for(*s, "create", std::move(ns), {});
    KEDGE_CO_TRY(auto decoded, decoded_body(*s, std::move(object), c));
    KEDGE_CO_TRY(auto done, co_await storage_.create(std::move(decoded), c));
    co_return value_in(*s, std::move(done));
  }

  task<api_result<json::value>> update(resource_id r, std::string ns, json::value object,
                                       std::string subresource) override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    if (!s) co_return fail(no_such_resource());
    auto c = call_for(*s, "update", ns, std::string(name_in(object)), subresource);
    if (subresource == "scale") {
      auto sub = s->subresource(subresource);
      if (!sub) co_return fail(no_such_resource());
      auto body = json::write(object);
      KEDGE_CO_TRY(auto done,
                   co_await serve_scale({.store = storage_, .sub = *sub, .body = body, .content_type = {}}, c));
      co_return std::move(done.value);
    }
    KEDGE_CO_TRY(auto decoded, decoded_body(*s, std::move(object), c));
    // Its own frame awaits the call.
    c.may_create = [this, s, &ns, name = c.to.name()]() -> task<api_result<authorized>> {
      co_return authorization::own(as_, "create", *s, ns, name);
    };
    KEDGE_CO_TRY(auto done,
                 co_await storage_.update(storage::put_change(std::move(decoded)), part_of(subresource), true, c));
    co_return value_in(*s, std::move(done));
  }

  task<api_result<json::value>> patch(resource_id r, std::string ns, std::string name, patch_kind how,
                                      json::value document, std::string subresource) override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    if (!s) co_return fail(no_such_resource());
    auto c = call_for(*s, "patch", std::move(ns), std::move(name), subresource);
    auto p = part_of(subresource);
    auto work = storage::patch_change(*s, how, std::move(document), {}, p, c.options.validation);
    KEDGE_CO_TRY(auto done, co_await storage_.update(std::move(work), p, false, c));
    co_return value_in(*s, std::move(done));
  }

  task<api_result<json::value>> apply(resource_id r, std::string ns, json::value object, std::string manager) override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    if (!s) co_return fail(no_such_resource());
    auto c = call_for(*s, "patch", ns, std::string(name_in(object)));
    c.manager = c.options.field_manager = std::move(manager);
    c.options.force = c.options.has_force = true;
    // Its own frame awaits the call.
    c.may_create = [this, s, &ns, name = c.to.name()]() -> task<api_result<authorized>> {
      co_return authorization::own(as_, "create", *s, ns, name);
    };
    KEDGE_CO_TRY(auto done, co_await serve_apply(storage_, {.body = json::write(object)}, c));
    co_return value_in(*s, std::move(done));
  }

  task<api_result<void>> remove(resource_id r, std::string ns, std::string name, delete_options options) override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    if (!s) co_return fail(no_such_resource());
    auto c = call_for(*s, "delete", std::move(ns), std::move(name));
    auto done = co_await storage_.remove(std::move(options), c);
    if (!done) co_return fail(std::move(done).error());
    co_return api_result<void>();
  }

  task<api_result<void>> bind(std::string ns, std::string name, std::string uid, std::string node) override {
    auto c = call_for(*builtin_registry().find("", "v1", "pods"), "create", ns, name, "binding");
    json::value binding = json::object{
        {"apiVersion", "v1"},
        {"kind", "Binding"},
        {"metadata", json::object{{"name", std::move(name)}, {"namespace", std::move(ns)}, {"uid", std::move(uid)}}},
        {"target", json::object{{"kind", "Node"}, {"name", std::move(node)}}}};
    KEDGE_CO_CHECK(co_await storage_.judge(operation::create, binding, "Binding", c));
    c.admitted = true;
    auto done = co_await bind_pod(storage_, std::move(binding), c);
    if (!done) co_return fail(std::move(done).error());
    co_return api_result<void>();
  }

  task<api_result<json::value>> modify(resource_id r, std::string ns, std::string name,
                                       std::function<bool(json::value&)> edit, std::string subresource) override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    if (!s) co_return fail(no_such_resource());
    auto c = call_for(*s, "update", std::move(ns), std::move(name), subresource);
    auto work = [s, edit = std::move(edit), &c](const json::value& current) -> api_result<json::value> {
      auto next = current;
      if (!edit(next)) return current;
      return decoded_body(*s, std::move(next), c);
    };
    KEDGE_CO_TRY(auto done, co_await storage_.update(std::move(work), part_of(subresource), false, c));
    co_return value_in(*s, std::move(done));
  }

  std::string prefix(const resource_id& r, std::string_view ns) const override {
    std::shared_ptr<const registry> kept;
    auto s = find(r, kept);
    return s ? s->prefix(ns) : std::string();
  }
  store::store& objects_store() noexcept override { return store_; }
  std::shared_ptr<const registry> resources() const override {
    return tables_ ? tables_->current() : objects::resources();
  }

 private:
  // What is found lives as long as `kept`: a built-in resource for ever.
  const served* find(const resource_id& r, std::shared_ptr<const registry>& kept) const {
    kept = resources();
    return kept->find(r.group, r.version, r.plural);
  }

  call call_for(const served& s, std::string_view verb, std::string ns, std::string name,
                std::string_view subresource = {}) const {
    call c{.to = authorization::own(as_, verb, s, std::move(ns), std::move(name), subresource)};
    c.options.validation = field_validation::ignore;
    c.manager = manager_;
    return c;
  }

  static api_result<json::value> decoded_body(const served& s, json::value object, call& c) {
    KEDGE_TRY(auto v, decode_body(std::move(object), own_body(s), c.options.validation, {}, c.warnings));
    apply_defaults(s, v);
    return v;
  }

  static api_result<json::value> value_in(const served& s, written w) {
    if (w.object) return served_value(s, *w.object);
    to_served(s, w.value);
    return std::move(w.value);
  }

  store::store& store_;
  storage storage_;
  custom::tables* tables_;
  user_ref as_;
  std::string manager_;
  asker ask_;
};

}  // namespace

task<result<raw_answer>> objects::ask(raw_request) { co_return raw_answer{404, {}}; }

std::shared_ptr<const registry> objects::resources() const { return custom::builtin_tables(); }

std::unique_ptr<objects> make_objects(store::store& s, admission& a, const service_ranges& ranges,
                                      custom::tables* tables, user_ref as, std::string manager, asker ask) {
  return std::make_unique<local_objects>(s, a, ranges, tables, std::move(as), std::move(manager), std::move(ask));
}

}  // namespace kedge::api
