#include "api/printers/prints.h"
#include "schema/quantity.h"

namespace kedge::api::print {

table_row node_usage(const json::value& o, wall_time) {
  return {{name_cell(o), o["usage"]["cpu"], o["usage"]["memory"], o["window"]}, {}};
}

// All containers together.
table_row pod_usage(const json::value& o, wall_time) {
  auto sum = [&](std::string_view resource) {
    schema::quantity total;
    if (auto* all = o["containers"].array()) {
      bool first = true;
      for (auto& c : *all) {
        auto amount = schema::quantity::parse(c["usage"][resource].as_string());
        if (!amount) continue;
        if (std::exchange(first, false))
          total = *amount;
        else
          total += *amount;
      }
    }
    return total.text();
  };
  return {{name_cell(o), sum("cpu"), sum("memory"), o["window"]}, {}};
}

}  // namespace kedge::api::print
