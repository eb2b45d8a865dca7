// mailbox.h: how other threads hand a loop something to run.
//
//   post() on any thread ── push, one compare-and-swap ──▶ newest → … → oldest ── take(), one exchange ──▶ the loop,
//   oldest first
//
// It outlives its loop for those who hold it (a job of the offload pool whose asker is gone): what comes after close()
// is dropped. It has no bound of its own: every sender bounds what it has under way (the offload queue, the store's
// write queue, one answer a call), and a mailbox that refused an answer would leave its asker waiting for ever.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace kedge::reactor {

class mailbox {
 public:
  using message = std::move_only_function<void()>;

  // `wake` ends the loop's wait; it is called by senders, and never after close() has returned.
  explicit mailbox(std::move_only_function<void()> wake) : wake_(std::move(wake)) {}
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;
  ~mailbox() { close(); }

  // From any thread.
  void post(message m) {
    auto mail = std::make_unique<letter>(nullptr, std::move(m));
    // Before the closed mark can be looked at: close() waits for those who may still wake. Sequentially consistent,
    // since it is this increment against close()'s exchange.
    senders_.fetch_add(1);
    auto* newest = newest_.load();
    do {
      if (newest == closed()) break;
      mail->next = newest;
    } while (!newest_.compare_exchange_weak(newest, mail.get()));
    if (newest != closed()) {
      mail.release();
      if (!newest) wake_();  // with others before it somebody has woken the loop, or the loop hasn't taken them yet
    }
    // Release: close() must see the end of the wake.
    senders_.fetch_sub(1, std::memory_order_release);
  }

  // The loop's side. Acquire: what the sender wrote before post() is seen by the message.
  bool empty() const noexcept { return newest_.load(std::memory_order_acquire) == nullptr; }
  std::vector<message> take() {
    std::vector<message> out;
    if (empty()) return out;
    free(newest_.exchange(nullptr, std::memory_order_acq_rel), &out);
    return out;
  }
  void close() noexcept {
    auto* left = newest_.exchange(closed());
    // A sender is here for a few instructions and one write to a descriptor.
    while (senders_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
    if (left != closed()) free(left, nullptr);
  }

 private:
  struct letter {
    letter* next;
    message what;
  };
  static letter* closed() noexcept {
    static letter mark{nullptr, nullptr};
    return &mark;
  }
  // Oldest first, into `out` if that is given.
  static void free(letter* newest, std::vector<message>* out) {
    letter* oldest = nullptr;
    while (newest) {
      auto* next = newest->next;
      newest->next = oldest;
      oldest = std::exchange(newest, next);
    }
    while (oldest) {
      std::unique_ptr<letter> mail(std::exchange(oldest, oldest->next));
      if (out) out->push_back(std::move(mail->what));
    }
  }

  std::atomic<letter*> newest_ = nullptr;
  std::atomic<unsigned> senders_ = 0;  // in post()
  std::move_only_function<void()> wake_;
};

}  // namespace kedge::reactor
