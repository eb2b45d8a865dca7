// apart.h: work on large values, which would hold a core for long, as another thread's.
#pragma once

#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "reactor/offload.h"

namespace kedge::api {

// f(values…) on another thread. The values stand in the frame of who awaits this; meanwhile they are the work's, which
// goes on when nobody waits for it any more (but isn't begun then): so f uses nothing but them and what it holds, and
// never the loop. Where too much waits for the other threads it is done here.
template <typename F, typename... V>
task<std::invoke_result_t<F&, V&...>> done_apart(F f, V&... values) {
  struct work {
    F f;
    std::tuple<V...> values;
    std::optional<std::invoke_result_t<F&, V&...>> found = std::nullopt;
    void run() { found.emplace(std::apply(f, values)); }
  };
  auto own = std::make_shared<work>(std::move(f), std::tuple<V...>(std::move(values)...));
  auto done = co_await reactor::offload([own] {
    if (own.use_count() > 1) own->run();  // else who asked is gone
    return true;
  });
  if (!done) own->run();
  std::tie(values...) = std::move(own->values);
  co_return *std::move(own->found);
}

}  // namespace kedge::api
