#include "api/encryption/opening_log.h"

namespace kedge::api::encryption {
namespace {

using namespace datastore;

class opening_log final : public log {
 public:
  opening_log(std::unique_ptr<log> inner, value_opener open, landing_witness landed)
      : inner_(std::move(inner)), open_(std::move(open)), landed_(std::move(landed)) {}

  task<result<void>> open() override { return inner_->open(); }
  task<result<page>> load(revision after) override { return opened(inner_->load(after)); }
  task<result<page>> load_live(revision after) override { return opened(inner_->load_live(after)); }
  task<result<void>> begin() override { return inner_->begin(); }
  task<result<appended>> append(batch ops) override {
    auto done = co_await inner_->append(ops);
    if (!done) co_return done;
    for (std::size_t i = 0; i < ops->size(); ++i)
      if (auto& o = done->outcomes[i]; o.what == outcome::status::committed) landed_((*ops)[i], o.at);
    for (auto& e : done->others) co_await open_(e);
    co_return done;
  }
  task<result<page>> tail(revision after, time_point deadline) override {
    return opened(inner_->tail(after, deadline));
  }
  task<result<past_page>> past(past_question q) override {
    auto read = co_await inner_->past(std::move(q));
    if (!read) co_return read;
    for (auto& c : read->changes) {
      co_await open_(c.what);
      if (!c.replaced) continue;
      entry before{.at = c.what.previous, .name = c.what.name, .value = *c.replaced};
      co_await open_(before);
    }
    co_return read;
  }
  task<result<revision>> current() override { return inner_->current(); }
  task<result<void>> compact(revision to) override { return inner_->compact(to); }
  task<result<void>> give_back() override { return inner_->give_back(); }
  std::optional<space> occupied() const override { return inner_->occupied(); }
  void hold(revision from) override { inner_->hold(from); }
  task<result<void>> tell_loss(revision seen) override { return inner_->tell_loss(seen); }
  task<result<void>> pass_over(revision seen) override { return inner_->pass_over(seen); }
  task<void> close() override { return inner_->close(); }
  bool shared() const noexcept override { return inner_->shared(); }
  result<void> healthy() const override { return inner_->healthy(); }
  std::string description() const override { return inner_->description(); }

 private:
  task<result<page>> opened(task<result<page>> reading) {
    auto read = co_await std::move(reading);
    if (!read) co_return read;
    for (auto& e : read->entries) co_await open_(e);
    co_return read;
  }

  std::unique_ptr<log> inner_;
  value_opener open_;
  landing_witness landed_;
};

}  // namespace

std::unique_ptr<datastore::log> make_opening_log(std::unique_ptr<datastore::log> inner, value_opener open,
                                                 landing_witness landed) {
  return std::make_unique<opening_log>(std::move(inner), std::move(open), std::move(landed));
}

}  // namespace kedge::api::encryption
