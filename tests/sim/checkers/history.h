// history.h: users who write and read through all servers, and what they may see: the newest of what was acknowledged
// before they asked, never something older than anybody has seen, and in the end all of it on every server.
//
//   registers    each has one writer, who counts it up by PUT with the version that it knows; anybody reads it
//   once-objects created, and deleted, once each
//   namespaces   are made, and get from the controllers what each has
//   watchers     go from server to server where their watches end, and know each change once
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/cluster_world.h"

namespace kedge::sim {

class history_checker {
 public:
  explicit history_checker(cluster_world& c);

  // Users write and read from now on, until done() was called; then each ends with what it does.
  void begin();
  void done() noexcept { done_ = true; }
  bool ended() const noexcept { return users_ == 0; }
  // When all is well again and nobody writes: every server and every watcher has what the database has, and that is
  // what was acknowledged. Complains otherwise. Gives false when an answer didn't come.
  void compare();
  bool compared() const noexcept { return compared_; }

  unsigned acknowledged() const noexcept { return acknowledged_; }
  unsigned read() const noexcept { return read_; }
  unsigned watched() const noexcept { return watched_; }

 private:
  struct register_state {
    std::int64_t attempted = 0;  // the highest that may ever be seen
    std::int64_t known = 0;      // acknowledged, or seen: nobody may see less from now on
    std::string version;         // of the writer: what stands, as far as it knows
    bool exists = false;
  };
  enum class once { creating, there, deleting, gone };
  struct view {
    std::map<std::string, std::string> objects;  // name → resource version
    std::string version;
    bool lost = false;  // its past was compacted, or its watch told of an error: it begins anew
  };
  struct bounds {
    std::map<std::string, std::int64_t> registers;
    std::vector<std::string> there, gone;
    std::int64_t version = 0;
  };

  task<void> write_registers(int number);
  task<void> write_once(int number);
  task<void> make_namespaces();
  task<void> read_all();
  task<void> watch(int number);
  task<result<void>> follow(view& v, int server);
  task<void> compare_all();

  bounds now() const;
  void check(const json::value& list, const bounds& before, std::string_view who);
  void saw(const json::value& object);
  void learn_version(const json::value& object);
  int some_server() { return static_cast<int>(cluster_.w.random().below(cluster_.servers.size())); }
  duration pause() { return cluster_.w.between(std::chrono::milliseconds(100), std::chrono::seconds(3)); }

  cluster_world& cluster_;
  std::map<std::string, register_state> registers_;
  std::map<std::string, once> once_;
  std::vector<std::string> namespaces_;
  std::vector<std::unique_ptr<view>> views_;
  std::int64_t version_ = 0;  // the highest that an acknowledged write or a read was given
  unsigned acknowledged_ = 0, read_ = 0, watched_ = 0;
  int users_ = 0;
  bool done_ = false, compared_ = false;
};

}  // namespace kedge::sim
