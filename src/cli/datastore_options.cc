#include "cli/datastore_options.h"

namespace kedge::cli {

datastore::endpoint_options datastore_options(const server_options& o) {
  datastore::endpoint_options d{.endpoint = o.datastore_endpoint,
                                .ca_file = o.datastore_ca_file,
                                .certificate_file = o.datastore_cert_file,
                                .key_file = o.datastore_key_file,
                                .sqlite = {}};
  d.sqlite.path = o.agent.data_dir + "/server/db/state.db";
  d.sqlite.durability =
      o.sqlite_synchronous == "full" ? datastore::sqlite_durability::full : datastore::sqlite_durability::normal;
  return d;
}

}  // namespace kedge::cli
