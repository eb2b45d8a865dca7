#include "reactor/mailbox.h"

#include <doctest/doctest.h>

#include <optional>

using kedge::reactor::mailbox;

TEST_CASE("messages of each sender come in its order, and none is lost or doubled") {
  std::atomic<int> wakes = 0;
  mailbox mail([&] { ++wakes; });
  constexpr int senders = 4, each = 20'000;
  std::vector<std::thread> threads;
  std::vector<int> last(senders, -1);  // touched by this thread alone, in the messages
  int seen = 0;
  bool in_order = true;
  for (int s = 0; s < senders; ++s)
    threads.emplace_back([&, s] {
      for (int i = 0; i < each; ++i)
        mail.post([&, s, i] {
          in_order = in_order && last[s] == i - 1;
          last[s] = i;
          ++seen;
        });
    });
  while (seen < senders * each) {
    for (auto& m : mail.take()) m();
    std::this_thread::yield();
  }
  for (auto& t : threads) t.join();
  CHECK(in_order);
  CHECK(mail.empty());
  CHECK(wakes > 0);
  CHECK(wakes <= senders * each);
}

TEST_CASE("who posts to a closed mailbox wakes nobody, and its message is dropped") {
  auto kept = std::make_shared<int>(1);
  std::atomic<bool> stands = true;
  std::atomic<bool> woken_after = false;
  std::optional<mailbox> mail(std::in_place, [&] {
    if (!stands) woken_after = true;
  });
  mail->post([kept] {});
  std::atomic<bool> end = false;
  std::vector<std::thread> threads;
  for (int s = 0; s < 3; ++s)
    threads.emplace_back([&] {
      while (!end) mail->post([kept] {});
    });
  while (kept.use_count() < 100) std::this_thread::yield();
  mail->close();
  stands = false;
  // Posts go on meanwhile.
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  end = true;
  for (auto& t : threads) t.join();
  CHECK_FALSE(woken_after);
  CHECK(kept.use_count() == 1);
  mail->close();  // again is nothing
}
