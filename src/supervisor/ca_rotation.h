// ca_rotation.h: what the cluster's authorities become when others are given (`kedge certificate rotate-ca`).
//
//   given [signer … top]  ─▶ who trusts what stands trusts it too: as it is     stands [signer … root]
//                         ─▶ or not, and it is forced: [signer …, top signed by what stands, top]
//                         ─▶ and behind it what stands, so that what was signed so far stays good
//
// So nobody has to learn anything at a certain moment: servers, agents and clients that know only one of both believe
// those who go by the other, in whatever order they come to know. The same authority given once more, without the old
// one in its bundle, ends that: from then on the old one counts for nothing.
//
// Service account keys likewise: the first signs, and the one that signed so far verifies until it is left out.
#pragma once

#include <string>
#include <vector>

#include "base/random.h"
#include "crypto/bootstrap_record.h"

namespace kedge::supervisor {

struct ca_change {
  crypto::bootstrap_files files;      // those of the record that change, by K3s's names
  std::vector<std::string> warnings;  // what was wanting, and was forced
};

// Errors say which file, and what is wrong with it: no pair, no authority, not valid at `now`, nothing that the cluster
// hasn't already. Without `force` also an authority that those who trust the present one don't trust.
result<ca_change> plan_ca_rotation(const crypto::bootstrap_files& standing, const crypto::bootstrap_files& given,
                                   bool force, wall_time now, random_source& random);

// Whether a rotation alone changes the file of that name: no server writes its own into the record.
bool is_rotated(std::string_view name);

}  // namespace kedge::supervisor
