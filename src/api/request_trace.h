// request_trace.h: what a trace tells of a request, by the names that kube-apiserver's have.
//
//   GET /api/v1/namespaces/{:namespace}/pods/{:name}      from when it came until it was answered
//     ├─ audit, impersonation, authorization, priorityandfairness   the filters, each until it is done; kube-apiserver
//     │                                            has each within the one before, until the request's end
//     └─ Get, List, Create …                              the verb, on a resource
//          ├─ Create etcd3, cacher.GetList …              storage (write/traced.h)
//          ├─ Call conversion webhook                     of custom resources; also within cacher.GetList
//          └─ Call mutating webhook ── HTTP POST          admission
#pragma once

#include "api/handler.h"

namespace kedge::api {

// Of a request whose user is known. Null `to`: nobody is told, and the client's trace is passed on.
tracing::live_span begin_trace(tracing::collector* to, const api_request& r);
// It was answered with r.answer.code.
void end_trace(api_request& r);

// The verb's part of it.
tracing::live_span begin_work(const api_request& r, std::string_view name);
// Reading, as kube-apiserver's cache names it: "cacher.GetList".
tracing::live_span begin_reading(const api_request& r, const served& s, std::string_view name);
// The answer in the client's format.
tracing::live_span begin_answer(const api_request& r);

}  // namespace kedge::api
