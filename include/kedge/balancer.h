// kedge/balancer.h: TCP to whichever of several servers is best, for clients on this machine.
//
//   balancer::load_balancer   load() once, then spawn run() on each core; listening() are its addresses; dial() is for
//   this process itself
//     set_servers             which there are
//     report, measured        what is known of them from elsewhere: a tunnel's state and round trips; a probe of the
//     options' else
//
// Dials are hedged; a server that takes bytes and never answers counts as failed; connections to one that leaves end
// when they are quiet.
#pragma once

#include "balancer/balancer.h"
#include "kedge/reactor.h"
