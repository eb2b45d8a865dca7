#include "shim/runtime.h"

#include <errno.h>
#include <signal.h>

#include <algorithm>

#include "base/strings.h"
#include "shim/files.h"
#include "shim/json.h"
#include "shim/limits.h"

namespace kedge::shim {

namespace {

constexpr const char* all_cgroups = "/sys/fs/cgroup";
constexpr const char* unified_cgroups = "/sys/fs/cgroup/unified";

bool has_both_cgroups() {
  auto controllers = read_file(std::string(unified_cgroups) + "/cgroup.controllers", output_bytes_max);
  return controllers && !trim(*controllers).empty();
}

// The end of a child, or its death at the deadline.
struct child_end {
  event ended;
  exit_state state;
  bool late = false;
};

}  // namespace

runtime::runtime(std::string binary, std::string root, bool systemd_cgroup, std::string folder)
    : binary_(std::move(binary)), root_(std::move(root)), folder_(std::move(folder)), systemd_cgroup_(systemd_cgroup) {}

program runtime::call(const std::string& log, const std::vector<std::string>& arguments) const {
  program p{.argv = {binary_, "--root", root_, "--log", folder_ + "/" + log, "--log-format", "json"}};
  if (systemd_cgroup_) p.argv.push_back("--systemd-cgroup");
  p.argv.insert(p.argv.end(), arguments.begin(), arguments.end());
  // crun refuses a machine with both versions of cgroups where the second has a controller. Containers are of the first
  // there, so crun needs not know of it.
  if (binary_.ends_with("/crun") && has_both_cgroups()) {
    p.hidden = unified_cgroups;
    p.hidden_in = all_cgroups;
  }
  return p;
}

task<result<std::string>> runtime::run(loop& l, command c) const {
  auto log = folder_ + "/" + c.log;
  ::unlink(log.c_str());  // its last error shall be this command's
  auto p = call(c.log, c.arguments);
  p.in = c.input;
  p.dies_with_us = true;
  descriptor output;
  if (c.io) {
    p.in = c.io->in;
    p.out = c.io->out;
    p.err = c.io->err;
  } else {
    KEDGE_CO_TRY(output, memory_file({}));
    p.out = p.err = output.get();
  }
  child_end end;
  KEDGE_CO_TRY(int pid, spawn(p));
  l.know(pid, [&end](const exit_state& s) {
    end.state = s;
    end.ended.set();
  });
  std::uint64_t timer = 0;
  if (c.deadline != no_deadline)
    timer = l.set_timer(c.deadline, [&end, pid] {
      end.late = true;
      ::kill(pid, SIGKILL);  // not reaped yet, so it is the one
    });
  co_await end.ended;
  if (timer) l.cancel_timer(timer);
  std::string printed;
  if (output) printed = read_all(output.get(), output_bytes_max);
  if (end.state.status == 0) co_return printed;
  if (end.late) co_return fail(errc::timeout, "context deadline exceeded");
  std::string why;
  if (auto text = read_file(log, output_bytes_max)) why = last_error(*text);
  if (why.empty()) why = trim(printed);
  if (why.empty())
    why = c.arguments.front() + " did not terminate successfully: exit status " + std::to_string(end.state.status);
  co_return fail(errc::internal, std::move(why));
}

std::string choose_runtime(const std::string& asked) {
  if (!asked.empty()) return find_program(asked);
  auto runc = find_program("runc");
  return runc.empty() ? find_program("crun") : runc;
}

std::string last_error(std::string_view log) {
  std::string out;
  for (auto line : split(log, '\n')) {
    auto level = json::member(line, "level"), text = json::member(line, "msg");
    if (!level || !text || *level != "\"error\"") continue;
    if (auto plain = json::text_of(*text)) out = trim(*plain);
  }
  return out;
}

absence absence_of(std::string_view message) {
  auto text = lower(message);
  auto says = [&](std::string_view what) { return text.contains(what); };
  // runc's and crun's words.
  if (says("process already finished") || says("container not running") || says("no such process") ||
      says("is not running"))
    return absence::finished;
  return says("does not exist") ? absence::unknown_container : absence::no;
}

}  // namespace kedge::shim
