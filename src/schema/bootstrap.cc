#include "schema/bootstrap.h"

#include "schema/tables.h"

namespace kedge::schema {

std::span<const bootstrap_category> bootstrap_categories() noexcept {
  return {tables::bootstrap, tables::bootstrap_count};
}

std::string_view bootstrap_json(std::string_view name) noexcept {
  for (auto& c : bootstrap_categories())
    if (c.name == name) return c.json;
  return {};
}

}  // namespace kedge::schema
