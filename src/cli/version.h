// version.h: which Kedge this is. The first part is the Kubernetes version whose API it serves.
#pragma once

namespace kedge::cli {

extern const char* const version;  // v1.37.2+kedge1
extern const char* const commit;   // of the source tree, abbreviated; "unknown" outside one

}  // namespace kedge::cli
