// service_account.cc: ServiceAccount.
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::string_view mountable = "kubernetes.io/enforce-mountable-secrets";

// References to secrets have names alone.
void prepare(json::value& o) {
  auto list = o.find("secrets");
  if (!list || !list->array()) return;
  for (auto& s : *list->array()) s = json::object{{"name", s["name"]}};
}

void prepare_create(json::value& o, const kind_context&) { prepare(o); }
void prepare_update(json::value& o, const json::value&, const kind_context&) { prepare(o); }

void warn(std::vector<std::string>& out, const json::value& o, const json::value* old) {
  if (old && (*old)["metadata"]["annotations"].find(mountable)) return;
  if (o["metadata"]["annotations"].find(mountable))
    out.push_back(
        "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate "
        "namespaces to isolate access to mounted secrets");
}

}  // namespace

const kind_rules kinds::service_accounts{.group = "",
                                         .resource = "serviceaccounts",
                                         .answers_deleted_object = true,
                                         .prepare_create = prepare_create,
                                         .prepare_update = prepare_update,
                                         .warn = warn};

}  // namespace kedge::api
