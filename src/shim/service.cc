#include "shim/service.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "shim/bundle.h"
#include "shim/files.h"
#include "shim/json.h"
#include "shim/limits.h"
#include "shim/log.h"
#include "shim/mounts.h"

namespace kedge::shim {

namespace {

result<std::string> nothing() { return std::string(); }  // google.protobuf.Empty

// An error of the runtime, with what was tried in front.
template <typename T>
std::unexpected<error> failed(result<T>& r, std::string_view what) {
  return fail(std::move(r.error()).with(std::string(what) + ": "));
}

std::unexpected<error> no_container() { return fail(errc::not_found, "container not created: not found"); }

std::string_view name_of(status s) {
  switch (s) {
    case status::created: return "created";
    case status::running: return "running";
    case status::stopped: return "stopped";
    case status::paused:
    case status::pausing: return "paused";
    case status::unknown: break;
  }
  return "deleted";
}

std::unexpected<error> cannot(std::string_view act, status s) {
  return fail(errc::internal, "cannot " + std::string(act) + " a " + std::string(name_of(s)) + " process");
}

// The process of an exec with `terminal` as the call has it: the runtime reads it from there.
result<std::string> with_terminal(std::string_view spec, bool terminal) {
  std::string out = "{\"terminal\":";
  out += terminal ? "true" : "false";
  json::members m(spec);
  while (m.next()) {
    if (m.name() == "terminal") continue;
    out += ",\"";
    out += m.name();
    out += "\":";
    out += m.value();
  }
  if (!m.ok()) return fail(errc::invalid, "the process to execute is no JSON object");
  return out += '}';
}

}  // namespace

service::service(loop& l, publisher& p, settings s, std::function<void()> shut_down)
    : loop_(l), publisher_(p), settings_(std::move(s)), shut_down_(std::move(shut_down)) {}

struct service::method {
  std::string_view name;
  task<result<std::string>> (service::*act)(ask);
};

void service::call(const ttrpc::request& r, reply answer) {
  static constexpr method methods[] = {
      {"State", &service::state},      {"Create", &service::create},
      {"Start", &service::start},      {"Delete", &service::remove},
      {"Pids", &service::pids},        {"Pause", &service::pause},
      {"Resume", &service::resume},    {"Checkpoint", &service::checkpoint},
      {"Kill", &service::kill},        {"Exec", &service::exec},
      {"ResizePty", &service::resize}, {"CloseIO", &service::close_io},
      {"Update", &service::update},    {"Stats", &service::stats},
      {"Connect", &service::connect},  {"Shutdown", &service::shutdown},
  };
  if (r.service != "containerd.task.v2.Task" && r.service != "containerd.task.v3.Task")
    return answer(fail(errc::unsupported, "service " + std::string(r.service)));
  if (r.method == "Wait") return wait(r.payload, std::move(answer));
  auto found = std::ranges::find(methods, r.method, &method::name);
  if (found == std::end(methods)) return answer(fail(errc::unsupported, "method " + std::string(r.method)));
  auto deadline = r.timeout_ns > 0 ? now_ms() + r.timeout_ns / 1'000'000 : no_deadline;
  detach(serve(*found, {std::string(r.payload), deadline}, std::move(answer)));
}

task<void> service::serve(const method& m, ask a, reply answer) { answer(co_await (this->*m.act)(std::move(a))); }

result<service::container_ptr> service::container_of(std::string_view id) const {
  auto found = containers_.find(id);
  if (found == containers_.end()) return no_container();
  return found->second;
}

result<service::found> service::find(std::string_view payload) const {
  found out;
  KEDGE_TRY(out.request, decode_process(payload));
  KEDGE_TRY(out.of, container_of(out.request.id));
  out.process = out.of->init;
  if (out.request.exec_id.empty()) return out;
  auto exec = out.of->execs.find(out.request.exec_id);
  if (exec == out.of->execs.end())
    return fail(errc::not_found, "process does not exist " + std::string(out.request.exec_id) + ": not found");
  out.process = exec->second;
  return out;
}

// Beside our own socket, whose name is short enough for that; `delete` takes away what a dead shim left there.
std::string service::console_path() { return settings_.socket_path + ".tty" + std::to_string(++consoles_); }

// --- create ---

task<result<std::string>> service::create(ask a) {
  KEDGE_CO_TRY(auto r, decode_create(a.payload));
  if (!is_identifier(r.id) || !r.bundle.starts_with('/'))
    co_return fail(errc::invalid, "a container's id or bundle that can't be one");
  if (!r.checkpoint.empty())
    co_return fail(errc::unsupported, "restoring from a checkpoint is not supported by this runtime; use runc");
  if (containers_.contains(r.id))
    co_return fail(errc::already_exists, "container " + std::string(r.id) + ": already exists");
  ++creating_;
  auto made = co_await make_container(r, a.deadline);
  --creating_;
  if (!made) co_return fail(std::move(made.error()));
  auto& c = *made;
  containers_[c->id] = c;

  wire::writer event;
  event.text(1, c->id).text(2, r.bundle);
  for (auto m : r.rootfs_bytes) event.message(3, m);
  event.message(4, wire::writer().text(1, r.in).text(2, r.out).text(3, r.err).number(4, r.terminal).take());
  event.number(6, static_cast<unsigned>(c->init->pid));
  publisher_.publish("/tasks/create", "containerd.events.TaskCreate", event.take());
  follow(c, c->init);
  co_return wire::writer().number(1, static_cast<unsigned>(c->init->pid)).take();
}

task<result<service::container_ptr>> service::make_container(const create_request& r, std::int64_t deadline) {
  auto bundle = std::string(r.bundle);
  KEDGE_CO_TRY(auto options,
               decode_options(r.options, [](const std::string& path) { return read_file(path, output_bytes_max); }));
  auto asked = options.binary;
  options.binary = choose_runtime(asked);
  if (options.binary.empty())
    co_return fail(errc::not_found,
                   "no OCI runtime: " + (asked.empty() ? "neither runc nor crun" : asked) + " is in $PATH");
  KEDGE_CO_CHECK(write_runtime(bundle, options));
  auto root = options.root.empty() ? std::string(default_runtime_root) : options.root;
  auto c = std::make_shared<container>(container{
      .id = std::string(r.id),
      .bundle = bundle,
      .rootfs = r.rootfs.empty() ? std::string() : bundle + "/rootfs",
      .options = options,
      .oci = runtime(options.binary, root + "/" + settings_.space, options.systemd_cgroup, bundle),
      .init = std::make_shared<process>(),
  });
  c->init->id = c->id;
  c->init->io = std::make_unique<stdio>(
      loop_, stdio_paths{std::string(r.in), std::string(r.out), std::string(r.err), r.terminal});
  result<void> done;
  if (!c->rootfs.empty()) {
    if (::mkdir(c->rootfs.c_str(), 0711) < 0 && errno != EEXIST) done = fail(os_error(errno, "mkdir " + c->rootfs));
    if (done) done = mount_all(r.rootfs, c->rootfs);
    if (!done) done = fail(std::move(done.error()).with("failed to mount rootfs component: "));
  }
  if (done) done = co_await run_create(c, deadline);
  if (done) co_return c;
  co_await c->init->io->close();
  if (!c->rootfs.empty())
    if (auto unmounted = unmount_below(c->rootfs); !unmounted) log(unmounted.error().message);
  co_return fail(std::move(done.error()));
}

task<result<void>> service::run_create(container_ptr c, std::int64_t deadline) {
  auto& io = *c->init->io;
  stdio::names names{c->id, settings_.space, c->options.io_uid, c->options.io_gid};
  auto pid_file = c->bundle + "/init.pid";
  runtime::command command{.arguments = {"create", "--bundle", c->bundle, "--pid-file", pid_file},
                           .deadline = deadline};
  auto& arguments = command.arguments;
  if (io.paths().terminal) {
    auto path = console_path();
    KEDGE_CO_CHECK(io.listen(path));
    arguments.insert(arguments.end(), {"--console-socket", path});
  } else {
    auto opened = co_await io.open(names, deadline);
    if (!opened) co_return failed(opened, "failed to create init process I/O");
  }
  if (c->options.no_pivot_root) arguments.push_back("--no-pivot");
  if (c->options.no_new_keyring) arguments.push_back("--no-new-keyring");
  arguments.push_back(c->id);
  auto standard = io.for_process();
  if (!io.paths().terminal) command.io = &standard;

  loop::claim pid_unknown(loop_);
  auto created = co_await c->oci.run(loop_, std::move(command));
  io.started();
  result<void> done;
  if (!created) done = failed(created, "OCI runtime create failed");
  if (done && io.paths().terminal) done = co_await io.take_console(names, deadline);
  if (done) {
    auto pid = read_pid(pid_file);
    if (pid) {
      c->init->pid = *pid;
      // Until the creation is told.
      c->init->starting = true;
      loop_.know(*pid, [this, c](const exit_state& e) { ended(c, c->init, e); });
      if (auto groups = cgroup::of_process(*pid)) {
        c->groups = std::move(*groups);
        c->oom = std::make_unique<oom_watch>(loop_, *c->groups, [this, id = c->id] {
          publisher_.publish("/tasks/oom", "containerd.events.TaskOOM", wire::writer().text(1, id).take());
        });
      }
      co_return result<void>();
    }
    done = failed(pid, "failed to retrieve OCI runtime container pid");
  }
  // A runtime that was killed at the deadline may have got as far as a container.
  (void)co_await c->oci.run(loop_, {.arguments = {"delete", "--force", c->id}});
  co_return done;
}

// The process is told of and its exit may be.
void service::follow(const container_ptr& c, const process_ptr& p) {
  p->starting = false;
  if (auto e = std::exchange(p->early_exit, {})) ended(c, p, *e);
}

// --- start ---

task<result<std::string>> service::start(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  bool is_init = f.process == f.of->init;
  auto held = co_await f.process->busy.lock();
  KEDGE_CO_CHECK(is_init ? co_await start_init(f.of, a.deadline) : co_await start_exec(f.of, f.process, a.deadline));
  auto pid = static_cast<unsigned>(f.process->pid);
  wire::writer event;
  event.text(1, f.of->id);
  if (is_init)
    publisher_.publish("/tasks/start", "containerd.events.TaskStart", event.number(2, pid).take());
  else
    publisher_.publish("/tasks/exec-started", "containerd.events.TaskExecStarted",
                       event.text(2, f.process->id).number(3, pid).take());
  follow(f.of, f.process);
  co_return wire::writer().number(1, pid).take();
}

task<result<void>> service::start_init(container_ptr c, std::int64_t deadline) {
  auto& p = *c->init;
  if (p.state != status::created) co_return cannot("start", p.state);
  p.starting = true;
  auto ran = co_await c->oci.run(loop_, {.arguments = {"start", c->id}, .deadline = deadline});
  if (!ran) {
    follow(c, c->init);
    co_return failed(ran, "OCI runtime start failed");
  }
  p.state = status::running;
  co_return result<void>();
}

task<result<void>> service::start_exec(container_ptr c, process_ptr p, std::int64_t deadline) {
  if (p->state != status::created || p->pid != 0) co_return cannot("start", p->state);
  if (c->init_ended)
    co_return fail(errc::conflict, "container " + c->id + " init process is not running: failed precondition");
  ++c->running_execs;
  loop::claim pid_unknown(loop_);
  p->starting = true;
  auto done = co_await run_exec(c, p, deadline);
  if (done) {
    p->state = status::running;
    co_return done;
  }
  if (p->pid != 0) {  // it runs, but for what it was told: its end comes as any
    p->state = status::running;
    follow(c, p);
    co_return done;
  }
  p->starting = false;
  exec_gone(c);
  for (auto& answer : std::exchange(p->waiting, {})) answer(std::string());
  co_return done;
}

task<result<void>> service::run_exec(container_ptr c, process_ptr p, std::int64_t deadline) {
  auto& io = *p->io;
  auto file = c->bundle + "/" + p->id;
  auto pid_file = file + ".pid", spec_file = file + ".process.json", log_name = p->id + ".log.json";
  KEDGE_CO_CHECK(write_file(spec_file, p->spec, 0600));
  std::string().swap(p->spec);
  struct temporary {
    std::vector<std::string> files;
    ~temporary() {
      for (auto& f : files) ::unlink(f.c_str());
    }
  } remove{{spec_file, pid_file, c->bundle + "/" + log_name}};

  runtime::command command{.arguments = {"exec", "--process", spec_file}, .log = log_name, .deadline = deadline};
  auto& arguments = command.arguments;
  stdio::names names{p->id, settings_.space, c->options.io_uid, c->options.io_gid};
  if (io.paths().terminal) {
    auto path = console_path();
    KEDGE_CO_CHECK(io.listen(path));
    arguments.insert(arguments.end(), {"--console-socket", path});
  } else {
    auto opened = co_await io.open(names, deadline);
    if (!opened) co_return failed(opened, "failed to create init process I/O");
  }
  arguments.insert(arguments.end(), {"--detach", "--pid-file", pid_file, c->id});
  auto standard = io.for_process();
  if (!io.paths().terminal) command.io = &standard;
  auto ran = co_await c->oci.run(loop_, std::move(command));
  io.started();
  if (!ran) co_return failed(ran, "OCI runtime exec failed");
  auto pid = read_pid(pid_file);
  if (!pid) co_return failed(pid, "failed to retrieve OCI runtime exec pid");
  p->pid = *pid;
  loop_.know(*pid, [this, c, p](const exit_state& e) { ended(c, p, e); });
  if (!io.paths().terminal) co_return result<void>();
  auto taken = co_await io.take_console(names, deadline);
  if (taken) co_return taken;
  // It runs, and nobody sees it: it must not go on so.
  ::kill(*pid, SIGKILL);
  co_return taken;
}

// --- exits ---

void service::ended(container_ptr c, process_ptr p, const exit_state& e) {
  if (p->starting) {
    p->early_exit = e;
    return;
  }
  if (p == c->init) {
    detach(init_ended(c, e));
    return;
  }
  finish(c, p, e);
  exec_gone(c);
}

// What else runs in the container goes first, then the execs' exits are told, then init's.
task<void> service::init_ended(container_ptr c, exit_state e) {
  c->init_ended = true;
  if (c->oom) c->oom->look();
  if (shares_pids(c->bundle)) {
    auto killed = co_await c->oci.run(loop_, {.arguments = {"kill", "--all", c->id, "9"}});
    if (!killed && absence_of(killed.error().message) == absence::no)
      log("OCI runtime killall failed: " + killed.error().message);
  }
  if (c->running_execs > 0)
    c->init_exit = e;
  else
    finish(c, c->init, e);
}

void service::exec_gone(const container_ptr& c) {
  if (--c->running_execs > 0) return;
  if (auto e = std::exchange(c->init_exit, {})) finish(c, c->init, *e);
}

void service::finish(const container_ptr& c, const process_ptr& p, const exit_state& e) {
  bool was_paused = p->state == status::paused;
  p->exit = e;
  p->state = status::stopped;
  p->io->process_ended();
  if (p == c->init) {
    c->oom.reset();
    write_exit(c->bundle, e);
    // A frozen cgroup can't be taken away.
    if (was_paused)
      detach([](service& s, container_ptr of) -> task<void> {
        (void)co_await of->oci.run(s.loop_, {.arguments = {"resume", of->id}});
      }(*this, c));
  }
  publisher_.publish("/tasks/exit", "containerd.events.TaskExit",
                     wire::writer()
                         .text(1, c->id)
                         .text(2, p->id)
                         .number(3, static_cast<unsigned>(p->pid))
                         .number(4, e.status)
                         .message(5, encode_time(e.at))
                         .take());
  auto answer = wire::writer().number(1, e.status).message(2, encode_time(e.at)).take();
  for (auto& w : std::exchange(p->waiting, {})) w(answer);
}

void service::wait(std::string_view payload, reply answer) {
  auto f = find(payload);
  if (!f) return answer(fail(f.error()));
  auto& p = *f->process;
  if (p.state == status::stopped)
    return answer(wire::writer().number(1, p.exit.status).message(2, encode_time(p.exit.at)).take());
  std::erase_if(p.waiting, [](auto& w) { return w.abandoned(); });
  p.waiting.push_back(std::move(answer));
}

// --- delete ---

task<result<std::string>> service::remove(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  auto& p = *f.process;
  auto held = co_await p.busy.lock();
  if (p.state == status::unknown) co_return fail(errc::not_found, "cannot delete a deleted process: not found");
  if (p.state == status::running || p.state == status::paused) co_return cannot("delete", p.state);
  KEDGE_CO_CHECK(f.process == f.of->init ? co_await remove_init(f.of, a.deadline)
                                         : co_await remove_exec(f.of, f.process));
  co_return wire::writer()
      .number(1, static_cast<unsigned>(p.pid))
      .number(2, p.exit.status)
      .message(3, encode_time(p.exit.at))
      .take();
}

task<result<void>> service::remove_exec(container_ptr c, process_ptr p) {
  co_await p->io->close();
  p->state = status::unknown;
  c->execs.erase(p->id);
  co_return result<void>();
}

task<result<void>> service::remove_init(container_ptr c, std::int64_t deadline) {
  auto& p = *c->init;
  if (p.state == status::stopped) co_await p.io->close();
  auto ran = co_await c->oci.run(loop_, {.arguments = {"delete", c->id}, .deadline = deadline});
  if (!ran && absence_of(ran.error().message) != absence::unknown_container)
    co_return failed(ran, "failed to delete task");
  co_await p.io->close();
  if (!c->rootfs.empty()) {
    auto unmounted = unmount_below(c->rootfs);
    if (!unmounted) co_return failed(unmounted, "failed rootfs umount");
  }
  p.state = status::unknown;
  c->oom.reset();
  containers_.erase(c->id);
  publisher_.publish("/tasks/delete", "containerd.events.TaskDelete",
                     wire::writer()
                         .text(1, c->id)
                         .number(2, static_cast<unsigned>(p.pid))
                         .number(3, p.exit.status)
                         .message(4, encode_time(p.exit.at))
                         .take());
  co_return result<void>();
}

// --- the rest ---

task<result<std::string>> service::exec(ask a) {
  KEDGE_CO_TRY(auto r, decode_exec(a.payload));
  KEDGE_CO_TRY(auto c, container_of(r.id));
  if (!is_identifier(r.exec_id)) co_return fail(errc::invalid, "an exec's id that can't be one");
  if (c->execs.contains(r.exec_id))
    co_return fail(errc::already_exists, "id " + std::string(r.exec_id) + ": already exists");
  auto now = c->init->state;
  if (now == status::paused || now == status::stopped)
    co_return fail(errc::internal, "cannot exec in a " + std::string(name_of(now)) + " state");
  if (c->execs.size() >= execs_max) co_return fail(errc::exhausted, "too many execs in container " + c->id);
  auto p = std::make_shared<process>();
  p->id = r.exec_id;
  KEDGE_CO_TRY(p->spec, with_terminal(r.spec.value, r.terminal));
  p->io = std::make_unique<stdio>(loop_,
                                  stdio_paths{std::string(r.in), std::string(r.out), std::string(r.err), r.terminal});
  c->execs.emplace(p->id, p);
  publisher_.publish("/tasks/exec-added", "containerd.events.TaskExecAdded",
                     wire::writer().text(1, c->id).text(2, p->id).take());
  co_return nothing();
}

// PidsResponse: processes 1 (pid 1, info 2: of an exec its name, as ProcessDetails).
task<result<std::string>> service::pids(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  // containerd from 1.7 on, when it starts anew, takes a shim without processes for one that never made a container,
  // and cleans it away with the exit code. So one that has ended has still the process that it had.
  auto& init = *f.of->init;
  if (init.state == status::stopped)
    co_return wire::writer().message(1, wire::writer().number(1, static_cast<unsigned>(init.pid)).take()).take();
  auto listed =
      co_await f.of->oci.run(loop_, {.arguments = {"ps", "--format", "json", f.of->id}, .deadline = a.deadline});
  if (!listed) co_return fail(std::move(listed.error()));
  wire::writer out;
  json::elements all(*listed);
  while (auto one = all.next()) {
    auto pid = parse_uint(*one);
    if (!pid) continue;
    wire::writer info;
    info.number(1, *pid);
    for (auto& [name, p] : f.of->execs)
      if (static_cast<std::uint64_t>(p->pid) == *pid)
        info.message(2, encode_any("containerd.runc.v1.ProcessDetails", wire::writer().text(1, name).take()));
    out.message(1, info.take());
  }
  co_return out.take();
}

task<result<std::string>> service::pause(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  auto c = f.of;
  auto held = co_await c->init->busy.lock();
  auto now = c->init->state;
  if (now == status::created) co_return fail(errc::internal, "cannot pause task in created state");
  if (now != status::running)
    co_return fail(errc::internal, "cannot pause a " + std::string(name_of(now)) + " container");
  c->pausing = true;
  auto ran = co_await c->oci.run(loop_, {.arguments = {"pause", c->id}, .deadline = a.deadline});
  c->pausing = false;
  if (!ran) co_return failed(ran, "OCI runtime pause failed");
  if (c->init->state == status::running) c->init->state = status::paused;
  publisher_.publish("/tasks/paused", "containerd.events.TaskPaused", wire::writer().text(1, c->id).take());
  co_return nothing();
}

task<result<std::string>> service::resume(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  auto c = f.of;
  auto held = co_await c->init->busy.lock();
  auto now = c->init->state;
  if (now == status::created) co_return fail(errc::internal, "cannot resume task in created state");
  if (now == status::running) co_return fail(errc::internal, "cannot resume a running process");
  if (now != status::paused)
    co_return fail(errc::internal, "cannot resume a " + std::string(name_of(now)) + " container");
  auto ran = co_await c->oci.run(loop_, {.arguments = {"resume", c->id}, .deadline = a.deadline});
  if (!ran) co_return failed(ran, "OCI runtime resume failed");
  if (c->init->state == status::paused) c->init->state = status::running;
  publisher_.publish("/tasks/resumed", "containerd.events.TaskResumed", wire::writer().text(1, c->id).take());
  co_return nothing();
}

task<result<std::string>> service::checkpoint(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  co_return fail(errc::unsupported, "checkpoints are not supported by this runtime; use runc");
}

task<result<std::string>> service::kill(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  auto& p = *f.process;
  auto signal = static_cast<int>(f.request.third);
  bool all = f.request.fourth != 0;
  auto held = co_await p.busy.lock();
  auto finished = [] { return fail(errc::not_found, "process already finished: not found"); };
  if (p.state == status::unknown) co_return fail(errc::not_found, "cannot kill a deleted process: not found");
  bool is_init = f.process == f.of->init;
  if (p.pid == 0) co_return fail(errc::conflict, "process not created: failed precondition");
  // Who is frozen has to be thawed for a signal, which the runtime knows to do.
  if (!is_init || (!all && p.state != status::paused && !f.of->pausing)) {
    // Reaped only when its exit is known here: the pid is its own until then.
    if (p.state == status::stopped || p.early_exit || (is_init && f.of->init_ended)) co_return finished();
    if (::kill(p.pid, signal) < 0) {
      if (errno == ESRCH) co_return finished();
      co_return fail(os_error(errno, std::string(is_init ? "" : "exec ") + "kill error"));
    }
    co_return nothing();
  }
  runtime::command command{.arguments = {"kill"}, .deadline = a.deadline};
  if (all) command.arguments.push_back("--all");
  command.arguments.insert(command.arguments.end(), {f.of->id, std::to_string(signal)});
  auto ran = co_await f.of->oci.run(loop_, std::move(command));
  if (ran) co_return nothing();
  if (ran.error().code == errc::timeout) co_return fail(std::move(ran.error()));
  switch (absence_of(ran.error().message)) {
    case absence::finished: co_return finished();
    case absence::unknown_container: co_return fail(errc::not_found, "no such container: not found");
    case absence::no: break;
  }
  co_return failed(ran, "unknown error after kill");
}

task<result<std::string>> service::resize(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  if (f.process->state == status::stopped && f.process != f.of->init)
    co_return fail(errc::internal, "cannot resize a stopped container");
  KEDGE_CO_CHECK(
      f.process->io->resize(static_cast<unsigned>(f.request.third), static_cast<unsigned>(f.request.fourth)));
  co_return nothing();
}

task<result<std::string>> service::close_io(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  f.process->io->close_in();
  co_return nothing();
}

task<result<std::string>> service::update(ask a) {
  KEDGE_CO_TRY(auto r, decode_update(a.payload));
  KEDGE_CO_TRY(auto c, container_of(r.id));
  auto held = co_await c->init->busy.lock();
  if (c->init->state == status::stopped) co_return fail(errc::internal, "cannot update a stopped container");
  KEDGE_CO_TRY(auto resources, memory_file(r.resources.value));
  auto ran = co_await c->oci.run(
      loop_, {.arguments = {"update", "--resources=-", c->id}, .input = resources.get(), .deadline = a.deadline});
  if (!ran) co_return fail(std::move(ran.error()));
  co_return nothing();
}

// StateResponse.
task<result<std::string>> service::state(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  auto now = f.process->state;
  auto whole = f.of->pausing ? status::pausing : f.of->init->state;
  if (whole == status::pausing || whole == status::paused) now = whole;
  auto& paths = f.process->io->paths();
  co_return wire::writer()
      .text(1, f.process->id)
      .text(2, f.of->bundle)
      .number(3, static_cast<unsigned>(f.process->pid))
      .number(4, static_cast<unsigned>(now))
      .text(5, paths.in)
      .text(6, paths.out)
      .text(7, paths.err)
      .number(8, paths.terminal)
      .number(9, f.process->exit.status)
      .message(10, encode_time(f.process->exit.at))
      .take();
}

task<result<std::string>> service::stats(ask a) {
  KEDGE_CO_TRY(auto f, find(a.payload));
  if (!f.of->groups) co_return fail(errc::not_found, "cgroup does not exist: not found");
  co_return wire::writer().message(1, f.of->groups->metrics()).take();
}

// ConnectResponse: shim_pid 1, task_pid 2.
task<result<std::string>> service::connect(ask a) {
  auto f = find(a.payload);
  co_return wire::writer()
      .number(1, static_cast<unsigned>(::getpid()))
      .number(2, f ? static_cast<unsigned>(f->of->init->pid) : 0)
      .take();
}

task<result<std::string>> service::shutdown(ask) {
  if (is_idle()) shut_down_();
  co_return nothing();
}

}  // namespace kedge::shim
