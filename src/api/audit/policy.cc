#include "api/audit/policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/configuration/fields.h"
#include "base/strings.h"
#include "json/write.h"
#include "meta/names.h"

namespace kedge::api {
namespace {

const std::vector<std::string> levels{"None", "Metadata", "Request", "RequestResponse"};
const std::vector<std::string> stages{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"};

bool has(const std::vector<std::string>& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

// Each of a list is quoted as a finding shows values.
std::string list_text(const std::vector<std::string>& list) {
  json::array out;
  for (auto& text : list) out.emplace_back(text);
  return json::write(json::value(std::move(out)));
}

// `*` at the end of a path stands for all that follows.
bool path_fits(std::string_view path, std::string_view spec) {
  if (spec == "*" || spec == path) return true;
  if (!spec.ends_with('*')) return false;
  while (spec.ends_with('*')) spec.remove_suffix(1);
  return path.starts_with(spec);
}

unsigned read_stages(fields& f, std::string_view name) {
  unsigned out = 0;
  const auto given = f.texts(name);
  for (std::size_t i = 0; i < given.size(); ++i) {
    auto known = std::ranges::find(stages, given[i]);
    if (known == stages.end())
      f.wrong(fmt::format("{}[{}]", name, i),
              fmt::format("Invalid value: {}: allowed stages are {}", quote(given[i]), join(stages, ",")));
    else
      out |= 1U << (known - stages.begin());
  }
  return out;
}

}  // namespace

std::string_view name_of(audit_level level) noexcept { return levels[static_cast<std::size_t>(level)]; }
std::string_view name_of(audit_stage stage) noexcept { return stages[static_cast<std::size_t>(stage)]; }

struct policy_reader {
  static void check_paths(fields& f, const audit_policy::rule& r) {
    for (std::size_t i = 0; i < r.paths.size(); ++i) {
      auto& path = r.paths[i];
      auto where = fmt::format("nonResourceURLs[{}]", i);
      if (path == "*") continue;
      if (!path.starts_with('/'))
        f.wrong(where,
                fmt::format("Invalid value: {}: non-resource URL rules must begin with a '/' character", quote(path)));
      if (auto star = path.find('*'); star != std::string::npos && star + 1 < path.size())
        f.wrong(where, fmt::format("Invalid value: {}: non-resource URL wildcards '*' must be the final character of "
                                   "the rule",
                                   quote(path)));
    }
    if (!r.paths.empty() && (!r.of.empty() || !r.namespaces.empty()))
      f.wrong("nonResourceURLs", fmt::format("Invalid value: {}: rules cannot apply to both regular resources and "
                                             "non-resource URLs",
                                             list_text(r.paths)));
  }

  static audit_policy::resources read_resources(fields& f) {
    audit_policy::resources out{f.text("group"), f.texts("resources"), f.texts("resourceNames")};
    if (!out.group.empty() && out.group != "*")
      if (auto why = check_dns1123_subdomain(out.group); !why.empty())
        f.wrong("group", fmt::format("Invalid value: {}: {}", quote(out.group), join(why, ",")));
    if (!out.object_names.empty() && out.names.empty())
      f.wrong("resourceNames", fmt::format("Invalid value: {}: using resourceNames requires at least one resource",
                                           list_text(out.object_names)));
    f.done();
    return out;
  }

  static audit_policy::rule read_rule(fields& f, const audit_verdict& of_all) {
    audit_policy::rule r;
    auto level = f.word("level", levels, true);
    if (!level.empty()) r.verdict.level = static_cast<audit_level>(std::ranges::find(levels, level) - levels.begin());
    r.users = f.texts("users");
    r.groups = f.texts("userGroups");
    r.verbs = f.texts("verbs");
    r.namespaces = f.texts("namespaces");
    for (auto& one : f.children("resources")) r.of.push_back(read_resources(one));
    r.paths = f.texts("nonResourceURLs");
    check_paths(f, r);
    r.verdict.omitted = of_all.omitted | read_stages(f, "omitStages");
    r.verdict.omit_managed_fields = f.flag("omitManagedFields").value_or(of_all.omit_managed_fields);
    f.done();
    return r;
  }
};

result<audit_policy> audit_policy::parse(std::string_view text, std::vector<std::string>& warnings) {
  KEDGE_TRY(auto document, read_document(text, "Policy", {"audit.k8s.io/v1"}));
  findings found;
  fields f(document, "", found);
  f.text("apiVersion");
  f.text("kind");
  f.any("metadata");
  audit_policy out;
  out.otherwise_.omitted = read_stages(f, "omitStages");
  out.otherwise_.omit_managed_fields = f.flag("omitManagedFields").value_or(false);
  for (auto& rule : f.children("rules")) out.rules_.push_back(policy_reader::read_rule(rule, out.otherwise_));
  f.done();
  KEDGE_CHECK(found.verdict());
  if (out.rules_.empty()) return fail(errc::invalid, "loaded illegal policy with 0 rules");
  warnings.insert(warnings.end(), found.unknown.begin(), found.unknown.end());
  return out;
}

audit_verdict audit_policy::evaluate(const attributes& asked) const {
  for (auto& r : rules_)
    if (fits(r, asked)) return r.verdict;
  return otherwise_;
}

bool audit_policy::fits(const rule& r, const attributes& a) {
  if (!r.users.empty() && !has(r.users, a.user->name)) return false;
  if (!r.groups.empty() &&
      std::ranges::none_of(a.user->groups, [&](const std::string& group) { return has(r.groups, group); }))
    return false;
  if (!r.verbs.empty() && !has(r.verbs, a.verb)) return false;
  if (!r.namespaces.empty() || !r.of.empty()) return a.is_resource && fits_resource(r, a);
  if (r.paths.empty()) return true;
  return !a.is_resource &&
         std::ranges::any_of(r.paths, [&](const std::string& spec) { return path_fits(a.path, spec); });
}

bool audit_policy::fits_resource(const rule& r, const attributes& a) {
  if (!r.namespaces.empty() && !has(r.namespaces, a.ns)) return false;
  if (r.of.empty()) return true;
  const auto combined = a.subresource.empty() ? a.resource : a.resource + '/' + a.subresource;
  auto names = [&](std::string_view spec) {
    if (spec == combined || spec == "*") return true;
    if (!a.subresource.empty() && spec.starts_with("*/") && spec.substr(2) == a.subresource) return true;
    return spec.ends_with("/*") && spec.substr(0, spec.size() - 2) == a.resource;
  };
  return std::ranges::any_of(r.of, [&](const resources& of) {
    if (of.group != a.api_group && of.group != "*") return false;
    if (of.names.empty()) return true;
    return (of.object_names.empty() || has(of.object_names, a.name)) && std::ranges::any_of(of.names, names);
  });
}

}  // namespace kedge::api
