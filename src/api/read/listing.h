// listing.h: LIST. Which revision, and which objects; list_answer.h has their bytes.
//
//   options ─▶ snapshot (latest, cached, at least N, exactly N) ─▶ walk with selectors ─▶ page ─▶ list_answer.h
#pragma once

#include "api/answer/answer.h"
#include "api/authorization/authorization.h"
#include "api/read/walk.h"
#include "api/request/request.h"

namespace kedge::api {

namespace custom {
class converter;
}
namespace tracing {
class live_span;
}

// The snapshot that a read with this resourceVersion must see. 410, 504.
task<api_result<store::snapshot>> snapshot_for(store::store& s, const served& what, std::string resource_version,
                                               std::string match, bool limited);

struct page {
  store::snapshot cluster;  // keeps the objects alive
  store::revision revision = 0;
  std::vector<const store::object*> objects;
  std::vector<store::object_ref> converted;  // those of them that aren't the snapshot's
  // Instead of objects: of what is stored nowhere, in the version that is asked for.
  bool is_made = false;
  std::vector<json::value> made;
  std::size_t size() const noexcept { return is_made ? made.size() : objects.size(); }

  bool ready = true;            // their own bytes are what a client of this version sees
  std::string continue_token;   // empty on the last page
  std::int64_t remaining = -1;  // -1: not told
};
// `versions`: of custom resources; null: none is converted by webhook. Its calls are a part of `within`.
task<api_result<page>> read_page(store::store& s, const authorized& target, list_options options, selection which,
                                 custom::converter* versions = nullptr, const tracing::live_span* within = nullptr);

}  // namespace kedge::api
