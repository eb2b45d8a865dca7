// laws.h: RapidCheck's properties as doctest assertions.
#pragma once

#include <doctest/doctest.h>
#include <rapidcheck.h>

namespace kedge::store {

// RapidCheck prints the counterexample and the seed that repeats it.
template <typename F>
void law(const char* name, F check) {
  bool holds = rc::check(name, check);
  CHECK_MESSAGE(holds, name);
}

}  // namespace kedge::store
