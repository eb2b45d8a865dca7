#include "node/images/containerd_images.h"

#include <fmt/format.h>

#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "node/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

// containerd takes no more of a label, name and value together.
constexpr std::size_t label_bytes_max = 4096;

constexpr std::string_view managed_label = "io.cri-containerd.image", pinned_label = "io.cri-containerd.pinned",
                           expire_label = "containerd.io/gc.expire";
enum class write_action : unsigned char { stat = 0, write = 1, commit = 2 };

std::string label(std::string_view key, std::string_view value) {
  wire::writer w;
  w.text(1, key);
  w.text(2, value);
  return w.take();
}

std::string target(const image_target& t) {
  wire::writer w;
  w.text(1, t.media_type);
  w.text(2, t.digest);
  w.number(3, t.size);
  return w.take();
}

// Of requests with a FieldMask.
std::string mask(const std::vector<std::string>& paths) {
  wire::writer w;
  for (auto& p : paths) w.text(1, p);
  return w.take();
}

std::string image_labels_and(const archive_image& image, bool with_target) {
  wire::writer w;
  w.text(1, image.name);
  if (with_target) w.message(2, label(managed_label, "managed"));
  w.message(2, label(pinned_label, "pinned"));
  if (with_target) w.message(3, target(image.target));
  return w.take();
}

}  // namespace

task<result<void>> content_writer::exchange(std::string message) {
  auto within = reactor::loop::current().now() + runtime_work_deadline;
  auto sent = co_await reactor::with_deadline(call_->send(std::move(message)), within);
  if (!sent && sent.error().code != errc::closed) co_return sent;
  KEDGE_CO_TRY(auto answer, co_await reactor::with_deadline(call_->next(), within));
  if (!answer) co_return fail(errc::protocol, "containerd ended a write");
  wire::fields r(*answer);
  while (r.next())
    if (r.field() == 4) offset_ = r.number();
  if (!r.ok()) co_return fail(errc::protocol, "containerd answered a write with what is none");
  co_return result<void>();
}

task<result<void>> content_writer::write(std::string piece) {
  auto expected = offset_ + piece.size();
  wire::writer w;
  w.number(1, static_cast<std::uint64_t>(write_action::write));
  w.text(2, ref_);
  w.number(5, offset_);
  w.message(6, piece);
  KEDGE_CO_CHECK(co_await exchange(w.take()));
  if (offset_ != expected) co_return fail(errc::protocol, "containerd wrote less than it was given");
  co_return result<void>();
}

task<result<void>> content_writer::commit(std::string digest) {
  wire::writer w;
  w.number(1, static_cast<std::uint64_t>(write_action::commit));
  w.text(2, ref_);
  w.number(3, offset_);
  w.text(4, digest);
  w.number(5, offset_);
  auto done = co_await exchange(w.take());
  if (!done && done.error().code == errc::already_exists) co_return result<void>();
  co_return done;
}

containerd_images::containerd_images(std::string socket, reactor::network* network)
    : channel_(net::http::target{.at = reactor::endpoint::unix_path(std::move(socket))}, runtime_answer_bytes_max,
               network) {}

net::http::headers containerd_images::metadata() const {
  net::http::headers out;
  out.add("containerd-namespace", "k8s.io");
  if (!lease_.empty()) out.add("containerd-lease", lease_);
  return out;
}

task<result<std::string>> containerd_images::call(std::string method, std::string message) {
  return reactor::with_deadline(
      channel_.unary("/containerd.services." + std::move(method), std::move(message), metadata()),
      reactor::loop::current().now() + runtime_work_deadline);
}

task<result<void>> containerd_images::begin_lease(std::string id) {
  wire::writer w;
  w.text(1, id);
  w.message(3, label(expire_label, format_rfc3339(reactor::loop::current().wall_now() + std::chrono::hours(24))));
  KEDGE_CO_TRY(auto made, co_await call("leases.v1.Leases/Create", w.take()));
  (void)made;
  lease_ = std::move(id);
  co_return result<void>();
}

task<void> containerd_images::end_lease(std::string id) {
  lease_.clear();
  wire::writer w;
  w.text(1, id);
  (void)co_await call("leases.v1.Leases/Delete", w.take());
}

task<result<bool>> containerd_images::has_content(std::string digest) {
  wire::writer w;
  w.text(1, digest);
  auto found = co_await call("content.v1.Content/Info", w.take());
  if (!found && found.error().code != errc::not_found) co_return fail(std::move(found).error());
  co_return found.has_value();
}

task<result<content_writer>> containerd_images::write_content(std::string ref) {
  KEDGE_CO_TRY(auto c, co_await channel_.converse("/containerd.services.content.v1.Content/Write", metadata()));
  co_return content_writer(std::move(c), std::move(ref));
}

task<result<void>> containerd_images::label_content(std::string digest, std::vector<std::string> children) {
  wire::writer info, w;
  info.text(1, digest);
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < children.size(); ++i) {
    auto key = fmt::format("containerd.io/gc.ref.content.{}", i);
    info.message(5, label(key, children[i]));
    paths.push_back("labels." + key);
  }
  w.message(1, info.take());
  w.message(2, mask(paths));
  KEDGE_CO_TRY(auto done, co_await call("content.v1.Content/Update", w.take()));
  (void)done;
  co_return result<void>();
}

task<result<void>> containerd_images::label_origins(std::string digest,
                                                    std::map<std::string, std::vector<std::string>> registries) {
  wire::writer info, w;
  info.text(1, digest);
  std::vector<std::string> paths;
  for (auto& [registry, repositories] : registries) {
    auto key = "containerd.io/distribution.source." + registry;
    auto value = join(repositories, ",");
    while (key.size() + value.size() > label_bytes_max && !value.empty())
      value.resize(value.contains(',') ? value.rfind(',') : 0);
    info.message(5, label(key, value));
    paths.push_back("labels." + key);
  }
  w.message(1, info.take());
  w.message(2, mask(paths));
  auto done = co_await call("content.v1.Content/Update", w.take());
  if (!done && done.error().code != errc::not_found) co_return fail(std::move(done).error());
  co_return result<void>();
}

task<result<void>> containerd_images::put_image(archive_image image) {
  wire::writer create, update;
  create.message(1, image_labels_and(image, true));
  auto made = co_await call("images.v1.Images/Create", create.take());
  if (made) co_return result<void>();
  if (made.error().code != errc::already_exists) co_return fail(std::move(made).error());
  update.message(1, image_labels_and(image, true));
  update.message(2, mask({"target", "labels." + std::string(managed_label), "labels." + std::string(pinned_label)}));
  KEDGE_CO_TRY(auto done, co_await call("images.v1.Images/Update", update.take()));
  (void)done;
  co_return result<void>();
}

task<result<void>> containerd_images::pin(std::string name) {
  wire::writer w;
  w.message(1, image_labels_and({std::move(name), {}}, false));
  w.message(2, mask({"labels." + std::string(pinned_label)}));
  KEDGE_CO_TRY(auto done, co_await call("images.v1.Images/Update", w.take()));
  (void)done;
  co_return result<void>();
}

task<result<std::vector<std::string>>> containerd_images::names() {
  KEDGE_CO_TRY(auto answer, co_await call("images.v1.Images/List", {}));
  std::vector<std::string> out;
  wire::fields r(answer);
  while (r.next()) {
    if (r.field() != 1) continue;
    wire::fields image(r.bytes());
    while (image.next())
      if (image.field() == 1) out.emplace_back(image.bytes());
  }
  if (!r.ok()) co_return fail(errc::protocol, "containerd's list of images is malformed");
  co_return out;
}

}  // namespace kedge::node
