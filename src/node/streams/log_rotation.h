// log_rotation.h: keeps containers' logs from filling the disk: looks at those of running containers, sets aside what
// has grown too large (log_files.h), and has the runtime begin anew.
#pragma once

#include "node/pods/manager.h"
#include "node/runtime/pod_runtime.h"

namespace kedge::node {

// Until dropped. Returns at once when logs may grow without end.
task<void> keep_logs_small(const pod_manager& pods, pod_runtime& runtime, const kubelet_settings& settings);

}  // namespace kedge::node
