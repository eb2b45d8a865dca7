// volumes.h: what a volume may come from: in a pod, and (persistent_volume.cc) as a PersistentVolume.
#pragma once

#include <string_view>
#include <unordered_map>

#include "api/kinds/core/pod_options.h"
#include "meta/validate.h"

namespace kedge::api {

// The good ones of a pod's volumes by their names, which are the object's own texts.
using volume_set = std::unordered_map<std::string_view, const json::value*>;

// spec.volumes. `pod_name`: of a pod that makes claims of its ephemeral volumes; empty for templates.
volume_set check_volumes(causes& out, const json::value& volumes, const place& at, std::string_view pod_name,
                         const pod_options& options);

// "/a/b" → must be relative; "a/../b" → no steps back.
void check_descending_path(causes& out, std::string_view path, const place& at);
void check_no_steps_back(causes& out, std::string_view path, const place& at);
// A descending path that doesn't begin with two dots, which volumes keep for themselves.
void check_plain_path(causes& out, std::string_view path, const place& at);
// fieldRef and resourceFieldRef of environments and downward API files. `in_volume`: the container is named.
void check_field_ref(causes& out, const json::value& ref, const place& at, bool in_volume);
void check_resource_field_ref(causes& out, const json::value& ref, const place& at, bool in_volume);

// Sources that pods and PersistentVolumes have alike; each is told `at` its own place.
void check_host_path(causes& out, const json::value& source, const place& at);
void check_gce_disk(causes& out, const json::value& source, const place& at);
void check_aws_disk(causes& out, const json::value& source, const place& at);
void check_nfs(causes& out, const json::value& source, const place& at);
void check_fibre_channel(causes& out, const json::value& source, const place& at);
void check_flocker(causes& out, const json::value& source, const place& at);
void check_quobyte(causes& out, const json::value& source, const place& at);
void check_glusterfs(causes& out, const json::value& source, const place& at);
void check_ceph(causes& out, const json::value& source, const place& at);
void check_rbd(causes& out, const json::value& source, const place& at);
void check_flex(causes& out, const json::value& source, const place& at);
void check_azure_file(causes& out, const json::value& source, const place& at);
void check_azure_disk(causes& out, const json::value& source, const place& at);
void check_vsphere(causes& out, const json::value& source, const place& at);
void check_photon(causes& out, const json::value& source, const place& at);
void check_portworx(causes& out, const json::value& source, const place& at);
void check_scale_io(causes& out, const json::value& source, const place& at);
// What follows is a little stricter of a PersistentVolume, whose secrets have a namespace. `volume_name`: of one; null:
// of a pod's.
void check_iscsi(causes& out, const json::value& source, const place& at, const std::string_view* volume_name);
void check_cinder(causes& out, const json::value& source, const place& at, bool persistent);
void check_storage_os(causes& out, const json::value& source, const place& at, bool persistent);
// "Total length of <volume name>:<iscsi.targetPortal> …", when it is too long.
std::string_view wrong_iscsi_session(std::string_view volume_name, const json::value& source);
void check_csi_driver_name(causes& out, std::string_view name, const place& at);
// Of a template from which claims are made: labels and annotations, nothing else.
void check_template_metadata(causes& out, const json::value& metadata, const place& at);

// One source of a volume: its member, the place that an error of it is told at (some have another), the one of a second
// source.
struct volume_source {
  std::string_view member, place, second;
  void (*check)(causes& out, const json::value& source, const kedge::api::place& at);
};

}  // namespace kedge::api
