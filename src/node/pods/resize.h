// resize.h: what containers that run were given, when the API has something else for them by now (the resize
// subresource). What a container has isn't changed while it runs: it gets the new resources when it is made anew, and
// until then its pod tells what it has, and that the rest has to wait.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "json/value.h"
#include "node/pods/seen.h"

namespace kedge::node {

// Kept with a container: the resources that it is made with.
std::string resources_note(const json::value& container);

// The pod with what its running containers were made with in the place of what they are to have; nullopt: it is the
// same. Of containers without a note it is taken to be.
std::optional<json::value> pod_as_given(const json::value& pod, const pod_seen& seen);

// The message of the condition that tells of it, whose reason is Infeasible.
inline constexpr std::string_view resize_message =
    "this node does not change what a running container may use: it gets the new resources when it starts anew";

}  // namespace kedge::node
