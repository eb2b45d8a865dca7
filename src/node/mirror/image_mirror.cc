#include "node/mirror/image_mirror.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/hasher.h"
#include "json/parse.h"
#include "node/join/api_client.h"
#include "node/mirror/limits.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

using net::http::exchange;
using net::http::response;
using reactor::loop;

constexpr std::string_view digest_header = "Docker-Content-Digest",
                           node_user = "system:node:", blob_type = "application/octet-stream",
                           index_type = "application/vnd.oci.image.index.v1+json",
                           manifest_type = "application/vnd.oci.image.manifest.v1+json";

time_point within(duration d) { return loop::current().now() + d; }

// The error's form is the specification's.
task<void> refuse(exchange& e, int status, std::string_view code, std::string_view message) {
  response r{.status = status};
  r.headers.add("Content-Type", "application/json");
  auto body = fmt::format(R"({{"errors":[{{"code":"{}","message":"{}"}}]}})"
                          "\n",
                          code, message);
  (void)co_await e.respond(r, body);
}
task<void> not_here(exchange& e) { return refuse(e, 404, "MANIFEST_UNKNOWN", "no node that was asked has it"); }

response found(std::string_view type, std::string_view digest, std::uint64_t size) {
  response r{.status = 200};
  r.headers.add("Content-Type", std::string(type));
  r.headers.add("Content-Length", std::to_string(size));
  r.headers.add(std::string(digest_header), std::string(digest));
  return r;
}

// What a manifest says of itself; an index and a manifest of OCI need not.
std::string media_type_of(std::string_view manifest) {
  auto v = json::parse(manifest);
  if (!v || !v->is_object()) return std::string(blob_type);
  if (auto said = (*v)["mediaType"].as_string(); !said.empty()) return std::string(said);
  return std::string((*v)["manifests"].is_null() ? manifest_type : index_type);
}

std::string digest_of(std::string_view content) { return "sha256:" + crypto::sha256_hex(as_bytes(content)); }

// One of a bounded number, for as long as it lives.
class counted {
 public:
  explicit counted(std::size_t& n) noexcept : n_(n) { ++n_; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { --n_; }

 private:
  std::size_t& n_;
};

}  // namespace

// A peer that has it, and what it says of it.
struct image_mirror::offer {
  mirror_peer peer;
  std::string media_type, digest;
  std::uint64_t size = 0;
};

struct image_mirror::search {
  std::vector<mirror_peer> order;
  std::size_t next = 0, running = 0;
  std::optional<offer> found;
  reactor::event done;
};

image_mirror::image_mirror(image_mirror_parts parts) : parts_(std::move(parts)), http_(parts_.network) {}

result<void> image_mirror::use(const std::string& ca, const client_identity& identity) {
  KEDGE_TRY(tls_, client_context(ca, identity));
  http_.forget_idle();
  return {};
}

task<void> image_mirror::run() {
  auto path = fmt::format("/api/v1/nodes?labelSelector={}%3Dtrue", percent_encode(mirror_label));
  co_await parts_.nodes.follow(std::move(path), peers_);
}

task<void> image_mirror::serve(exchange& e, std::string user) {
  auto& asks = e.request();
  if (asks.method != "GET" && asks.method != "HEAD")
    co_return co_await refuse(e, 405, "UNSUPPORTED", "a mirror of images is only read");
  if (asks.path == "/v2" || asks.path == "/v2/") {
    response r{.status = 200};
    r.headers.add("Docker-Distribution-Api-Version", "registry/2.0");
    r.headers.add("Content-Type", "application/json");
    (void)co_await e.respond(r, "{}\n");
    co_return;
  }
  auto asked = parse_mirror_request(asks.path, asks.query);
  if (!asked) co_return co_await refuse(e, 404, "NAME_UNKNOWN", asked.error().message);
  if (!parts_.shared.has(asked->registry))
    co_return co_await refuse(e, 404, "NAME_UNKNOWN", "the registry is not among this node's mirrors");
  if (asked->tag == "latest" && !parts_.shares_latest)
    co_return co_await refuse(e, 404, "MANIFEST_UNKNOWN", "the registry itself knows what is latest");
  const bool own = user == std::string(node_user) + parts_.node_name;
  co_await (own ? serve_from_peers(e, *std::move(asked)) : serve_own(e, *std::move(asked)));
}

// --- what this node has

