#include "node/mirror/content_store.h"

#include "base/protobuf_wire.h"
#include "node/limits.h"
#include "node/mirror/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

// containerd's label of where content is from: its value are repositories.
constexpr std::string_view source_label = "containerd.io/distribution.source.";

net::http::headers metadata() {
  net::http::headers out;
  out.add("containerd-namespace", "k8s.io");
  return out;
}

// The bytes of field `id`, from the outside in; empty where one is missing.
std::string_view inside(std::string_view message, std::initializer_list<int> path) {
  for (int id : path) {
    std::string_view found;
    wire::fields r(message);
    while (r.next())
      if (r.field() == id) found = r.bytes();
    message = found;
  }
  return message;
}

}  // namespace

task<result<std::string>> content_reader::next() {
  for (;;) {
    KEDGE_CO_TRY(auto message,
                 co_await reactor::with_deadline(call_->next(), reactor::loop::current().now() + mirror_idle_max));
    if (!message) co_return std::string();
    if (auto data = inside(*message, {2}); !data.empty()) co_return std::string(data);
  }
}

content_store::content_store(std::string socket, reactor::network* network)
    : channel_(net::http::target{.at = reactor::endpoint::unix_path(std::move(socket))}, runtime_answer_bytes_max,
               network) {}

task<result<std::string>> content_store::call(std::string method, std::string message) {
  return reactor::with_deadline(
      channel_.unary("/containerd.services." + std::move(method), std::move(message), metadata()),
      reactor::loop::current().now() + runtime_deadline);
}

task<result<std::string>> content_store::digest_of(std::string image_name) {
  wire::writer w;
  w.text(1, image_name);
  KEDGE_CO_TRY(auto answer, co_await call("images.v1.Images/Get", w.take()));
  co_return std::string(inside(answer, {1, 3, 2}));  // image, target, digest
}

task<result<content_info>> content_store::info(std::string digest) {
  wire::writer w;
  w.text(1, digest);
  KEDGE_CO_TRY(auto answer, co_await call("content.v1.Content/Info", w.take()));
  content_info out;
  wire::fields r(inside(answer, {1}));
  while (r.next()) {
    if (r.field() == 2) out.size = r.number();
    if (r.field() != 5) continue;
    auto key = inside(r.bytes(), {1});
    if (key.starts_with(source_label)) out.registries.emplace_back(key.substr(source_label.size()));
  }
  if (!r.ok()) co_return fail(errc::protocol, "containerd told of content what is none");
  co_return out;
}

task<result<content_reader>> content_store::read(std::string digest) {
  wire::writer w;
  w.text(1, digest);
  KEDGE_CO_TRY(auto c, co_await reactor::with_deadline(
                           channel_.stream("/containerd.services.content.v1.Content/Read", w.take(), metadata()),
                           reactor::loop::current().now() + runtime_deadline));
  co_return content_reader(std::move(c));
}

}  // namespace kedge::node
