// watched_log.h: a datastore's log, and somebody who sees what is given to it before it can land.
#pragma once

#include <functional>
#include <memory>

#include "datastore/log.h"

namespace kedge::sim {

class watched_log final : public datastore::log {
 public:
  using page = datastore::page;
  using revision = datastore::revision;
  watched_log(std::unique_ptr<datastore::log> inner, std::function<void(const datastore::operation&)> told)
      : inner_(std::move(inner)), told_(std::move(told)) {}

  task<result<void>> open() override { return inner_->open(); }
  task<result<page>> load(revision after) override { return inner_->load(after); }
  task<result<page>> load_live(revision after) override { return inner_->load_live(after); }
  task<result<void>> begin() override { return inner_->begin(); }
  task<result<datastore::appended>> append(datastore::batch ops) override {
    for (auto& op : *ops) told_(op);
    return inner_->append(std::move(ops));
  }
  task<result<page>> tail(revision after, time_point deadline) override { return inner_->tail(after, deadline); }
  task<result<datastore::past_page>> past(datastore::past_question q) override { return inner_->past(std::move(q)); }
  task<result<revision>> current() override { return inner_->current(); }
  task<result<void>> compact(revision to) override { return inner_->compact(to); }
  void hold(revision from) override { inner_->hold(from); }
  task<result<void>> tell_loss(revision seen) override { return inner_->tell_loss(seen); }
  task<result<void>> pass_over(revision seen) override { return inner_->pass_over(seen); }
  task<void> close() override { return inner_->close(); }
  bool shared() const noexcept override { return inner_->shared(); }
  result<void> healthy() const override { return inner_->healthy(); }
  std::string description() const override { return inner_->description(); }

 private:
  std::unique_ptr<datastore::log> inner_;
  std::function<void(const datastore::operation&)> told_;
};

inline std::unique_ptr<datastore::log> watch_log(std::unique_ptr<datastore::log> inner,
                                                 std::function<void(const datastore::operation&)> told) {
  return std::make_unique<watched_log>(std::move(inner), std::move(told));
}

}  // namespace kedge::sim
