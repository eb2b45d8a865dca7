// apart.h: work on large values, which would hold a core for long, as another thread's.
#pragma once

#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "api/custom/definition.h"
#include "api/write/limits.h"
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

// The same, where a text of so many bytes is large; else here.
template <typename F, typename... V>
task<std::invoke_result_t<F&, V&...>> done_by_size(std::size_t bytes, F f, V&... values) {
  if (bytes > large_bytes) co_return co_await done_apart(std::move(f), values...);
  co_return f(values...);
}

// What stands in `values` when the frame that has them ends goes on another thread, where it is large: to take apart
// what consists of many pieces costs as much as to make it. Stands behind them in the frame.
template <typename... V>
class dropped_apart {
 public:
  explicit dropped_apart(bool large, V&... values) noexcept : large_(large), values_(values...) {}
  dropped_apart(const dropped_apart&) = delete;
  dropped_apart& operator=(const dropped_apart&) = delete;
  ~dropped_apart() {
    if (!large_) return;
    auto own = std::apply([](V&... v) { return std::make_unique<std::tuple<V...>>(std::move(v)...); }, values_);
    (void)reactor::offload_post([own = std::move(own)]() mutable { own = nullptr; });
  }

 private:
  const bool large_;
  std::tuple<V&...> values_;
};

// What several share, and the last of them drops: on another thread when it is large, for it consists of many pieces.
template <typename T>
std::shared_ptr<const T> shared_apart(T v, bool large) {
  if (!large) return std::make_shared<const T>(std::move(v));
  return {new T(std::move(v)), [](const T* last) {
            if (!reactor::offload_post([last] { delete last; })) delete last;
          }};
}

}  // namespace kedge::api
