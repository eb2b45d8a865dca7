// body_budget.h: memory for request bodies that are on their way, or wait for a seat: by user, and all together. One a
// core.
//
// A share is taken for the whole of a body before it is read, so that nobody who has begun waits for room. Who finds
// none waits behind others of the same user; and when it is the memory of all that is short, users get it in turn, and
// nobody passes by.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "reactor/sync.h"

namespace kedge::api::fairness {

class body_budget {
  struct user;

 public:
  // Bytes. `per_user` <= `all`; no body is larger than that.
  body_budget(std::size_t all, std::size_t per_user) noexcept;
  body_budget(const body_budget&) = delete;
  ~body_budget();

  // Room for a body. Gives it back at its end, which is not after the budget's.
  class share {
   public:
    share() noexcept = default;
    share(share&& other) noexcept { *this = std::move(other); }
    share& operator=(share&& other) noexcept {
      if (this == &other) return *this;
      give_back();
      of_ = std::exchange(other.of_, nullptr);
      user_ = other.user_;
      bytes_ = other.bytes_;
      return *this;
    }
    ~share() { give_back(); }

   private:
    friend class body_budget;
    share(body_budget& of, user& u, std::size_t bytes) noexcept : of_(&of), user_(&u), bytes_(bytes) {}
    void give_back() noexcept {
      if (of_) std::exchange(of_, nullptr)->give_back(*user_, bytes_);
    }
    body_budget* of_ = nullptr;
    user* user_ = nullptr;
    std::size_t bytes_ = 0;
  };
  // nullopt: not at once.
  std::optional<share> try_take(const std::string& name, std::size_t bytes);
  // nullopt: not before `until`, or too many of this user wait already.
  task<std::optional<share>> take(std::string name, std::size_t bytes, time_point until);

  std::size_t free() const noexcept { return free_; }
  std::size_t users() const noexcept { return users_.size(); }  // who hold some, or wait

 private:
  struct waiter;
  user& find(const std::string& name);
  bool has_own_room(const user& u, std::size_t bytes) const noexcept;
  void give_back(user& u, std::size_t bytes) noexcept;
  void settle(user& u) noexcept;
  void dispatch() noexcept;
  void forget_if_idle(user& u) noexcept;

  std::size_t free_;
  const std::size_t per_user_;
  std::unordered_map<std::string, std::unique_ptr<user>> users_;
  reactor::list<user> next_;  // whose first waiter needs nothing but that there be memory: in turn
};

// What a server's cores share for bodies: a sixteenth of the machine's memory, within bounds.
std::size_t memory_for_bodies() noexcept;

}  // namespace kedge::api::fairness
