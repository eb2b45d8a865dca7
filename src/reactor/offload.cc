#include "reactor/offload.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <deque>
#include <thread>

#include "reactor/offload_end.h"
#include "reactor/offload_remote.h"

namespace kedge::reactor {

namespace {

struct pool_limits {
  std::size_t threads, queue;
};
constexpr pool_limits work_limits{4, 10'000};  // blocking calls are rare, more threads only cost memory; a job is a
                                               // request that waits, so this is memory, not time
// Some servers and databases have names; webhooks, and what is proxied; four links to a database.
constexpr pool_limits remote_limits{8, 1'000};

class pool {
 public:
  explicit pool(pool_limits l) : limits_(l) {}
  bool post(std::move_only_function<void()> f) {
    std::lock_guard lock(mutex_);
    if (jobs_.size() >= limits_.queue) return false;
    jobs_.push_back(std::move(f));
    if (idle_ < jobs_.size() && threads_ < limits_.threads) {
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
  const pool_limits limits_;
  std::mutex mutex_;
  std::condition_variable wake_, rest_;
  std::deque<std::move_only_function<void()>> jobs_;
  std::size_t threads_ = 0, idle_ = 0, running_ = 0;
};

// Never destroyed: its threads may still run while the process ends.
pool& the_pool() {
  static auto* p = new pool(work_limits);
  return *p;
}
pool& remote_pool() {
  static auto* p = new pool(remote_limits);
  return *p;
}

result<std::vector<std::string>> look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  if (int r = getaddrinfo(host.c_str(), nullptr, &hints, &list); r != 0)
    return fail(errc::not_found, "lookup " + host + ": " + gai_strerror(r));
  std::vector<std::string> out;
  for (auto* a = list; a; a = a->ai_next) {
    char text[INET6_ADDRSTRLEN];
    if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0)
      out.emplace_back(text);
  }
  freeaddrinfo(list);
  if (out.empty()) return fail(errc::not_found, "lookup " + host + ": no addresses");
  return out;
}

}  // namespace

bool backend::offload(std::move_only_function<void()> f) { return offload_post(std::move(f)); }

bool offload_post(std::move_only_function<void()> f) { return the_pool().post(std::move(f)); }

bool offload_post_remote(std::move_only_function<void()> f) { return remote_pool().post(std::move(f)); }

task<result<void>> detail::run_apart(threads where, std::move_only_function<void()> job) {
  auto done = std::make_shared<event>();
  auto& home = loop::current();
  // The mailbox, not the loop: nobody waits for a job whose asker was dropped, not even the loop's end.
  auto run = [job = std::move(job), done, mail = home.mail()]() mutable {
    job();
    mail->post([job = std::move(job), done = std::move(done)] { done->set(); });
  };
  if (where == threads::remote) {
    if (!offload_post_remote(std::move(run)))
      co_return fail(errc::exhausted, "too much waits for other machines already");
  } else if (!home.io().offload(std::move(run))) {
    co_return fail(errc::exhausted, "too many blocking operations wait already");
  }
  co_await done->wait();
  co_return result<void>();
}

bool offload_rest(std::chrono::milliseconds most) {
  return the_pool().rest(most) && remote_pool().rest(std::chrono::milliseconds(0));
}

task<result<std::vector<std::string>>> resolve(std::string host, duration patience) {
  unsigned char raw[16];
  if (inet_pton(AF_INET, host.c_str(), raw) == 1 || inet_pton(AF_INET6, host.c_str(), raw) == 1)
    co_return std::vector<std::string>{host};
  auto look = [](std::string name) -> task<result<std::vector<std::string>>> {
    KEDGE_CO_TRY(auto found, co_await offload_remote([name] { return look_up(name); }));
    co_return found;
  };
  auto answer = co_await with_deadline(look(host), loop::current().now() + patience);
  if (!answer && answer.error().code == errc::timeout)
    co_return fail(errc::timeout, "lookup " + host + ": the name servers don't answer");
  co_return answer;
}

}  // namespace kedge::reactor