task<void> image_mirror::serve_own(exchange& e, mirror_request asked) {
  auto socket = parts_.socket();
  if (socket.empty()) co_return co_await not_here(e);
  content_store store(std::move(socket), parts_.network);
  if (asked.digest.empty()) {
    auto means = co_await store.digest_of(asked.image_name());
    if (!means || !is_sha256_digest(*means)) co_return co_await not_here(e);
    asked.digest = *std::move(means);
  }
  auto info = co_await store.info(asked.digest);
  if (!info || std::ranges::none_of(info->registries, [&](auto& r) { return parts_.shared.has(r); }))
    co_return co_await not_here(e);
  if (!asked.manifest) {
    auto sent = co_await send_own(e, store, asked.digest, info->size);
    if (!sent) log::debug("blob {} was not given to a node: {}", asked.digest, sent.error().message);
    if (!sent && e.started()) e.abort();
    if (!sent && !e.started()) co_await not_here(e);
    co_return;
  }
  if (info->size > mirror_manifest_bytes_max) co_return co_await not_here(e);
  std::string content;
  auto reader = co_await store.read(asked.digest);
  while (reader) {
    auto piece = co_await reader->next();
    if (!piece || content.size() + piece->size() > info->size) co_return co_await not_here(e);
    if (piece->empty()) break;
    content += *piece;
  }
  if (content.size() != info->size) co_return co_await not_here(e);
  (void)co_await e.respond(found(media_type_of(content), asked.digest, content.size()),
                           e.request().method == "HEAD" ? std::string_view() : content);
}

task<result<void>> image_mirror::send_own(exchange& e, content_store& store, std::string digest, std::uint64_t size) {
  auto head = found(blob_type, digest, size);
  if (e.request().method == "HEAD") co_return co_await e.respond(head, "");
  if (streams_ >= mirror_streams_max) co_return fail(errc::exhausted, "too many blobs are on their way");
  counted one(streams_);
  KEDGE_CO_TRY(auto reader, co_await store.read(std::move(digest)));
  KEDGE_CO_CHECK(co_await e.start(head));
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await reader.next());
    if (piece.empty()) break;
    KEDGE_CO_CHECK(co_await reactor::with_deadline(e.write(std::string_view(piece)), within(mirror_idle_max)));
    bytes_sent_ += piece.size();
  }
  co_return co_await e.finish();  // an error where it was less than it should be
}

// --- what others have

std::vector<std::string> image_mirror::resting() {
  std::erase_if(rest_until_, [now = loop::current().now()](auto& one) { return one.second <= now; });
  std::vector<std::string> out;
  for (auto& [name, until] : rest_until_) out.push_back(name);
  return out;
}

net::http::client_request image_mirror::to_peer(const mirror_peer& peer, const mirror_request& asked,
                                                std::string method) const {
  return {.to = {.at = peer.at, .tls = tls_}, .method = std::move(method), .path = asked.target()};
}

task<void> image_mirror::ask_one_after_another(search& s, mirror_request asked) {
  while (s.next < s.order.size() && !s.found) {
    auto peer = s.order[s.next++];
    auto answer =
        co_await reactor::with_deadline(http_.fetch(to_peer(peer, asked, "HEAD")), within(mirror_peer_deadline));
    if (!answer) {
      rest_until_[peer.name] = within(mirror_peer_rest);
      continue;
    }
    auto size = parse_uint(answer->headers.get("content-length"));
    std::string digest(answer->headers.get(digest_header));
    if (answer->status != 200 || !size || !is_sha256_digest(digest) ||
        (!asked.digest.empty() && digest != asked.digest) || s.found)
      continue;
    s.found = offer{std::move(peer), std::string(answer->headers.get("content-type")), std::move(digest), *size};
    s.done.set();
  }
  if (--s.running == 0) s.done.set();
}

task<std::optional<image_mirror::offer>> image_mirror::who_has(mirror_request asked, std::vector<std::string> but) {
  search s;
  auto rest = resting();
  rest.insert(rest.end(), but.begin(), but.end());
  s.order = peers_to_ask(peers_, asked, parts_.node_name, rest, loop::current().random());
  if (s.order.empty()) co_return std::nullopt;
  s.running = std::min(mirror_peers_at_once, s.order.size());
  reactor::scope asking;
  for (auto n = s.running; n > 0; --n) asking.spawn(ask_one_after_another(s, asked));
  co_await s.done.wait_until(within(mirror_search_max));
  asking.cancel();
  co_return std::move(s.found);
}

