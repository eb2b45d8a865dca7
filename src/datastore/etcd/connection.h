// connection.h: one connection to a member of an etcd cluster, over gRPC, on the calling core's loop: any number of
// questions on their way, answered in any order, until it is lost.
//
//   any_member(): all members at once ─▶ the first that answers for a majority ─▶ connection
//   connection ── ask(method, message) ─▶ the answer's message
//              └─ events(first) ─▶ what was changed from there on, by anybody
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datastore/etcd/messages.h"
#include "datastore/etcd/settings.h"
#include "net/grpc.h"
#include "reactor/sync.h"

namespace kedge::datastore::etcd {

// What an error of etcd means for who asked.
enum class meaning : unsigned char {
  unknown,    // a write may have landed: the connection was lost, time ran out, or nobody knows the word
  not_now,    // it did not land; it may be tried again at once, or (asked again) at another member
  no_space,   // the alarm NOSPACE: it landed only if it is what raised it
  too_large,  // it did not land, and never will
  forbidden,  // it did not land: user, password or permissions
  compacted,  // a revision that was asked for is gone
};
meaning meaning_of(const error& e);

// Shared by a connection, what is on its way on it and its streams, which may outlive it for a turn.
struct connection_state {
  explicit connection_state(net::http::target to) : channel(std::move(to)) {}
  void abandon(error why);
  duration silent() const;

  net::grpc::channel channel;
  net::http::headers metadata;  // the token
  std::optional<error> broken;
  reactor::event lost;
  std::map<std::uint64_t, time_point> waiting;  // questions to the majority, by their number
  std::uint64_t asked = 0;
  time_point heard{};
};

// A stream of changes, whole revisions at a time.
class event_stream {
 public:
  event_stream(std::unique_ptr<net::grpc::call> c, std::shared_ptr<connection_state> of)
      : of_(std::move(of)), call_(std::move(c)) {}
  struct piece {
    std::vector<watch_event> events;  // in order of their revisions
    std::uint64_t upto = 0;           // nothing up to there is missing
  };
  // errc::expired: what it was to begin with is compacted; compacted() says up to where. errc::closed: with its
  // connection.
  task<result<piece>> next();
  std::uint64_t compacted() const noexcept { return compacted_; }
  // Its connection, too.
  void abandon(error why) { of_->abandon(std::move(why)); }

 private:
  std::shared_ptr<connection_state> of_;
  std::unique_ptr<net::grpc::call> call_;
  std::vector<watch_event> unfinished_;  // of the newest revision, of which a part may follow
  std::uint64_t compacted_ = 0;
};

class connection {
 public:
  // To the member, with the user's token; it has answered for a majority, `at()`. errc::unavailable while that may
  // pass, errc::forbidden and errc::unsupported when it won't.
  static task<result<std::unique_ptr<connection>>> open(settings s, std::size_t member,
                                                        std::shared_ptr<net::tls_client_context> tls);
  // What a member says of itself, also one that hasn't the majority, or is learning.
  static task<result<status_answer>> status_of(settings s, std::size_t member,
                                               std::shared_ptr<net::tls_client_context> tls);
  connection(const connection&) = delete;
  ~connection();  // what is on its way fails with errc::closed

  const header& at() const noexcept { return at_; }
  const status_answer& status() const noexcept { return status_; }
  const std::string& member_url() const noexcept { return url_; }

  // As link.h's. `lost` is also set when it is abandoned.
  bool usable() const noexcept { return !state_->broken; }
  const error& why() const noexcept { return *state_->broken; }
  reactor::event& lost() noexcept { return state_->lost; }
  void abandon(error why) { state_->abandon(std::move(why)); }
  duration silent() const { return state_->silent(); }
  // How long the oldest question that a majority has to answer waits.
  duration oldest() const;

  // The answer; a lost connection is errc::closed. `by_majority`: a member that doesn't answer it can't reach the
  // others, which makes it silent().
  task<result<std::string>> ask(const char* method, std::string message, bool by_majority = true) const {
    return ask_with(state_, method, std::move(message), by_majority);
  }
  task<result<std::unique_ptr<event_stream>>> events(std::uint64_t first) const { return events_with(state_, first); }
  // Keys of a range, a page: fewer than asked for when they are large (`more` tells).
  task<result<range_answer>> range(range_request r) const { return range_with(state_, std::move(r)); }
  // Up to which revision the history is forgotten; 0: not at all.
  task<result<std::uint64_t>> compacted() const { return compacted_with(state_); }

 private:
  using state = connection_state;
  explicit connection(std::shared_ptr<state> s) : state_(std::move(s)) {}
  static task<result<std::unique_ptr<connection>>> reach(settings s, std::size_t member,
                                                         std::shared_ptr<net::tls_client_context> tls);
  error told(error e) const;
  static task<result<std::string>> ask_with(std::shared_ptr<state> s, std::string method, std::string message,
                                            bool by_majority);
  static task<result<std::unique_ptr<event_stream>>> events_with(std::shared_ptr<state> s, std::uint64_t first);
  static task<result<range_answer>> range_with(std::shared_ptr<state> s, range_request r);
  static task<result<std::uint64_t>> compacted_with(std::shared_ptr<state> s);

  std::shared_ptr<state> state_;
  std::string url_;
  header at_;
  status_answer status_;
};

// TLS for the members that want it; null when none does.
task<result<std::shared_ptr<net::tls_client_context>>> make_tls(settings s);
// To whichever member is the first to answer for a majority.
task<result<std::unique_ptr<connection>>> any_member(settings s, time_point deadline);

}  // namespace kedge::datastore::etcd
