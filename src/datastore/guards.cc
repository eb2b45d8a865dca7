#include "datastore/guards.h"

#include <map>

namespace kedge::datastore {

numbered_guards number_guards(std::span<const operation> ops) {
  numbered_guards out;
  std::map<std::pair<std::string_view, revision>, std::size_t> known;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].guards.empty()) continue;
    auto& places = out.of.emplace_back(i, std::vector<std::size_t>()).second;
    for (auto& g : ops[i].guards) {
      auto [at, fresh] = known.try_emplace({g.name, g.expected}, out.names.size());
      if (fresh) {
        out.names.push_back(g.name);
        out.expected.push_back(g.expected);
      }
      places.push_back(at->second);
    }
  }
  return out;
}

}  // namespace kedge::datastore
