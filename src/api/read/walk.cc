#include "api/read/walk.h"

#include <algorithm>

#include "reactor/loop.h"

namespace kedge::api {

namespace {

// Plain visits cost a fiftieth of a microsecond, less than asking whether the turn is over.
constexpr std::size_t visits_between_looks = 16;

}  // namespace

bool selection::matches(const served& s, const store::object_ref& o) const {
  if (!labels.everything() && !labels.matches_text(o->labels_text())) return false;
  if (fields.empty()) return true;
  return by_key ? matches_key(s, fields, o->key()) : matches_fields(s, fields, places, *o);
}

api_result<selection> make_selection(const authorized& to, std::string_view labels, std::string_view fields) {
  selection out;
  if (!labels.empty()) { KEDGE_TRY(out.labels, label_selector::parse(labels)); }
  if (!fields.empty()) {
    KEDGE_TRY(out.fields, field_selector::parse(fields));
    KEDGE_CHECK(check_fields(to.what(), out.fields));
  }
  if (!to.name().empty()) {
    if (out.fields.empty())
      out.fields.requirements().push_back({"metadata.name", to.name(), true});
    else if (out.fields.exact("metadata.name") != to.name())
      return fail(bad_request("fieldSelector metadata.name doesn't match requested name"));
  }
  out.places = places_of(to.what(), out.fields);
  out.by_key = key_decides(out.fields);
  return out;
}

search search_for(const authorized& to, const selection& which, const store::snapshot& cluster) {
  search out;
  auto& s = to.what();
  auto space = to.ns();
  if (auto asked = which.fields.exact("metadata.namespace"); asked && space.empty() && s.namespaced()) space = *asked;
  out.scope.prefix = s.prefix(space);
  if (auto name = which.fields.exact("metadata.name")) {
    if (s.namespaced() && space.empty()) {
      out.name = *name;
    } else {
      out.scope.prefix = s.key(space, *name);
      out.scope.one = true;
    }
    return out;
  }
  for (std::size_t i = 0; i < which.places.size(); ++i) {
    auto& r = which.fields.requirements()[i];
    auto& index = which.places[i].index;
    if (!r.equal || index.empty() || !cluster.has_index(index)) continue;
    out.scope.index = index;
    out.scope.value = r.value;
    break;
  }
  return out;
}

object_walk::object_walk(store::snapshot cluster, const served& s, search where, const selection& which,
                         std::string start)
    : cluster_(std::move(cluster)),
      what_(s),
      where_(std::move(where)),
      which_(which),
      everything_(which.everything()),
      next_(std::max(std::move(start), where_.scope.prefix)) {}

object_walk::end object_walk::step(const std::function<bool(const store::object_ref&)>& take) {
  auto& scope = where_.scope;
  if (!where_.name.empty()) return step_names(take);
  if (scope.one) {
    auto found = next_ <= scope.prefix ? cluster_.find(scope.prefix) : store::object_ref();
    return !found || !wanted(found) || take(found) ? end::all : end::refused;
  }
  auto& loop = reactor::loop::current();
  auto reached = end::all;
  std::size_t visited = 0;
  auto visit = [&](const store::object_ref& o) {
    if (++visited % visits_between_looks == 0 && loop.yield_is_due())
      reached = end::none;
    else if (wanted(o) && !take(o))
      reached = end::refused;
    else
      return true;
    next_ = o->key();
    return false;
  };
  const std::string start = next_;
  if (scope.index.empty())
    cluster_.scan(scope.prefix, start, visit);
  else
    cluster_.scan(scope.index, scope.value, scope.prefix, start, visit);
  return reached;
}

// From namespace to namespace, without looking at what lies between.
object_walk::end object_walk::step_names(const std::function<bool(const store::object_ref&)>& take) {
  auto& loop = reactor::loop::current();
  auto& prefix = where_.scope.prefix;
  for (std::size_t visited = 1;; ++visited) {
    if (visited % visits_between_looks == 0 && loop.yield_is_due()) return end::none;
    std::string space;
    cluster_.scan(prefix, next_, [&](const store::object_ref& o) {
      auto key = o->key();
      space = key.substr(0, key.find('/', prefix.size()) + 1);
      return false;
    });
    if (space.size() <= prefix.size()) return end::all;
    auto key = space + where_.name;
    if (key >= next_) {
      auto found = cluster_.find(key);
      if (found && wanted(found) && !take(found)) {
        next_ = std::move(key);
        return end::refused;
      }
    }
    space.back() = '/' + 1;  // behind all that is in the namespace
    next_ = std::move(space);
  }
}

}  // namespace kedge::api
