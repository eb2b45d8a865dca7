// metadata.h: what every write does to an object's metadata, whatever its kind.
#pragma once

#include <string>
#include <vector>

#include "json/value.h"

namespace kedge::api {

// Of `now`, an update's result, what no client may change is as in `before`: creation, and a deletion that has begun.
void keep_system_metadata(json::value& now, const json::value& before);

// Of `now`, an update of the status, all of the metadata is as in `before`: what kinds of late ask for.
void keep_metadata(json::value& now, const json::value& before);

// Takes owner references out that stand there twice, with a warning as kube-apiserver's; `changed_by_admission`: it was
// not the client's own text.
void drop_repeated_owners(json::value& object, std::vector<std::string>& warnings, bool changed_by_admission);

}  // namespace kedge::api
