// index.h: finding objects by what stands in them, without looking at all of them.
//
// The store knows no kinds, so whoever opens it says what to index: a name, the keys that it is about, and a pure function from
// an object's text to the values under which it is found. The indexes are kept with the objects (indexed_tree.h): a snapshot
// has both as they were at its revision, so asking an index and looking at everything give the same.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace kedge::store {

using value_visitor = std::function<void(std::string_view value)>;

struct index {
  std::string name;    // unique in a store: "pods/spec.nodeName"
  std::string prefix;  // of the keys of the objects that it is about: "/registry/pods/"
  // Gives each value under which an object of this text (object::bytes) is found; a value given twice counts once. Called on the
  // owner core for every version that comes or goes, and by scans on theirs for what they find: it must be cheap, and the same
  // for the same text.
  std::function<void(std::string_view text, const value_visitor& give)> values;
};

}  // namespace kedge::store
