// policy.h: what of a request is told, by an audit.k8s.io/v1 Policy.
//
//   file ─▶ audit_policy (immutable, shared by all cores) ─▶ the first rule that fits what is asked ─▶ level, stages
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/request/attributes.h"
#include "base/error.h"

namespace kedge::api {

enum class audit_level : unsigned char { none, metadata, request, request_response };
enum class audit_stage : unsigned char { request_received, response_started, response_complete, panic };

std::string_view name_of(audit_level level) noexcept;
std::string_view name_of(audit_stage stage) noexcept;

// What holds for one request.
struct audit_verdict {
  audit_level level = audit_level::none;
  unsigned omitted = 0;  // a bit a stage
  bool omit_managed_fields = false;
  bool omits(audit_stage s) const noexcept { return omitted >> static_cast<unsigned>(s) & 1; }
};

class audit_policy {
 public:
  // An error names all that is wrong, by path. `warnings` gets the fields that are not known, which count for nothing.
  static result<audit_policy> parse(std::string_view text, std::vector<std::string>& warnings);

  // `asked.user` is who was authenticated, whoever they act as; nobody when that failed.
  audit_verdict evaluate(const attributes& asked) const;

 private:
  struct resources {
    std::string group;
    std::vector<std::string> names, object_names;
  };
  struct rule {
    audit_verdict verdict;
    std::vector<std::string> users, groups, verbs, namespaces, paths;
    std::vector<resources> of;
  };
  static bool fits(const rule& r, const attributes& a);
  static bool fits_resource(const rule& r, const attributes& a);
  friend struct policy_reader;

  std::vector<rule> rules_;
  audit_verdict otherwise_;
};

}  // namespace kedge::api
