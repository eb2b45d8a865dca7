#include "server/kms_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "reactor/loop.h"
#include "server/instance.h"

namespace kedge::server {
namespace {

// Keys come and go; kube-apiserver keeps the series of so many.
constexpr std::size_t keys_max = 100;

// From a tenth of a millisecond, each twice the one before: kube-apiserver's.
constexpr double bounds[] = {0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128,  0.0256,  0.0512,
                             0.1024, 0.2048, 0.4096, 0.8192, 1.6384, 3.2768, 6.5536, 13.1072, 26.2144, 52.4288};

// The status by its name in gRPC, which begins what is told of it.
std::string_view status_of(const error* failure) {
  if (!failure) return "OK";
  static constexpr std::string_view names[] = {
      "Canceled", "Unknown",          "InvalidArgument", "DeadlineExceeded",  "NotFound", "AlreadyExists",
      "Internal", "PermissionDenied", "Unauthenticated", "ResourceExhausted", "Aborted",  "FailedPrecondition",
      "DataLoss", "OutOfRange",       "Unimplemented",   "Unavailable"};
  const std::string_view told = failure->message;
  const auto name = std::ranges::find(names, told.substr(0, told.find(':')));
  if (name != std::end(names)) return *name;
  return failure->code == errc::timeout ? "DeadlineExceeded" : "Unavailable";
}

std::string head_of(std::string_view name, std::string_view help, std::string_view type) {
  return fmt::format("# HELP apiserver_envelope_encryption_{0} {1}\n# TYPE apiserver_envelope_encryption_{0} {2}\n",
                     name, help, type);
}

}  // namespace

kms_metrics::kms_metrics(api::metrics& all, std::string instance) : all_(all), instance_(std::move(instance)) {
  all_.collect([this](std::string& out) { out += text(); });
}

void kms_metrics::called(std::string_view provider, std::string_view method, const error* failure, duration took) {
  all_.observations("apiserver_envelope_encryption_kms_operations_latency_seconds",
                    "KMS operation duration with gRPC error code status total.",
                    fmt::format(R"(grpc_status_code="{}",method_name="{}",provider_name="{}")", status_of(failure),
                                method, provider),
                    bounds)
      .observe(std::chrono::duration<double>(took).count());
}

const std::string& kms_metrics::hash_of(std::string_view key_id) {
  if (auto known = hashes_.find(key_id); known != hashes_.end()) return known->second;
  if (hashes_.size() >= keys_max) hashes_.clear();
  return hashes_.emplace(std::string(key_id), label_hash(key_id)).first->second;
}

void kms_metrics::note(uses& of, std::string_view what, std::string_view provider, std::string_view key_id) {
  const auto now = reactor::loop::current().wall_now().time_since_epoch();
  std::scoped_lock lock(mutex_);
  std::tuple key{std::string(what), std::string(provider), hash_of(key_id)};
  if (of.size() >= keys_max && !of.contains(key))
    of.erase(std::ranges::min_element(of, {}, [](auto& one) { return one.second.last_seconds; }));
  auto& one = of[std::move(key)];
  ++one.count;
  one.last_seconds = std::chrono::duration<double>(now).count();
}

void kms_metrics::used(std::string_view provider, std::string_view key_id, bool sealed) {
  note(used_, sealed ? "to_storage" : "from_storage", provider, key_id);
}

void kms_metrics::told(std::string_view provider, std::string_view key_id, std::string_view wrong) {
  if (wrong.empty()) return note(told_, {}, provider, key_id);
  all_.counter("apiserver_envelope_encryption_invalid_key_id_from_status_total",
               "Number of times an invalid keyID is returned by the Status RPC call split by error.",
               fmt::format(R"(error="{}",provider_name="{}")", wrong, provider))
      .add();
}

void kms_metrics::holds(std::string_view provider, std::size_t seeds) {
  all_.gauge(
          "apiserver_envelope_encryption_dek_source_cache_size",
          "Number of records in data encryption key (DEK) source cache. On a restart, this value is an approximation "
          "of the number of decrypt RPC calls the server will make to the KMS plugin.",
          fmt::format(R"(provider_name="{}")", provider))
      .set(static_cast<std::int64_t>(seeds));
}

std::string kms_metrics::text() const {
  std::scoped_lock lock(mutex_);
  std::string total, last, status;
  for (auto& [key, one] : used_) {
    const auto labels =
        fmt::format(R"(apiserver_id_hash="{}",key_id_hash="{}",provider_name="{}",transformation_type="{}")", instance_,
                    std::get<2>(key), std::get<1>(key), std::get<0>(key));
    total += fmt::format("apiserver_envelope_encryption_key_id_hash_total{{{}}} {}\n", labels, one.count);
    last += fmt::format("apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds{{{}}} {:.3f}\n", labels,
                        one.last_seconds);
  }
  for (auto& [key, one] : told_)
    status += fmt::format(
        "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{{apiserver_id_hash=\"{}\",key_id_hash="
        "\"{}\",provider_name=\"{}\"}} {:.3f}\n",
        instance_, std::get<2>(key), std::get<1>(key), one.last_seconds);
  std::string out;
  if (!total.empty())
    out += head_of("key_id_hash_total",
                   "Number of times a keyID is used split by transformation type, provider, and apiserver identity.",
                   "counter") +
           total +
           head_of("key_id_hash_last_timestamp_seconds", "The last time in seconds when a keyID was used.", "gauge") +
           last;
  if (!status.empty())
    out += head_of("key_id_hash_status_last_timestamp_seconds",
                   "The last time in seconds when a keyID was returned by the Status RPC call.", "gauge") +
           status;
  return out;
}

}  // namespace kedge::server
