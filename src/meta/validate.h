// validate.h: the parts that validations are made of, to kube-apiserver's messages, and the rules of object metadata.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"
#include "meta/names.h"
#include "meta/place.h"
#include "meta/status.h"

namespace kedge::api {

using name_check = problems (*)(std::string_view);

// `path[i]`.
std::string at(std::string_view path, std::size_t i);

// One Invalid cause a problem.
void add_problems(causes& out, const place& at, const json::value& v, const problems& p);
// Required when the member is missing or empty; true when it is there.
bool need(causes& out, const json::value& parent, const place& at, std::string_view member,
          std::string_view detail = {});
// Not supported unless the member is absent or one of `allowed`, which are told in that order.
void one_of(causes& out, const json::value& parent, const place& at, std::string_view member,
            std::initializer_list<std::string_view> allowed);
// The same, and required unless it is there.
void one_of_needed(causes& out, const json::value& parent, const place& at, std::string_view member,
                   std::initializer_list<std::string_view> allowed);
// "must be greater than or equal to 0" when it is there and negative.
void not_negative(causes& out, const json::value& parent, const place& at, std::string_view member);
// "field is immutable" when the two differ.
void immutable(causes& out, const json::value& now, const json::value& before, const place& at);
// The same of a rule that kube-apiserver has declared with the type: it doesn't tell the value.
void declared_immutable(causes& out, const json::value& now, const json::value& before, const place& at);

void check_labels(causes& out, const json::value& labels, const place& at);
void check_annotations(causes& out, const json::value& annotations, const place& at);
// `any_values`: an older object has values that no label can have.
void check_label_selector(causes& out, const json::value& selector, const place& at, bool any_values = false);
// Whether its expressions have values that no label can have.
bool has_bad_values(const json::value& selector);
// Of a namespace's or another spec's: one that is no standard name must be fully qualified.
void check_finalizer(causes& out, std::string_view name, const place& at);
// "example.com/some/path".
void check_domain_path(causes& out, std::string_view text, const place& at);
// Keys and values for a signer (example.com/key), as users write them.
void check_user_annotations(causes& out, const json::object& notes, const place& at);
// metav1.Condition's of a status.
void check_standard_conditions(causes& out, const json::value& list, const place& at);
// A user's or group's number.
void check_id(causes& out, const json::value& id, const place& at);
// A port number or name of at most 15 characters, as probes and services refer to one.
void check_port_or_name(causes& out, const json::value& v, const place& at);
// An integer or a percentage "25%".
void check_int_or_percent(causes& out, const json::value& v, const place& at);
// A quantity of at least 0.
void check_quantity(causes& out, const json::value& v, const place& at);

struct metadata_rules {
  bool namespaced = false;
  name_check name = check_dns1123_subdomain;
  bool name_stands = false;       // of an update: the name isn't judged again
  bool plain_finalizers = false;  // names without a domain are allowed: custom resources, and the API's own extensions
};
// metadata of an object about to be created.
void check_metadata(causes& out, const json::value& metadata, const metadata_rules& rules,
                    const place& at = "metadata");
// Of the result of an update.
void check_metadata_update(causes& out, const json::value& now, const json::value& before, const metadata_rules& rules);

}  // namespace kedge::api
