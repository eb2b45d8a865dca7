// publisher.h: what happened to tasks, told to containerd in the order in which it happened.
//
// Over ttrpc to the address that containerd gave (TTRPC_ADDRESS), else by running `containerd publish`. There is no
// connection while there is nothing to tell. An event waits until containerd has taken it: also while it is restarted.
#pragma once

#include <deque>
#include <string>
#include <string_view>

#include "base/error.h"
#include "shim/loop.h"

namespace kedge::shim {

class publisher {
 public:
  struct settings {
    std::string space;          // containerd's namespace
    std::string ttrpc_address;  // empty: by the program
    std::string address, program;
  };
  publisher(loop& l, settings s) : loop_(l), settings_(std::move(s)) {}
  publisher(const publisher&) = delete;
  publisher& operator=(const publisher&) = delete;

  // An event of containerd's api/events: "/tasks/exit", "containerd.events.TaskExit" and its bytes.
  void publish(std::string_view topic, std::string_view type, std::string message);
  // Whether all is told, waiting for it at most until then.
  task<bool> flush(std::int64_t deadline);

 private:
  task<void> tell_all();
  task<bool> tell(const std::string& topic, const std::string& envelope, const std::string& event);
  task<bool> forward(const std::string& envelope);
  task<bool> run_program(const std::string& topic, const std::string& event);

  loop& loop_;
  settings settings_;
  struct waiting {
    std::string topic, envelope, event;
  };
  std::deque<waiting> queue_;
  bool telling_ = false;
  event* all_told_ = nullptr;
  descriptor connection_;
  std::uint32_t stream_ = 0;
};

}  // namespace kedge::shim
