// in_parts.h: a call that is made a part at a time, on a stack of its own: it is left in the middle, and gone back to.
//
//   in_parts work([&] { for (auto& x : all) { use(x); in_parts::pause(); } });
//   while (!work.step()) …;  // others' turns
//
// Where the machine has no room for a stack (8 MiB of addresses) the call is made as a whole.
//
// For what recurses, and so can't be a coroutine without each of its calls being one. Between two parts nothing of the
// thread's may be held: no lock, no place in another's structure. It stays on the thread that made the first step.
#pragma once

#include <functional>
#include <memory>

namespace kedge {

class in_parts {
 public:
  explicit in_parts(std::move_only_function<void()> call);
  in_parts(in_parts&&) noexcept;
  // A call that was left in the middle is brought to its end now, with is_dropped(): it has to be short then.
  ~in_parts();

  // Goes on with it. True: it came to its end.
  bool step();

  // Within the call: gives the turn back to who asked for the step. Anywhere else it does nothing.
  static void pause();
  // Within the call: nobody waits for what comes of it.
  static bool is_dropped() noexcept;

 private:
  class stack;
  std::unique_ptr<stack> stack_;
};

}  // namespace kedge
