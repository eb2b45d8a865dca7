// virtual_addresses.h: the part that gives this server the addresses which move between the servers (--vip), when it is
// its turn: a fixed registration address without a balancer or DNS.
//
//   Lease kube-system/kedge-vip-<address>, held for a second ─▶ the address on its interface, for a second or two
//     ─▶ announced to the neighbours (node/network/announce.h) ── renewed four times a second
//
// Invariant: whoever holds no Lease has no address, a moment later: the kernel takes the address away by itself when it
// isn't held again, so neither a server that was killed nor one that was stopped, nor a datastore that is away, leaves
// it on two machines for longer than the takeover takes. With a datastore of its own a server is alone, and always has
// it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "control/leader_election.h"
#include "node/network/links.h"
#include "server/fronts.h"
#include "server/part.h"

namespace kedge::server {

class virtual_addresses final : public part {
 public:
  virtual_addresses(shared& s, fronts& f);
  ~virtual_addresses() override;

  std::string_view name() const noexcept override { return "virtual addresses"; }
  // Fails where an address can't be had: no interface is in its network, or it is this machine's own.
  task<result<void>> start() override;
  task<void> stop() override;

  // To the other servers, while this one still closes connections.
  task<void> give_away();

 private:
  struct virtual_address;
  task<void> keep(virtual_address& a);
  task<void> take(virtual_address& a);
  task<void> let_go(virtual_address& a);

  shared& shared_;
  fronts& fronts_;
  bool leaving_ = false;
  std::vector<std::unique_ptr<virtual_address>> addresses_;
  reactor::scope running_;
};

}  // namespace kedge::server
