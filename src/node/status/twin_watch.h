// twin_watch.h: whether another machine goes by this one's name and password, as two of one image do: each writes its
// own addresses and boot id into the Node, and finds the other one's there. Both notice it.
#pragma once

#include <string>

#include "json/value.h"

namespace kedge::node {

class twin_watch {
 public:
  // The Node as it stands before this machine writes it again. For people, once for each twin: who else writes it;
  // empty: nobody, as far as is known.
  std::string look(const json::value& node);
  // The Node as this machine has just written it.
  void wrote(const json::value& node);

 private:
  std::string written_, told_;
  unsigned overwritten_ = 0;  // looks in a row that found something else than what this machine wrote
};

}  // namespace kedge::node
