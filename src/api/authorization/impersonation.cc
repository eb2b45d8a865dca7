#include "api/authorization/impersonation.h"

#include <algorithm>

#include "api/authentication/limits.h"
#include "api/authorization/authorization.h"
#include "base/strings.h"
#include "meta/names.h"

namespace kedge::api {
namespace {

using net::http::headers;

constexpr std::string_view user_header = "Impersonate-User", uid_header = "Impersonate-Uid",
                           group_header = "Impersonate-Group", extra_prefix = "Impersonate-Extra-";
constexpr std::string_view masters = "system:masters", anonymous = "system:anonymous",
                           authenticated = "system:authenticated", unauthenticated = "system:unauthenticated";
constexpr std::string_view authentication = "authentication.k8s.io";

// What a name stands for, when it is one that the server itself gives out.
struct account_name {
  std::string_view ns, name;
};
std::optional<account_name> account_of(std::string_view user) {
  constexpr std::string_view prefix = "system:serviceaccount:";
  if (!user.starts_with(prefix)) return std::nullopt;
  auto parts = split(user.substr(prefix.size()), ':');
  if (parts.size() != 2 || !check_dns1123_label(parts[0]).empty() || !check_dns1123_subdomain(parts[1]).empty())
    return std::nullopt;
  return account_name{parts[0], parts[1]};
}
std::optional<std::string_view> node_of(std::string_view user) {
  constexpr std::string_view prefix = "system:node:";
  if (!user.starts_with(prefix) || !check_dns1123_subdomain(user.substr(prefix.size())).empty()) return std::nullopt;
  return user.substr(prefix.size());
}

bool only_name_set(const user_info& u) { return u.uid.empty() && u.groups.empty() && u.extra.empty(); }

// Keys in header names are lower-cased and may be percent-encoded; a bad escape stays as it stands, and is asked about
// like any other.
std::string extra_key(std::string_view text) {
  auto key = lower(text);
  auto decoded = percent_decode(key, false);
  return decoded ? *std::move(decoded) : key;
}

user_info wanted_by(const headers& h) {
  user_info out;
  out.name = h.get(user_header);
  out.uid = h.get(uid_header);
  for (auto g : h.all(group_header)) out.groups.emplace_back(g);
  for (auto& [field, value] : h)
    if (field.size() >= extra_prefix.size() &&
        iequals(std::string_view(field).substr(0, extra_prefix.size()), extra_prefix))
      out.extra[extra_key(std::string_view(field).substr(extra_prefix.size()))].push_back(value);
  return out;
}

// As Go prints the value (%#v), which the message of a 400 holds.
std::string go_text(const user_info& u) {
  auto list = [](const std::vector<std::string>& texts) {
    if (texts.empty()) return std::string("[]string(nil)");
    std::string out = "[]string{";
    for (auto& t : texts) out += (&t == &texts.front() ? "" : ", ") + quote(t);
    return out + "}";
  };
  std::string extra = "map[string][]string(nil)";
  if (!u.extra.empty()) {
    extra = "map[string][]string{";
    for (auto& [key, values] : u.extra)
      extra += (key == u.extra.begin()->first ? "" : ", ") + quote(key) + ":" + list(values);
    extra += "}";
  }
  return "&user.DefaultInfo{Name:" + quote(u.name) + ", UID:" + quote(u.uid) + ", Groups:" + list(u.groups) +
         ", Extra:" + extra + "}";
}

// What is wrong with extra fields that the newer modes don't let through; empty when nothing is.
std::string extra_problem(const std::map<std::string, std::vector<std::string>>& extra) {
  auto is_path = [](std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
      return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
             std::string_view("/-._~%!$&'()*+,;=:").find(c) != std::string_view::npos;
    });
  };
  for (auto& [key, values] : extra) {
    auto slash = key.find('/');
    if (key.empty()) return "impersonating the empty string key in extra is not allowed";
    if (slash == std::string::npos || !check_dns1123_subdomain(std::string_view(key).substr(0, slash)).empty() ||
        !is_path(std::string_view(key).substr(slash + 1)))
      return "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: " + quote(key) +
             ": must be a domain-prefixed path (such as \"acme.io/foo\")";
    for (auto& value : values)
      if (value.empty()) return "impersonating the empty string value in extra is not allowed";
  }
  return {};
}

// One way to impersonate: `verb` is asked for about each part of who is wanted.
class mode {
 public:
  mode(const user_ref& who, std::string verb, bool constrained, authorizer& authz, const store::snapshot& cluster)
      : who_(who), verb_(std::move(verb)), constrained_(constrained), authz_(authz), cluster_(cluster) {}

  api_result<user_info> check(const user_info& wanted, std::string_view node_asked_about) const {
    auto out = wanted;
    KEDGE_CHECK(check_name(wanted, node_asked_about, out));
    if (!wanted.uid.empty()) KEDGE_CHECK(may(about(authentication, "uids", wanted.uid)));
    KEDGE_CHECK(check_groups(wanted.groups));
    KEDGE_CHECK(check_extra(wanted.extra));
    if (out.name == anonymous) {
      add_group(out, unauthenticated);
    } else if (!out.in_group(unauthenticated)) {
      add_group(out, authenticated);
    }
    return out;
  }

