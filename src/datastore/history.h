// history.h: the words for a database that has another history than what was read from it.
#pragma once

#include <string_view>

#include "base/error.h"

namespace kedge::datastore {

// errc::corrupt. `why`: what shows it; `cause`: what may have happened, a sentence.
error lost_history(std::string_view why, std::string_view cause);

}  // namespace kedge::datastore
