// list.h: an intrusive list whose elements take themselves out when they end. That is what makes dropping a coroutine
// safe: whatever it waits in forgets it, because the waiting element lives in its frame.
#pragma once

#include "base/assert.h"

namespace kedge::reactor {

class list_hook {
 public:
  list_hook() noexcept = default;
  list_hook(const list_hook&) = delete;
  list_hook& operator=(const list_hook&) = delete;
  ~list_hook() { unlink(); }

  bool linked() const noexcept { return next_ != this; }
  void unlink() noexcept {
    next_->prev_ = prev_;
    prev_->next_ = next_;
    next_ = prev_ = this;
  }

 private:
  template <typename T>
  friend class list;
  list_hook* next_ = this;
  list_hook* prev_ = this;
};

// Elements derive from list_hook; the list owns none of them.
template <typename T>
class list {
 public:
  bool empty() const noexcept { return !head_.linked(); }
  void push_back(T& element) noexcept {
    list_hook& hook = element;
    kedge_assert(!hook.linked());
    hook.prev_ = head_.prev_;
    hook.next_ = &head_;
    head_.prev_->next_ = &hook;
    head_.prev_ = &hook;
  }
  T& front() noexcept { return static_cast<T&>(*head_.next_); }
  T& pop_front() noexcept {
    kedge_assert(!empty());
    T& element = front();
    static_cast<list_hook&>(element).unlink();
    return element;
  }
  // Moves all of `other` behind the own elements.
  void splice(list& other) noexcept {
    while (!other.empty()) push_back(other.pop_front());
  }
  template <typename F>
  void for_each(F&& f) {
    for (auto* h = head_.next_; h != &head_;) {
      auto* next = h->next_;  // f may unlink the element it is given
      f(static_cast<T&>(*h));
      h = next;
    }
  }

 private:
  list_hook head_;
};

}  // namespace kedge::reactor
