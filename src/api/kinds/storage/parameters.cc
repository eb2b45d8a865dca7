#include "api/kinds/storage/parameters.h"

#include "base/strings.h"

namespace kedge::api {

void check_provisioner(causes& out, const json::value& name, const place& at) {
  if (name.as_string().empty()) return out.push_back(required(at));
  const auto small = lower(name.as_string());
  add_problems(out, at, small, check_qualified_name(small));
}

void check_parameters(causes& out, const json::value& parameters, const place& at, bool may_be_empty) {
  constexpr std::size_t count_max = 512, bytes_max = 256 * 1024;
  if (parameters.size() > count_max) return out.push_back(too_long(at, count_max));
  std::size_t bytes = 0;
  if (auto list = parameters.object())
    for (auto& m : *list) {
      if (m.name.empty()) out.push_back(invalid_value(at, "", "field can not be empty."));
      bytes += m.name.size() + m.value.as_string().size();
    }
  if (bytes > bytes_max) out.push_back(too_long(at, bytes_max));
  if (!may_be_empty && parameters.empty()) out.push_back(required(at, "must contain at least one key/value pair"));
}

}  // namespace kedge::api
