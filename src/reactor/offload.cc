#include "reactor/offload.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <deque>
#include <thread>

#include "reactor/offload_end.h"

namespace kedge::reactor {

namespace {

constexpr std::size_t offload_threads_max = 4;     // blocking calls are rare; more threads only cost memory
constexpr std::size_t offload_queue_max = 10'000;  // jobs; each is a request that waits, so this is memory, not time

class pool {
 public:
  bool post(std::move_only_function<void()> f) {
    std::lock_guard lock(mutex_);
    if (jobs_.size() >= offload_queue_max) return false;
    jobs_.push_back(std::move(f));
    if (idle_ < jobs_.size() && threads_ < offload_threads_max) {
      ++threads_;
      std::thread([this] { work(); }).detach();
    }
    wake_.notify_one();
    return true;
  }
  bool rest(std::chrono::milliseconds most) {
    std::unique_lock lock(mutex_);
    return rest_.wait_for(lock, most, [this] { return running_ == 0 && jobs_.empty(); });
  }

 private:
  void work() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      wake_.wait(lock, [this] { return !jobs_.empty(); });
      --idle_;
      auto f = std::move(jobs_.front());
      jobs_.pop_front();
      ++running_;
      lock.unlock();
      f();
      f = nullptr;
      lock.lock();
      --running_;
      if (running_ == 0 && jobs_.empty()) rest_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_, rest_;
  std::deque<std::move_only_function<void()>> jobs_;
  std::size_t threads_ = 0, idle_ = 0, running_ = 0;
};

pool& the_pool() {
  static auto* p = new pool;  // never destroyed: its threads may still run while the process ends
  return *p;
}

}  // namespace

bool backend::offload(std::move_only_function<void()> f) { return offload_post(std::move(f)); }

bool offload_post(std::move_only_function<void()> f) { return the_pool().post(std::move(f)); }

bool offload_rest(std::chrono::milliseconds most) { return the_pool().rest(most); }

task<result<std::vector<std::string>>> resolve(std::string host) {
  unsigned char raw[16];
  if (inet_pton(AF_INET, host.c_str(), raw) == 1 || inet_pton(AF_INET6, host.c_str(), raw) == 1)
    co_return std::vector<std::string>{host};
  KEDGE_CO_TRY(auto answer, co_await offload([host]() -> result<std::vector<std::string>> {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    if (int r = getaddrinfo(host.c_str(), nullptr, &hints, &list); r != 0)
      return fail(errc::not_found, "lookup " + host + ": " + gai_strerror(r));
    std::vector<std::string> out;
    for (auto* a = list; a; a = a->ai_next) {
      char text[INET6_ADDRSTRLEN];
      if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0) out.emplace_back(text);
    }
    freeaddrinfo(list);
    if (out.empty()) return fail(errc::not_found, "lookup " + host + ": no addresses");
    return out;
  }));
  co_return std::move(answer);
}

}  // namespace kedge::reactor
