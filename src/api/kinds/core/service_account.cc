// service_account.cc: ServiceAccount.
#include "api/kind_rules.h"

namespace kedge::api {

const kind_rules kinds::service_accounts{.group = "", .resource = "serviceaccounts", .answers_deleted_object = true};

}  // namespace kedge::api
