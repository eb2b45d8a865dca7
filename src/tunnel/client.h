// client.h: the agent's end: one tunnel to every server, kept for as long as the server is in the set.
//
//   set_servers ──(debounced)──▶ run(): per server: dial, upgrade, serve, wait 3 s, again
//                                          │ Connect: allow? ──▶ dial ──▶ relay
//                                          ▼
//                                   on_state: unknown → ok ⇄ failed, leaving (the balancer's health)
//   renew ──▶ per server: a second tunnel, as who the node is now; once it stands the first one gets no new streams (a
//             server takes the newest) and goes when those that it has are over
//
// A Connect that isn't allowed is answered by an Error for that stream; K3s's agent ends its whole session instead, and
// with it every other stream: nobody is safer for that. A server that leaves pings unanswered counts as failed after
// session.suspect_after, long before the session is given up. One that ends the session with close code 1001 stops, and
// is leaving until the next attempt: it still answers what it was asked.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/http/client.h"
#include "tunnel/link.h"

namespace kedge::tunnel {

enum class server_state : unsigned char { unknown, ok, failed, leaving };
std::string_view name_of(server_state s) noexcept;

// Whether the agent may be asked to connect there.
using authorizer = std::function<bool(std::string_view protocol, std::string_view address)>;
// What every egress mode allows: tcp to 127.0.0.1 or ::1, the kubelet's port and containerd's streaming port (10010).
bool allowed_always(std::string_view protocol, std::string_view address, std::uint16_t kubelet_port);

struct client_options {
  // Asked at each attempt, so that renewed certificates are used: the node's certificate, the server CA. Null:
  // plaintext.
  std::function<std::shared_ptr<net::tls_client_context>()> tls;
  authorizer allow;  // null: nothing is allowed
  // Connects to an allowed target; null: TCP from this machine.
  std::function<task<result<std::unique_ptr<reactor::stream>>>(std::string protocol, std::string address)> dial;
  // Called on the client's core on each change.
  std::function<void(const std::string& server, server_state state)> on_state;
  reactor::network* network = nullptr;  // null: this machine's
  std::string path = "/v1-k3s/connect";
  link::options session;
  duration retry_interval = tunnel::retry_interval;
  duration debounce = server_set_debounce;
  duration leave_max = tunnel::leave_max;
  duration replaced_quiet = tunnel::replaced_quiet;
};

class client {
 public:
  explicit client(client_options options);
  client(const client&) = delete;
  ~client();

  // Keeps the tunnels until it is dropped.
  task<void> run();
  // "host:port" each. The first set counts at once, later ones debounced (the newest wins); an empty one is ignored.
  void set_servers(std::vector<std::string> addresses);

  // Every tunnel is made anew at once: this machine has other addresses, and those that stand lead nowhere.
  void begin_anew();
  // options.tls gives other credentials: tunnels that stand are replaced by new ones, and no stream is lost.
  void renew();

  struct status {
    std::string server;
    server_state state = server_state::unknown;
    time_point since{};       // of the state
    std::size_t streams = 0;  // those of a tunnel that was replaced too
    duration round_trip{0};   // of the last ping; zero when not known
    unsigned attempts = 0;    // that failed since the tunnel last stood
    std::string last_error;
  };
  std::vector<status> servers() const;

 private:
  struct entry;
  task<void> keep(entry& e);
  task<result<std::unique_ptr<link>>> open(const entry& e);
  void stand(entry& e, std::unique_ptr<link> l, unsigned credentials);
  task<void> serve(entry& e, std::unique_ptr<link> l);
  task<void> replace(entry& e);
  task<void> drain(entry& e, link* l);
  task<void> answer(std::unique_ptr<tunnel_stream> s);
  void change(entry& e, server_state s);
  void apply(const std::vector<std::string>& addresses);
  task<void> let_go(std::string address);

  client_options options_;
  std::map<std::string, std::unique_ptr<entry>> entries_;
  std::vector<std::string> wanted_;
  unsigned credentials_ = 0;  // how often they were renewed
  reactor::event changed_;
  reactor::scope leaving_;
};

}  // namespace kedge::tunnel
