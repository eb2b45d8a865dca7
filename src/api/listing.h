// listing.h: LIST. Which revision, which objects, and their bytes.
//
//   options ─▶ snapshot (latest, cached, at least N, exactly N) ─▶ scan with selectors ─▶ gathered write of ready bytes (JSON),
//                                                                                      or encoded piece by piece
#pragma once

#include "api/access/authorization.h"
#include "api/answer.h"
#include "api/fields.h"
#include "api/request.h"

namespace kedge::api {

// What objects a list or watch is about.
struct selection {
  label_selector labels;
  field_selector fields;
  bool by_key = true;  // the fields are decided by the key alone

  bool everything() const noexcept { return labels.everything() && fields.empty(); }
  bool matches(const served& s, const store::object_ref& o) const;
};
// From the query's texts. A target's name is always demanded: 400 when the selector is about another object.
api_result<selection> make_selection(const authorized& to, std::string_view labels, std::string_view fields);

// The snapshot that a read with this resourceVersion must see. 410, 504.
task<api_result<store::snapshot>> snapshot_for(store::store& s, const served& what, std::string resource_version, std::string match, bool limited);

struct page {
  store::snapshot cluster;     // keeps the objects alive
  store::revision revision = 0;
  std::vector<const store::object*> objects;
  std::string continue_token;  // empty on the last page
  std::int64_t remaining = -1; // -1: not told
};
task<api_result<page>> read_page(store::store& s, const authorized& target, list_options options, selection which);

task<void> send_page(net::http::exchange& e, reply& r, const served& s, page p);

}  // namespace kedge::api
