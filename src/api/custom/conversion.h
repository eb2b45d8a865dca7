// conversion.h: custom resources from one version to another, by whatever their definition says: nothing but the
// apiVersion changes, or a webhook converts (ConversionReview of apiextensions.k8s.io/v1 and v1beta1).
//
//   objects ─▶ those of another version, many at once ─▶ review ─▶ callout ─▶ checked, metadata restored (but labels
//   and annotations) ─▶ pruned and defaulted by the version's schema
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "api/callout/caller.h"
#include "api/custom/definition.h"
#include "api/tracing/span.h"
#include "base/time.h"
#include "store/store.h"

namespace kedge::api::custom {

// What became of a call, for whoever counts: by kube-apiserver's word for how it failed; empty: it did not.
struct conversion_call {
  std::string_view definition, from, to, failure;
  duration took;
};

// One a core: it remembers what it has converted of late, so that a hundred watchers cost one call.
class converter {
 public:
  // `calls` outlives it. `told` hears of each call.
  explicit converter(callout::caller& calls, std::function<void(const conversion_call&)> told = {})
      : calls_(calls), told_(std::move(told)) {}

  // The objects in the version `to`, in order. 500 with the real server's words when one can't be had. A call is told
  // of as a part of `within`; null: nobody is told.
  task<api_result<std::vector<json::value>>> bring_all(const served& to, std::vector<json::value> objects,
                                                       const tracing::live_span* within);
  // The same of stored objects, as objects whose text is in that version.
  task<api_result<std::vector<store::object_ref>>> show_all(const served& to, std::vector<store::object_ref> objects,
                                                            const tracing::live_span* within);

 private:
  task<api_result<std::vector<json::value>>> call(const served& to, const std::vector<json::value>& objects,
                                                  const tracing::live_span* within);
  task<api_result<std::vector<json::value>>> ask(const served& to, const std::vector<json::value>& objects,
                                                 tracing::live_span calling, std::string_view& failure);
  store::object_ref remembered(const served& to, const store::object_ref& o) const;
  void remember(const served& to, const store::object_ref& o, store::object_ref converted);

  struct memory {
    store::object_ref source, converted;
    std::shared_ptr<const definition> of;
  };
  using memory_key = std::tuple<std::string_view, store::revision, const served*>;  // of what `source` says
  callout::caller& calls_;
  std::function<void(const conversion_call&)> told_;
  std::map<memory_key, memory> known_;
  std::deque<memory_key> order_;  // the oldest first
  std::size_t bytes_ = 0;         // of all that is known
};

// Whether it takes a webhook to show the stored object as `to`; and whether it may for some.
bool needs_call(const served& to, const store::object& o) noexcept;
inline bool may_need_call(const served& to) noexcept { return to.custom && to.custom->owner->webhook(); }

// One object. `c` may be null where no resource is converted by webhook.
task<api_result<json::value>> bring(converter* c, const served& to, json::value object,
                                    const tracing::live_span* within = nullptr);
task<api_result<store::object_ref>> show(converter* c, const served& to, store::object_ref o,
                                         const tracing::live_span* within = nullptr);
task<api_result<std::vector<store::object_ref>>> show_all(converter* c, const served& to,
                                                          std::vector<store::object_ref> objects,
                                                          const tracing::live_span* within = nullptr);

}  // namespace kedge::api::custom
