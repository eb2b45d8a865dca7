#include "supervisor/aggregated_servers.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/aggregation/limits.h"
#include "base/strings.h"
#include "supervisor/forward.h"

namespace kedge::supervisor {

namespace {

using api::aggregation::api_service;
using api::aggregation::api_service_ref;
using api::aggregation::endpoint_address;

// What may stand in a field's name (RFC 9110 §5.6.2), but for what begins an escape.
bool is_plain(unsigned char c) {
  static constexpr std::string_view marks = "!#$&'*+-.^_`|~";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         marks.find(static_cast<char>(c)) != marks.npos;
}

std::string in_field_name(std::string_view key) {
  std::string out;
  for (unsigned char c : key)
    if (is_plain(c))
      out += static_cast<char>(c);
    else
      out += fmt::format("%{:02X}", c);
  return out;
}

bool stays_as_it_is(std::string_view value) {
  return trim(value) == value && std::ranges::none_of(value, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

std::size_t hops(const net::http::request& r) {
  std::size_t out = 0;
  for (auto field : r.headers.all("X-Forwarded-For")) out += split(field, ',').size();
  return out;
}

task<int> tell(net::http::exchange& e, int code, std::string text, net::http::headers answer) {
  net::http::response r{.status = code, .headers = std::move(answer)};
  r.headers.add("Content-Type", "text/plain; charset=utf-8");
  r.headers.add("X-Content-Type-Options", "nosniff");
  (void)co_await e.respond(r, text + "\n");
  co_return code;
}

}  // namespace

result<net::http::headers> remote_headers(const api::user_info& who) {
  net::http::headers out;
  out.add("X-Remote-User", who.name);
  if (!who.uid.empty()) out.add("X-Remote-Uid", who.uid);
  for (auto& group : who.groups) out.add("X-Remote-Group", group);
  for (auto& [key, values] : who.extra)
    for (auto& value : values) out.add("X-Remote-Extra-" + in_field_name(key), value);
  for (auto& [name, value] : out)
    if (!stays_as_it_is(value))
      return fail(errc::invalid, fmt::format("net/http: invalid header field value for {}", quote(name)));
  return out;
}

aggregated_servers::aggregated_servers(node_dialer& dialer, api::objects& objects, front_proxy self)
    : objects_(objects), self_(std::move(self)), network_(dialer), http_(&network_) {}

void aggregated_servers::use(front_proxy self) {
  self_ = std::move(self);
  contexts_.clear();
  http_.forget_idle();
}

result<endpoint_address> aggregated_servers::resolve(const api_service& to) {
  json::value service;
  if (auto found = objects_.get({"", "v1", "services"}, to.service_namespace, to.service_name))
    service = *std::move(found);
  std::vector<json::value> slices;
  objects_.each({"discovery.k8s.io", "v1", "endpointslices"}, to.service_namespace, api::slices_of(to.service_name),
                [&](const json::value& slice) {
                  slices.push_back(slice);
                  return slices.size() < api::aggregation::slices_max;
                });
  auto& random = reactor::loop::current().random();
  return api::aggregation::choose_endpoint(
      to.service_namespace, to.service_name, to.port, service, std::move(slices),
      [&random](std::size_t n) { return static_cast<std::size_t>(random.below(n)); });
}

result<aggregated_servers::context> aggregated_servers::tls_for(const api_service& to, bool upgrade) {
  const auto key = fmt::format("{}{}{}", upgrade ? '1' : '2', to.insecure ? 'i' : 'c', to.ca_pem);
  if (auto made = contexts_.find(key); made != contexts_.end()) return made->second;
  // Those of services that are gone; connections keep theirs.
  if (contexts_.size() >= 2 * api::aggregation::services_max) contexts_.clear();
  net::tls_client_options options{
      .insecure = to.insecure, .chain_pem = self_.chain_pem, .key_pem = self_.key_pem, .alpn = {"http/1.1"}};
  if (!upgrade) options.alpn.insert(options.alpn.begin(), "h2");
  if (!to.ca_pem.empty()) options.ca_pem = to.ca_pem;
  KEDGE_TRY(auto made, net::tls_client_context::make(options));
  return contexts_.emplace(key, std::move(made)).first->second;
}

result<net::http::target> aggregated_servers::target_of(const api_service& to, const endpoint_address& at,
                                                        bool upgrade) {
  KEDGE_TRY(auto tls, tls_for(to, upgrade));
  return net::http::target{.at = {at.node + "/" + at.address, at.port}, .host = to.tls_name(), .tls = std::move(tls)};
}

task<int> aggregated_servers::forward(net::http::exchange& e, api_service_ref to, own_part own) {
  auto& r = e.request();
  if (hops(r) > api::aggregation::hops_max)
    co_return co_await tell(e, 503, "service unavailable", std::move(own.answer));
  auto at = resolve(*to);
  if (!at) co_return co_await tell(e, 503, "service unavailable", std::move(own.answer));
  auto target = target_of(*to, *at, wants_upgrade(r));
  if (!target) co_return co_await tell(e, 500, target.error().message, std::move(own.answer));
  auto who = remote_headers(*own.as);
  if (!who)
    co_return co_await tell(e, 503, "error trying to reach service: " + who.error().message, std::move(own.answer));
  forwarding how{.ways = {*std::move(target)},
                 .path = r.target,
                 .authority = reactor::endpoint{at->address, at->port}.text(),
                 .identity = *std::move(who),
                 .answer = std::move(own.answer),
                 .is_api_server = true};
  how.identity.add("Audit-ID", std::move(own.audit_id));
  for (auto& [name, value] : own.trace) how.identity.add(name, value);
  co_return co_await supervisor::forward(e, http_, std::move(how));
}

task<result<net::http::client_response>> aggregated_servers::get(api_service_ref to, endpoint_address at,
                                                                 std::string path, net::http::headers headers,
                                                                 api::user_ref as, std::size_t body_most) {
  KEDGE_CO_TRY(auto target, target_of(*to, at, false));
  net::http::client_request r{.to = std::move(target),
                              .path = std::move(path),
                              .headers = std::move(headers),
                              .authority = reactor::endpoint{at.address, at.port}.text()};
  KEDGE_CO_TRY(auto who, remote_headers(*as));
  for (auto& [name, value] : who) r.headers.add(name, value);
  co_return co_await http_.fetch(std::move(r), body_most);
}

}  // namespace kedge::supervisor
