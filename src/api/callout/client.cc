#include "api/callout/client.h"

#include <fmt/format.h>

#include "api/callout/endpoints.h"
#include "base/strings.h"
#include "reactor/loop.h"

namespace kedge::api::callout {
namespace {

std::string path_of(const call& c) {
  return c.tells_time ? fmt::format("{}?timeout={}s", c.to->path, c.time.count()) : c.to->path;
}

// What tells of a certificate's faults, in the client's words and OpenSSL's.
constexpr std::string_view no_names = "no subject alternative names", weak_signature = "too weak";

// OpenSSL's verdict on a certificate in x509's words.
std::string x509_text(std::string_view why, const std::string& host) {
  if (why.find(no_names) != why.npos) return "certificate relies on legacy Common Name field, use SANs instead";
  for (auto unknown :
       std::initializer_list<std::string_view>{"self-signed", "local issuer", "first certificate", weak_signature})
    if (why.find(unknown) != why.npos) return "certificate signed by unknown authority";
  if (why.find("mismatch") != why.npos) return fmt::format("certificate is valid for other names, not {}", host);
  return std::string(why);
}

// As Go tells what became of a request.
std::string go_text(const error& e, const net::http::target& to) {
  if (e.code == errc::timeout) return "context deadline exceeded";
  auto text = std::string_view(e.message);
  if (auto before = to.authority() + ": "; text.starts_with(before)) text.remove_prefix(before.size());
  if (e.code == errc::unauthenticated)
    return fmt::format("tls: failed to verify certificate: x509: {}", x509_text(text, to.host));
  if (e.code == errc::closed) return "EOF";
  constexpr std::string_view connecting = "connect to ";
  auto end = text.rfind(": ");
  if (text.starts_with(connecting) && end != text.npos)
    return fmt::format("dial tcp {}: connect: {}", text.substr(connecting.size(), end - connecting.size()),
                       lower(text.substr(end + 2)));
  return std::string(text);
}

}  // namespace

// Endpoints of Services as "node/address", hosts of URLs as they are: so that a connection that is kept is one of that
// very way.
struct client::network final : reactor::network {
  egress& ways;
  explicit network(egress& e) : ways(e) {}
  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override {
    auto slash = to.address.find('/');
    if (slash == to.address.npos) return ways.to_host(std::move(to.address), to.port);
    return ways.to_endpoint(to.address.substr(slash + 1), to.port, to.address.substr(0, slash));
  }
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint&, const reactor::listen_options&) override {
    return fail(errc::unsupported, "nobody listens at others'");
  }
};

// One of a configuration's calls that are under way.
class client::place {
 public:
  place(client& of, const std::string& name) : of_(of), name_(name), room_(of.rooms_[name]) {
    if (!room_) room_ = of.rooms_[name] = std::make_shared<reactor::semaphore>(calls_max);
  }
  place(const place&) = delete;
  place& operator=(const place&) = delete;
  ~place() {
    if (taken_) room_->release();
    // Those that wait hold it, too.
    if (room_.use_count() == 2) of_.rooms_.erase(name_);
  }
  task<void> take() {
    co_await room_->acquire();
    taken_ = true;
  }

 private:
  client& of_;
  const std::string name_;
  std::shared_ptr<reactor::semaphore> room_;
  bool taken_ = false;
};

client::client(store::store& objects, egress& ways, std::function<void(flaw)> flawed)
    : objects_(objects),
      flawed_(std::move(flawed)),
      network_(std::make_unique<network>(ways)),
      http_(network_.get(), idle_connections_max) {}
client::~client() = default;

task<result<answer>> client::post(call c) {
  const auto until = reactor::loop::current().now() + c.time;
  auto got = co_await reactor::with_deadline(exchange(c), until);
  if (got) co_return got;
  count(got.error());
  net::http::target to{.at = {c.to->host, c.to->port}, .host = c.to->host, .tls = c.to->tls};
  co_return fail(got.error().code, fmt::format("Post {}: {}", quote("https://" + c.to->authority + path_of(c)),
                                               go_text(got.error(), to)));
}

void client::count(const error& e) {
  if (!flawed_ || e.code != errc::unauthenticated) return;
  if (e.message.find(no_names) != e.message.npos) flawed_(flaw::nameless);
  if (e.message.find(weak_signature) != e.message.npos) flawed_(flaw::weakly_signed);
}

result<net::http::target> client::destination(const target& to) const {
  net::http::target out{.at = {to.host, to.port}, .host = to.host, .tls = to.tls};
  if (!to.at) return out;
  KEDGE_TRY(auto one, choose_endpoint(objects_.current(), *to.at, reactor::loop::current().random()));
  out.at = {one.node + "/" + one.address, one.port};
  return out;
}

// The head has come. A connection that was kept may have been dead all along: then once more, on a new one.
task<result<std::unique_ptr<net::http::client_exchange>>> client::ask(const call& c) {
  KEDGE_CO_TRY(auto to, destination(*c.to));
  for (bool fresh : {false, true}) {
    net::http::client_request r{.to = to, .method = "POST", .path = path_of(c), .body = c.body};
    r.authority = c.to->authority;
    r.fresh = fresh;
    r.headers.add("Accept", "application/json, */*");
    r.headers.add("Content-Type", "application/json");
    r.headers.add("User-Agent", "kube-apiserver-admission");
    for (auto& [name, value] : c.more) r.headers.add(name, value);
    KEDGE_CO_TRY(auto asked, co_await http_.open(std::move(r)));
    auto head = co_await asked->head();
    if (head) co_return std::move(asked);
    if (fresh || !asked->reused()) co_return std::unexpected(std::move(head).error());
  }
  co_return fail(errc::closed, "EOF");
}

task<result<answer>> client::exchange(const call& c) {
  place own(*this, c.on_behalf);
  co_await own.take();
  KEDGE_CO_TRY(auto asked, co_await ask(c));
  KEDGE_CO_TRY(auto head, co_await asked->head());
  answer out{.status = head->status, .content_type = std::string(head->headers.get("Content-Type"))};
  auto body = co_await asked->read_all(answer_max_bytes);
  if (!body)
    co_return fail(body.error().code, "unexpected error when reading response body. Please retry. Original error: " +
                                          body.error().message);
  out.body = *std::move(body);
  co_return out;
}

}  // namespace kedge::api::callout
