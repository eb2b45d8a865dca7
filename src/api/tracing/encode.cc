#include "api/tracing/encode.h"

#include <algorithm>

#include "base/protobuf_wire.h"

namespace kedge::api::tracing {
namespace {

constexpr int failed_status = 2;
constexpr std::uint32_t has_parent_remote_known = 0x100, parent_is_remote = 0x200;

template <std::size_t N>
std::string_view text_of(const std::array<unsigned char, N>& id) {
  return {reinterpret_cast<const char*>(id.data()), N};
}

std::uint64_t nanoseconds(wall_time t) { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }

std::string encoded(const attribute& a) {
  std::string value;
  if (auto text = std::get_if<std::string>(&a.value))
    wire::put_bytes(1, *text, value);
  else
    wire::put_number(3, static_cast<std::uint64_t>(std::get<std::int64_t>(a.value)), value);
  std::string out;
  wire::put_bytes(1, a.name, out);
  wire::put_bytes(2, value, out);
  return out;
}

std::string encoded(const event& e) {
  std::string out;
  wire::put_fixed64(1, nanoseconds(e.at), out);
  wire::put_bytes(2, e.name, out);
  for (auto& a : e.with) wire::put_bytes(3, encoded(a), out);
  return out;
}

void put_fixed32(int id, std::uint32_t n, std::string& out) {
  wire::put_tag(id, wire::kind::fixed32, out);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(n >> 8 * i);
}

std::string encoded(const span& s) {
  std::string out;
  wire::put_bytes(1, text_of(s.at.trace), out);
  wire::put_bytes(2, text_of(s.at.span), out);
  if (!s.at.state.empty()) wire::put_bytes(3, s.at.state, out);
  const bool has_parent = s.parent != span_id{};
  if (has_parent) wire::put_bytes(4, text_of(s.parent), out);
  wire::put_bytes(5, s.name, out);
  wire::put_number(6, static_cast<std::uint64_t>(s.kind), out);
  wire::put_fixed64(7, nanoseconds(s.begin), out);
  wire::put_fixed64(8, nanoseconds(s.end), out);
  for (auto& a : s.with) wire::put_bytes(9, encoded(a), out);
  for (auto& e : s.events) wire::put_bytes(11, encoded(e), out);
  if (s.link) {
    std::string link;
    wire::put_bytes(1, text_of(s.link->trace), link);
    wire::put_bytes(2, text_of(s.link->span), link);
    if (!s.link->state.empty()) wire::put_bytes(3, s.link->state, link);
    put_fixed32(6, has_parent_remote_known | parent_is_remote | (s.link->sampled ? 1u : 0u), link);
    wire::put_bytes(13, link, out);
  }
  if (s.failed) {
    std::string status;
    if (!s.failure.empty()) wire::put_bytes(2, s.failure, status);
    wire::put_number(3, failed_status, status);
    wire::put_bytes(15, status, out);
  }
  const bool remote = has_parent && s.kind == span_kind::server;
  put_fixed32(16, has_parent_remote_known | (remote ? parent_is_remote : 0u) | (s.at.sampled ? 1u : 0u), out);
  return out;
}

// Who makes such spans in kube-apiserver: what goes by HTTP, and what goes on within.
std::string_view scope_of(bool http) {
  return http ? "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp" : "k8s.io/component-base/tracing";
}

}  // namespace

std::string export_request(const attributes& resource, const std::vector<span>& spans) {
  std::string of_resource;
  for (auto& a : resource) wire::put_bytes(1, encoded(a), of_resource);
  std::string all;
  wire::put_bytes(1, of_resource, all);
  for (bool http : {true, false}) {
    std::string scope, group;
    wire::put_bytes(1, scope_of(http), scope);
    wire::put_bytes(1, scope, group);
    const auto before = group.size();
    for (auto& s : spans)
      if ((s.kind != span_kind::internal) == http) wire::put_bytes(2, encoded(s), group);
    if (group.size() > before) wire::put_bytes(2, group, all);
  }
  std::string out;
  wire::put_bytes(1, all, out);
  return out;
}

refusal read_answer(std::string_view message) {
  refusal out;
  wire::fields in(message);
  while (in.next()) {
    if (in.field() != 1) continue;
    wire::fields part(in.bytes());
    while (part.next()) {
      if (part.field() == 1) out.spans = static_cast<std::int64_t>(part.number());
      if (part.field() == 2) out.why = part.bytes();
    }
  }
  return out;
}

}  // namespace kedge::api::tracing
