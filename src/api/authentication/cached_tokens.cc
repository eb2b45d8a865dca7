#include "api/authentication/cached_tokens.h"

#include "api/authentication/limits.h"
#include "base/key.h"
#include "reactor/loop.h"

namespace kedge::api {

struct cached_tokens::answer {
  bool known = false;
  std::optional<token_identity> who;
  time_point until{};
  reactor::event over;  // whoever asks has an answer, or has gone
};

task<result<std::optional<token_identity>>> cached_tokens::identify(std::string token,
                                                                    std::vector<std::string> wanted) {
  auto key = token_authenticator::fingerprint_of(token);
  for (auto& audience : wanted) append_part(key, audience);
  auto& l = reactor::loop::current();
  for (;;) {
    auto found = answers_.find(key);
    if (found == answers_.end()) break;
    auto there = found->second;
    if (there->known && l.now() < there->until) co_return there->who;
    if (there->known) {
      answers_.erase(found);
      break;
    }
    co_await there->over.wait();
    if (auto again = answers_.find(key); again != answers_.end() && again->second == there && !there->known)
      answers_.erase(again);
  }
  forget_some();
  auto own = std::make_shared<answer>();
  answers_.emplace(key, own);
  struct ending {
    std::shared_ptr<answer> own;
    ~ending() { own->over.set(); }
  } ends{own};
  auto said = co_await of_.identify(std::move(token), std::move(wanted));
  const auto lasts = !said ? duration::zero() : *said ? good_ : unknown_;
  if (lasts > duration::zero()) {
    own->who = *said;
    own->until = l.now() + lasts;
    own->known = true;
  } else if (auto mine = answers_.find(key); mine != answers_.end() && mine->second == own) {
    answers_.erase(mine);
  }
  co_return said;
}

void cached_tokens::forget_some() {
  if (answers_.size() < source_answers_max) return;
  const auto now = reactor::loop::current().now();
  std::erase_if(answers_, [&](auto& a) { return a.second->known && a.second->until <= now; });
  if (answers_.size() >= source_answers_max) std::erase_if(answers_, [](auto& a) { return a.second->known; });
}

}  // namespace kedge::api
