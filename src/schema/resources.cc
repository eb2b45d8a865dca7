#include "schema/resources.h"

#include <algorithm>
#include <tuple>

#include "schema/tables.h"

namespace kedge::schema {

using tables::text;

std::string_view resource_info::group() const noexcept { return text(group_); }
std::string_view resource_info::version() const noexcept { return text(version_); }
std::string_view resource_info::stored_version() const noexcept { return text(stored_version_); }
std::string_view resource_info::plural() const noexcept { return text(plural_); }
std::string_view resource_info::singular() const noexcept { return text(singular_); }
std::string_view resource_info::kind() const noexcept { return text(kind_); }
const type_info* resource_info::type() const noexcept { return &tables::types[type_]; }
std::string resource_info::api_version() const {
  std::string out(group());
  if (!out.empty()) out += '/';
  return out += version();
}

column_info resource_info::column(std::size_t i) const noexcept {
  auto& c = tables::columns[columns_first_ + i];
  return {text(c.name), text(c.type), text(c.format), text(c.description), c.priority};
}
subresource_info resource_info::subresource(std::size_t i) const noexcept {
  auto& s = tables::subresources[sub_first_ + i];
  return {text(s.name), text(s.group), text(s.version), text(s.kind), {s.verbs_first, s.verbs_count}};
}
bool resource_info::has_subresource(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < sub_count_; ++i)
    if (subresource(i).name == name) return true;
  return false;
}

std::span<const resource_info> all_resources() noexcept { return {tables::resources, tables::resource_count}; }

const resource_info* find_resource(std::string_view group, std::string_view version, std::string_view plural) noexcept {
  auto all = all_resources();
  auto key = [](const resource_info& r) { return std::tuple(r.group(), r.version(), r.plural()); };
  auto wanted = std::tuple(group, version, plural);
  auto it = std::ranges::lower_bound(all, wanted, {}, key);
  return it != all.end() && key(*it) == wanted ? &*it : nullptr;
}

const resource_info* find_resource_of_kind(std::string_view api_version, std::string_view kind) noexcept {
  auto [group, version] = split_api_version(api_version);
  for (auto& r : all_resources())
    if (r.group() == group && r.version() == version && r.kind() == kind) return &r;
  return nullptr;
}

std::string resource_key_prefix(const resource_info& r) {
  auto plural = r.plural();
  std::string_view directory = plural;
  if (plural == "nodes")
    directory = "minions";
  else if (plural == "services")
    directory = "services/specs";
  else if (plural == "endpoints")
    directory = "services/endpoints";
  else if (plural == "replicationcontrollers")
    directory = "controllers";
  else if (plural == "ingresses")
    directory = "ingress";
  // The aggregated servers within kube-apiserver name their group, the built-in groups share one level.
  else if (r.group() == "apiextensions.k8s.io" || r.group() == "apiregistration.k8s.io")
    return custom_key_prefix(r.group(), plural);
  return "/registry/" + std::string(directory) + "/";
}

std::string custom_key_prefix(std::string_view group, std::string_view plural) {
  return "/registry/" + std::string(group) + "/" + std::string(plural) + "/";
}

}  // namespace kedge::schema
