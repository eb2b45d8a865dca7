// datastore_options.h: from the options to the database that they name.
#pragma once

#include "cli/options.h"
#include "datastore/endpoint.h"

namespace kedge::cli {

datastore::endpoint_options datastore_options(const server_options& o);

}  // namespace kedge::cli
