#include "api/tracing/span.h"

#include "api/tracing/collector.h"
#include "api/tracing/limits.h"
#include "base/strings.h"
#include "reactor/loop.h"

namespace kedge::api::tracing {
namespace {

// Cut between characters.
std::string_view cut(std::string_view text) {
  if (text.size() <= text_max_bytes) return text;
  auto end = text_max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

attribute::attribute(std::string n, std::string_view v) : name(std::move(n)), value(std::string(cut(v))) {}

live_span live_span::child(std::string_view name, span_kind kind) const {
  if (!state_) return {};
  auto s = std::make_unique<state>(state{.at = state_->at, .to = state_->to});
  if (!s->to) return live_span(std::move(s));
  auto& l = reactor::loop::current();
  s->at.span = new_span_id(l.random());
  if (state_->of) {
    s->of = std::make_unique<span>();
    *s->of = {.at = s->at, .parent = state_->at.span, .name = std::string(name), .kind = kind, .begin = l.wall_now()};
  }
  return live_span(std::move(s));
}

void live_span::add(attribute a) {
  if (told()) state_->of->with.push_back(std::move(a));
}

void live_span::add_all(attributes more) {
  if (!told()) return;
  for (auto& a : more) state_->of->with.push_back(std::move(a));
}

void live_span::happened(std::string_view what, attributes with) {
  if (!told() || state_->of->events.size() >= events_max) return;
  state_->of->events.push_back({std::string(what), reactor::loop::current().wall_now(), std::move(with)});
}

void live_span::failed(std::string_view why) {
  if (!told()) return;
  state_->of->failed = true;
  state_->of->failure = cut(why);
}

void live_span::name(std::string_view text) {
  if (told()) state_->of->name = text;
}

void live_span::end() noexcept {
  auto s = std::move(state_);
  if (!s || !s->of) return;
  s->of->end = reactor::loop::current().wall_now();
  s->to->take(std::move(*s->of));
}

void live_span::tell(net::http::headers& to) const {
  if (!state_) return;
  to.set("traceparent", traceparent(state_->at));
  if (!state_->at.state.empty()) to.set("tracestate", state_->at.state);
}

std::optional<context> named_by(const net::http::headers& from) {
  auto out = parse_traceparent(from.get("traceparent"));
  if (!out) return out;
  if (auto state = from.get("tracestate"); state.size() <= state_max_bytes) out->state = state;
  return out;
}

live_span passed_on(const net::http::headers& from) {
  auto named = named_by(from);
  return named ? collector::pass_on(*std::move(named)) : live_span();
}

}  // namespace kedge::api::tracing
