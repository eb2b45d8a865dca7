#include "tunnel/session.h"

#include <algorithm>
#include <cstring>

namespace kedge::tunnel {

session::session(role own, transport& t, std::string client_key, std::int64_t session_key)
    : own_(own), transport_(t), client_key_(std::move(client_key)), session_key_(session_key) {
  // As remotedialer: a random 63-bit start. Kept below 2^62, so that counting up never overflows.
  next_frame_ = static_cast<std::int64_t>(reactor::loop::current().random().next() >> 2);
}

std::shared_ptr<flow> session::find(std::int64_t id) const {
  auto i = flows_.find(id);
  return i == flows_.end() ? nullptr : i->second;
}

void session::send(std::int64_t connection, frame_type type, std::string_view body) {
  transport_.control(make_frame(next_frame_++, connection, type, body));
}

std::size_t session::data_header(const flow& f, std::span<std::byte, frame_header_max_bytes> out) noexcept {
  return write_frame_header(out, next_frame_++, f.id, frame_type::data);
}

result<void> session::receive(bytes piece, bool final, reactor::buffer* whole) {
  using kind = frame_decoder::event::kind;
  KEDGE_TRY(auto e, decoder_.feed(piece, final));
  switch (e.what) {
    case kind::none: break;
    case kind::data: on_data(e, whole); break;
    case kind::connect: return on_connect(e);
    case kind::error: on_error(e); break;
    case kind::pause:
      if (auto f = find(e.connection)) f->peer_paused = true;
      break;
    case kind::resume:
      if (auto f = find(e.connection)) {
        f->peer_paused = false;
        f->writable.pulse();
      }
      break;
    case kind::sync: on_sync(e.ids); break;
  }
  return {};
}

void session::on_data(const frame_decoder::event& e, reactor::buffer* whole) {
  auto f = find(e.connection);
  if (!f) {
    if (e.first)
      send(e.connection, frame_type::error,
           "connection not found " + client_key_ + "/" + std::to_string(session_key_) + "/" +
               std::to_string(e.connection));
    return;
  }
  f->known_to_peer = f->any_received = true;
  if (e.payload.empty()) return;
  reactor::buffer b;
  if (whole && e.payload.size() >= copy_below_bytes) {
    b = std::move(*whole);
    b.consume(b.size() - e.payload.size());
  } else {
    b = reactor::buffer::allocate(e.payload.size());
    std::memcpy(b.writable().data(), e.payload.data(), e.payload.size());
  }
  f->held_bytes += b.size() + piece_cost_bytes;
  f->received.push_back(std::move(b));
  if (f->held_bytes > receive_hold_max_bytes) return close(*f, "too much was sent after a pause");
  // Once; and again for every 2 MiB more: a Go peer that pauses and resumes us forgets that we had paused it.
  if (f->held_bytes > f->paused_at_bytes + pause_above_bytes) {
    f->paused_at_bytes = f->held_bytes;
    send(f->id, frame_type::pause);
  }
  f->readable.pulse();
}

reactor::buffer session::take(flow& f) {
  auto b = std::move(f.received.front());
  f.received.pop_front();
  f.held_bytes -= b.size() + piece_cost_bytes;
  if (f.paused_at_bytes > 0 && f.held_bytes < resume_below_bytes && f.owner) {
    f.paused_at_bytes = 0;
    f.owner->send(f.id, frame_type::resume);
  }
  return b;
}

result<void> session::on_connect(const frame_decoder::event& e) {
  // A remotedialer server has no authorizer either, and ends the session.
  if (own_ == role::server) return fail(errc::forbidden, "tunnel: the node asked the server to connect somewhere");
  if (flows_.contains(e.connection)) return fail(errc::protocol, "tunnel: a Connect for an id that is in use");
  if (e.cut || flows_.size() >= streams_max) {
    send(e.connection, frame_type::error, e.cut ? "the address is too long" : "too many connections");
    return {};
  }
  auto f = std::make_shared<flow>();
  f->id = e.connection;
  f->owner = this;
  f->protocol = e.protocol;
  f->address = e.address;
  f->known_to_peer = true;
  flows_.emplace(f->id, f);
  transport_.connect_asked(std::move(f));
  return {};
}

void session::on_error(const frame_decoder::event& e) {
  auto f = find(e.connection);
  if (!f) return;
  std::string text(e.text.empty() ? std::string_view("EOF") : e.text);
  send(f->id, frame_type::error, text);
  remove(*f, text);
}

void session::on_sync(std::span<const std::int64_t> ids) {
  std::vector<std::shared_ptr<flow>> gone;
  for (auto& [id, f] : flows_) {
    if (std::binary_search(ids.begin(), ids.end(), id)) {
      f->known_to_peer = true;
    } else if (f->known_to_peer || f->missed_a_sync) {
      gone.push_back(f);
    } else {
      f->missed_a_sync = true;
    }
  }
  for (auto& f : gone) remove(*f, "the peer no longer knows the connection");
}

result<std::shared_ptr<flow>> session::open(std::string_view protocol, std::string_view address) {
  if (flows_.size() >= streams_max)
    return fail(errc::exhausted, "too many streams are open in the tunnel to " + client_key_);
  if (protocol.size() + 1 + address.size() > connect_text_max_bytes || protocol.find('/') != std::string_view::npos)
    return fail(errc::invalid, "not an address for a tunnel: " + std::string(address));
  auto f = std::make_shared<flow>();
  f->id = ++last_connection_;
  f->owner = this;
  f->protocol = protocol;
  f->address = address;
  flows_.emplace(f->id, f);
  send(f->id, frame_type::connect, f->protocol + "/" + f->address);
  return f;
}

void session::close(flow& f, std::string_view why) {
  if (f.owner != this) return;
  auto keep = find(f.id);
  send(f.id, frame_type::error, why.substr(0, error_text_max_bytes));
  f.ended_here = true;
  remove(f, why);
}

// Takes it out of the table and wakes who waits. The caller holds a reference.
void session::remove(flow& f, std::string_view why) noexcept {
  f.owner = nullptr;
  f.end_text = why;
  flows_.erase(f.id);
  f.readable.pulse();
  f.writable.pulse();
}

void session::sync() {
  std::vector<std::int64_t> ids;
  ids.reserve(flows_.size());
  for (auto& [id, f] : flows_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  send(0, frame_type::sync_connections, sync_body(ids));
}

void session::end(std::string_view why) noexcept {
  auto all = std::move(flows_);
  flows_.clear();
  for (auto& [id, f] : all) {
    f->received.clear();
    f->owner = nullptr;
    f->end_text = why;
    f->readable.pulse();
    f->writable.pulse();
  }
}

}  // namespace kedge::tunnel
