// version_guard.h: an etcd before 3.6 opens what a later one has written, says nothing, and doesn't understand all of
// it. K3s has a later one within than some distributions.
#pragma once

#include <string>

#include "base/error.h"
#include "reactor/task.h"

namespace kedge::server {

// The version of its format that the data says, from 3.6 on; empty: it says none, or there is none. Blocking.
std::string storage_version(const std::string& data);

// errc::unsupported when that program is not to be started on that data.
task<result<void>> check_version(std::string binary, std::string data);

}  // namespace kedge::server
