// pod_messages.h: CRI's messages about pods, containers and images: our values to requests, answers to our values.
// Field numbers are those of the published api.proto (k8s.io/cri-api 0.37); what the node doesn't use is passed over.
#pragma once

#include <string_view>

#include "node/runtime/pod_runtime.h"

namespace kedge::node {

std::string encode_sandbox_config(const sandbox_config& c);
std::string encode_container_config(const container_config& c);
std::string encode_resources(const container_resources& r);

// Answers. errc::protocol when the bytes are no such message.
result<std::vector<sandbox_info>> decode_sandboxes(std::string_view message);
result<sandbox_status> decode_sandbox_status(std::string_view message);
result<std::vector<container_info>> decode_containers(std::string_view message);
result<container_status> decode_container_status(std::string_view message);
result<std::optional<image_info>> decode_image_status(std::string_view message);
result<std::vector<stored_image>> decode_stored_images(std::string_view message);
result<exec_result> decode_exec_result(std::string_view message);
result<std::vector<container_usage>> decode_usage(std::string_view message);
// The first text field of an answer that has one: an id, a URL, a reference.
result<std::string> decode_text(std::string_view message);

}  // namespace kedge::node
