// flag_values.h: the options that a server runs with, by their flags' names, as /flagz shows them.
#pragma once

#include <map>
#include <string>

#include "cli/options.h"

namespace kedge::cli {

// Of every flag that has an effect, wherever its value came from (command line, environment, file, default), in Go's
// spelling: true, [a,b]. Secrets that are set are ********.
std::map<std::string, std::string> flag_values(const server_options& o);

}  // namespace kedge::cli
