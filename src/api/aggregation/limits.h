// limits.h: the bounds of aggregation.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api::aggregation {

// Groups' versions of other servers. A cluster has a handful; each costs a check every half minute.
inline constexpr std::size_t services_max = 200;
// Between a lost watch and a new start.
inline constexpr auto restart_pause = std::chrono::milliseconds(100);
// As kube-apiserver's: how often an available server is looked at, its documents are fetched anew, and how long a
// failing one is left alone at most.
inline constexpr auto check_interval = std::chrono::seconds(30);
inline constexpr auto documents_interval = std::chrono::minutes(1);
inline constexpr auto check_retry_first = std::chrono::milliseconds(200);
inline constexpr auto check_retry_most = std::chrono::seconds(30);
// One attempt of a check, and how many at once when the first fails: there may be several endpoints, and one is enough.
inline constexpr auto check_time = std::chrono::seconds(5);
inline constexpr std::size_t check_attempts = 5;
// Changes of a service's endpoints come in groups: one look for all of them.
inline constexpr auto gather_time = std::chrono::milliseconds(100);
// Slices of one service that are looked at, a thousand endpoints each at most.
inline constexpr std::size_t slices_max = 100;
// A document: discovery as a client waits for it; OpenAPI is larger and made when it is asked for.
inline constexpr auto discovery_time = std::chrono::seconds(5);
inline constexpr auto openapi_time = std::chrono::minutes(1);
inline constexpr std::size_t discovery_max_bytes = 4u << 20;
inline constexpr std::size_t openapi_max_bytes = 8u << 20;  // kube-apiserver's own has 4 MB
// Of what a server says that it serves, as text. It is made part of every core's discovery when it changes; a version
// has some dozen resources of 300 bytes.
inline constexpr std::size_t resources_max_bytes = 256u << 10;
// A request for discovery of a group's version ends by then, whoever is asked (kube-apiserver's number).
inline constexpr auto forwarded_discovery_time = std::chrono::seconds(5);
// Servers that a request has come through. Two that take each other for a group's server would hand it on for ever.
inline constexpr std::size_t hops_max = 8;

}  // namespace kedge::api::aggregation
