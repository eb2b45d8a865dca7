// zip.h: the one file in an archive, as K3s compresses snapshots (--etcd-snapshot-compress). Blocking.
#pragma once

#include <string>

#include "base/error.h"

namespace kedge::backup {

bool is_zip(const std::string& path);
// The archive's only member into the file `to`, which is new and its owner's alone. errc::invalid: it has none, or
// several; errc::corrupt: it is damaged; errc::unsupported: of 4 GiB and more, or packed by another way than deflate.
// On failure nothing is left.
result<void> unzip(const std::string& path, const std::string& to);

}  // namespace kedge::backup
