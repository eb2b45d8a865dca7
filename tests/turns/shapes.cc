#include "shapes.h"

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "samples.h"

namespace kedge::turns {
namespace {

using schema::base_type;
using schema::field_info;
using schema::shape;
using schema::type_info;

constexpr std::size_t depth_max = 8;

void find_places(const api::served& s, const type_info& type, std::vector<const field_info*>& path,
                 std::set<const type_info*>& within, std::vector<list_place>& out) {
  if (path.size() > depth_max || !within.insert(&type).second) return;
  for (std::size_t i = 0; i < type.size(); ++i) {
    auto& f = type.field(i);
    if (f.name() == "managedFields" || f.gated()) continue;
    path.push_back(&f);
    if (!f.is_single() || f.base() == base_type::string || f.base() == base_type::bytes) {
      // A long text is a list of characters.
      if (!f.is_single()) out.push_back({&s, path});
    }
    if (f.base() == base_type::structure && f.shape() != shape::map_of_arrays &&
        f.type()->base() == base_type::structure)
      find_places(s, *f.type(), path, within, out);
    path.pop_back();
  }
  within.erase(&type);
}

bool has_word(std::string_view name, std::string_view word) { return lower(name).find(word) != std::string::npos; }

// A value of a field's element that is different for each `i`, and what such a field usually has.
json::value scalar(const field_info& f, std::size_t i) {
  switch (f.base()) {
    case base_type::boolean: return true;
    case base_type::int32:
    case base_type::int64:
    case base_type::int_or_string: return static_cast<std::int64_t>(i % 65'535 + 1);
    case base_type::float64: return 1.5;
    case base_type::quantity: return "1";
    case base_type::time: return "2026-01-01T00:00:00Z";
    case base_type::micro_time: return "2026-01-01T00:00:00.000000Z";
    case base_type::bytes: return "YWJj";
    case base_type::string: break;
    default: return json::object{{"a", static_cast<std::int64_t>(i)}};
  }
  if (auto all = f.enum_values(); !all.empty()) return all[i % all.size()];
  if (has_word(f.name(), "cidr")) return fmt::format("10.{}.{}.0/24", i / 256 % 256, i % 256);
  if (has_word(f.name(), "ip") || has_word(f.name(), "address"))
    return fmt::format("10.{}.{}.{}", i / 65'536 % 256, i / 256 % 256, i % 256);
  if (has_word(f.name(), "protocol")) return "TCP";
  return fmt::format("n{}", i);
}

json::value element(const field_info& f, std::size_t i, element_form form, int depth);

json::value structure(const field_info& list, const type_info& type, std::size_t i, element_form form, int depth) {
  json::object out;
  std::vector<std::string_view> keys;
  for (auto k : list.list_map_keys()) keys.push_back(k);
  if (keys.empty() && !list.patch_merge_key().empty()) keys.push_back(list.patch_merge_key());
  bool any = false;
  for (std::size_t n = 0; n < type.size(); ++n) {
    auto& f = type.field(n);
    if (f.gated()) continue;
    const bool key = std::ranges::find(keys, f.name()) != keys.end();
    const bool wanted = key || f.required() ||
                        (keys.empty() && !any && f.is_single() && f.base() == base_type::string) ||
                        form == element_form::full;
    if (!wanted) continue;
    if (f.is_single() && f.base() != base_type::structure) {
      out.set(f.name(), scalar(f, i));
      any = any || f.base() == base_type::string;
    } else if (depth > 0 && (form == element_form::full || f.required())) {
      if (f.is_single())
        out.set(f.name(), structure(f, *f.type(), i, element_form::thin, depth - 1));
      else if (f.is_array())
        out.set(f.name(), json::array{element(f, i, element_form::thin, depth - 1)});
    }
  }
  return out;
}

json::value element(const field_info& f, std::size_t i, element_form form, int depth) {
  if (f.shape() == shape::map_of_arrays) return json::array{scalar(f, i)};
  if (f.base() == base_type::structure && f.type()->base() == base_type::structure)
    return structure(f, *f.type(), i, form, depth);
  return scalar(f, i);
}

// The value that the path leads to, made where there is none.
json::value& enter(json::value& object, const std::vector<const field_info*>& path) {
  auto* at = &object;
  for (std::size_t i = 0; i < path.size(); ++i) {
    at = &at->member(path[i]->name());
    if (i + 1 == path.size()) break;
    if (path[i]->is_array()) {
      auto& a = at->make_array();
      if (a.empty()) a.push_back(structure(*path[i], *path[i]->type(), 0, element_form::thin, 1));
      at = &a.front();
    } else if (path[i]->is_map()) {
      at = &at->member("one");
    }
  }
  return *at;
}

std::string target_of(const api::served& s, std::string_view name, bool status) {
  auto root = s.group.empty() ? "/api/" + s.version : "/apis/" + s.group + "/" + s.version;
  auto out = root + (s.namespaced() ? "/namespaces/" + std::string(world::ns) : "") + "/" + s.resource;
  if (!name.empty()) out += "/" + std::string(name);
  return status ? out + "/status" : out;
}

json::value wrapped(const list_place& p, json::value list) {
  // Only what leads to the place, for patches.
  json::value out(json::object{});
  auto& at = enter(out, p.path);
  at = std::move(list);
  return out;
}

}  // namespace

std::string list_place::text() const {
  std::string out = of->group.empty() ? of->resource : of->resource + "." + of->group;
  out += ' ';
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (i > 0) out += '.';
    out += path[i]->name();
    out += path[i]->is_array() ? "[]" : path[i]->is_map() ? "{}" : "";
  }
  return out;
}

std::string list_place::role() const {
  auto out = path.size() > 2 ? std::string(path[path.size() - 2]->type() ? path[path.size() - 2]->type()->name() : "")
                             : std::string(of->resource);
  return out + "." + std::string(path.back()->name());
}

bool list_place::in_status() const { return path.front()->name() == "status" && of->has_status; }

std::vector<list_place> list_places() {
  std::vector<list_place> out;
  for (auto* s : api::builtin_registry().all()) {
    if (!s->native() || !s->has_verb("create")) continue;
    std::vector<const field_info*> path;
    std::set<const type_info*> within;
    find_places(*s, s->type(), path, within, out);
  }
  return out;
}

json::value object_with(const list_place& p, std::size_t elements, element_form form, std::size_t from,
                        bool backwards) {
  auto out = api::sample(*p.of, world::ns, "big");
  auto& at = enter(out, p.path);
  auto& f = *p.path.back();
  if (f.is_array()) {
    auto& list = at.make_array();
    auto keep = list.empty() || f.base() != base_type::structure
                    ? json::array()
                    : json::array{list.front()};  // what makes the sample valid
    list = std::move(keep);
    list.reserve(list.size() + elements);
    for (std::size_t i = 0; i < elements; ++i) list.push_back(element(f, from + i, form, 2));
    if (backwards) std::ranges::reverse(list);
    return out;
  }
  auto& map = at.make_object();
  map.clear();
  for (std::size_t i = 0; i < elements; ++i) {
    auto n = from + (backwards ? elements - 1 - i : i);
    map.append(fmt::format("k{}", n), element(f, n, form, 2));
  }
  return out;
}

std::size_t elements_for(const list_place& p, std::size_t bytes, element_form form) {
  auto one = json::write(element(*p.path.back(), 50'000, form, 2)).size() + (p.path.back()->is_map() ? 10 : 1);
  return std::max<std::size_t>(2, bytes / one);
}

std::string_view name_of(way w) {
  switch (w) {
    case way::create: return "create";
    case way::replace_backwards: return "PUT backwards";
    case way::replace_others: return "PUT others";
    case way::merge_backwards: return "merge patch backwards";
    case way::strategic_others: return "strategic patch of others";
    case way::apply_others: return "apply of others";
    case way::read_table: return "GET as Table";
    case way::read_protobuf: return "GET as protobuf";
  }
  return {};
}

measured ask(world& w, const list_place& p, way how, std::size_t elements, element_form form) {
  auto& s = *p.of;
  auto name = api::sample_name(s, "big");
  const bool status = p.in_status();
  auto there = object_with(p, elements, form);
  if (how != way::create) {
    if (s.is_virtual) return {};
    w.put(s, there);
  }
  request_shape q{.method = "PUT",
                  .target = target_of(s, name, status),
                  .body = {},
                  .content_type = "application/json",
                  .accept = {}};
  auto others = [&] {
    return wrapped(p, enter(const_cast<json::value&>(
                                static_cast<const json::value&>(there = object_with(p, elements, form, elements + 7))),
                            p.path));
  };
  switch (how) {
    case way::create:
      q.method = "POST";
      q.target = target_of(s, {}, false);
      q.body = json::write(there);
      break;
    case way::replace_backwards: q.body = json::write(object_with(p, elements, form, 0, true)); break;
    case way::replace_others: q.body = json::write(object_with(p, elements, form, elements + 7)); break;
    case way::merge_backwards: {
      auto next = object_with(p, elements, form, 0, true);
      q.method = "PATCH";
      q.content_type = "application/merge-patch+json";
      q.body = json::write(wrapped(p, std::move(enter(next, p.path))));
      break;
    }
    case way::strategic_others:
      q.method = "PATCH";
      q.content_type = "application/strategic-merge-patch+json";
      q.body = json::write(others());
      break;
    case way::apply_others: {
      auto config = others();
      config.set("apiVersion", s.api_version);
      config.set("kind", s.kind);
      config.member("metadata").set("name", name);
      if (s.namespaced()) config.member("metadata").set("namespace", world::ns);
      q.method = "PATCH";
      q.target += "?fieldManager=m&force=true";
      q.content_type = "application/apply-patch+yaml";
      q.body = json::write(std::move(config));
      break;
    }
    case way::read_table:
    case way::read_protobuf:
      q.method = "GET";
      q.content_type.clear();
      q.target = target_of(s, name, false);
      q.accept = how == way::read_table ? "application/json;as=Table;v=v1;g=meta.k8s.io"
                                        : "application/vnd.kubernetes.protobuf";
      break;
  }
  auto m = w.ask(q);
  if (!s.is_virtual) w.forget(s, s.namespaced() ? world::ns : std::string_view(), name);
  return m;
}

}  // namespace kedge::turns
