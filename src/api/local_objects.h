// local_objects.h: objects.h over this process's store.
#pragma once

#include <memory>

#include "api/storage.h"

namespace kedge::api {

// A client of one core, acting as `user` (system:apiserver in system:masters when nameless). All must outlive it. Admission
// applies to it as to everyone.
std::unique_ptr<objects> make_objects(store::store& s, admission& a, const service_ranges& ranges, user_info user = {});

}  // namespace kedge::api
