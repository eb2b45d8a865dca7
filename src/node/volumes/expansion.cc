#include "node/volumes/expansion.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "pod/amounts.h"

namespace kedge::node {

namespace {

using json::array;
using json::object;
using json::value;

constexpr std::string_view resource = "storage", not_required_note = "volume.kubernetes.io/node-expansion-not-required";
constexpr std::array<std::string_view, 4> resize_conditions{"Resizing", "FileSystemResizePending",
                                                            "ControllerResizeError", "NodeResizeError"};

std::int64_t bytes_of(const value& amount) { return pod::amount_of(amount).value(); }

std::string_view state_of(const value& claim) {
  return claim["status"]["allocatedResourceStatuses"][resource].as_string();
}

bool is_shared(const value& claim) {
  auto& modes = claim["spec"]["accessModes"];
  for (std::size_t i = 0; i < modes.size(); ++i)
    if (modes[i].as_string() == "ReadWriteMany") return true;
  return false;
}

bool is_resize_condition(const value& condition) {
  return std::ranges::find(resize_conditions, condition["type"].as_string()) != resize_conditions.end();
}

array other_conditions(const value& claim) {
  array out;
  auto& all = claim["status"]["conditions"];
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!is_resize_condition(all[i])) out.push_back(all[i]);
  return out;
}

value patch_of(const value& claim, object status) {
  return object{{"metadata", object{{"resourceVersion", claim["metadata"]["resourceVersion"]}}},
                {"status", std::move(status)}};
}

}  // namespace

std::optional<volume_growth> growth_of(const value& claim, const value& volume, std::int64_t known_bytes) {
  const auto size = bytes_of(volume["spec"]["capacity"][resource]);
  const auto told = bytes_of(claim["status"]["capacity"][resource]);
  const auto state = state_of(claim);
  if (state == "NodeResizePending" || state == "NodeResizeInProgress") {
    auto& allocated = claim["status"]["allocatedResources"][resource];
    return volume_growth{allocated.is_null() ? size : bytes_of(allocated), false};
  }
  // Every node that has a shared volume grows it for itself.
  if (state.empty() && told >= size && known_bytes > 0 && known_bytes < size && is_shared(claim) &&
      claim["metadata"]["annotations"][not_required_note].is_null())
    return volume_growth{size, true};
  return std::nullopt;
}

value growth_begun(const value& claim) {
  return patch_of(claim, object{{"allocatedResourceStatuses", object{{resource.data(), "NodeResizeInProgress"}}}});
}

value growth_done(const value& claim) {
  auto& status = claim["status"];
  value left = status["allocatedResourceStatuses"];
  left.erase(resource);
  object next{{"conditions", other_conditions(claim)}};
  next.set("capacity", object{{resource.data(), status["allocatedResources"][resource]}});
  next.set("allocatedResourceStatuses", left.empty() ? value() : value(object{{resource.data(), value()}}));
  return patch_of(claim, std::move(next));
}

value growth_failed(const value& claim, std::string_view why, bool infeasible, std::string_view now) {
  array conditions;
  auto& all = claim["status"]["conditions"];
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i]["type"].as_string() != "NodeResizeError") conditions.push_back(all[i]);
  conditions.push_back(object{{"type", "NodeResizeError"},
                              {"status", "True"},
                              {"lastTransitionTime", now},
                              {"message", fmt::format("failed to expand pvc with {}", why)}});
  object next{{"conditions", std::move(conditions)}};
  if (infeasible) next.set("allocatedResourceStatuses", object{{resource.data(), "NodeResizeInfeasible"}});
  return patch_of(claim, std::move(next));
}

}  // namespace kedge::node
