// user.h: who asks.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kedge::api {

struct user_info {
  std::string name;
  std::string uid;
  std::vector<std::string> groups;
  std::map<std::string, std::vector<std::string>> extra;

  bool in_group(std::string_view group) const noexcept;
};

// Who somebody is, found out once (of a certificate, of a token) and shared by all that he asks for. Never changed:
// another user_info is another user.
class user_ref {
 public:
  user_ref() noexcept = default;  // nobody: without a name
  user_ref(user_info who) : who_(std::make_shared<const user_info>(std::move(who))) {}

  const user_info& operator*() const noexcept;
  const user_info* operator->() const noexcept { return &**this; }
  operator const user_info&() const noexcept { return **this; }
  // Whether both are one and the same, not only alike.
  bool is(const user_ref& other) const noexcept { return who_ == other.who_; }

 private:
  std::shared_ptr<const user_info> who_;
};

// Who the server's own parts act as: what K3s's in-process clients are.
const user_ref& server_itself();

}  // namespace kedge::api
