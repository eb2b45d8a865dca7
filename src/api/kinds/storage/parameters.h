// parameters.h: what classes of storage hand to a driver.
#pragma once

#include "meta/validate.h"

namespace kedge::api {

// Whose storage it is: "ebs.csi.aws.com".
void check_provisioner(causes& out, const json::value& name, const place& at);
void check_parameters(causes& out, const json::value& parameters, const place& at, bool may_be_empty);

}  // namespace kedge::api
