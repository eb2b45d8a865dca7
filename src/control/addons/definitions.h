// definitions.h: the definitions of K3s's own resources: AddOns, snapshots, HelmCharts and their settings.
#pragma once

#include <string_view>
#include <vector>

#include "api/objects.h"

namespace kedge::control::addons {

// CustomResourceDefinitions: addons and etcdsnapshotfiles.k3s.cattle.io, and with `helm` helmcharts and
// helmchartconfigs.helm.cattle.io.
std::vector<json::value> definitions(bool helm);

// Makes those that are missing. One that is there stays as it is, unless it lacks a field that ours has: K3s's of
// another version, which K3s brings up to date in the same way.
task<result<void>> ensure_definitions(api::objects& client, bool helm);

}  // namespace kedge::control::addons
