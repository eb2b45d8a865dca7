// component_flags.h: the flags that kube-controller-manager and kube-scheduler 1.37 both have, of their own servers,
// their clients, their elections and their logs. Kedge's run in its own process, so none of them has an effect.
#pragma once

#include <string_view>

namespace kedge::cli {

bool is_flag_of_every_component(std::string_view name);

}  // namespace kedge::cli
