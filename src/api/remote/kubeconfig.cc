#include "api/remote/kubeconfig.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/configuration/fields.h"
#include "api/remote/limits.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"

namespace kedge::api {
namespace {

std::string beside(const std::string& folder, const std::string& path) {
  return path.starts_with('/') || folder.empty() ? path : folder + '/' + path;
}

// What a pair of fields gives: `name`-data in base64, or the file that `name` names.
result<std::string> data_or_file(fields& f, std::string_view name, const std::string& folder) {
  const auto data_name = fmt::format("{}-data", name);
  const auto data = f.text(data_name), path = f.text(name);
  if (!data.empty()) {
    auto decoded = unbase64(data);
    if (!decoded) return fail(errc::invalid, fmt::format("{}: is not base64", f.path_of(data_name)));
    return decoded;
  }
  if (path.empty()) return std::string();
  auto text = crypto::read_file(beside(folder, path));
  if (!text) return fail(std::move(text).error().with(f.path_of(name) + ": "));
  return text;
}

// The member `inner` of the element of `list` that is called `name`.
result<const json::value*> named(const json::value& document, std::string_view list, std::string_view inner,
                                 std::string_view name) {
  auto& all = document[list];
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i]["name"].as_string() == name) return &all[i][inner];
  return fail(errc::invalid, fmt::format("{}: there is none called {}", list, quote(name)));
}

result<void> read_user(fields& f, const std::string& folder, remote_server& out, net::tls_client_options& tls) {
  for (auto other : {"exec", "auth-provider"})
    if (f.has(other))
      return fail(errc::unsupported, fmt::format("{}: Kedge asks webhooks with a certificate, a token or a password "
                                                 "alone",
                                                 f.path_of(other)));
  KEDGE_TRY(tls.chain_pem, data_or_file(f, "client-certificate", folder));
  KEDGE_TRY(tls.key_pem, data_or_file(f, "client-key", folder));
  if (tls.chain_pem.empty() != tls.key_pem.empty())
    return fail(errc::invalid, fmt::format("{}: a client certificate needs its key, and a key its certificate",
                                           f.path_of("client-certificate")));
  const auto token = f.text("token"), file = f.text("tokenFile"), user = f.text("username"),
             password = f.text("password");
  if (!token.empty()) out.authorization = "Bearer " + token;
  if (token.empty() && !file.empty()) out.token_file = beside(folder, file);
  if (token.empty() && file.empty() && !user.empty())
    out.authorization = "Basic " + base64(as_bytes(user + ':' + password));
  if (!out.token_file.empty())
    if (auto there = crypto::read_file(out.token_file, token_file_max_bytes); !there)
      return fail(std::move(there).error().with(f.path_of("tokenFile") + ": "));
  return {};
}

}  // namespace

result<std::shared_ptr<const remote_server>> parse_kubeconfig(std::string_view text, const std::string& folder) {
  KEDGE_TRY(auto document, json::parse_yaml(text));
  if (!document.is_object()) return fail(errc::invalid, "it is no kubeconfig");
  const auto current = document["current-context"].as_string();
  if (current.empty()) return fail(errc::invalid, "current-context: Required value");
  KEDGE_TRY(auto context, named(document, "contexts", "context", current));
  KEDGE_TRY(auto cluster, named(document, "clusters", "cluster", (*context)["cluster"].as_string()));
  static const json::value nobody;
  const json::value* who = &nobody;
  if (auto name = (*context)["user"].as_string(); !name.empty()) {
    KEDGE_TRY(who, named(document, "users", "user", name));
  }
  findings found{.shows_values = false};
  fields server(*cluster, "cluster", found), user(*who, "user", found);
  auto out = std::make_shared<remote_server>();
  net::tls_client_options tls;
  if (server.has("proxy-url"))
    return fail(errc::unsupported, "cluster.proxy-url: Kedge reaches webhooks without a proxy only");
  KEDGE_TRY(auto authority, data_or_file(server, "certificate-authority", folder));
  if (!authority.empty()) tls.ca_pem = std::move(authority);
  tls.insecure = server.flag("insecure-skip-tls-verify").value_or(false);
  if (tls.insecure && tls.ca_pem)
    return fail(errc::invalid,
                "cluster.insecure-skip-tls-verify: a certificate authority beside it would count for nothing");
  KEDGE_CHECK(read_user(user, folder, *out, tls));
  const auto url = server.text("server");
  out->tls_name = server.text("tls-server-name");
  KEDGE_CHECK(found.verdict());
  tls.alpn = {"h2", "http/1.1"};
  KEDGE_TRY(auto context_of_tls, net::tls_client_context::make(tls));
  auto target = net::http::parse_url(url, std::move(context_of_tls));
  if (!target) return fail(std::move(target).error().with("cluster.server: "));
  out->to = std::move(target->first);
  out->path = target->second.substr(0, target->second.find('?'));
  return out;
}

result<std::shared_ptr<const remote_server>> read_kubeconfig(std::string_view flag, const std::string& path) {
  KEDGE_TRY(auto text, read_configuration_file(flag, path));
  const auto slash = path.rfind('/');
  auto read = parse_kubeconfig(text, slash == std::string::npos ? std::string() : path.substr(0, slash));
  if (!read) return fail(std::move(read).error().with(fmt::format("--kube-apiserver-arg={}={}: ", flag, path)));
  return read;
}

}  // namespace kedge::api
