#include <algorithm>

#include "api/request/user.h"

namespace kedge::api {

bool user_info::in_group(std::string_view group) const noexcept {
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

const user_info& user_ref::operator*() const noexcept {
  static const user_info nobody;
  return who_ ? *who_ : nobody;
}

const user_ref& server_itself() {
  static const user_ref one =
      user_info{.name = "system:apiserver", .groups = {"system:masters", "system:authenticated"}};
  return one;
}

}  // namespace kedge::api
