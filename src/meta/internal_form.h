// internal_form.h: a struct as kube-apiserver holds it, which is how its messages show one: with all members, under
// their Go names.
#pragma once

#include <string_view>

#include "json/value.h"

namespace kedge::api {

// Of a value of the schema's type; null of null: {"name":"a"} of core/v1.PodResourceClaim →
// {"Name":"a","ResourceClaimName":null,"ResourceClaimTemplateName":null}.
json::value internal_form(std::string_view type, const json::value& v);

}  // namespace kedge::api
