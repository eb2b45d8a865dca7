// names.h: what several kinds of resource.k8s.io say alike: names of drivers, pools, attributes; taints and
// tolerations.
//
// Some rules kube-apiserver has declared with the types: those are told after all others, and in words of their own.
// They are check_declared_…
#pragma once

#include "base/time.h"
#include "meta/validate.h"

namespace kedge::api {

void check_declared_driver(causes& out, std::string_view name, const place& at);
void check_pool_name(causes& out, std::string_view name, const place& at);
void check_declared_pool_name(causes& out, std::string_view name, const place& at);
// "name", or "domain/name".
void check_attribute_name(causes& out, std::string_view name, const place& at);
// "domain/name".
void check_declared_full_name(causes& out, const json::value& name, const place& at);
void check_declared_uid(causes& out, const json::value& uid, const place& at);

// Parameters of a driver's: any JSON object of some size.
void check_raw_object(causes& out, const json::value& raw, const place& at, std::size_t bytes_max);
// opaque, with its driver and parameters.
void check_configuration(causes& out, const json::value& config, const place& at);
void check_declared_configuration(causes& out, const json::value& config, const place& at);
// A selector is an expression over a device (expressions/device.h). Those that are `stored` as they are were right
// once.
void check_selectors(causes& out, const json::value& list, const place& at, bool stored = false);
void check_declared_size(causes& out, const json::value& list, const place& at, std::size_t most);

// A taint without a time is of now.
void date_taint(json::value& taint, wall_time now);
void check_taint(causes& out, const json::value& taint, const place& at);
void check_declared_taint(causes& out, const json::value& taint, const place& at);
void check_tolerations(causes& out, const json::value& list, const place& at);
void check_declared_tolerations(causes& out, const json::value& list, const place& at);
// Conditions that a device has before it can be used, and by which it can't.
void check_binding_conditions(causes& out, const json::value& device, const place& at);
void check_declared_binding_conditions(causes& out, const json::value& device, const place& at);

}  // namespace kedge::api
