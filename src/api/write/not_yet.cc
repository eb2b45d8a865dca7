#include "api/write/not_yet.h"

namespace kedge::api {
namespace {

bool is_another_range(const json::value& range) { return range["metadata"]["name"].as_string() != "kubernetes"; }

constexpr not_yet rows[] = {
    {"networking.k8s.io", "ingresses", nullptr,
     "Kedge brings no ingress controller yet: without one of your own this ingress leads nowhere"},
    {"networking.k8s.io", "servicecidrs", is_another_range,
     "Kedge gives Services addresses only of --service-cidr yet: of this range none are given"},
};

}  // namespace

std::span<const not_yet> all_not_yet() { return rows; }

void warn_not_yet(std::vector<std::string>& out, std::string_view group, std::string_view resource,
                  const json::value& object) {
  for (auto& r : rows)
    if (r.resource == resource && r.group == group && (!r.applies || r.applies(object))) out.emplace_back(r.text);
}

}  // namespace kedge::api
