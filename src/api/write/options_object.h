// options_object.h: what a request asks for besides, as the object of the API that it is.
#pragma once

#include "api/admission/admission.h"
#include "api/write/storage.h"

namespace kedge::api {

// CreateOptions, UpdateOptions or DeleteOptions, by what becomes of the object: a PATCH has UpdateOptions, a PUT or
// apply that creates has CreateOptions.
json::value options_object(const call& c, operation what);

}  // namespace kedge::api
