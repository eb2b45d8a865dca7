#include "reactor/cores.h"

#include <pthread.h>
#include <signal.h>

namespace kedge::reactor {

result<std::unique_ptr<cores>> cores::make(std::size_t count, io_backend which, std::size_t background) {
  kedge_assert(count >= 1);
  std::unique_ptr<cores> c(new cores);
  c->serving_ = count;
  for (std::size_t i = 0; i < count + background; ++i) {
    // A background loop has no sockets: what a ring takes is spared.
    KEDGE_TRY(auto b, make_backend(i < count ? which : io_backend::epoll));
    c->loops_.push_back(std::make_unique<loop>(std::move(b)));
  }
  return c;
}

cores::~cores() {
  stop();
  for (auto& t : threads_)
    if (t.joinable()) t.join();
}

void cores::run() {
  // Signals are read by loop 0 (signal.h): no other thread may take them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  for (std::size_t i = 1; i < loops_.size(); ++i) threads_.emplace_back([l = loops_[i].get()] { l->run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  loops_[0]->run();
  for (std::size_t i = 1; i < loops_.size(); ++i) loops_[i]->stop();
  for (auto& t : threads_) t.join();
  threads_.clear();
}

void cores::stop() noexcept {
  for (auto& l : loops_) l->stop();
}

}  // namespace kedge::reactor
