// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api::callout {

// What another server answers at most. The largest honest one is a patch that replaces an object of 3 MiB: 4 MiB in
// base64, and what stands around it.
inline constexpr std::size_t answer_max_bytes = 8 * 1024 * 1024;
// A larger answer is read by another thread: a megabyte takes some ten milliseconds, and several times that when it is
// no JSON but YAML.
inline constexpr std::size_t read_here_max_bytes = 128 * 1024;
// Slices of a Service that are looked into, a thousand endpoints each at most.
inline constexpr std::size_t slices_max = 100;
// A call that says nothing of its own time: kube-apiserver's default for converting webhooks.
inline constexpr std::chrono::seconds call_timeout{30};
// Calls of one core that are under way for one configuration; more wait for their turn within their time. A server
// behind a webhook that takes 10 ms answers 25,000 a second with so many.
inline constexpr std::size_t calls_max = 256;
// Connections of one core that are kept to one server: as many as calls use at once on a busy core. A new one costs
// more than the call.
inline constexpr std::size_t idle_connections_max = 64;
// Text of an answer that is no answer, in a message: kube-apiserver's cut.
inline constexpr std::size_t told_text_max_bytes = 2048;

}  // namespace kedge::api::callout
