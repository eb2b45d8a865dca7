// fence.h: what keeps a leader that doesn't know yet that it leads no longer from writing.
//
//   begin to lead ─▶ the row /kedge/terms/<name> is written anew: its revision is this leader's term
//   each write of its controllers ─▶ guarded by that revision, in the commit itself ─▶ refused once another has begun
//
// So of two leaders at the same moment only the later one's writes land, whatever clocks and stalls there were. Servers
// of K3s know nothing of it: with them it is as between two of them.
#pragma once

#include <string>

#include "store/store.h"

namespace kedge::control {

// A store whose writes hold only while the term does. Everything else is the inner one's, which outlives it.
class fenced_store final : public store::store {
 public:
  using revision = kedge::store::revision;
  explicit fenced_store(kedge::store::store& inner) noexcept : inner_(inner) {}
  // Begins a term; 0: no fence. On the loop where it is used.
  void set_term(std::string key, revision at) {
    key_ = std::move(key);
    term_ = at;
  }

  kedge::store::snapshot current() const override { return inner_.current(); }
  task<result<kedge::store::snapshot>> latest() override { return inner_.latest(); }
  task<result<kedge::store::snapshot>> at_least(revision at, time_point deadline) override {
    return inner_.at_least(at, deadline);
  }
  task<result<kedge::store::snapshot>> exactly(revision at, std::string prefix, time_point deadline) override {
    return inner_.exactly(at, std::move(prefix), deadline);
  }
  void keep(const kedge::store::snapshot& s) override { inner_.keep(s); }
  task<result<kedge::store::commit>> write(kedge::store::mutation m) override {
    if (term_ != 0) m.guards.push_back({key_, term_});
    return inner_.write(std::move(m));
  }
  using kedge::store::store::watch;
  result<std::unique_ptr<kedge::store::watcher>> watch(kedge::store::watch_scope scope, revision from) override {
    return inner_.watch(std::move(scope), from);
  }
  void add_index(kedge::store::index what) override { inner_.add_index(std::move(what)); }
  void remove_index(std::string name) override { inner_.remove_index(std::move(name)); }
  result<void> healthy() const override { return inner_.healthy(); }
  result<void> complete() const override { return inner_.complete(); }
  void end_watches() override { inner_.end_watches(); }
  task<void> close() override { return inner_.close(); }

 private:
  kedge::store::store& inner_;
  std::string key_;
  revision term_ = 0;
};

std::string term_key(std::string_view name);
// Writes the row anew, so that whoever led before can't write any more; the revision of the new term. Tries until it
// succeeds.
task<store::revision> begin_term(store::store& s, std::string name, std::string identity);

}  // namespace kedge::control
