// logind.h: systemd's logind as one who wants time before the machine goes down (systemd.io/INHIBITOR_LOCKS): a lock
// that delays a shutdown while it is held, and word of the shutdown.
#pragma once

#include <memory>
#include <string>

#include "base/time.h"
#include "node/machine/dbus.h"

namespace kedge::node {

class logind {
 public:
  // `socket`: of the system's bus.
  static task<result<logind>> open(std::string socket);

  // How long a shutdown is delayed at most: InhibitDelayMaxSec.
  task<result<duration>> delay_max();
  // The most is from now on at least `wanted`: a file in logind.conf.d says so, logind is told to read it, and it is
  // waited for that it has. `folder` stands in for that folder in tests.
  task<result<void>> want_delay(duration wanted, std::string folder = "/etc/systemd/logind.conf.d");
  // A shutdown waits while what this gives isn't closed.
  task<result<owned_file>> inhibit();
  // The next word of PrepareForShutdown: true, it begins; false, it was called off.
  task<result<void>> follow();
  task<result<bool>> next();

 private:
  explicit logind(std::unique_ptr<dbus_connection> c) : bus_(std::move(c)) {}
  std::unique_ptr<dbus_connection> bus_;
};

}  // namespace kedge::node
