#include "api/fairness/upkeep.h"

#include <algorithm>
#include <set>

#include "api/fairness/limits.h"
#include "api/registry/registry.h"
#include "base/log.h"
#include "json/parse.h"
#include "schema/bootstrap.h"
#include "schema/decode.h"

namespace kedge::api::fairness {
namespace {

constexpr std::string_view annotation = "apf.kubernetes.io/autoupdate-spec";

// As strconv.ParseBool reads it.
std::optional<bool> read_bool(std::string_view text) {
  for (auto yes : {"1", "t", "T", "true", "TRUE", "True"})
    if (text == yes) return true;
  for (auto no : {"0", "f", "F", "false", "FALSE", "False"})
    if (text == no) return false;
  return std::nullopt;
}

std::optional<bool> keeps(const json::value& o) {
  return read_bool(o["metadata"]["annotations"][annotation].as_string());
}

struct brought {
  resource_id resource;
  std::vector<json::value> objects;
};

std::vector<brought> all_brought() {
  std::vector<brought> out;
  // Levels before the schemas that name them.
  for (auto plural : {"prioritylevelconfigurations", "flowschemas"}) {
    brought b{{"flowcontrol.apiserver.k8s.io", "v1", plural}, {}};
    auto* s = builtin_registry().find(b.resource.group, b.resource.version, b.resource.plural);
    auto list = json::parse(schema::bootstrap_json(plural));
    for (std::size_t i = 0; list && i < list->size(); ++i) {
      json::object whole{{"kind", s->kind}, {"apiVersion", s->api_version}};
      for (auto& m : *(*list)[i].object()) whole.set(m.name, m.value);
      json::value object = std::move(whole);
      apply_defaults(*s, object);
      normalise(*s, object);
      b.objects.push_back(std::move(object));
    }
    out.push_back(std::move(b));
  }
  return out;
}

bool same_spec(const json::value& wanted, const json::value& now) {
  if (wanted["spec"] == now["spec"]) return true;
  // What is exempt may be given a share, and lend of it.
  if (wanted["metadata"]["name"].as_string() != "exempt" || !now["spec"]["exempt"].is_object()) return false;
  auto but_for_those = wanted["spec"];
  for (auto name : {"nominalConcurrencyShares", "lendablePercent"}) {
    if (auto v = now["spec"]["exempt"].find(name))
      but_for_those.member("exempt").set(name, *v);
    else
      but_for_those.member("exempt").erase(name);
  }
  return but_for_those == now["spec"];
}

}  // namespace

std::optional<json::value> revised(const json::value& wanted, const json::value& now, bool mandatory) {
  const auto said = keeps(now);
  const bool ours = mandatory || said.value_or(now["metadata"]["generation"].as_integer() == 1);
  const bool say = said != ours;
  const bool replace = ours && !same_spec(wanted, now);
  if (!say && !replace) return std::nullopt;
  auto next = now;
  if (replace) next.set("spec", wanted["spec"]);
  if (say) next.member("metadata").member("annotations").set(annotation, ours ? "true" : "false");
  return next;
}

task<api_result<void>> bring_up_to_date(objects& client) {
  api_result<void> first;
  auto note = [&](auto& done) {
    if (!done && first && done.error().code != 409 && done.error().code != 404) first = fail(done.error());
  };
  for (auto& [resource, wanted] : all_brought()) {
    std::set<std::string, std::less<>> names;
    for (auto& w : wanted) {
      auto name = std::string(name_in(w));
      names.insert(name);
      const bool mandatory = name == "exempt" || name == "catch-all";
      auto now = client.get(resource, "", name);
      if (!now) {
        auto made = co_await client.create(resource, "", w);
        note(made);
      } else if (revised(w, *now, mandatory)) {
        auto done = co_await client.modify(resource, "", name, [&](json::value& o) {
          auto next = revised(w, o, mandatory);
          if (next) o = *std::move(next);
          return next.has_value();
        });
        note(done);
      }
    }
    for (auto& o : client.list(resource)) {
      if (names.contains(name_in(o)) || keeps(o) != true) continue;
      auto gone =
          co_await client.remove(resource, "", std::string(name_in(o)),
                                 {.resource_version = std::string(o["metadata"]["resourceVersion"].as_string())});
      note(gone);
    }
  }
  co_return first;
}

task<void> keep_configuration(objects& client) {
  reactor::named_activity a("upkeep of flow schemas");
  for (;;) {
    co_await reactor::sleep_for(upkeep_period);
    auto done = co_await bring_up_to_date(client);
    if (!done)
      log::warning("flow schemas and priority levels could not be brought up to date: {}", done.error().message);
  }
}

}  // namespace kedge::api::fairness
