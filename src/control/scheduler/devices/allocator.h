// allocator.h: which devices of a node a pod's claims get, as kube-scheduler's allocator finds them (structured
// parameters, KEP-4381): the first that all requests and constraints take, in the order of pools, slices and devices by
// name.
//
// A search: device after device, request after request, claim after claim, and back where it leads to nothing. It is
// gone on with piece by piece, so that a long one holds nobody up; its steps are bounded (limits.h). No I/O, no clock.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "control/scheduler/devices/pools.h"

namespace kedge::control::scheduler {

struct device_allocation {
  enum class kind : unsigned char {
    found,
    none,      // this node hasn't got them
    refused,   // nor could one say so for certain: `why`
    failed,    // a claim or a class is wrong, whatever the node: `why`
    given_up,  // the search was too long
  } what = kind::none;
  // status.allocation of each claim. A shared device's result has an empty shareID, which is the caller's to make.
  std::vector<json::value> results;
  std::string why;
};

class device_search {
 public:
  // `devices` outlives it. What others are given meanwhile is seen, or not: what was found is to be looked at again
  // then (still_free). It must not be gone on with when devices.generation() has changed. `steps`: what it may take
  // in all.
  device_search(std::vector<device_claim_ref> claims, const node_view& node, const devices_view& devices,
                std::uint64_t steps);
  ~device_search();

  // Goes on for about `steps`, of which what it took is taken off. True: it is over.
  bool run(std::uint64_t& steps);
  // What it took of all its steps so far.
  std::uint64_t taken() const noexcept;
  // Once, when it is over.
  device_allocation result();

 private:
  class state;
  std::unique_ptr<state> state_;
};

// Whether devices that were found may still be given, although others were given since (devices.takings() then): none
// of them is taken, none is one of which others take parts, and of a pool that is counted nothing was taken.
bool still_free(std::span<const json::value> allocations, const devices_view& devices, std::uint64_t since);

}  // namespace kedge::control::scheduler