task<void> image_mirror::serve_from_peers(exchange& e, mirror_request asked) {
  std::vector<std::string> failed;
  const std::string label(parts_.shared.label(asked.registry));
  for (unsigned attempt = 0; attempt < mirror_attempts_max && tls_; ++attempt) {
    auto offered = co_await who_has(asked, failed);
    if (!offered) break;
    auto name = offered->peer.name;
    auto passed = co_await pass_on(e, *std::move(offered), asked);
    if (passed) {
      ++counts_[label].hits;
      co_return;
    }
    log::debug("{} of {} did not come from node {}: {}", asked.target(), asked.registry, name, passed.error().message);
    if (e.started()) co_return e.abort();
    failed.push_back(std::move(name));
  }
  ++counts_[label].misses;
  co_await not_here(e);
}

task<result<void>> image_mirror::pass_on(exchange& e, offer from, mirror_request asked) {
  if (e.request().method == "HEAD") {
    auto head = found(from.media_type, from.digest, from.size);
    co_return co_await e.respond(head, "");
  }
  asked.digest = from.digest;  // a tag may mean something else a moment later
  asked.tag.clear();
  auto name = from.peer.name;
  auto done = co_await (asked.manifest ? pass_on_manifest(e, std::move(from), std::move(asked))
                                       : pass_on_blob(e, std::move(from), std::move(asked)));
  if (!done && done.error().code == errc::corrupt) {
    log::warning("node {} gave an image's content that is damaged: {}", name, done.error().message);
    rest_until_[std::move(name)] = within(mirror_peer_rest);
  }
  co_return done;
}

task<result<void>> image_mirror::pass_on_manifest(exchange& e, offer from, mirror_request asked) {
  KEDGE_CO_TRY(auto answer,
               co_await reactor::with_deadline(http_.fetch(to_peer(from.peer, asked, "GET"), mirror_manifest_bytes_max),
                                               within(mirror_peer_deadline)));
  if (answer.status != 200) co_return fail(errc::not_found, fmt::format("it answered {}", answer.status));
  if (digest_of(answer.body) != asked.digest) co_return fail(errc::corrupt, asked.digest);
  bytes_received_ += answer.body.size();
  co_return co_await e.respond(found(from.media_type, asked.digest, answer.body.size()), answer.body);
}

task<result<void>> image_mirror::pass_on_blob(exchange& e, offer from, mirror_request asked) {
  if (streams_ >= mirror_streams_max) co_return fail(errc::exhausted, "too many blobs are on their way");
  counted one(streams_);
  KEDGE_CO_TRY(auto x, co_await reactor::with_deadline(http_.open(to_peer(from.peer, asked, "GET")),
                                                       within(mirror_peer_deadline)));
  KEDGE_CO_TRY(auto* head, co_await reactor::with_deadline(x->head(), within(mirror_peer_deadline)));
  if (head->status != 200) co_return fail(errc::not_found, fmt::format("it answered {}", head->status));
  crypto::sha256_hasher hash;
  reactor::buffer held;  // the newest piece: it goes when it is known to be right, or another came
  std::uint64_t received = 0;
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await reactor::with_deadline(x->read(), within(mirror_idle_max)));
    received += piece.size();
    if (received > from.size) co_return fail(errc::corrupt, asked.digest + ": it is longer than it was said to be");
    const bool last = piece.empty();
    hash.update(as_text(piece.view()));
    if (last && "sha256:" + hash.hex() != asked.digest) co_return fail(errc::corrupt, asked.digest);
    if (!e.started() && (last || !held.empty()))
      KEDGE_CO_CHECK(co_await e.start(found(blob_type, asked.digest, from.size)));
    if (!held.empty())
      KEDGE_CO_CHECK(co_await reactor::with_deadline(e.write(as_text(held.view())), within(mirror_idle_max)));
    if (last) break;
    held = std::move(piece);
  }
  bytes_received_ += received;
  co_return co_await e.finish();
}

// spegel_…: K3s's mirror's own.
void image_mirror::write_metrics(exposition& out) const {
  out.family("spegel_mirror_requests_total", "counter", "Total number of mirror requests.");
  for (auto& [registry, n] : counts_) {
    out.sample(label_text({{"registry", registry}, {"cache", "hit"}}), n.hits);
    out.sample(label_text({{"registry", registry}, {"cache", "miss"}}), n.misses);
  }
  out.family("kedge_mirror_peers", "gauge", "Nodes that this one can ask for images.");
  out.sample("", peers_.size());
  out.family("kedge_mirror_bytes_total", "counter", "Bytes of images that came from other nodes, or went there.");
  out.sample(label_text({{"direction", "received"}}), bytes_received_);
  out.sample(label_text({{"direction", "sent"}}), bytes_sent_);
}

}  // namespace kedge::node
