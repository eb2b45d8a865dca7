#include "node/pods/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "json/parse.h"
#include "node/limits.h"
#include "reactor/loop.h"

namespace kedge::node {

namespace {

using json::value;

// "host[:port]" of an image's registry: what is before the first '/', when that can be a host.
std::string registry_of(std::string_view image) {
  auto slash = image.find('/');
  if (slash == std::string_view::npos) return "index.docker.io";
  auto first = image.substr(0, slash);
  if (first.contains('.') || first.contains(':') || first == "localhost")
    return std::string(first == "docker.io" ? "index.docker.io" : first);
  return "index.docker.io";
}

// A key of a docker configuration: "https://index.docker.io/v1/", "registry.example:5000/team".
bool fits(std::string_view key, std::string_view image) {
  for (std::string_view scheme : {"https://", "http://"})
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  auto host = key.substr(0, key.find('/'));
  auto path = key.find('/') == std::string_view::npos ? std::string_view() : key.substr(key.find('/'));
  if (path == "/v1/" || path == "/v2/" || path == "/v1" || path == "/v2" || path == "/") path = {};
  auto own = registry_of(image);
  if (host == "docker.io" || host == "registry-1.docker.io") host = "index.docker.io";
  bool same = host.starts_with("*.") ? own.ends_with(host.substr(1)) : host == own;
  if (!same || path.empty()) return same;
  auto slash = image.find('/');
  return slash != std::string_view::npos && image.substr(slash).starts_with(path);
}

image_credentials credentials_of(std::string_view server, const value& entry) {
  image_credentials c{.username = std::string(entry["username"].as_string()),
                      .password = std::string(entry["password"].as_string()),
                      .auth = {},
                      .server_address = std::string(server),
                      .identity_token = std::string(entry["identitytoken"].as_string())};
  if (auto both = unbase64(entry["auth"].as_string()); both && c.username.empty()) {
    auto colon = both->find(':');
    if (colon != std::string::npos) {
      c.username = both->substr(0, colon);
      c.password = both->substr(colon + 1);
    }
  }
  return c;
}

// --- names of images, as distribution/reference reads them

bool is_small(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_large(char c) { return c >= 'A' && c <= 'Z'; }

bool is_tag(std::string_view tag) {
  constexpr std::size_t tag_max = 128;
  auto is_word = [](char c) { return is_small(c) || is_large(c) || c == '_'; };
  return !tag.empty() && tag.size() <= tag_max && is_word(tag[0]) &&
         std::ranges::all_of(tag, [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}

bool is_digest(std::string_view digest) {
  constexpr std::size_t digits_min = 32;
  auto colon = digest.find(':');
  return colon != std::string_view::npos && colon > 0 && digest.size() - colon > digits_min &&
         digest.substr(colon + 1).find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

// Small letters and digits; between them a dot, one underscore or two, or any number of dashes.
bool is_path_part(std::string_view part) {
  if (part.empty() || !is_small(part.front()) || !is_small(part.back())) return false;
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (is_small(part[i])) continue;
    auto end = part.find_first_not_of(part[i], i), n = end - i;
    if (!is_small(part[end]) || (part[i] == '.' ? n > 1 : part[i] == '_' ? n > 2 : part[i] != '-')) return false;
    i = end;
  }
  return true;
}

// What is wrong with a name; empty: nothing. Hosts are left to who resolves them.
std::string name_problem(std::string_view image) {
  const std::string format = "invalid reference format";
  auto first = image.substr(0, image.find('/'));
  const bool has_host = first.size() < image.size() && (first.contains('.') || first.contains(':') ||
                                                        first == "localhost" || std::ranges::any_of(first, is_large));
  auto rest = has_host ? image.substr(first.size() + 1) : image;
  if (auto remote = rest.substr(0, rest.find(':')); std::ranges::any_of(remote, is_large))
    return fmt::format("{}: repository name ({}{}) must be lowercase", format,
                       rest.contains('/') || has_host ? "" : "library/", remote);
  auto at = rest.find('@');
  if (at != std::string_view::npos && !is_digest(rest.substr(at + 1))) return format;
  rest = rest.substr(0, at);
  if (auto colon = rest.find(':'); colon != std::string_view::npos) {
    if (!is_tag(rest.substr(colon + 1))) return format;
    rest = rest.substr(0, colon);
  }
  return std::ranges::all_of(split(rest, '/'), is_path_part) ? std::string() : format;
}

}  // namespace

std::string with_tag(std::string_view image) {
  auto name = image.substr(image.find_last_of('/') == std::string_view::npos ? 0 : image.find_last_of('/') + 1);
  if (name.contains(':') || name.contains('@')) return std::string(image);
  return std::string(image) + ":latest";
}

std::string in_registry(const std::string& image, const std::string& registry) {
  auto first = std::string_view(image).substr(0, image.find('/'));
  const bool has_own = image.contains('/') && (first.contains('.') || first.contains(':') || first == "localhost");
  return registry.empty() || has_own ? image : registry + "/" + image;
}

std::vector<image_credentials> credentials_for(std::string_view image, const std::vector<value>& secrets) {
  std::vector<std::pair<std::size_t, image_credentials>> found;
  for (auto& secret : secrets) {
    const bool json_form = secret["type"].as_string() == "kubernetes.io/dockerconfigjson";
    auto text = unbase64(secret["data"][json_form ? ".dockerconfigjson" : ".dockercfg"].as_string());
    auto config = text ? json::parse(*text) : result<value>(value());
    if (!config) continue;
    if (auto* all = (json_form ? (*config)["auths"] : *config).object())
      for (auto& [key, entry] : *all)
        if (fits(key, image)) found.emplace_back(key.size(), credentials_of(key, entry));
  }
  std::sort(found.begin(), found.end(), [](auto& a, auto& b) {
    return a.first != b.first ? a.first > b.first : a.second.username < b.second.username;
  });
  std::vector<image_credentials> out;
  for (auto& [length, c] : found) out.push_back(std::move(c));
  return out;
}

task<std::vector<value>> image_puller::secrets_of(const value& pod) {
  std::vector<value> out;
  auto ns = std::string(pod["metadata"]["namespace"].as_string());
  std::vector<std::string> names;
  if (auto* all = pod["spec"]["imagePullSecrets"].array())
    for (auto& s : *all) names.emplace_back(s["name"].as_string());
  for (auto& name : names) {
    auto secret = co_await cluster_.secret(ns, name, reactor::loop::current().now());
    if (secret && *secret) out.push_back(**std::move(secret));
  }
  co_return out;
}

task<std::expected<image_info, image_puller::failed>> image_puller::ensure(value pod, value container, teller tell) {
  auto image = std::string(container["image"].as_string());
  auto policy = container["imagePullPolicy"].as_string("IfNotPresent");
  auto now = [] { return reactor::loop::current().wall_now(); };
  if (auto problem = name_problem(image); !problem.empty()) {
    auto text = fmt::format("Failed to apply default image tag \"{0}\": couldn't parse image name \"{0}\": {1}", image,
                            problem);
    tell(true, "InspectFailed", text);
    co_return std::unexpected(failed{{"InvalidImageName", text}, now() + image_retry_first});
  }
  auto found = co_await runtime_.image(with_tag(image));
  if (!found) {
    auto text = fmt::format("Failed to inspect image \"{}\": {}", image, rpc_text(found.error()));
    tell(true, "InspectFailed", text);
    co_return std::unexpected(failed{{"ImageInspectError", text}, now() + image_retry_first});
  }
  if (*found && policy != "Always") {
    tell(false, "Pulled",
         fmt::format("Container image \"{}\" already present on machine and can be accessed by the pod", image));
    co_return **std::move(found);
  }
  if (policy == "Never") {
    auto text = fmt::format("Container image \"{}\" is not present with pull policy of Never", image);
    tell(true, "ErrImageNeverPull", text);
    co_return std::unexpected(failed{{"ErrImageNeverPull", text}, now() + image_retry_first});
  }
  auto key = std::string(pod["metadata"]["uid"].as_string()) + "_" + image;
  if (auto a = attempts_.find(key); a != attempts_.end() && a->second.pause.lasts(a->second.failed_at, now())) {
    auto text = fmt::format("Back-off pulling image \"{}\"", image);
    tell(false, "BackOff", text);
    co_return std::unexpected(
        failed{{"ImagePullBackOff", text + ": " + a->second.error}, a->second.pause.until(a->second.failed_at)});
  }
  auto pulled = co_await pull(pod, image, tell);
  if (pulled) {
    attempts_.erase(key);
    co_return pulled;
  }
  if (attempts_.size() >= image_attempts_max)
    std::erase_if(attempts_, [&](auto& one) { return one.second.pause.is_old(now()); });
  if (attempts_.size() >= image_attempts_max) attempts_.clear();
  auto& a = attempts_[key];
  a.failed_at = now();
  a.pause.take(a.failed_at, image_retry_first, image_retry_most);
  a.error = pulled.error().why.reason + ": " + pulled.error().why.message;
  // The pod is looked at again soon, to say that it waits.
  pulled.error().retry_at = a.failed_at + image_backoff_told;
  co_return pulled;
}

task<std::expected<image_info, image_puller::failed>> image_puller::pull(const value& pod, std::string image,
                                                                         teller& tell) {
  tell(false, "Pulling", fmt::format("Pulling image \"{}\"", image));
  auto began = reactor::loop::current().now();
  auto secrets = co_await secrets_of(pod);
  auto credentials = credentials_for(image, secrets);
  auto name = with_tag(image);
  // What a runtime unpacks it by may hang on the pod.
  const auto sandbox = make_sandbox_config(pod, settings_, 0);
  result<std::string> ref = fail(errc::internal, "");
  co_await turns_.acquire();
  reactor::turn mine(turns_);
  const auto waited = reactor::loop::current().now() - began;
  if (credentials.empty()) ref = co_await pull_once(name, nullptr, sandbox);
  for (std::size_t i = 0; i < credentials.size() && !ref; ++i) ref = co_await pull_once(name, &credentials[i], sandbox);
  if (!ref) {
    auto text = rpc_description(ref.error());
    tell(true, "Failed", fmt::format("Failed to pull image \"{}\": {}", image, text));
    co_return std::unexpected(failed{{"ErrImagePull", text}, {}});
  }
  auto info = co_await runtime_.image(*ref);
  if (!info || !*info) info = co_await runtime_.image(name);
  if (!info || !*info) co_return std::unexpected(failed{{"ErrImagePull", "the image was pulled, and isn't there"}, {}});
  auto text = [](duration d) { return format_duration(std::chrono::floor<std::chrono::milliseconds>(d)); };
  const auto took = reactor::loop::current().now() - began;
  tell(false, "Pulled",
       fmt::format("Successfully pulled image \"{}\" in {} ({} including waiting). Image size: {} bytes.", image,
                   text(took - waited), text(took), (*info)->size_bytes));
  co_return **std::move(info);
}

task<result<std::string>> image_puller::pull_once(std::string name, const image_credentials* credentials,
                                                  const sandbox_config& sandbox) {
  if (!may_pull()) co_return fail(errc::unavailable, "pull QPS exceeded");
  co_return co_await runtime_.pull(std::move(name), credentials, sandbox);
}

bool image_puller::may_pull() {
  if (settings_.pulls_a_second <= 0) return true;
  const double most = settings_.pulls_burst;
  const auto now = reactor::loop::current().now();
  const auto since = std::chrono::duration<double>(now - std::exchange(left_at_, now)).count();
  left_ = left_ ? std::min(most, *left_ + since * settings_.pulls_a_second) : most;
  if (*left_ < 1) return false;
  --*left_;
  return true;
}

}  // namespace kedge::node
