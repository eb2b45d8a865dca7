// world.h: the API handler with real admission and authorization over a store in memory, on one loop whose turns are
// measured.
//
// What is measured is processor time: another program's turn on this processor doesn't count, and neither does waiting.
#pragma once

#include <ctime>

#include "api/admission/chain.h"
#include "api/authorization/rbac.h"
#include "api/bootstrap.h"
#include "api/custom/tables.h"
#include "api/local_objects.h"
#include "harness.h"

namespace kedge::turns {

inline duration time_of(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

struct request_shape {
  std::string method, target, body, content_type, accept;
};

struct measured {
  int code = 0;
  std::string answer;
  duration longest{0};  // turn of the loop
  duration all{0};      // turns together, and what other threads did of it
};

class world {
 public:
  world();
  ~world();
  measured ask(const request_shape& q);
  // An object as if it had been created, whatever validation says to it; in the place of what was there.
  void put(const api::served& s, json::value object);
  void forget(const api::served& s, std::string_view ns, std::string_view name);

  static constexpr std::string_view ns = "mine";

 private:
  reactor::loop loop_{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here_{loop_};
  datastore::memory_database database_;
  std::unique_ptr<store::store> objects_;
  api::everyone who_;
  std::unique_ptr<api::authorizer> may_;
  std::unique_ptr<api::custom::tables> tables_;
  std::unique_ptr<api::admission_chain> rules_;
  api::health checks_;
  api::metrics measures_;
  api::service_ranges ranges_;
  std::unique_ptr<api::api_handler> handler_;
  std::unique_ptr<api::objects> client_;
};

}  // namespace kedge::turns
