// storage_migration.cc: writes all objects of a resource anew, so that they are stored in the version, and under the
// key, that is written now (storage-version-migrator-controller).
//
//   StorageVersionMigration ─▶ its turn: one runs for each resource ─▶ Running; its definition: StorageMigrating
//     ─▶ status.resourceVersion: what is newer needs nothing ─▶ an empty patch of each that is older ─▶ Succeeded
//     ─▶ Running no more; the definition's storedVersions is the storage version alone
//
// Each of these is a write, and the change that it makes brings the key back, so whoever leads next goes on.
//
// A failed migration leaves storedVersions as they are, where kube-controller-manager prunes them: what lists too much
// is harmless, and what lists too little lets a version go whose objects are still there.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <tuple>

#include "base/strings.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/limits.h"

namespace kedge::control {

namespace {

const api::resource_id migrations{"storagemigration.k8s.io", "v1", "storageversionmigrations"};
const api::resource_id definitions{"apiextensions.k8s.io", "v1", "customresourcedefinitions"};
// How long a resource may be unknown: its definition may be as new as the migration.
constexpr auto unknown_time = std::chrono::minutes(1);
constexpr auto unknown_pause = std::chrono::seconds(5);
constexpr auto definition_pause = std::chrono::milliseconds(100);
constexpr std::string_view needed_verbs[] = {"update", "patch", "list"};

bool is_true(const json::value& o, std::string_view type) { return condition_status(o, type) == "True"; }
bool is_running(const json::value& o) { return is_true(o, "Running"); }
bool is_over(const json::value& o) { return is_true(o, "Succeeded") || is_true(o, "Failed"); }
std::string_view name_of(const json::value& o) { return o["metadata"]["name"].as_string(); }

std::string definition_of(const json::value& migration) {
  auto& resource = migration["spec"]["resource"];
  return fmt::format("{}.{}", resource["resource"].as_string(), resource["group"].as_string());
}

// Of those of one resource the oldest one goes first.
bool is_before(const json::value& a, const json::value& b) {
  auto of = [](const json::value& o) { return std::tuple(o["metadata"]["creationTimestamp"].as_string(), name_of(o)); };
  return of(a) < of(b);
}

void each_of_resource(const view& cluster, const json::value& resource,
                      const std::function<void(const json::value&)>& visit) {
  cluster.cluster().scan(cluster.prefix(migrations), {}, [&](const store::object_ref& o) {
    if (auto v = cluster.value(o); v && (*v)["spec"]["resource"] == resource) visit(*v);
    return true;
  });
}

bool may_begin(const view& cluster, const json::value& migration) {
  bool may = true;
  each_of_resource(cluster, migration["spec"]["resource"], [&](const json::value& other) {
    if (name_of(other) == name_of(migration)) return;
    // One that is over but still runs has its definition to finish, and would take this one's beginning for its own.
    if (is_running(other) || (!is_over(other) && is_before(other, migration))) may = false;
  });
  return may;
}

// How far it has come.
struct progress {
  std::size_t left = 0, all = 0;

  std::string message(std::string_view wrong = {}) const {
    std::string out = "The migration is running";
    if (all > 0)
      out += left > 0 ? fmt::format(", {}/{} objects not yet migrated", left, all)
                      : fmt::format(", {} objects verified migrated", all);
    if (!wrong.empty()) out += fmt::format("; transient error: {}", wrong);
    return out;
  }
};

condition running(std::string message) { return {"Running", "True", "MigrationRunning", std::move(message)}; }
condition failed(std::string message) {
  return {"Failed", "True", "StorageVersionMigrationFailed", std::move(message)};
}

plan with_conditions(json::value migration, std::initializer_list<condition> all, wall_time now) {
  plan p;
  bool changes = false;
  for (auto& c : all) changes = set_condition(migration, c, now) || changes;
  if (changes) p.write(update_of(migrations, std::move(migration), "status"));
  return p;
}

std::string_view storage_version(const json::value& definition) {
  auto& versions = definition["spec"]["versions"];
  for (std::size_t i = 0; i < versions.size(); ++i)
    if (versions[i]["storage"].as_bool()) return versions[i]["name"].as_string();
  return {};
}

json::value with_migrating(json::value definition, bool on, std::string_view reason, std::string_view message,
                           wall_time now) {
  const auto generation = definition["metadata"]["generation"].as_integer();
  set_condition(definition,
                {"StorageMigrating", on ? "True" : "False", std::string(reason), std::string(message), generation},
                now);
  return definition;
}

json::value begun_definition(const json::value& definition, const json::value& migration, wall_time now) {
  return with_migrating(definition, true, "MigrationRunning",
                        fmt::format("Migration {} is running", name_of(migration)), now);
}

// Once: the condition is then of what the definition is now, and says nothing any more of what was migrated.
std::optional<json::value> finished_definition(const json::value& definition, bool success, wall_time now) {
  if (!is_true(definition, "StorageMigrating")) return std::nullopt;
  if (!success) return with_migrating(definition, false, "MigrationFailed", "The migration has failed", now);
  // Another storage version may have come meanwhile.
  const bool same = condition_of(definition, "StorageMigrating")["observedGeneration"].as_integer() ==
                    definition["metadata"]["generation"].as_integer();
  auto next = with_migrating(
      definition, false, "MigrationSucceeded",
      same ? "The migration has succeeded and the stored versions have been updated"
           : "The migration has succeeded but the stored versions have not been updated due to a generation mismatch",
      now);
  if (!same) return next;
  next.member("status").set("storedVersions", json::array{storage_version(definition)});
  return next;
}

// kube-controller-manager tries these again.
bool may_be_better_later(const api::status& s) {
  return s.code == 429 || s.code == 500 || s.code == 503 || s.code == 504;
}

class storage_migration final : public controller {
 public:
  std::vector<source> sources() override { return {{migrations, own_key}}; }

