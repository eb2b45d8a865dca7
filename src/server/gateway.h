// gateway.h: gives a request to its loop's front; before there is one, the answer of a server that starts.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "net/http/handler.h"
#include "server/front.h"

namespace kedge::server {

class gateway final : public net::http::handler {
 public:
  explicit gateway(const machine& where) : loops_(where.loops), fronts_(loops_.size()), known_names_(loops_.size()) {}

  task<void> serve(net::http::exchange& e) override;
  // Tells each name under which a client reaches this server, once a loop; from the loop that it came to. Once.
  void tell_names(std::function<void(std::vector<std::string>)> tell);

  // On the loop itself.
  void open(std::unique_ptr<front> f) { fronts_[index()] = std::move(f); }
  void close() { fronts_[index()].reset(); }
  front* here() { return fronts_[index()].get(); }

 private:
  std::size_t index() const;
  static task<void> starting(net::http::exchange& e);
  void notice(net::http::exchange& e, const std::function<void(std::vector<std::string>)>& tell);

  std::vector<reactor::loop*> loops_;
  std::vector<std::unique_ptr<front>> fronts_;      // each touched by its own loop only
  std::vector<std::set<std::string>> known_names_;  // as well
  std::function<void(std::vector<std::string>)> told_to_;
  std::atomic<const std::function<void(std::vector<std::string>)>*> tell_ = nullptr;  // told_to_ once that is complete
};

}  // namespace kedge::server
