// checkpoint_file.h: a file that has what a ledger says now, as the kubelet's checkpoints do: replaced as a whole, one
// write after the other (what was older would be written last), and only when it would be another.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "reactor/sync.h"
#include "reactor/task.h"
#include "reactor/turn.h"

namespace kedge::node {

class checkpoint_file {
 public:
  // Files above `bytes_max` are refused. Its folder is made with the first write.
  checkpoint_file(std::string path, std::size_t bytes_max) : path_(std::move(path)), bytes_max_(bytes_max) {}
  checkpoint_file(const checkpoint_file&) = delete;
  checkpoint_file& operator=(const checkpoint_file&) = delete;

  const std::string& path() const { return path_; }
  // What it has; none: there is no such file yet.
  task<result<std::optional<std::string>>> read();
  // What isn't worth a write: what a ledger says that was never changed.
  void assume(std::string text) { has_ = std::move(text); }
  // Returns when the file has what the ledger says (`std::string checkpoint() const`) when it is this write's turn.
  template <typename Ledger>
  task<result<void>> write(const Ledger& ledger) {
    co_await one_.acquire();
    reactor::turn mine(one_);
    co_return co_await replace(ledger.checkpoint());
  }

 private:
  task<result<void>> replace(std::string text);

  std::string path_;
  std::size_t bytes_max_;
  std::string has_;
  reactor::semaphore one_{1};
};

}  // namespace kedge::node