  plan look(const view& cluster, const std::string& name, const moment& now) override {
    plan p;
    auto found = cluster.get(migrations, {}, name);
    if (!found) return p;
    auto& migration = *found;
    auto definition = cluster.get(definitions, {}, definition_of(migration));
    if (is_over(migration)) {
      if (!is_running(migration)) return p;
      auto finished =
          definition ? finished_definition(*definition, is_true(migration, "Succeeded"), now.wall) : std::nullopt;
      if (finished) p.write(update_of(definitions, *std::move(finished), "status"));
      auto next = migration;
      set_condition(next,
                    {"Running", "False", "MigrationCompleted", "Migration completed",
                     migration["metadata"]["generation"].as_integer()},
                    now.wall);
      return p.write(update_of(migrations, std::move(next), "status"));
    }
    if (!is_running(migration)) {
      if (!may_begin(cluster, migration)) return p;
      if (definition) p.write(update_of(definitions, begun_definition(*definition, migration, now.wall), "status"));
      auto next = migration;
      set_condition(next, running(progress().message()), now.wall);
      return p.write(update_of(migrations, std::move(next), "status"));
    }
    if (!migration["status"]["resourceVersion"].as_string().empty()) return p;
    return look_at_resource(cluster, migration, now);
  }

  task<api::api_result<void>> work(shell& s, std::string name) override {
    auto cluster = s.now();
    auto found = cluster.get(migrations, {}, name);
    if (!found || (is_over(*found) && !is_running(*found))) {
      name_waiting(cluster, s.queue());
      co_return api::api_result<void>();
    }
    if (is_running(*found) && !is_over(*found) && !(*found)["status"]["resourceVersion"].as_string().empty())
      co_return co_await migrate(s, cluster, *found);
    co_return co_await s.write(look(cluster, name, s.when()), name);
  }

 private:
  // One that is over, or gone, makes room for another.
  static void name_waiting(const view& cluster, keys& k) {
    cluster.cluster().scan(cluster.prefix(migrations), {}, [&](const store::object_ref& o) {
      if (auto v = cluster.value(o); v && !is_over(*v) && !is_running(*v)) k.add(std::string(name_of(*v)));
      return true;
    });
  }

  static const api::served* resource_of(const view& cluster, const json::value& migration) {
    auto& r = migration["spec"]["resource"];
    return cluster.served().find_any(r["group"].as_string(), r["resource"].as_string());
  }

  static plan unknown(const json::value& migration, std::string_view message, const moment& now) {
    plan p;
    auto created = parse_rfc3339(migration["metadata"]["creationTimestamp"].as_string());
    if (created && *created + unknown_time > now.wall) return p.look_after(unknown_pause);
    return with_conditions(migration, {failed(std::string(message))}, now.wall);
  }

  // This loop may not have heard yet in which version the definition wants its objects.
  static bool is_behind(const view& cluster, const json::value& migration, const api::served& resource) {
    auto definition = cluster.get(definitions, {}, definition_of(migration));
    return definition && resource.stored && storage_version(*definition) != resource.stored->version;
  }

