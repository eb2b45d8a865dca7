// limits.h: the bounds of priority and fairness, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api::fairness {

// kube-apiserver's --max-requests-inflight + --max-mutating-requests-inflight: the seats of a server.
inline constexpr unsigned seats_default = 400 + 200;

// What a request is expected to take before it is known (kube-apiserver's figure). Only the order of dispatch follows
// from it.
inline constexpr std::chrono::milliseconds service_time{3};

// Entropy that a hand may take of a flow's hash: with more bits the last cards are dealt unevenly.
inline constexpr unsigned hash_bits_max = 60;
// Validation allows no larger hand; it bounds what a deal keeps on the stack.
inline constexpr unsigned hand_size_max = 16;

// Limits of levels are computed anew so often, as kube-apiserver does, and as soon as a request has to wait when the
// last time is `borrow_pause` ago: who can borrow needn't wait for the rest of the period.
inline constexpr std::chrono::seconds borrow_period{10};
inline constexpr std::chrono::seconds borrow_pause{1};
// What smoothed demand keeps of itself in one borrow_period: it halves in 5 minutes.
inline constexpr double demand_kept = 0.977;
// A smaller target counts as this: none is divided by zero.
inline constexpr double target_min = 0.001;

// Objects that the server brings are looked after so often (kube-apiserver's period).
inline constexpr std::chrono::minutes upkeep_period{1};

// A request waits in a queue for at most this part of the time it has, and never longer than the second.
inline constexpr int wait_part = 4;
inline constexpr std::chrono::seconds wait_max{60};

// Retry-After, in seconds, doubles with refusals up to this.
inline constexpr int retry_after_max = 32;

// --- how many seats a request takes. kube-apiserver's cap for lists and writes:
inline constexpr unsigned request_seats_max = 10;
// … and the part of a level's seats that one request may take.
inline constexpr double request_part_max = 0.15;
// A seat is for work. While others wait for one of its level, who has taken nothing of his answer for so long gives his
// back; it is looked for so often.
inline constexpr std::chrono::seconds unread_patience{1};
inline constexpr std::chrono::milliseconds unread_period{250};
// Answers of one core that wait so without a seat, each with a piece of some megabytes at most. Of more, the one that
// has waited longest is broken off, of the user's with the most.
inline constexpr std::size_t unread_answers_max = 128;

// Objects of a list to a seat. A list of ready bytes costs a fiftieth of one whose objects are read and written anew,
// for which kube-apiserver's 100 is about right (a Table of 100 pods: 1 ms).
inline constexpr std::size_t ready_objects_per_seat = 5'000;
inline constexpr std::size_t other_objects_per_seat = 100;
// Watchers to a seat, which a write that they see holds for watch_time after its answer. kube-apiserver: 10; an event
// is made once here, and costs a watcher 2 µs.
inline constexpr std::size_t watchers_per_seat = 1'000;
inline constexpr std::chrono::milliseconds watch_time{5};

// --- memory for bodies (body_budget.h). A body of up to this isn't counted: the connection may hold as much anyway.
inline constexpr std::size_t body_uncounted_bytes = 16 * 1024;
// A part of the machine's memory, within bounds; each core has its share of it. The least lets each of two cores read
// ten of the largest.
inline constexpr std::size_t bodies_part = 16;
inline constexpr std::size_t bodies_least = std::size_t(64) << 20, bodies_most = std::size_t(1) << 30;
// A user's part of a core's: what one who sends slowly can keep from others.
inline constexpr std::size_t bodies_user_part = 4;
// Requests of one user on one core that wait for room.
inline constexpr std::size_t bodies_waiting_max = 256;

// A core's seats of a level that no request has taken are given out in steps of this part of what is free.
inline constexpr unsigned lease_part = 2;

// Users whose matching rules a core remembers.
inline constexpr std::size_t remembered_users = 256;

// Pairs of level and schema that metrics tell apart: names come and go, their series stay.
inline constexpr std::size_t series_max = 2'048;

}  // namespace kedge::api::fairness
