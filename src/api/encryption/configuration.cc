#include "api/encryption/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/configuration/fields.h"
#include "base/bytes.h"
#include "base/strings.h"
#include "json/write.h"

namespace kedge::api::encryption {
namespace {

struct group_resource {
  std::string_view resource, group;
  bool operator==(const group_resource&) const = default;
};

group_resource split_name(std::string_view name) {
  const auto dot = name.find('.');
  if (dot == name.npos) return {name, {}};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

std::string invalid(std::string_view value, std::string_view why) {
  return fmt::format("Invalid value: {}: {}", quote(value), why);
}

// A list as messages show it.
std::string shown(const std::vector<std::string>& list) {
  std::vector<std::string> quoted;
  for (auto& one : list) quoted.push_back(quote(one));
  return "[" + join(quoted, ",") + "]";
}

void check_overlap(fields& f, const std::vector<std::string>& resources) {
  bool twice = false, overlap = false;
  for (std::size_t i = 0; i < resources.size(); ++i)
    for (std::size_t j = 0; j < resources.size(); ++j) {
      if (i == j) continue;
      const auto a = split_name(resources[i]), b = split_name(resources[j]);
      if (a == b && !twice)
        twice = true;
      else if (a == group_resource{"*", "*"} || (a.group == b.group && (a.resource == "*" || b.resource == "*")))
        overlap = true;
    }
  auto tell = [&](std::string_view why) {
    f.wrong("resources", fmt::format("Invalid value: {}: {}", shown(resources), why));
  };
  if (twice) tell("the same resource cannot be specified multiple times");
  if (overlap)
    tell(
        "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will "
        "be masked");
}

std::string_view name_problem(std::string_view name) {
  if (lower(name) != name) return "resource name should not contain capital letters";
  if (name == "*") return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources";
  if (name == "apiserveripinfo" || name == "serviceipallocations" || name == "servicenodeportallocations")
    return "resources which do not have REST API/s cannot be encrypted";
  const auto parts = split_name(name);
  if (parts.group == "events.k8s.io")
    return "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the "
           "config file";
  if (parts.group == "extensions") return "'extensions' group has been removed and cannot be used for encryption";
  if (parts.group == "*" && parts.resource != "*") return "encrypting the same resource across groups is not supported";
  return {};
}

std::vector<std::string> read_resources(fields& f) {
  auto out = f.texts("resources");
  if (out.empty())
    f.wrong("resources", fmt::format("Required value: at least one {} is required", f.path_of("resources")));
  check_overlap(f, out);
  for (std::size_t i = 0; i < out.size(); ++i)
    if (auto why = name_problem(out[i]); !why.empty()) f.wrong(fmt::format("resources[{}]", i), invalid(out[i], why));
  return out;
}

std::vector<crypto::at_rest_key> read_keys(fields f, const std::vector<std::size_t>& sizes) {
  std::vector<crypto::at_rest_key> out;
  auto keys = f.children("keys");
  f.done();
  if (keys.empty()) f.wrong("keys", "Required value: at least one keys is required");
  for (auto& key : keys) {
    crypto::at_rest_key read{key.text("name"), {}};
    const auto secret = key.text("secret");
    key.done();
    if (read.name.empty()) key.wrong("name", "Required value: name is a mandatory field for a key");
    if (secret.empty()) {
      key.wrong("secret", "Required value: secret is a mandatory field for a key");
      continue;
    }
    auto raw = unbase64(secret);
    if (!raw) {
      key.wrong("secret", invalid("REDACTED", "secrets must be base64 encoded"));
      continue;
    }
    if (std::ranges::find(sizes, raw->size()) == sizes.end())
      key.wrong("secret",
                invalid("REDACTED", fmt::format("secret is not of the expected length, got {}, expected one of [{}]",
                                                raw->size(), fmt::join(sizes, " "))));
    read.secret = *std::move(raw);
    out.push_back(std::move(read));
  }
  return out;
}

std::string path_of_socket(fields& f, const std::string& endpoint) {
  if (endpoint.empty()) {
    f.wrong("endpoint", invalid("", "endpoint is a mandatory field for a kms"));
    return {};
  }
  const auto colon = endpoint.find("://");
  const auto scheme = endpoint.substr(0, colon == endpoint.npos ? 0 : colon);
  if (scheme != "unix") {
    f.wrong("endpoint", invalid(endpoint, fmt::format("unsupported scheme {} for KMS provider, only unix is supported",
                                                      quote(scheme))));
    return {};
  }
  auto path = endpoint.substr(colon + 3);
  // unix:///@name is a socket in the abstract namespace.
  if (path.starts_with("/@")) path.erase(0, 1);
  return path;
}

kms_settings read_kms(fields f, std::set<std::string>& names, bool& first_version) {
  kms_settings out;
  out.name = f.text("name");
  const auto version = f.text("apiVersion", "v1"), endpoint = f.text("endpoint");
  const auto cache = f.number("cachesize");
  if (auto timeout = f.time("timeout")) out.timeout = *timeout;
  f.done();
  if (out.name.empty()) f.wrong("name", "Required value: name is a mandatory field for a provider");
  if (version != "v1" && out.name.find(':') != out.name.npos)
    f.wrong("name", invalid(out.name, fmt::format("invalid KMS provider name {}, must not contain ':'", out.name)));
  if (!names.insert(out.name).second && version != "v1")
    f.wrong("name", invalid(out.name, fmt::format("duplicate KMS provider name {}, names must be unique", out.name)));
  if (out.timeout <= duration::zero())
    f.wrong("timeout", invalid(format_duration(out.timeout), "timeout should be a positive value"));
  out.socket = path_of_socket(f, endpoint);
  if (version != "v1" && cache)
    f.wrong("cachesize", fmt::format("Invalid value: {}: cachesize is not supported in v2", *cache));
  if (version == "v1" && cache == 0)
    f.wrong("cachesize", "Invalid value: 0: cachesize should be a positive value, or negative to disable");
  if (version != "v1" && version != "v2")
    f.wrong("apiVersion",
            invalid(version, "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"));
  if (version == "v1") first_version = true;
  return out;
}

std::optional<provider_settings> read_provider(fields& f, std::set<std::string>& kms_names, bool& first_version) {
  static const std::vector<std::size_t> aes{16, 24, 32}, box{32};
  const std::vector<std::string_view> kinds{"kms", "aesgcm", "aescbc", "secretbox", "identity"};
  const auto given = std::ranges::count_if(kinds, [&](auto kind) { return f.has(kind); });
  if (given == 0)
    f.wrong("",
            "Invalid value: {\"AESGCM\":null,\"AESCBC\":null,\"Secretbox\":null,\"Identity\":null,\"KMS\":null}: "
            "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, "
            "Secretbox, Identity");
  if (given > 1)
    f.wrong("",
            "Invalid value: \"REDACTED\": more than one provider specified in a single element, should split into "
            "different "
            "list elements");
  std::optional<provider_settings> out;
  auto use = [&](provider_settings read) {
    if (!out) out = std::move(read);
  };
  using crypto::cipher;
  if (f.has("kms")) use({{}, read_kms(f.child("kms"), kms_names, first_version)});
  if (f.has("aesgcm")) use({{cipher::aesgcm, read_keys(f.child("aesgcm"), aes)}, {}});
  if (f.has("aescbc")) use({{cipher::aescbc, read_keys(f.child("aescbc"), aes)}, {}});
  if (f.has("secretbox")) use({{cipher::secretbox, read_keys(f.child("secretbox"), box)}, {}});
  if (f.has("identity")) {
    f.child("identity").done();
    use({{cipher::identity, {}}, {}});
  }
  for (auto kind : kinds) f.any(kind);
  f.done();
  return out;
}

// What stands behind a rule for all of its group, or for everything, is never asked.
std::string masked(const std::vector<rule_settings>& rules) {
  std::set<std::string> seen;
  for (auto& rule : rules)
    for (auto& name : rule.resources) {
      const auto parts = split_name(name);
      const auto all = fmt::format("*.{}", parts.group);
      for (auto& earlier : {all, std::string("*.*")})
        if (seen.contains(earlier))
          return fmt::format("resource {} is masked by earlier rule {}",
                             quote(parts.group.empty() && parts.resource == "*" ? "*." : name), quote(earlier));
      seen.insert(parts.group.empty() && parts.resource == "*" ? "*." : name);
    }
  return {};
}

}  // namespace

result<std::vector<rule_settings>> parse_encryption(std::string_view text) {
  KEDGE_TRY(auto document, read_document(text, "EncryptionConfiguration", {"apiserver.config.k8s.io/v1"}));
  findings found{.shows_values = false};
  fields f(document, "", found);
  f.text("apiVersion");
  f.text("kind");
  std::vector<rule_settings> out;
  std::set<std::string> kms_names;
  bool first_version = false;
  auto rules = f.children("resources");
  if (rules.empty()) f.wrong("resources", "Required value: at least one resources is required");
  for (auto& rule : rules) {
    rule_settings read{.resources = read_resources(rule), .providers = {}};
    auto providers = rule.children("providers");
    rule.done();
    if (providers.empty())
      rule.wrong("providers", fmt::format("Required value: at least one {} is required", rule.path_of("providers")));
    for (auto& provider : providers)
      if (auto one = read_provider(provider, kms_names, first_version)) read.providers.push_back(*std::move(one));
    out.push_back(std::move(read));
  }
  f.done();
  if (!found.unknown.empty()) return fail(errc::invalid, join(found.unknown, ", "));
  KEDGE_CHECK(found.verdict());
  if (first_version)
    return fail(errc::unsupported,
                "KMSv1 is deprecated and will only receive security updates going "
                "forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.");
  if (auto why = masked(out); !why.empty()) return fail(errc::invalid, why);
  return out;
}

}  // namespace kedge::api::encryption