  static plan look_at_resource(const view& cluster, const json::value& migration, const moment& now) {
    auto resource = resource_of(cluster, migration);
    if (!resource) return unknown(migration, "resource does not exist in discovery", now);
    if (resource->is_virtual || !std::ranges::all_of(needed_verbs, [&](auto v) { return resource->has_verb(v); })) {
      auto what = fmt::format("{}/{}, Resource={}", resource->group, resource->version, resource->resource);
      return with_conditions(
          migration,
          {failed(fmt::format("resource {} does not support discovery operations: [update patch list]", quote(what)))},
          now.wall);
    }
    plan p;
    // What is written meanwhile is newer, and yet in the old version.
    if (is_behind(cluster, migration, *resource)) return p.look_after(definition_pause);
    auto next = migration;
    next.member("status").set("resourceVersion", std::to_string(cluster.cluster().at()));
    return p.write(update_of(migrations, std::move(next), "status"));
  }

  // The names of those that were written no later than `upto`, and how many there are in all.
  static task<std::vector<std::string>> older(const view& cluster, const api::served& resource, store::revision upto,
                                              progress& out) {
    std::vector<std::string> names;
    const auto prefix = resource.prefix({});
    std::string start;
    for (bool more = true; more;) {
      std::size_t n = 0;
      more = false;
      cluster.cluster().scan(prefix, start, [&](const store::object_ref& o) {
        ++out.all;
        if (o->mod() <= upto) names.emplace_back(name_under(prefix, o->key()));
        if (++n < scan_piece) return true;
        start = std::string(o->key()) + '\0';
        more = true;
        return false;
      });
      co_await reactor::maybe_yield();
    }
    out.left = names.size();
    co_return names;
  }

  // An object that changed since it was listed is stored as it must be, and one that went needs nothing.
  static task<void> patch(shell& s, api::resource_id id, std::string key, store::revision upto,
                          api::api_result<void>& answer) {
    auto cluster = s.now();
    auto resource = cluster.find(id);
    auto o = resource ? cluster.cluster().find(resource->prefix({}) + key) : store::object_ref();
    if (!o || o->mod() > upto) co_return;
    const auto where = resource->namespaced() ? split_name(key) : ns_name{{}, key};
    json::value document = json::object{{"apiVersion", resource->api_version},
                                        {"kind", resource->kind},
                                        {"metadata", json::object{{"resourceVersion", std::to_string(o->mod())}}}};
    auto done = co_await s.client().patch(std::move(id), std::string(where.ns), std::string(where.name),
                                          api::patch_kind::merge, std::move(document));
    if (!done && done.error().code != 409 && done.error().code != 404) answer = api::fail(std::move(done).error());
  }

  task<api::api_result<void>> migrate(shell& s, const view& cluster, json::value migration) {
    auto resource = resource_of(cluster, migration);
    if (!resource)
      co_return co_await s.write(
          unknown(migration, "migration encountered unhandled error: unable to obtain GVR from discovery", s.when()),
          std::string(name_of(migration)));
    if (is_behind(cluster, migration, *resource)) {
      s.queue().add_after(std::string(name_of(migration)), definition_pause);
      co_return api::api_result<void>();
    }
    const api::resource_id id{resource->group, resource->version, resource->resource};
    store::revision upto = 0;
    auto text = migration["status"]["resourceVersion"].as_string();
    std::from_chars(text.data(), text.data() + text.size(), upto);
    progress so_far;
    auto names = co_await older(cluster, *resource, upto, so_far);
    for (std::size_t i = 0; i < names.size(); i += writes_at_once) {
      const auto count = std::min(writes_at_once, names.size() - i);
      std::vector<api::api_result<void>> answers(count);
      reactor::scope group;
      for (std::size_t n = 0; n < count; ++n) group.spawn(patch(s, id, std::move(names[i + n]), upto, answers[n]));
      co_await group.join();
      so_far.left -= static_cast<std::size_t>(std::ranges::count_if(answers, [](auto& a) { return a.has_value(); }));
      for (auto& a : answers)
        if (!a) co_return co_await tell_refused(s, std::move(migration), so_far, std::move(a).error());
    }
    co_return co_await s.write(
        with_conditions(std::move(migration),
                        {running(so_far.message()),
                         {"Succeeded", "True", "StorageVersionMigrationSucceeded", "Migration completed"}},
                        s.when().wall),
        {});
  }

  static task<api::api_result<void>> tell_refused(shell& s, json::value migration, progress so_far, api::status why) {
    const auto now = s.when().wall;
    if (!may_be_better_later(why))
      co_return co_await s.write(
          with_conditions(std::move(migration),
                          {running(so_far.message()),
                           failed(fmt::format("{}/{} not yet migrated. migration encountered unhandled error: {}",
                                              so_far.left, so_far.all, why.message))},
                          now),
          {});
    (void)co_await s.write(with_conditions(std::move(migration), {running(so_far.message(why.message))}, now), {});
    co_return api::fail(std::move(why));
  }
};

}  // namespace

std::unique_ptr<controller> make_storage_migration(const settings&) { return std::make_unique<storage_migration>(); }

}  // namespace kedge::control
