#include "api/configuration/fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/configuration/limits.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::api {
namespace {

constexpr std::size_t shown_bytes = 64;

const json::value absent;

std::string below(const std::string& path, std::string_view name) {
  if (path.empty()) return std::string(name);
  return name.empty() ? path : fmt::format("{}.{}", path, name);
}

}  // namespace

void findings::add(std::string path, std::string_view what) { wrong.push_back(fmt::format("{}: {}", path, what)); }

result<void> findings::verdict() const {
  if (wrong.empty()) return {};
  auto told = wrong;
  if (told.size() > findings_max) {
    const auto more = told.size() - findings_max;
    told.resize(findings_max);
    told.push_back(fmt::format("and {} more", more));
  }
  return fail(errc::invalid, told.size() == 1 ? told.front() : "[" + join(told, ", ") + "]");
}

fields::fields(const json::value& v, std::string path, findings& found) : fields(v, path, path, found) {}

fields::fields(const json::value& v, std::string path, std::string told_as, findings& found)
    : value_(&v), path_(std::move(path)), told_as_(std::move(told_as)), found_(&found) {
  if (v.is_object() || v.is_null()) return;
  found.add(path_, fmt::format("must be an object, not {}", shown(v)));
  value_ = &absent;
}

std::string fields::shown(const json::value& v) const {
  return found_->shows_values ? json::write_beginning(v, shown_bytes) : std::string(json::kind_name(v));
}

std::string fields::path_of(std::string_view name) const { return below(told_as_, name); }

void fields::wrong(std::string_view name, std::string_view what) { found_->add(path_of(name), what); }

bool fields::has(std::string_view name) const noexcept {
  auto v = value_->find(name);
  return v && !v->is_null();
}

const json::value* fields::find(std::string_view name) {
  known_.emplace(name);
  auto v = value_->find(name);
  return v && !v->is_null() ? v : nullptr;
}

std::string fields::text(std::string_view name, std::string otherwise) {
  auto v = find(name);
  if (!v) return otherwise;
  if (v->is_string()) return std::string(v->as_string());
  wrong(name, fmt::format("must be a text, not {}", shown(*v)));
  return otherwise;
}

std::string fields::word(std::string_view name, const std::vector<std::string>& allowed, bool needed) {
  auto given = text(name);
  if (given.empty()) {
    if (needed) wrong(name, "Required value");
    return {};
  }
  if (std::ranges::find(allowed, given) != allowed.end()) return given;
  std::vector<std::string> quoted;
  for (auto& a : allowed) quoted.push_back(quote(a));
  wrong(name, fmt::format("Unsupported value: {}: supported values: {}", quote(given), join(quoted, ", ")));
  return {};
}

std::optional<bool> fields::flag(std::string_view name) {
  auto v = find(name);
  if (!v) return std::nullopt;
  if (v->is_bool()) return v->as_bool();
  wrong(name, fmt::format("must be true or false, not {}", shown(*v)));
  return std::nullopt;
}

std::optional<std::int64_t> fields::number(std::string_view name) {
  auto v = find(name);
  if (!v) return std::nullopt;
  if (v->is_integer()) return v->as_integer();
  wrong(name, fmt::format("must be a whole number, not {}", shown(*v)));
  return std::nullopt;
}

std::optional<duration> fields::time(std::string_view name) {
  auto v = find(name);
  if (!v) return std::nullopt;
  auto time = v->is_string() ? parse_duration(v->as_string()) : fail(errc::invalid, "");
  if (time) return *time;
  wrong(name, fmt::format("must be a duration such as 30s, not {}", shown(*v)));
  return std::nullopt;
}

std::vector<std::string> fields::texts(std::string_view name) {
  std::vector<std::string> out;
  auto v = find(name);
  if (!v) return out;
  if (!v->is_array()) {
    wrong(name, fmt::format("must be a list, not {}", shown(*v)));
    return out;
  }
  for (std::size_t i = 0; i < v->size(); ++i)
    if ((*v)[i].is_string())
      out.emplace_back((*v)[i].as_string());
    else
      wrong(fmt::format("{}[{}]", name, i), fmt::format("must be a text, not {}", shown((*v)[i])));
  return out;
}

fields fields::child(std::string_view name) {
  auto v = find(name);
  return {v ? *v : absent, below(path_, name), below(told_as_, name), *found_};
}

fields fields::child_told_here(std::string_view name) {
  auto v = find(name);
  return {v ? *v : absent, below(path_, name), told_as_, *found_};
}

std::vector<fields> fields::children(std::string_view name) {
  std::vector<fields> out;
  auto v = find(name);
  if (!v) return out;
  if (!v->is_array()) {
    wrong(name, fmt::format("must be a list, not {}", shown(*v)));
    return out;
  }
  out.reserve(v->size());
  for (std::size_t i = 0; i < v->size(); ++i)
    out.emplace_back((*v)[i], fmt::format("{}[{}]", below(path_, name), i), fmt::format("{}[{}]", path_of(name), i),
                     *found_);
  return out;
}

const json::value& fields::any(std::string_view name) {
  auto v = find(name);
  return v ? *v : absent;
}

void fields::done() {
  auto all = value_->object();
  if (!all) return;
  for (auto& m : *all)
    if (!known_.contains(m.name))
      found_->unknown.push_back(fmt::format("unknown field {}", quote(below(path_, m.name))));
}

result<json::value> read_any_document(std::string_view text) {
  if (text.size() > configuration_file_max_bytes)
    return fail(errc::too_large, fmt::format("is larger than {} bytes", configuration_file_max_bytes));
  json::duplicate_list twice;
  KEDGE_TRY(auto document, json::parse_yaml(text, {.duplicates = &twice}));
  if (!twice.empty()) return fail(errc::invalid, twice.front());
  return document;
}

result<json::value> read_document(std::string_view text, std::string_view kind,
                                  const std::vector<std::string>& versions) {
  KEDGE_TRY(auto document, read_any_document(text));
  return check_document(document, kind, versions);
}

result<json::value> check_document(const json::value& document, std::string_view kind,
                                   const std::vector<std::string>& versions) {
  const auto version = document["apiVersion"].as_string(), given = document["kind"].as_string();
  if (given != kind || std::ranges::find(versions, version) == versions.end())
    return fail(errc::invalid, fmt::format("it is {} of {}, not {} of {}", quote(given), quote(version), kind,
                                           join(versions, " or ")));
  return document;
}

result<std::string> read_configuration_file(std::string_view flag, const std::string& path) {
  auto text = crypto::read_file(path, configuration_file_max_bytes);
  if (!text) return fail(std::move(text).error().with(fmt::format("--kube-apiserver-arg={}={}: ", flag, path)));
  return text;
}

}  // namespace kedge::api
