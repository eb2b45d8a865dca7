#include "server/auditing.h"

#include "reactor/offload.h"

namespace kedge::server {
namespace {

api::audit_mode mode_of(std::string_view word) {
  return word == "batch"      ? api::audit_mode::batch
         : word == "blocking" ? api::audit_mode::blocking
                              : api::audit_mode::blocking_strict;
}

api::audit_log_settings log_settings(const api_server_arguments& a) {
  return {.path = a.audit_log_path,
          .max_bytes = std::uint64_t(a.audit_log_max_size_mib) << 20,
          .max_backups = a.audit_log_max_backups,
          .max_age_days = a.audit_log_max_age_days,
          .compress = a.audit_log_compress,
          .legacy = a.audit_log_format == "legacy",
          .common = {.mode = mode_of(a.audit_log_mode),
                     .buffer_events = a.audit_log_buffer_events,
                     .truncate = a.audit_log_truncate,
                     .event_max_bytes = a.audit_log_event_max_bytes}};
}

api::audit_webhook_settings webhook_settings(const api_server_arguments& a,
                                             std::shared_ptr<const api::remote_server> server) {
  return {.server = std::move(server),
          .first_pause = a.audit_webhook_initial_backoff,
          .batch_events = a.audit_webhook_batch_events,
          .batch_wait = a.audit_webhook_batch_wait,
          .throttle = a.audit_webhook_throttle,
          .batches_a_second = static_cast<double>(a.audit_webhook_throttle_qps),
          .batches_burst = a.audit_webhook_throttle_burst,
          .common = {.mode = mode_of(a.audit_webhook_mode),
                     .buffer_events = a.audit_webhook_buffer_events,
                     .truncate = a.audit_webhook_truncate,
                     .event_max_bytes = a.audit_webhook_event_max_bytes,
                     .batch_max_bytes = a.audit_webhook_batch_max_bytes}};
}

}  // namespace

task<result<void>> start_auditing(shared& s) {
  auto& a = s.settings.api;
  auto& files = s.settings.files;
  if (!files || !files->audit_policy) co_return result<void>();
  std::vector<std::shared_ptr<api::audit_backend>> to;
  if (!a.audit_log_path.empty()) {
    auto opened = co_await reactor::offload([wanted = log_settings(a)] { return api::audit_log::open(wanted); });
    if (!opened) co_return fail(std::move(opened).error());
    KEDGE_CO_TRY(s.audit_log, std::move(*opened));
    to.push_back(s.audit_log);
  }
  if (files->audit_webhook) {
    s.audit_webhook =
        std::make_shared<api::audit_webhook>(webhook_settings(a, files->audit_webhook), s.home(), s.where.network);
    s.audit_webhook->start();
    to.push_back(s.audit_webhook);
  }
  if (!to.empty()) s.audit = std::make_shared<api::audit_backends>(*files->audit_policy, std::move(to), s.measures);
  co_return result<void>();
}

task<void> end_auditing(shared& s) {
  if (s.audit_webhook) co_await s.audit_webhook->end();
  if (s.audit_log)
    co_await reactor::offload([a = s.audit_log] {
      a->flush();
      return true;
    });
}

}  // namespace kedge::server
