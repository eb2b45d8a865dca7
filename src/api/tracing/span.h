// span.h: what is told of a piece of work: when it began and ended, and within what.
//
//   collector::begin (a request) ─▶ live_span ─ child() ─▶ live_span …     each ends with its scope ─▶ collector
//
// A live span of a request that isn't traced costs a test of a pointer, and its children are as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "api/tracing/context.h"
#include "base/time.h"
#include "net/http/handler.h"

namespace kedge::api::tracing {

struct attribute {
  std::string name;
  std::variant<std::string, std::int64_t> value;

  attribute(std::string n, std::string_view v);  // cut at text_max_bytes
  attribute(std::string n, std::int64_t v) : name(std::move(n)), value(v) {}
};
using attributes = std::vector<attribute>;

struct event {
  std::string name;
  wall_time at;
  attributes with;
};

enum class span_kind : unsigned char { internal = 1, server = 2, client = 3 };  // OTLP's numbers

struct span {
  context at;
  span_id parent{};  // zero: it begins the trace
  std::string name;
  span_kind kind = span_kind::internal;
  wall_time begin{}, end{};
  attributes with;
  std::vector<event> events;
  std::optional<context> link;  // a trace that the client named and that isn't followed
  bool failed = false;
  std::string failure;
};

class collector;

// Of one core. The collector outlives it.
class live_span {
 public:
  live_span() noexcept = default;  // nothing is told
  live_span(live_span&&) noexcept = default;
  live_span& operator=(live_span&& o) noexcept {
    end();
    state_ = std::move(o.state_);
    return *this;
  }
  ~live_span() { end(); }

  // Whether what is added will be told. What costs something to make is made only then.
  bool told() const noexcept { return state_ && state_->of; }
  live_span child(std::string_view name, span_kind kind = span_kind::internal) const;

  void add(attribute a);
  void add_all(attributes more);
  void happened(std::string_view what, attributes with = {});
  void failed(std::string_view why = {});
  void name(std::string_view text);
  void end() noexcept;

  // What a request to another server, which is this span, says of its trace; nothing when there is none.
  void tell(net::http::headers& to) const;

 private:
  friend class collector;
  struct state {
    context at;
    collector* to = nullptr;        // null: the client's trace is passed on, and nobody here tells of it
    std::unique_ptr<span> of = {};  // null: not sampled
  };
  explicit live_span(std::unique_ptr<state> s) noexcept : state_(std::move(s)) {}
  std::unique_ptr<state> state_;
};

// A child of what may not be there.
inline live_span child_of(const live_span* parent, std::string_view name, span_kind kind = span_kind::internal) {
  return parent ? parent->child(name, kind) : live_span();
}

// A request that isn't told of here: its trace is passed on as it came. Nothing without one.
live_span passed_on(const net::http::headers& from);
// The trace that a client names.
std::optional<context> named_by(const net::http::headers& from);

}  // namespace kedge::api::tracing
