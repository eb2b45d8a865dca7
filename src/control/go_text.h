// go_text.h: values as Go prints them, where messages of the real controllers show them so.
#pragma once

#include <string>

#include "json/value.h"

namespace kedge::control {

// A label selector's struct, by %v or %+v: "nil", or all that it has.
std::string as_go_prints(const json::value& selector);

}  // namespace kedge::control
