#include "api/audit/backend.h"

namespace kedge::api {

std::string audit_backend::text_of(const audit_event& e, audit_stage stage, wall_time at) const {
  auto text = audit_json(e, stage, at);
  if (!common_.truncate || text.size() <= common_.event_max_bytes) return text;
  if (e.verdict.level < audit_level::request) return {};
  auto shorter = e;
  shorter.request_object.clear();
  shorter.response_object.clear();
  shorter.annotations["audit.k8s.io/truncated"] = "true";
  text = audit_json(shorter, stage, at);
  return text.size() <= common_.event_max_bytes ? text : std::string();
}

}  // namespace kedge::api
