// local_objects.h: objects.h over this process's store.
#pragma once

#include <memory>

#include "api/write/storage.h"

namespace kedge::api {

namespace custom {
class tables;
}

// A client of one core, acting as `as`: nothing is authorized, admission applies to it as to everyone. `tables`: the
// core's custom resources; null: built-in ones only. `manager`: whom metadata.managedFields names. All must outlive it.
std::unique_ptr<objects> make_objects(store::store& s, admission& a, const service_ranges& ranges,
                                      custom::tables* tables = nullptr, user_ref as = server_itself(),
                                      std::string manager = "kedge");

}  // namespace kedge::api
