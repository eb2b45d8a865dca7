// workload.h: what kinds that run pods of a template have alike: the selector that finds the pods, how many change at
// once, what a status counts.
#pragma once

#include <initializer_list>
#include <string_view>

#include "api/kinds/core/pod_options.h"
#include "api/kinds/core/warnings.h"
#include "meta/validate.h"

namespace kedge::api {

// spec.selector, which must select something; false when nothing can be matched by it. `owner`: "deployment".
bool check_workload_selector(causes& out, const json::value& selector, const place& at, std::string_view owner);
// Whether a selector is one at all: what is wrong with it is said by check_label_selector.
bool is_good_selector(const json::value& selector);
// The template's pods would be found. `at`: of the template.
void check_template_selected(causes& out, const json::value& selector, const json::value& pod_template,
                             const place& at);
// Pods that are replaced when they end: of ReplicaSets, and of what makes those.
void check_replica_template(causes& out, const json::value& spec, const place& at, const pod_options& options);
// Their restartPolicy, and no end of their own. `at`: of the template's spec; `owner`: "ReplicaSet".
void check_restarts_always(causes& out, const json::value& template_spec, const place& at, std::string_view owner);

// What of "3" or "40%" is the number, whichever it counts.
std::int64_t number_in(const json::value& int_or_percent);
void check_at_most_100_percent(causes& out, const json::value& int_or_percent, const place& at);

// Members of a status that count.
void check_counts(causes& out, const json::value& status, const place& at,
                  std::initializer_list<std::string_view> members);
// `member` must not pass `limit`; `text` says so.
void check_not_above(causes& out, const json::value& status, const place& at, std::string_view member,
                     std::string_view limit, std::string_view text);
void check_collisions(causes& out, const json::value& o, const json::value& old);

// Of a new object whose name is no DNS label, and of its template if `o` is new or its generation has grown. `old`:
// null on create.
void warn_workload(warnings& out, const json::value& o, const json::value* old);
bool is_new_generation(const json::value& o, const json::value* old);

}  // namespace kedge::api
