#include "cel/paced.h"

#include <utility>

namespace kedge::cel {

bool paced::step(arena& memory, std::function<void()> evaluate) {
  if (!parts_) {
    memory.count_parts(arena::at_part::cut, part_);
    evaluate();
    const bool cut = memory.was_cut();
    memory.count_parts(arena::at_part::go_on);
    if (!cut) return true;
    parts_ = std::make_unique<in_parts>([&memory, part = part_, again = std::move(evaluate)] {
      memory.count_parts(arena::at_part::pause, part);
      again();
      memory.count_parts(arena::at_part::go_on);
    });
  }
  if (!parts_->step()) return false;
  parts_.reset();
  return true;
}

}  // namespace kedge::cel
