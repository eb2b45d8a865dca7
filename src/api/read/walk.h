// walk.h: going over the objects that a list, a watch or a deletion is about, a turn of the loop at a time.
//
//   target, selectors ─▶ search_for: one key, a name in each namespace, an index's value, or a prefix ─▶ walk ─▶ those
//   that match
#pragma once

#include <functional>

#include "api/authorization/authorization.h"
#include "api/read/fields.h"

namespace kedge::api {

// What objects a list or watch is about.
struct selection {
  label_selector labels;
  field_selector fields;
  std::vector<field_place> places;  // of the fields
  bool by_key = true;               // the fields are decided by the key alone

  bool everything() const noexcept { return labels.everything() && fields.empty(); }
  bool matches(const served& s, const store::object_ref& o) const;
};
// From the query's texts. A target's name is always demanded: 400 when the selector is about another object.
api_result<selection> make_selection(const authorized& to, std::string_view labels, std::string_view fields);

// Where the objects of a selection are to be looked for.
struct search {
  store::watch_scope scope;
  std::string name;  // not empty: in each namespace, the object of this name
};
// Within the target, whatever the selectors say. Which indexes there are is asked of `cluster`.
search search_for(const authorized& to, const selection& which, const store::snapshot& cluster);

class object_walk {
 public:
  enum class end : unsigned char {
    none,     // the loop's turn is over: go on after a yield
    refused,  // `take` did not want this one: it is the next
    all,      // there are no more
  };
  // Keys below `start` are left out. `s` and `which` must outlive this.
  object_walk(store::snapshot cluster, const served& s, search where, const selection& which, std::string start);

  // Gives the next objects that match to `take`, until it gives false or the loop's turn is over.
  end step(const std::function<bool(const store::object_ref&)>& take);
  // The key from where on step() goes on.
  const std::string& next() const noexcept { return next_; }

 private:
  end step_names(const std::function<bool(const store::object_ref&)>& take);
  bool wanted(const store::object_ref& o) const { return everything_ || which_.matches(what_, o); }

  store::snapshot cluster_;
  const served& what_;
  const search where_;
  const selection& which_;
  const bool everything_;
  std::string next_;
};

}  // namespace kedge::api
