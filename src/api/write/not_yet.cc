#include "api/write/not_yet.h"

namespace kedge::api {
namespace {

constexpr not_yet rows[] = {
    {"networking.k8s.io", "ingresses", nullptr,
     "Kedge brings an ingress controller only when it is asked to (--with traefik): without one this ingress leads "
     "nowhere"},
};

}  // namespace

std::span<const not_yet> all_not_yet() { return rows; }

void warn_not_yet(std::vector<std::string>& out, std::string_view group, std::string_view resource,
                  const json::value& object) {
  for (auto& r : rows)
    if (r.resource == resource && r.group == group && (!r.applies || r.applies(object))) out.emplace_back(r.text);
}

}  // namespace kedge::api
