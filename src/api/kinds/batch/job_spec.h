// job_spec.h: the rules of a Job's specification, of Jobs and of the template of CronJobs alike.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "api/kinds/core/pod_options.h"
#include "api/kinds/core/warnings.h"
#include "meta/validate.h"

namespace kedge::api {

// All but the selector, which a template must not have.
void check_job_spec(causes& out, const json::value& spec, const place& at, const pod_options& options);
void warn_job_spec(warnings& out, const json::value& spec, const place& at);

// How many indexes "1,3-5" names, each below `completions`; or why it is no such text.
std::expected<std::int64_t, std::string> count_indexes(std::string_view text, std::int64_t completions);
// One that is in both; -1: none. What is no interval of indexes is passed over.
std::int64_t common_index(std::string_view a, std::string_view b, std::int64_t completions);

bool is_indexed(const json::value& spec) noexcept;

}  // namespace kedge::api
