#include "control/workloads/metrics.h"

#include <fmt/format.h>

#include <limits>

#include "base/strings.h"
#include "json/parse.h"
#include "schema/quantity.h"

namespace kedge::control {

namespace {

// client-go's words for an answer that says no more than its code.
std::string generic_text(int code) {
  switch (code) {
    case 400: return "the server rejected our request for an unknown reason";
    case 401: return "the server has asked for the client to provide credentials";
    case 404: return "the server could not find the requested resource";
    case 429: return "the server has received too many requests and has asked us to try again later";
    case 503: return "the server is currently unable to handle the request";
    case 504:
      return "the server was unable to return a response in the time allotted, but may still be processing the request";
    default:
      return fmt::format("the server responded with the status code {} but did not return more information", code);
  }
}

std::string refusal_text(const api::raw_answer& a) {
  auto status = json::parse(a.body);
  auto message = status ? (*status)["message"].as_string() : std::string_view();
  // A Status that names nothing says no more than the code either.
  if (message.empty() || message == generic_text(a.code)) return generic_text(a.code) + " (get pods.metrics.k8s.io)";
  return std::string(message);
}

std::optional<std::int64_t> milli_of(const json::value& usage, std::string_view resource) {
  auto q = schema::quantity::parse(usage[resource].as_string());
  return q ? std::optional(q->milli_value()) : std::nullopt;
}

std::optional<std::int64_t> use_of(const json::value& containers, std::string_view resource,
                                   std::string_view container) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < containers.size(); ++i) {
    if (!container.empty() && containers[i]["name"].as_string() != container) continue;
    auto one = milli_of(containers[i]["usage"], resource);
    if (!one || !container.empty()) return one;
    if (__builtin_add_overflow(sum, *one, &sum)) sum = std::numeric_limits<std::int64_t>::max();
  }
  return container.empty() && !containers.empty() ? std::optional(sum) : std::nullopt;
}

}  // namespace

task<pod_metrics> ask_pod_metrics(api::objects& client, std::string ns, std::string selector) {
  auto why = [](std::string_view text) {
    return std::unexpected(fmt::format("unable to fetch metrics from resource metrics API: {}", text));
  };
  auto answer = co_await client.ask(
      fmt::format("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods?labelSelector={}", ns, percent_encode(selector)));
  if (!answer) co_return why(answer.error().message);
  if (answer->code != 200) co_return why(refusal_text(*answer));
  auto list = json::parse(answer->body);
  if (!list) co_return why(list.error().message);
  if ((*list)["items"].empty()) co_return std::unexpected("no metrics returned from resource metrics API");
  co_return *std::move(list);
}

const pod_metrics& not_measured() {
  static const pod_metrics none =
      std::unexpected("unable to fetch metrics from resource metrics API: " + refusal_text({404, {}}));
  return none;
}

usages usages_in(const json::value& list, std::string_view resource, std::string_view container) {
  usages out;
  auto& items = list["items"];
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto& m = items[i];
    auto used = use_of(m["containers"], resource, container);
    if (!used) continue;
    pod_usage u{.milli = *used};
    if (auto t = parse_rfc3339(m["timestamp"].as_string())) u.at = *t;
    if (auto w = parse_duration(m["window"].as_string())) u.window = *w;
    out.insert_or_assign(std::string(m["metadata"]["name"].as_string()), u);
  }
  return out;
}

}  // namespace kedge::control
