// local_objects.h: objects.h over this process's store.
#pragma once

#include <memory>

#include "api/write/storage.h"

namespace kedge::api {

namespace custom {
class tables;
}

// Asks the API as that user, over the network.
using asker = std::function<task<result<raw_answer>>(user_ref as, raw_request q)>;

// A client of one core, acting as `as`: nothing is authorized, admission applies to it as to everyone. `tables`: the
// core's custom resources; null: built-in ones only. `manager`: whom metadata.managedFields names. All must outlive it.
// `ask`: how the rest of the API is asked; null: there is none.
std::unique_ptr<objects> make_objects(store::store& s, admission& a, const service_ranges& ranges,
                                      custom::tables* tables = nullptr, user_ref as = server_itself(),
                                      std::string manager = "kedge", asker ask = nullptr);

}  // namespace kedge::api
