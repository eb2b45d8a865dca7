// run_server.cc: `kedge server`: a loop a core, one server (server/server.h), until a signal.
#include <unistd.h>

#include "base/log.h"
#include "cli/daemon.h"
#include "cli/heap.h"
#include "cli/run.h"
#include "cli/server_settings.h"
#include "server/etcd/lone_member.h"
#include "server/server.h"
#include "store/open.h"

namespace kedge::cli {

namespace {

// What has to begin anew before that would do so again and again: the service manager, or a person, decides.
constexpr auto anew_after_least = std::chrono::seconds(10);

task<int> serve(server::server& s) {
  auto signals = end_signals();
  if (!signals) {
    log::error("{}", signals.error().message);
    co_return 1;
  }
  reactor::event stop;
  reactor::scope tasks;
  tasks.spawn(stop_on_signal(*signals, stop));
  tasks.spawn([](reactor::event& told, server::server& running) -> task<void> {
    co_await told.wait();
    running.stop();
  }(stop, s));
  co_return co_await s.run();
}

// --cluster-reset, instead of running.
int reset_cluster(const server_options& o) {
  auto s = server_settings(o);
  auto done = s ? server::reset_etcd(s->cluster, s->etcd) : result<std::string>(fail(std::move(s).error()));
  if (!done) {
    log::error("{}", done.error().message);
    return 1;
  }
  log::info("{}. Start the server without --cluster-reset now", *done);
  return 0;
}

}  // namespace

int run_server(server_options options) {
  if (options.cluster_reset) return reset_cluster(options);
  auto count = options.agent.reactors ? options.agent.reactors : std::max(1l, ::sysconf(_SC_NPROCESSORS_ONLN));
  auto cores = reactor::cores::make(static_cast<std::size_t>(count), io_backend_of(options.agent.io_backend), 1);
  auto settings = cores ? server_settings(options) : result<server::settings>(fail(cores.error()));
  if (!settings) {
    log::error("{}", settings.error().message);
    return 1;
  }
  // Outlives the loops' tasks.
  server::server server(*std::move(settings),
                        {.loops = store::loops_of(**cores),
                         .background = &(*cores)->background(0),
                         .release_thread_memory = &release_thread_heap,
                         .release_memory = &release_startup_memory},
                        &notify_ready);
  const auto began = monotonic_clock::now();
  const int code = run_on(**cores, [&] { return serve(server); });
  if (!server.begins_anew()) return code;
  if (monotonic_clock::now() - began < anew_after_least) {
    log::error("this server has only just begun, and doesn't begin anew at once");
    return code;
  }
  return begin_anew(code);
}

}  // namespace kedge::cli
