#include "backends.h"

#include <doctest/doctest.h>

#include <algorithm>

namespace kedge::datastore {

std::vector<backend_kind>& backends() {
  static std::vector<backend_kind> all;
  return all;
}

operation create(std::string name, std::string value, std::uint32_t lease) {
  return {change::create, std::move(name), std::move(value), 0, 0, lease};
}
operation update(const entry& standing, std::string value, std::uint32_t lease) {
  return {change::update, standing.name, std::move(value), standing.at, standing.created, lease};
}
operation remove(const entry& standing) {
  return {change::remove, standing.name, {}, standing.at, standing.created, 0};
}

void server::apply(std::span<const entry> entries) {
  // Several may share a revision, and come together.
  const auto known = applied_;
  for (auto& e : entries)
    if (e.at > known) apply(e);
}

void server::apply(const entry& e) {
  applied_ = e.at;
  history_.push_back(e);
  if (e.kind == change::remove)
    heads_.erase(e.name);
  else
    heads_[e.name] = e;
}

task<result<void>> server::load(revision after) {
  for (;;) {
    KEDGE_CO_TRY(auto p, co_await log_->load(after));
    apply(p.entries);
    applied_ = std::max(applied_, p.at);
    after = p.at;
    if (p.done) co_return result<void>();
  }
}

task<result<void>> server::start() {
  KEDGE_CO_CHECK(co_await log_->open());
  KEDGE_CO_CHECK(co_await load(0));
  KEDGE_CO_CHECK(co_await log_->begin());
  co_return co_await load(applied_);
}

task<result<std::vector<outcome>>> server::write(std::vector<operation> ops) {
  auto from = history_.size();
  auto batch = std::make_shared<const std::vector<operation>>(std::move(ops));
  auto done = co_await log_->append(batch);
  if (!done && done.error().code == errc::unknown_outcome) {
    for (;;) {
      auto loaded = co_await load(applied_);
      if (loaded) break;
      co_await reactor::sleep_for(std::chrono::milliseconds(20));
    }
    std::vector<outcome> out;
    bool any = false;
    for (auto& op : *batch) {
      auto found =
          std::find_if(history_.begin() + static_cast<std::ptrdiff_t>(from), history_.end(), [&](const entry& e) {
            return e.name == op.name && e.kind == op.kind && e.value == op.value &&
                   (op.kind == change::create || e.previous == op.expected);
          });
      bool there = found != history_.end();
      any = any || there;
      auto missing = log_->in_one_piece() ? outcome::status::conflict : outcome::status::refused;
      out.push_back({there ? outcome::status::committed : missing, there ? found->at : 0});
    }
    if (!any) co_return fail(errc::unavailable, "did not land");
    co_return out;
  }
  if (!done) co_return fail(std::move(done).error());
  apply(done->others);
  for (std::size_t i = 0; i < batch->size(); ++i) {
    auto& op = (*batch)[i];
    auto& o = done->outcomes[i];
    if (o.what != outcome::status::committed || o.at <= applied_) continue;
    apply({o.at, op.kind, op.name, op.value, op.expected, op.kind == change::create ? o.at : op.created,
           op.lease_seconds});
  }
  co_return std::move(done->outcomes);
}

task<result<void>> server::follow(time_point deadline) {
  KEDGE_CO_TRY(auto p, co_await log_->tail(applied_, deadline));
  apply(p.entries);
  applied_ = std::max(applied_, p.at);
  co_return result<void>();
}

task<result<void>> server::catch_up(revision to, time_point deadline) {
  while (applied_ < to) {
    if (reactor::loop::current().now() >= deadline) co_return fail(errc::timeout, "it does not come");
    KEDGE_CO_CHECK(co_await follow(deadline));
  }
  co_return result<void>();
}

}  // namespace kedge::datastore
