// namespace.cc: the default label, the finalizer of the content, and the phase.
#include "api/kind_rules.h"

namespace kedge::api {
namespace {

bool has_kubernetes(const json::value& finalizers) {
  for (std::size_t i = 0; i < finalizers.size(); ++i)
    if (finalizers[i].as_string() == "kubernetes") return true;
  return false;
}

void prepare_create(json::value& o, const kind_context&) {
  auto name = o["metadata"]["name"].as_string();
  o.member("metadata").member("labels").set("kubernetes.io/metadata.name", name);
  if (!has_kubernetes(o["spec"]["finalizers"])) o.member("spec").member("finalizers").push_back("kubernetes");
  o.set("status", json::object{{"phase", "Active"}});
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource == "finalize") return;
  if (c.subresource == "status") {
    // The phase follows from the deletion mark alone.
    o.member("status").set("phase", o["metadata"]["deletionTimestamp"].is_string() ? "Terminating" : "Active");
    return;
  }
  o.member("metadata").member("labels").set("kubernetes.io/metadata.name", o["metadata"]["name"]);
  if (old["spec"]["finalizers"].is_array())
    o.member("spec").set("finalizers", old["spec"]["finalizers"]);
  else if (auto spec = o.find("spec"))
    spec->erase("finalizers");
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
                                   .refuse_delete = refuse_delete};

}  // namespace kedge::api
