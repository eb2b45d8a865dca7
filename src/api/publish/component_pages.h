// component_pages.h: /statusz and /flagz, what a component tells of itself to who looks after it (KEP-4827, KEP-4828):
// as text, or as an object of config.k8s.io. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"

namespace kedge::api {

using flag_values = std::map<std::string, std::string>;  // what the process was started with; secrets masked

struct component_page {
  std::string body, type;
};

// nullopt: no clause of the Accept header can be had.
std::optional<component_page> statusz_page(std::string_view accept, wall_time started, wall_time now);
std::optional<component_page> flagz_page(std::string_view accept, const flag_values& flags);

inline constexpr std::string_view component_page_types = "application/json, application/yaml, text/plain";

}  // namespace kedge::api
