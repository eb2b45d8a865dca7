// resources.h: the resources that controllers speak of.
#pragma once

#include "api/objects.h"

namespace kedge::control {

inline const api::resource_id pods{"", "v1", "pods"};
inline const api::resource_id nodes{"", "v1", "nodes"};
inline const api::resource_id namespaces{"", "v1", "namespaces"};
inline const api::resource_id secrets{"", "v1", "secrets"};
inline const api::resource_id config_maps{"", "v1", "configmaps"};
inline const api::resource_id service_accounts{"", "v1", "serviceaccounts"};
inline const api::resource_id resource_quotas{"", "v1", "resourcequotas"};
inline const api::resource_id claims{"", "v1", "persistentvolumeclaims"};
inline const api::resource_id volumes{"", "v1", "persistentvolumes"};
inline const api::resource_id leases{"coordination.k8s.io", "v1", "leases"};
inline const api::resource_id cluster_roles{"rbac.authorization.k8s.io", "v1", "clusterroles"};
inline const api::resource_id disruption_budgets{"policy", "v1", "poddisruptionbudgets"};

}  // namespace kedge::control
