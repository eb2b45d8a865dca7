// file_follower.h: a configuration file that may change while the server runs.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "reactor/task.h"

namespace kedge::server {

// Looks at the file again and again, until it is dropped: when its content is another than the last that was taken or
// refused, `changed` gets that. A file that can't be read is as good as unchanged, and told of once.
task<void> follow_file(std::string path, std::string content, std::function<task<void>(std::string)> changed);

}  // namespace kedge::server
