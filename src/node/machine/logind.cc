#include "node/machine/logind.h"

#include <fmt/format.h>

#include "base/log.h"
#include "crypto/files.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using namespace std::chrono_literals;

constexpr auto service = "org.freedesktop.login1", object = "/org/freedesktop/login1",
               manager = "org.freedesktop.login1.Manager", bus = "org.freedesktop.DBus",
               bus_object = "/org/freedesktop/DBus";
// logind reads its configuration in its own time: looked for after this, doubling, so often (the kubelet's).
constexpr duration reload_first = 100ms;
constexpr int reload_looks_max = 5;

}  // namespace

task<result<logind>> logind::open(std::string socket) {
  KEDGE_CO_TRY(auto c, co_await dbus_connection::open(std::move(socket)));
  co_return logind(std::move(c));
}

task<result<duration>> logind::delay_max() {
  KEDGE_CO_TRY(auto answer, co_await bus_->call(service, object, "org.freedesktop.DBus.Properties", "Get",
                                                dbus_arguments().text(manager).text("InhibitDelayMaxUSec")));
  auto n = answer.as_number_in_variant();
  if (!n) co_return fail(errc::protocol, "InhibitDelayMaxUSec from logind is not a uint64 as expected");
  co_return std::chrono::microseconds(static_cast<std::int64_t>(std::min<std::uint64_t>(*n, INT64_MAX / 1000)));
}

task<result<void>> logind::want_delay(duration wanted, std::string folder) {
  KEDGE_CO_TRY(auto now, co_await delay_max());
  if (now >= wanted) co_return result<void>();
  auto seconds = std::chrono::ceil<std::chrono::seconds>(wanted).count();
  KEDGE_CO_TRY(auto written, co_await reactor::offload([folder, seconds]() -> result<void> {
                 KEDGE_CHECK(crypto::make_folder(folder, 0755));
                 return crypto::write_file(
                     folder + "/99-kubelet.conf",
                     fmt::format("# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={}\n", seconds),
                     {.mode = 0644});
               }));
  KEDGE_CO_CHECK(std::move(written));
  constexpr std::int32_t hang_up = 1;  // SIGHUP: read the configuration
  KEDGE_CO_TRY(
      auto told,
      co_await bus_->call("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                          "KillUnit", dbus_arguments().text("systemd-logind.service").text("all").number(hang_up)));
  (void)told;
  auto pause = reload_first;
  for (int look = 0; look < reload_looks_max; ++look, pause *= 2) {
    KEDGE_CO_TRY(now, co_await delay_max());
    if (now >= wanted) co_return result<void>();
    co_await reactor::sleep_for(pause);
  }
  co_return fail(errc::timeout, fmt::format("logind delays a shutdown by {} at most, though {} are asked for",
                                            format_duration(now), format_duration(wanted)));
}

task<result<owned_file>> logind::inhibit() {
  KEDGE_CO_TRY(auto answer, co_await bus_->call(service, object, manager, "Inhibit",
                                                dbus_arguments()
                                                    .text("shutdown")
                                                    .text("kubelet")
                                                    .text("Kubelet needs time to handle node shutdown")
                                                    .text("delay")));
  if (answer.types != "h" || answer.files.empty())
    co_return fail(errc::protocol, "logind gave no lock that delays a shutdown");
  co_return std::move(answer.files.front());
}

task<result<void>> logind::follow() {
  co_return co_await bus_->subscribe(
      "type='signal',sender='org.freedesktop.login1',interface='org.freedesktop.login1.Manager',"
      "member='PrepareForShutdown',path='/org/freedesktop/login1'");
}

task<result<bool>> logind::next() {
  for (;;) {
    KEDGE_CO_TRY(auto signal, co_await bus_->next_signal());
    if (signal.interface != manager || signal.member != "PrepareForShutdown" || signal.path != object) continue;
    auto begins = signal.as_bool();
    if (!begins) continue;
    // Whoever may use the bus can send this to us.
    KEDGE_CO_TRY(auto owner, co_await bus_->call(bus, bus_object, bus, "GetNameOwner", dbus_arguments().text(service)));
    if (owner.as_text() == signal.sender) co_return *begins;
    log::warning("{} on the system's bus, who isn't logind, says that the machine goes down", signal.sender);
  }
}

}  // namespace kedge::node
