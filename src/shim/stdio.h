// stdio.h: where a process's input comes from and its output goes to.
//
//   without a terminal   the process gets the ends of containerd's fifos themselves: nothing is copied, and what it
//   wrote
//                        is there even if the shim isn't. The shim keeps the other ends open, so that a restart of
//                        containerd is neither an end of the input nor a broken pipe
//   file://, or a file   a pipe, copied into the file: the container must not get hold of a file of the host
//   binary://            a program of the host reads the output (containerd's logging plugins)
//   terminal             the pseudo-terminal's master, which the runtime sends over a socket; copied from and to fifos
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.h"
#include "base/error.h"
#include "shim/loop.h"
#include "shim/runtime.h"

namespace kedge::shim {

struct stdio_paths {
  std::string in, out, err;
  bool terminal = false;
};

// Bytes from one descriptor to another, as fast as they are taken. Ends at the source's end, or when finish() has been
// called and there is nothing left. Both must not block, but for a destination that is a plain file.
class copier final : public watcher {
 public:
  // `at_end` is called once, and may destroy the copier.
  copier(loop& l, int from, int to, std::function<void()> at_end);
  copier(const copier&) = delete;
  copier& operator=(const copier&) = delete;
  ~copier();

  void ready(std::uint32_t events) override;
  void finish();
  bool ended() const noexcept { return ended_; }

 private:
  enum class side { none, from, to };
  void wait_for(side s);
  bool flush();
  void end();

  loop& loop_;
  int from_, to_;
  bool finishing_ = false, ended_ = false;
  side waits_ = side::none;
  std::string pending_;
  std::function<void()> at_end_;
};

// All of a process's input and output.
class stdio {
 public:
  stdio(loop& l, stdio_paths paths) : loop_(l), paths_(std::move(paths)) {}
  stdio(const stdio&) = delete;
  stdio& operator=(const stdio&) = delete;
  ~stdio();

  const stdio_paths& paths() const noexcept { return paths_; }

  struct names {
    std::string id, space;           // for a logging program
    std::uint32_t uid = 0, gid = 0;  // who owns the pipes
  };
  // Before the runtime is called. Waits for a reader of the fifos (limits.h), at most until the deadline.
  task<result<void>> open(names n, std::int64_t deadline);
  // What the runtime shall give to the process.
  runtime::standard for_process() const;
  // After the runtime was called: the process has its ends, ours of them are closed.
  void started();

  // For a terminal: a socket at `path` for the runtime's --console-socket …
  result<void> listen(const std::string& path);
  // … and after it the terminal, with copying begun.
  task<result<void>> take_console(names n, std::int64_t deadline);

  result<void> resize(unsigned width, unsigned height);
  // The input ends when containerd closes its end, too.
  void close_in();
  // The process has ended: what the terminal has left is copied.
  void process_ended();
  // Waits for what is still being copied or lies unread, at most as long as limits.h says, then closes all.
  task<void> close();

 private:
  task<result<void>> open_output(const std::string& path, descriptor& child, descriptor& keep, std::int64_t deadline);
  result<void> open_input(descriptor& read_end);
  task<result<void>> start_logger(std::string_view url, names n);
  task<void> stop_logger();
  result<void> copy_to_file(const std::string& path, names n);
  void copy_file(descriptor from, descriptor to);
  task<void> wait_until_read();
  void console_ended();

  loop& loop_;
  stdio_paths paths_;
  descriptor child_in_, child_out_, child_err_;  // the process's ends, until it has them
  descriptor keep_in_, keep_out_, keep_err_;     // the other ends of its fifos
  struct output_copy {
    descriptor from, to;
    std::unique_ptr<copier> copy;
  };
  std::vector<output_copy> files_;
  unsigned copying_ = 0;
  event files_done_;
  int logger_ = 0;
  std::shared_ptr<event> logger_ended_;
  std::string console_path_;
  descriptor console_socket_, console_, console_in_, console_out_;
  std::unique_ptr<copier> from_console_, to_console_;
  event console_done_;
};

}  // namespace kedge::shim
