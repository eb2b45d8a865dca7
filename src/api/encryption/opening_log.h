// opening_log.h: a datastore's log that gives nothing before it is known how it is opened: the seeds of KMS plugins are
// asked for, page by page, before the store sees the values under them.
#pragma once

#include <functional>
#include <memory>

#include "datastore/log.h"

namespace kedge::api::encryption {

// Called for each value as it stands in the datastore, with the revision that wrote it; waits where it must.
using value_opener = std::function<task<void>(const datastore::entry&)>;

// Told of each value that was written through the log, with its revision, once it has landed.
using landing_witness = std::function<void(const datastore::operation&, datastore::revision at)>;

std::unique_ptr<datastore::log> make_opening_log(std::unique_ptr<datastore::log> inner, value_opener open,
                                                 landing_witness landed);

}  // namespace kedge::api::encryption
