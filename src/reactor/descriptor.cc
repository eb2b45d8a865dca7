#include "reactor/descriptor.h"

#include "reactor/descriptor_state.h"

namespace kedge::reactor {

descriptor::descriptor(int fd) {
  auto* b = dynamic_cast<descriptor_backend*>(&loop::current().io());
  kedge_assert(b);  // the simulated world has no descriptors
  state_ = b->adopt(fd);
}
descriptor::descriptor(descriptor&& o) noexcept : state_(std::exchange(o.state_, nullptr)) {}
descriptor& descriptor::operator=(descriptor&& o) noexcept {
  if (this != &o) {
    close();
    state_ = std::exchange(o.state_, nullptr);
  }
  return *this;
}
descriptor::~descriptor() { close(); }

int descriptor::fd() const noexcept { return state_ ? state_->fd() : -1; }
void descriptor::close() noexcept {
  if (state_) std::exchange(state_, nullptr)->dispose();
}

static task<result<void>> closed_error() { co_return fail(errc::closed, "the connection was closed at this end"); }

task<result<void>> descriptor::readable() { return state_ ? state_->ready(false) : closed_error(); }
task<result<void>> descriptor::writable() { return state_ ? state_->ready(true) : closed_error(); }
task<result<buffer>> descriptor::receive() {
  if (state_) return state_->receive();
  return []() -> task<result<buffer>> { co_return fail(errc::closed, "the connection was closed at this end"); }();
}
task<result<int>> descriptor::accept() {
  if (state_) return state_->accept();
  return []() -> task<result<int>> { co_return fail(errc::closed, "the listener was closed"); }();
}

}  // namespace kedge::reactor
