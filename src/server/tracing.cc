#include "server/tracing.h"

#include <fmt/format.h>

#include "server/instance.h"

namespace kedge::server {

result<void> start_tracing(shared& s) {
  auto& files = s.settings.files;
  if (!files || !files->tracing) return {};
  KEDGE_TRY(s.traces,
            api::tracing::collector::make(
                *files->tracing, {{"service.name", "apiserver"}, {"service.instance.id", instance_of(s.process)}},
                s.home(), s.where.network));
  s.traces->start();
  s.measures.collect([to = s.traces.get()](std::string& out) {
    for (auto [outcome, spans] : {std::pair("sent", to->sent()), std::pair("dropped", to->dropped())})
      out += fmt::format(
          "# HELP kedge_tracing_spans_{0}_total Spans of traces that were {0}.\n# TYPE kedge_tracing_spans_{0}_total "
          "counter\nkedge_tracing_spans_{0}_total {1}\n",
          outcome, spans);
  });
  return {};
}

task<void> end_tracing(shared& s) {
  if (s.traces) co_await s.traces->end();
}

}  // namespace kedge::server
