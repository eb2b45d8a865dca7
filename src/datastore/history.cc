#include "datastore/history.h"

#include <fmt/format.h>

namespace kedge::datastore {

error lost_history(std::string_view why, std::string_view cause) {
  return {errc::corrupt, fmt::format("the database has lost or changed what this server has read from it ({}). {} Stop "
                                     "all servers and make sure that "
                                     "this is the database to go on with. If it is, start one of them once with "
                                     "--accept-data-loss, then the others",
                                     why, cause)};
}

}  // namespace kedge::datastore
