#include "api/encryption/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/registry/indexes.h"
#include "api/registry/registry.h"
#include "base/bytes.h"
#include "crypto/digest.h"

namespace kedge::api::encryption {
namespace {

constexpr std::string_view registry_root = "/registry/", kms_prefix = "k8s:enc:kms:v2:";

std::string name_of_resource(std::string_view resource, std::string_view group) {
  return group.empty() ? std::string(resource) : fmt::format("{}.{}", resource, group);
}

// Where more than one group serves what is kept there, it is the core group's (events).
const std::unordered_map<std::string, std::string, string_hash, std::equal_to<>>& builtin_names() {
  static const auto made = [] {
    std::unordered_map<std::string, std::string, string_hash, std::equal_to<>> out;
    for (auto* s : builtin_registry().all()) {
      auto name = name_of_resource(s->resource, s->group);
      auto [at, fresh] = out.try_emplace(s->key_prefix, name);
      if (!fresh && s->group.empty()) at->second = name;
    }
    return out;
  }();
  return made;
}

std::string group_of(std::string_view name) {
  const auto dot = name.find('.');
  return dot == name.npos ? std::string() : std::string(name.substr(dot + 1));
}

// What a configuration names this key's resource by: itself, its group, or all.
auto named(const auto& by_name, std::string_view key) {
  const auto name = resource_of_key(key);
  if (!name.empty())
    for (auto& wanted : {name, "*." + group_of(name), std::string("*.*")})
      if (auto found = by_name.find(wanted); found != by_name.end()) return found;
  return by_name.end();
}

std::string writer_of(const provider_settings& p) {
  if (p.kms) return fmt::format("kms:{}", p.kms->name);
  if (p.local.kind == crypto::cipher::identity) return "identity";
  auto& key = p.local.keys.front();
  return fmt::format("{}:{}:{}", crypto::name_of(p.local.kind), key.name, crypto::sha256_hex(as_bytes(key.secret)));
}

}  // namespace

std::string resource_of_key(std::string_view key) {
  if (!key.starts_with(registry_root)) return {};
  const auto prefix = key.substr(0, resource_size(key));
  if (auto found = builtin_names().find(prefix); found != builtin_names().end()) return found->second;
  // Custom resources: /registry/<group>/<plural>/…
  auto rest = prefix.substr(registry_root.size());
  const auto slash = rest.find('/');
  if (slash == rest.npos || rest.substr(0, slash).find('.') == rest.npos) return {};
  const auto group = rest.substr(0, slash);
  rest = rest.substr(slash + 1);
  return name_of_resource(rest.substr(0, rest.find('/')), group);
}

rules::rules(const std::vector<rule_settings>& settings, const std::vector<std::shared_ptr<kms_provider>>& known,
             const std::function<std::shared_ptr<kms_provider>(const kms_settings&)>& make) {
  auto plugin_of = [&](const kms_settings& s) {
    for (const auto* list : {&std::as_const(plugins_), &known})
      for (auto& one : *list)
        if (one->settings() == s) return one;
    return make(s);
  };
  for (auto& rule : settings) {
    providers all;
    for (auto& p : rule.providers) {
      if (!p.kms) {
        all.push_back({crypto::at_rest({p.local}), nullptr, {}});
        continue;
      }
      auto plugin = plugin_of(*p.kms);
      if (std::ranges::find(plugins_, plugin) == plugins_.end()) plugins_.push_back(plugin);
      all.push_back({{}, std::move(plugin), fmt::format("{}{}:", kms_prefix, p.kms->name)});
    }
    for (auto& name : rule.resources) {
      auto& list = by_name_[name];
      if (list.empty()) writing_ += fmt::format("{}={};", name, writer_of(rule.providers.front()));
      list.insert(list.end(), all.begin(), all.end());
    }
  }
}

const rules::providers* rules::of(std::string_view key) const {
  auto found = named(by_name_, key);
  return found == by_name_.end() ? nullptr : &found->second;
}

rules_summary rules::summary() const {
  rules_summary out;
  for (auto& [name, all] : by_name_) out.names.insert(name);
  for (auto& one : plugins_) out.plugins.push_back(one->health());
  return out;
}

bool rules_summary::is_about(std::string_view key) const { return named(names, key) != names.end(); }

result<std::optional<std::string>> rules::seal(std::string_view key, std::string_view plain) const {
  auto* all = of(key);
  if (!all) return std::nullopt;
  auto& first = all->front();
  if (!first.kms) {
    if (first.local.writes_plain()) return std::nullopt;
    KEDGE_TRY(auto sealed, first.local.seal(plain, key, reactor::loop::current().random()));
    return sealed;
  }
  KEDGE_TRY(auto sealed, first.kms->seal(plain, key));
  return first.prefix + sealed;
}

result<std::string> rules::open(std::string_view key, std::string_view stored) const {
  if (auto* all = of(key))
    for (auto& p : *all) {
      if (p.kms) {
        if (stored.starts_with(p.prefix)) return p.kms->open(stored.substr(p.prefix.size()), key);
        continue;
      }
      auto opened = p.local.open(stored, key);
      if (opened) return std::move(opened->plain);
      if (opened.error().code != errc::unsupported) return fail(std::move(opened).error());
    }
  return fail(errc::unsupported, "the value was encrypted with a provider or key that isn't configured");
}

bool rules::is_newest(std::string_view key, std::string_view stored) const {
  auto* all = of(key);
  if (!all) return true;
  auto& first = all->front();
  if (!first.kms) return first.local.is_newest(stored);
  return stored.starts_with(first.prefix) && first.kms->is_newest(stored.substr(first.prefix.size()));
}

std::shared_ptr<kms_provider> rules::opener(std::string_view key, std::string_view stored,
                                            std::string_view& sealed) const {
  if (!stored.starts_with(kms_prefix)) return nullptr;
  auto* all = of(key);
  if (!all) return nullptr;
  for (auto& p : *all)
    if (p.kms && stored.starts_with(p.prefix)) {
      sealed = stored.substr(p.prefix.size());
      return p.kms;
    }
  return nullptr;
}

std::vector<std::shared_ptr<kms_provider>> rules::writers() const {
  std::vector<std::shared_ptr<kms_provider>> out;
  for (auto& [name, all] : by_name_)
    if (all.front().kms && std::ranges::find(out, all.front().kms) == out.end()) out.push_back(all.front().kms);
  return out;
}

std::string rules::writing() const { return writing_; }

}  // namespace kedge::api::encryption
