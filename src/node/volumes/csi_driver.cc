#include "node/volumes/csi_driver.h"

#include "node/runtime/pod_runtime.h"
#include "node/volumes/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

bool was_said_by_driver(const error& e) { return rpc_description(e).size() != e.message.size(); }

}  // namespace

bool is_final(const error& e) {
  if (!was_said_by_driver(e)) return false;
  if (e.message.starts_with("Aborted: ")) return false;
  return e.code != errc::cancelled && e.code != errc::timeout && e.code != errc::unavailable &&
         e.code != errc::exhausted;
}

bool is_infeasible(const error& e) {
  return was_said_by_driver(e) && (e.code == errc::invalid || e.code == errc::not_found);
}

csi_driver::csi_driver(std::string name, std::string socket, reactor::network* network)
    : name_(std::move(name)),
      channel_({.at = reactor::endpoint::unix_path(std::move(socket))}, csi_answer_bytes_max, network) {}

task<result<std::string>> csi_driver::call(std::string method, std::string message, duration within) {
  auto answer = co_await reactor::with_deadline(channel_.unary("/csi.v1.Node/" + method, std::move(message)),
                                                reactor::loop::current().now() + within);
  if (!answer && answer.error().code == errc::timeout && !was_said_by_driver(answer.error()))
    co_return fail(errc::timeout, "DeadlineExceeded: context deadline exceeded");
  co_return answer;
}

task<result<csi_node_info>> csi_driver::info() {
  KEDGE_CO_TRY(auto answer, co_await call("NodeGetInfo", {}, csi_deadline));
  co_return decode_node_info(answer);
}

task<result<csi_capabilities>> csi_driver::capabilities() {
  if (!has_) {
    KEDGE_CO_TRY(auto answer, co_await call("NodeGetCapabilities", {}, csi_brief_deadline));
    KEDGE_CO_TRY(has_, decode_capabilities(answer));
  }
  co_return *has_;
}

task<result<void>> csi_driver::stage(csi_request r) {
  KEDGE_CO_TRY(auto has, co_await capabilities());
  KEDGE_CO_CHECK(co_await call("NodeStageVolume", encode_stage(r, has), csi_deadline));
  co_return result<void>();
}
task<result<void>> csi_driver::publish(csi_request r) {
  KEDGE_CO_TRY(auto has, co_await capabilities());
  KEDGE_CO_CHECK(co_await call("NodePublishVolume", encode_publish(r, has), csi_deadline));
  co_return result<void>();
}
task<result<void>> csi_driver::unstage(std::string volume_id, std::string staging_path) {
  KEDGE_CO_CHECK(co_await call("NodeUnstageVolume", encode_unstage(volume_id, staging_path), csi_deadline));
  co_return result<void>();
}
task<result<void>> csi_driver::unpublish(std::string volume_id, std::string target_path) {
  KEDGE_CO_CHECK(co_await call("NodeUnpublishVolume", encode_unpublish(volume_id, target_path), csi_deadline));
  co_return result<void>();
}
task<result<void>> csi_driver::expand(csi_expansion e) {
  KEDGE_CO_TRY(auto has, co_await capabilities());
  KEDGE_CO_CHECK(co_await call("NodeExpandVolume", encode_expand(e, has), csi_deadline));
  co_return result<void>();
}
task<result<csi_stats>> csi_driver::stats(std::string volume_id, std::string volume_path) {
  KEDGE_CO_TRY(auto answer,
               co_await call("NodeGetVolumeStats", encode_stats_request(volume_id, volume_path), csi_brief_deadline));
  co_return decode_stats(answer);
}

}  // namespace kedge::node
