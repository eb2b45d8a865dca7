#include "cli/config_check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "cli/datastore_options.h"
#include "crypto/files.h"
#include "crypto/token.h"
#include "datastore/endpoint.h"
#include "net/tls.h"
#include "reactor/loop.h"
#include "reactor/sync.h"

namespace kedge::cli {

namespace {

constexpr auto database_time = std::chrono::seconds(10);

using problems = std::vector<std::string>;

void look_at_file(std::string_view flag, const std::string& path, problems& out) {
  if (path.empty()) return;
  if (auto text = crypto::read_file(path); !text) out.push_back(fmt::format("{}: {}", flag, text.error().message));
}

// The nearest folder that is there must let this user in.
void look_at_folder(std::string_view flag, std::string path, problems& out) {
  while (path.size() > 1 && ::access(path.c_str(), F_OK) != 0) path.resize(std::max<std::size_t>(1, path.rfind('/')));
  if (::access(path.c_str(), W_OK) != 0)
    out.push_back(fmt::format("{}: {}", flag, os_error(errno, path + " can't be written").message));
}

void look_at_port(std::string_view flag, const std::string& address, std::uint16_t port, problems& out) {
  auto at = reactor::endpoint{address.empty() ? "0.0.0.0" : address, port};
  if (auto there = reactor::os_network().listen(at); !there)
    out.push_back(fmt::format("{}: {}: {}", flag, at.text(), there.error().message));
}

// Opens it, which changes nothing, and closes it.
void look_at_database(const server_options& o, problems& out) {
  auto where = datastore_options(o);
  if (!datastore::is_shared_endpoint(where.endpoint)) {
    // A server that runs here has it, and a file that isn't there is made.
    if (where.endpoint.empty()) return;
  }
  auto log = datastore::make_log(where);
  if (!log) {
    out.push_back(log.error().message);
    return;
  }
  auto opened = reactor::loop::current().run_until([](datastore::log& l) -> task<result<void>> {
    auto done = co_await reactor::with_deadline(l.open(), reactor::loop::current().now() + database_time);
    co_await l.close();
    co_return done;
  }(**log));
  if (!opened && opened.error().code == errc::timeout)
    out.push_back(fmt::format("--datastore-endpoint: {} gives no answer within {} s", (*log)->description(),
                              database_time.count()));
  else if (!opened)
    out.push_back(fmt::format("--datastore-endpoint: {}", opened.error().message));
}

}  // namespace

std::optional<std::string> clock_problem(wall_time now) {
  if (now >= wall_time(std::chrono::sys_days(std::chrono::year(1980) / 1 / 1))) return std::nullopt;
  return "this machine's clock is before 1980; set it first";
}

void look_at_machine(audience who, const server_options& o, std::vector<std::string>& out) {
  if (auto wrong = clock_problem(system_wall_time())) out.push_back(*std::move(wrong));
  auto backend = reactor::make_backend(reactor::io_backend::automatic);
  if (!backend) {
    out.push_back(backend.error().message);
    return;
  }
  reactor::loop loop(*std::move(backend));
  reactor::loop::current_guard here(loop);
  auto& agent = o.agent;
  look_at_folder("--data-dir", agent.data_dir, out);
  if (!agent.token.empty())
    if (auto token = crypto::parse_token(agent.token, who == audience::server ? "server" : "node"); !token)
      out.push_back("--token: " + token.error().message);
  if (who == audience::agent) {
    if (!agent.disable_apiserver_lb) look_at_port("--lb-server-port", "127.0.0.1", agent.lb_server_port, out);
    return;
  }
  look_at_port("--https-listen-port", agent.bind_address, o.https_listen_port, out);
  look_at_file("--datastore-cafile", o.datastore_ca_file, out);
  look_at_file("--datastore-certfile", o.datastore_cert_file, out);
  look_at_file("--datastore-keyfile", o.datastore_key_file, out);
  look_at_file("--etcd-s3-endpoint-ca", o.etcd_s3_endpoint_ca, out);
  if (!o.snapshot_dir.empty()) look_at_folder("--snapshot-dir", o.snapshot_dir, out);
  look_at_database(o, out);
}

}  // namespace kedge::cli
