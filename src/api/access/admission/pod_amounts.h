// pod_amounts.h: what containers and pods ask for, and what they may use, as exact quantities.
#pragma once

#include <map>
#include <string>

#include "json/value.h"
#include "schema/quantity.h"

namespace kedge::api {

using amounts = std::map<std::string, schema::quantity, std::less<>>;

// A quantity field (text, or a plain number); zero for what is none.
schema::quantity amount_of(const json::value& field);
// A ResourceList: {"cpu": "500m", …}.
amounts amounts_of(const json::value& list);
void add(amounts& to, const amounts& more);

// What a pod takes of a node: its containers together, or its greatest init container beside the sidecars started before it
// where that is more, and its overhead. `which` is "requests" or "limits".
amounts pod_amounts(const json::value& pod, std::string_view which);

// "cpu=1,memory=1Gi", as messages name them.
std::string text_of(const amounts& list);

}  // namespace kedge::api
