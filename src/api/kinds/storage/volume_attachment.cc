// volume_attachment.cc: VolumeAttachment.
#include "api/kinds/core/persistent_volume.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void check_attacher(causes& out, std::string_view name, const place& at) {
  constexpr std::size_t name_max = 63;
  if (name.empty()) return out.push_back(required(at));
  add_problems(out, at, name, check_any_case_subdomain(name));
  if (name.size() > name_max) out.push_back(too_many_characters(at, name_max));
}

void check_source(causes& out, const json::value& source, const place& at) {
  constexpr std::string_view text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
  auto &spec = source["inlineVolumeSpec"], &name = source["persistentVolumeName"];
  if (spec.is_null() && name.is_null())
    out.push_back(required(at, text));
  else if (!spec.is_null() && !name.is_null())
    out.push_back(forbidden_value(at, text));
  else if (name.is_null())
    check_volume_spec(out, spec, place(at, "inlineVolumeSpec"), {.in_attachment = true});
  else
    need(out, source, at, "persistentVolumeName", "must specify non empty persistentVolumeName");
}

void check_error(causes& out, const json::value& error, const place& at) {
  constexpr std::size_t message_max = 1024;
  if (error["message"].as_string().size() > message_max) out.push_back(too_long(place(at, "message"), message_max));
  if (auto& code = error["errorCode"]; code.as_integer() < 0)
    out.push_back(invalid_value(place(at, "errorCode"), code, "must be between 0 and 2147483647, inclusive"));
}

void check_status(causes& out, const json::value& status, const place& at) {
  constexpr std::size_t bytes_max = 256 * 1024;
  std::size_t bytes = 0;
  if (auto list = status["attachmentMetadata"].object())
    for (auto& m : *list) bytes += m.name.size() + m.value.as_string().size();
  if (bytes > bytes_max) out.push_back(too_long(place(at, "attachmentMetadata"), bytes_max));
  check_error(out, status["attachError"], place(at, "attachError"));
  check_error(out, status["detachError"], place(at, "detachError"));
}

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  const place at("spec");
  check_source(out, spec["source"], place(at, "source"));
  add_problems(out, place(at, "nodeName"), spec["nodeName"].as_string(),
               check_dns1123_subdomain(spec["nodeName"].as_string()));
  check_status(out, o["status"], "status");
  if (auto& name = spec["source"]["persistentVolumeName"]; name.is_string())
    add_problems(out, "spec.source.persistentVolumeName", name, check_dns1123_subdomain(name.as_string()));
  check_attacher(out, spec["attacher"].as_string(), place(at, "attacher"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  declared_immutable(out, o["spec"], old["spec"], "spec");
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  validate_update(out, o, old);
}

}  // namespace

const kind_rules kinds::volume_attachments{.group = "storage.k8s.io",
                                           .resource = "volumeattachments",
                                           .unconditional_update = false,
                                           .answers_deleted_object = true,
                                           .metadata_stands = true,
                                           .validate = validate,
                                           .validate_update = validate_update,
                                           .validate_part = validate_part};

}  // namespace kedge::api
