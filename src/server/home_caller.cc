#include "server/home_caller.h"

#include <optional>

#include "reactor/cores.h"
#include "reactor/sync.h"
#include "server/shared.h"

namespace kedge::server {

namespace {

struct outcome {
  std::optional<result<api::callout::answer>> answer;
  reactor::event done;
};

task<void> run(api::callout::caller& calls, api::callout::call c, std::shared_ptr<outcome> out) {
  out->answer = co_await calls.post(std::move(c));
  out->done.set();
}

error ending() { return {errc::unavailable, "the server is about to end"}; }

}  // namespace

// Who waits may be on another loop and gone before the answer, and this front before either: what runs belongs to the
// desk, and what waits to nobody but itself.
task<result<api::callout::answer>> call_desk::post(api::callout::call c) {
  if (!calls_) co_return fail(ending());
  auto out = std::make_shared<outcome>();
  running_.spawn(run(*calls_, std::move(c), out));
  co_await out->done.wait();
  co_return *std::move(out->answer);
}

void call_desk::close() {
  calls_ = nullptr;
  running_.cancel();
}

task<result<api::callout::answer>> home_caller::post(api::callout::call c) {
  auto there = [s = &shared_, c = std::move(c)]() mutable -> task<result<api::callout::answer>> {
    auto desk = s->desk;
    if (!desk) co_return fail(ending());
    co_return co_await desk->post(std::move(c));
  };
  return reactor::call_on(shared_.home(), std::move(there));
}

}  // namespace kedge::server
