// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::control::scheduler {

// kube-scheduler's time for an answer, where the configuration says none; and how long anybody is waited for: a pod
// that waits longer is better tried anew.
inline constexpr std::chrono::seconds default_timeout{5}, timeout_most{300};
// Each may be asked four times about a pod.
inline constexpr std::size_t extenders_max = 16;
// Pods that extenders are asked about at once; more wait for their turn, while pods that concern none are placed. A
// question may have megabytes: all nodes that are left, each whole.
inline constexpr std::size_t asked_at_once_max = 32;
// What a question and an answer have at most: 5,000 nodes, whole, of 12 KiB.
inline constexpr std::size_t question_max_bytes = 64 * 1024 * 1024, extender_answer_max_bytes = 64 * 1024 * 1024;
// A larger answer is read by another thread: a megabyte takes some ten milliseconds.
inline constexpr std::size_t read_here_max_bytes = 128 * 1024;
// How often the cluster may have changed so much, while extenders were asked, that they are asked again at once.
inline constexpr int asked_again_max = 3;
// kube-scheduler's MaxExtenderPriority: the greatest score that an extender gives.
inline constexpr std::int64_t extender_score_max = 10;
// What counts of greater ones, and of weights: sums stay numbers.
inline constexpr std::int64_t score_told_max = 1'000'000'000, extender_weight_max = 1'000'000;
// Files of certificates and keys.
inline constexpr std::size_t tls_file_max_bytes = 1 << 20;

}  // namespace kedge::control::scheduler
