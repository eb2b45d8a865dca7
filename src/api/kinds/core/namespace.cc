// namespace.cc: Namespace: the default label, the finalizer of the content, and the phase.
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::string_view own_finalizer = "kubernetes", name_label = "kubernetes.io/metadata.name";

bool has_own(const json::value& finalizers) {
  for (std::size_t i = 0; i < finalizers.size(); ++i)
    if (finalizers[i].as_string() == own_finalizer) return true;
  return false;
}

void prepare_create(json::value& o, const kind_context&) {
  auto name = o["metadata"]["name"].as_string();
  o.member("metadata").member("labels").set(name_label, name);
  if (!has_own(o["spec"]["finalizers"])) o.member("spec").member("finalizers").push_back(json::value(own_finalizer));
  o.set("status", json::object{{"phase", "Active"}});
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  o.member("metadata").member("labels").set(name_label, o["metadata"]["name"]);
  if (!c.subresource.empty()) return;
  if (old["spec"]["finalizers"].is_array())
    o.member("spec").set("finalizers", old["spec"]["finalizers"]);
  else if (auto spec = o.find("spec"))
    spec->erase("finalizers");
}

void check_finalizers(causes& out, const json::value& list, bool with_index) {
  const place at("spec.finalizers");
  for (std::size_t i = 0; i < list.size(); ++i)
    check_finalizer(out, list[i].as_string(), with_index ? place(at, i) : at);
}

void validate(causes& out, const json::value& o) { check_finalizers(out, o["spec"]["finalizers"], false); }

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view subresource) {
  if (subresource == "finalize") return check_finalizers(out, o["spec"]["finalizers"], true);
  // The phase follows from the deletion mark alone.
  auto phase = o["status"]["phase"].as_string();
  const bool ends = o["metadata"]["deletionTimestamp"].is_string();
  if (!ends && phase != "Active")
    out.push_back(invalid_value("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty"));
  if (ends && phase != "Terminating")
    out.push_back(
        invalid_value("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"));
}

std::string refuse_delete(const json::value& o) {
  auto name = o["metadata"]["name"].as_string();
  if (name == "default" || name == "kube-system" || name == "kube-public") return "this namespace may not be deleted";
  return {};
}

}  // namespace

const kind_rules kinds::namespaces{.group = "",
                                   .resource = "namespaces",
                                   .name = check_dns1123_label,
                                   .answers_deleted_object = true,
                                   .keeps_status_on_create = true,
                                   .prepare_create = prepare_create,
                                   .prepare_update = prepare_update,
                                   .validate = validate,
                                   .validate_part = validate_part,
                                   .refuse_delete = refuse_delete};

}  // namespace kedge::api
