// index.h: finding objects by what stands in them, without looking at all of them.
//
// The store knows no kinds, so whoever opens it says what to index: a name, the keys that it is about, and a pure
// function from an object to the values under which it is found. The indexes are kept with the objects
// (indexed_tree.h): a snapshot has both as they were at its revision, so asking an index and looking at everything give
// the same. Indexes may come and go while the store runs.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace kedge::store {

class object;

using value_visitor = std::function<void(std::string_view value)>;

struct index {
  std::string name;    // unique in a store: "pods/spec.nodeName"
  std::string prefix;  // of the keys of the objects that it is about: "/registry/pods/"
  // Gives each value under which the object is found; a value given twice counts once. Called on the owner core for
  // every version that comes or goes, and by scans on theirs for what they find: it must be cheap, and the same for the
  // same object.
  std::function<void(const object& o, const value_visitor& give)> values;
};

}  // namespace kedge::store
