// containers.h: the containers of a pod: ordinary ones, those that run before, and those that join a running pod.
#pragma once

#include "api/kinds/core/pod_options.h"
#include "api/kinds/core/resources.h"
#include "api/kinds/core/volumes.h"
#include "meta/validate.h"

namespace kedge::api {

// What the containers of a pod are judged by.
struct container_context {
  const json::value& spec;  // the pod's
  const volume_set& volumes;
  const name_set& claims;  // spec.resourceClaims' names
  const pod_options& options;
};

void check_containers(causes& out, const container_context& c, const place& at);  // `at`: of the spec
void check_init_containers(causes& out, const container_context& c, const place& at);
void check_ephemeral_containers(causes& out, const container_context& c, const place& at);

// env and envFrom.
void check_environment(causes& out, const json::value& container, const place& at);
// No white space around the image's name: of pods, not of templates.
void check_image(causes& out, const json::value& container, const place& at);
bool is_sidecar(const json::value& init_container) noexcept;  // restartPolicy: Always

// Each container with its place: first initContainers, then containers, then ephemeralContainers.
template <typename Function>
void for_each_container(const json::value& spec, const place& at, const Function& see) {
  for (auto list : {"initContainers", "containers", "ephemeralContainers"})
    for (std::size_t i = 0; i < spec[list].size(); ++i) see(spec[list][i], place(at, list, i));
}

}  // namespace kedge::api