 private:
  static void add_group(user_info& u, std::string_view group) {
    if (!u.in_group(group)) u.groups.emplace_back(group);
  }
  attributes about(std::string_view group, std::string_view resource, std::string_view name) const {
    attributes a;
    a.user = who_;
    a.verb = verb_;
    a.is_resource = true;
    a.api_group = group;
    a.api_version = "v1";
    a.resource = resource;
    a.name = name;
    return a;
  }
  // Users and groups were resources of no group once; the newer modes ask about them where uids are.
  std::string_view names_group() const { return constrained_ ? authentication : std::string_view(); }
  bool allows(const attributes& a) const { return authz_.authorize(a, cluster_).what == decision::kind::allow; }
  api_result<void> may(const attributes& a) const {
    auto d = authz_.authorize(a, cluster_);
    if (d.what == decision::kind::allow) return {};
    return fail(forbidden_status(a, d.reason));
  }

  api_result<void> check_name(const user_info& wanted, std::string_view node_asked_about, user_info& out) const {
    auto a = about(names_group(), "users", wanted.name);
    if (auto node = constrained_ ? node_of(wanted.name) : std::nullopt) {
      a.resource = "nodes";
      a.name = node_asked_about.empty() ? *node : node_asked_about;
      out.groups = {"system:nodes"};
    }
    if (auto account = account_of(wanted.name)) {
      a.resource = "serviceaccounts";
      a.ns = account->ns;
      a.name = account->name;
      if (wanted.groups.empty())
        out.groups = {"system:serviceaccounts", "system:serviceaccounts:" + std::string(account->ns)};
    }
    return may(a);
  }

  api_result<void> check_groups(const std::vector<std::string>& groups) const {
    auto a = about(names_group(), "groups", {});
    if (constrained_) {
      for (auto& g : groups) {
        if (g.empty()) return fail(forbidden_status(a, "impersonating the empty string group is not allowed"));
        if (g != masters) continue;
        a.name = masters;
        return fail(forbidden_status(a, "impersonating the system:masters group is not allowed"));
      }
      a.name = "*";
      if (groups.size() >= asked_one_by_one && allows(a)) return {};
    }
    for (auto& g : groups) {
      a.name = g;
      KEDGE_CHECK(may(a));
    }
    return {};
  }

  api_result<void> check_extra(const std::map<std::string, std::vector<std::string>>& extra) const {
    auto a = about(authentication, "userextras", {});
    std::size_t count = 0;
    for (auto& [key, values] : extra) count += values.size();
    if (constrained_) {
      if (auto why = extra_problem(extra); !why.empty()) return fail(forbidden_status(a, why));
      a.subresource = a.name = "*";
      if (count >= asked_one_by_one && allows(a)) return {};
    }
    for (auto& [key, values] : extra)
      for (auto& value : values) {
        a.subresource = key;
        a.name = value;
        KEDGE_CHECK(may(a));
      }
    return {};
  }

  static constexpr std::size_t asked_one_by_one =
      4;  // from so many on, whether they may name all of them is asked first
  const user_ref& who_;
  std::string verb_;
  bool constrained_;
  authorizer& authz_;
  const store::snapshot& cluster_;
};

// What a pod's token says of its node is nobody's to grant: only that there is such a word is shown to the authorizers.
user_ref without_node(const user_info& asker) {
  auto out = asker;
  std::vector<std::string> keys;
  for (auto& [key, values] : asker.extra) keys.push_back(key);
  out.extra = {{"authentication.kubernetes.io/associated-node-keys", std::move(keys)}};
  return out;
}

bool runs_on(const user_info& asker, std::string_view node) {
  auto found = asker.extra.find("authentication.kubernetes.io/node-name");
  return account_of(asker.name) && found != asker.extra.end() && found->second.size() == 1 &&
         found->second.front() == node;
}

}  // namespace

api_result<std::optional<user_info>> impersonate(const headers& h, const attributes& asked, authorizer& authz,
                                                 const store::snapshot& cluster) {
  auto wanted = wanted_by(h);
  if (wanted.name.empty()) {
    if (only_name_set(wanted)) return std::nullopt;
    return fail(bad_request("requested " + go_text(wanted) + " without impersonating a user name"));
  }
  if (wanted.groups.size() > user_groups_max) return fail(bad_request("too many groups to impersonate"));

  std::optional<status> first_refusal;
  std::optional<user_info> found;
  auto attempt = [&](const user_ref& who, std::string_view name, std::string_view node_asked_about = {}) {
    auto on = asked;
    on.user = who;
    on.verb = "impersonate-on:" + std::string(name) + ":" + asked.verb;
    auto d = authz.authorize(on, cluster);
    auto as = d.what == decision::kind::allow
                  ? mode(who, "impersonate:" + std::string(name), true, authz, cluster).check(wanted, node_asked_about)
                  : api_result<user_info>(fail(forbidden_status(on, d.reason)));
    if (as)
      found = *std::move(as);
    else if (!first_refusal)
      first_refusal = std::move(as).error();
    return found.has_value();
  };
  const auto node = node_of(wanted.name);
  const bool account = account_of(wanted.name).has_value(), named_only = only_name_set(wanted);
  if (node && named_only && runs_on(asked.user, *node) && attempt(without_node(asked.user), "associated-node", "*"))
    return found;
  if (node && named_only && attempt(asked.user, "arbitrary-node")) return found;
  if (account && named_only && attempt(asked.user, "serviceaccount")) return found;
  if (!node && !account && attempt(asked.user, "user-info")) return found;
  auto as = mode(asked.user, "impersonate", false, authz, cluster).check(wanted, {});
  if (as) return std::optional<user_info>(*std::move(as));
  return fail(first_refusal ? *std::move(first_refusal) : std::move(as).error());
}

}  // namespace kedge::api
