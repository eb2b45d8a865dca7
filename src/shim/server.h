// server.h: ttrpc over a Unix socket: connections, calls and their answers.
//
// A connection at rest holds no buffer. A call's answer goes where its connection still is, else nowhere.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shim/loop.h"
#include "shim/ttrpc.h"

namespace kedge::shim {

class connection;

// Answers one call, once.
class reply {
 public:
  reply(std::weak_ptr<connection> to, std::uint32_t stream) : to_(std::move(to)), stream_(stream) {}
  void operator()(const result<std::string>& answer) const;
  // Nobody waits for it any more.
  bool abandoned() const { return to_.expired(); }

 private:
  std::weak_ptr<connection> to_;
  std::uint32_t stream_;
};

class server final : public watcher {
 public:
  // What is done with a call; `r` is only valid within.
  using handler = std::function<void(const ttrpc::request& r, reply answer)>;
  // `listener`: a socket that listens, and doesn't block.
  server(loop& l, descriptor listener, handler h);
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  ~server();

  void ready(std::uint32_t events) override;

 private:
  friend class connection;
  void close(const connection& c);

  loop& loop_;
  descriptor listener_;
  handler handler_;
  std::vector<std::shared_ptr<connection>> connections_;
};

}  // namespace kedge::shim
