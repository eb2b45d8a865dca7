#include "node/pods/files.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "crypto/files.h"
#include "node/logs/log_files.h"
#include "node/logs/log_lines.h"

namespace kedge::node {

namespace {

struct folder {
  std::string path;
  folder() {
    std::string name = (std::filesystem::temp_directory_path() / "kedge-files-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~folder() { std::filesystem::remove_all(path); }
};

std::string text_of(const std::string& path) { return crypto::read_file(path).value_or("(none)"); }
std::size_t entries_in(const std::string& path) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
}

std::string read_log(log_options o, std::string_view log, std::size_t piece = 7) {
  log_reader r(std::move(o));
  std::string out;
  for (std::size_t at = 0; at < log.size(); at += piece) r.feed(log.substr(at, piece), out);
  return out;
}

constexpr std::string_view log_text =
    "2026-01-01T00:00:01.5Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n2026-01-01T00:00:03Z stdout P "
    "thr\n2026-01-01T00:00:03Z stdout F ee\n"
    "2026-01-01T00:00:04Z stdout F \n";

}  // namespace

TEST_CASE("the files of a volume change all at one moment, and what is gone goes") {
  folder f;
  auto first = write_atomically(f.path, {{"a", "1"}, {"dir/b", "2", 0400}}, {});
  REQUIRE(first);
  CHECK(*first);
  CHECK(text_of(f.path + "/a") == "1");
  CHECK(text_of(f.path + "/dir/b") == "2");
  CHECK(std::filesystem::read_symlink(f.path + "/a") == "..data/a");
  struct stat about{};
  REQUIRE(::stat((f.path + "/dir/b").c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0400);
  CHECK_FALSE(*write_atomically(f.path, {{"a", "1"}, {"dir/b", "2", 0400}}, {}));
  CHECK(*write_atomically(f.path, {{"a", "3"}}, {}));
  CHECK(text_of(f.path + "/a") == "3");
  CHECK_FALSE(std::filesystem::exists(f.path + "/dir"));
  CHECK(entries_in(f.path) == 3);  // a, ..data, and what that leads to
  CHECK(*write_atomically(f.path, {}, {}));
  CHECK(entries_in(f.path) == 2);
}

TEST_CASE("a host path is what its type says, or is made") {
  folder f;
  std::ofstream(f.path + "/file") << "x";
  CHECK(check_host_path(f.path + "/none", ""));
  CHECK(check_host_path(f.path + "/file", "File"));
  CHECK(check_host_path(f.path + "/made", "DirectoryOrCreate"));
  CHECK(std::filesystem::is_directory(f.path + "/made"));
  auto wrong = check_host_path(f.path + "/file", "Directory");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message == "hostPath type check failed: " + f.path + "/file is not a directory, it's a File");
}

TEST_CASE("a pod's folder is removed with what is in it, links themselves and not what they lead to") {
  folder f;
  std::filesystem::create_directories(f.path + "/pod/a/b");
  std::filesystem::create_directory(f.path + "/kept");
  std::ofstream(f.path + "/kept/file") << "x";
  std::filesystem::create_directory_symlink(f.path + "/kept", f.path + "/pod/a/link");
  REQUIRE(remove_pod_folder(f.path + "/pod"));
  CHECK_FALSE(std::filesystem::exists(f.path + "/pod"));
  CHECK(text_of(f.path + "/kept/file") == "x");
  CHECK(remove_pod_folder(f.path + "/pod"));
}

TEST_CASE("a group is given what lies in a volume, and nothing that a container has it look at meanwhile") {
  folder f;
  const auto volume = f.path + "/volume", outside = f.path + "/outside", own = volume + "/own",
             inner = volume + "/inner", spare = volume + "/spare";
  std::filesystem::create_directories(inner);
  std::filesystem::create_directories(outside);
  for (auto& file : {outside + "/own", own, inner + "/own"}) REQUIRE(crypto::write_file(file, "x", {.mode = 0600}));
  auto mode_of = [](const std::string& path) {
    struct stat about{};
    REQUIRE(::stat(path.c_str(), &about) == 0);
    return about.st_mode & 07777;
  };
  const ownership who{.group = ::getgid()};
  REQUIRE(give_to_group(volume, who));
  CHECK(mode_of(own) == 0660);
  CHECK(mode_of(inner + "/own") == 0660);
  CHECK((mode_of(volume) & 02070) == 02070);
  // A file and a folder that are links out of the volume, every other moment.
  std::atomic<bool> ends = false;
  std::thread container([&] {
    while (!ends) {
      ::rename(inner.c_str(), spare.c_str());
      (void)::symlink(outside.c_str(), inner.c_str());
      ::unlink(own.c_str());
      (void)::symlink((outside + "/own").c_str(), own.c_str());
      ::unlink(inner.c_str());
      ::rename(spare.c_str(), inner.c_str());
      ::unlink(own.c_str());
      ::close(::open(own.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
  });
  for (int i = 0; i < 2'000; ++i) (void)give_to_group(volume, who);
  ends = true;
  container.join();
  CHECK(mode_of(outside + "/own") == 0600);
  CHECK((mode_of(outside) & 02020) == 0);
}

TEST_CASE("a subpath never leads out of its volume") {
  folder f;
  std::filesystem::create_directories(f.path + "/volume");
  std::filesystem::create_directory(f.path + "/secret");
  std::filesystem::create_directory_symlink(f.path + "/secret", f.path + "/volume/out");
  std::filesystem::create_directory_symlink("../secret", f.path + "/volume/up");
  CHECK_FALSE(mount_subpath(f.path + "/volume", "out", f.path + "/target"));
  CHECK_FALSE(mount_subpath(f.path + "/volume", "up/x", f.path + "/target"));
  CHECK_FALSE(std::filesystem::exists(f.path + "/secret/x"));
}

TEST_CASE("a subpath's folder is given its mode, and nothing that a container puts in its place meanwhile") {
  folder f;
  const auto volume = f.path + "/volume", secret = f.path + "/secret", target = f.path + "/target";
  std::filesystem::create_directory(volume);
  std::filesystem::create_directory(secret);
  REQUIRE(::chmod(volume.c_str(), 0777) == 0);
  REQUIRE(::chmod(secret.c_str(), 0700) == 0);
  std::atomic<bool> ends = false;
  std::thread container([&] {
    const auto name = volume + "/a", aside = volume + "/b";
    while (!ends)
      if (::rename(name.c_str(), aside.c_str()) == 0) {
        (void)::symlink(secret.c_str(), name.c_str());
        ::rmdir(aside.c_str());
      }
  });
  for (int i = 0; i < 300; ++i) {
    ::unlink((volume + "/a").c_str());
    (void)mount_subpath(volume, "a", target);
    end_mounts(target);
  }
  ends = true;
  container.join();
  struct stat about{};
  REQUIRE(::stat(secret.c_str(), &about) == 0);
  CHECK((about.st_mode & 07777) == 0700);
}

TEST_CASE("a container's log as people read it") {
  CHECK(read_log({}, log_text) == "one\ntwo\nthree\n\n");
  CHECK(read_log({.stream = "Stderr"}, log_text) == "two\n");
  CHECK(read_log({.timestamps = true}, log_text.substr(0, log_text.find("2026-01-01T00:00:04"))) ==
        "2026-01-01T00:00:01.5Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n");
  CHECK(read_log({.limit_bytes = 6}, log_text) == "one\ntw");
  CHECK(read_log({.since = *parse_rfc3339("2026-01-01T00:00:03Z")}, log_text) == "three\n\n");
  for (std::size_t piece : {1U, 2U, 1000U}) CHECK(read_log({}, log_text, piece) == "one\ntwo\nthree\n\n");
  CHECK(read_log({}, "nonsense\nmore of it\n").empty());
}

TEST_CASE("where the last lines begin") {
  CHECK(tail_bytes("a\nb\nc\n", 1) == 2);
  CHECK(tail_bytes("a\nb\nc\n", 2) == 4);
  CHECK(tail_bytes("a\nb\nc\n", 3) == std::nullopt);
  CHECK(tail_bytes("a\nb\nc", 1) == 1);
  CHECK(tail_bytes("", 1) == std::nullopt);
  CHECK(tail_bytes("a\n", 0) == 0);
}

TEST_CASE("the end of a log, for a container's last words") {
  const std::string line = "2026-11-30T03:05:56.123456789Z ";
  CHECK(end_of_log("", 80, 2048).empty());
  // What was written without a newline at its end has none.
  CHECK(end_of_log(line + "stdout P DONE\n", 80, 2048) == "DONE");
  CHECK(end_of_log(line + "stdout P long \n" + line + "stdout F line\n", 80, 2048) == "long line\n");
  CHECK(end_of_log(line + "stdout F one\n" + line + "stderr F two\n", 80, 2048) == "one\ntwo\n");
  CHECK(end_of_log(line + "stdout F one\n" + line + "stderr F two\n", 1, 2048) == "two\n");
  CHECK(end_of_log(line + "stdout F one\n" + line + "stderr F two\n", 80, 3) == "wo\n");
}

TEST_CASE("a log is set aside, the one before is compressed, and the oldest go") {
  folder f;
  auto pod = f.path + "/ns_pod_uid/main";
  std::filesystem::create_directories(pod);
  auto log = pod + "/0.log";
  for (int i = 1; i <= 5; ++i) {
    std::ofstream(log) << "line " << i << "\n";
    auto done = set_log_aside(f.path, log, 3, std::to_string(i));
    REQUIRE_MESSAGE(done, done.error().message);
    CHECK_FALSE(std::filesystem::exists(log));
  }
  std::ofstream(log) << "line 6\n";
  CHECK(text_of(log + ".5") == "line 5\n");
  CHECK(std::filesystem::exists(log + ".4.gz"));
  CHECK(text_of(log + ".4.gz").starts_with("\x1f\x8b"));
  CHECK(entries_in(pod) == 3);
  // What a turn left that ended in between goes.
  std::ofstream(log + ".3.tmp") << "half";
  std::ofstream(log + ".4") << "compressed already";
  REQUIRE(set_log_aside(f.path, log, 3, "6"));
  CHECK(entries_in(pod) == 2);
  REQUIRE(put_log_back(f.path, log, "6"));
  CHECK(text_of(log) == "line 6\n");
  REQUIRE(remove_logs(f.path, log));
  CHECK(entries_in(pod) == 0);
  CHECK(remove_logs(f.path, f.path + "/none/main/0.log"));
}

TEST_CASE("nothing outside the folder of logs is read, set aside or removed, whatever lies in it") {
  folder f, outside;
  auto secret = outside.path + "/0.log";
  std::ofstream(secret) << "secret";
  auto logs = f.path + "/logs", pod = logs + "/ns_pod_uid";
  std::filesystem::create_directories(pod + "/main");
  std::filesystem::create_symlink(secret, pod + "/main/0.log");
  std::filesystem::create_symlink(outside.path, pod + "/linked");
  REQUIRE(::mkfifo((pod + "/main/1.log").c_str(), 0600) == 0);
  for (auto& path :
       {pod + "/main/0.log", pod + "/linked/0.log", pod + "/main/1.log", secret, logs + "/../0.log", pod + "/main"})
    CHECK_MESSAGE(!log_file::open(logs, path), path);
  CHECK_FALSE(set_log_aside(logs, pod + "/linked/0.log", 2, "1"));
  CHECK_FALSE(remove_logs(logs, pod + "/linked/0.log"));
  CHECK(text_of(secret) == "secret");
  // A link, or a pipe, among what was set aside is no log.
  std::filesystem::create_symlink(secret, pod + "/main/2.log.1");
  REQUIRE(::mkfifo((pod + "/main/2.log.2").c_str(), 0600) == 0);
  std::ofstream(pod + "/main/2.log") << "x";
  REQUIRE(set_log_aside(logs, pod + "/main/2.log", 9, "3"));
  CHECK_FALSE(std::filesystem::exists(std::filesystem::symlink_status(pod + "/main/2.log.1")));
  CHECK_FALSE(std::filesystem::exists(pod + "/main/2.log.1.gz"));
  CHECK_FALSE(std::filesystem::exists(pod + "/main/2.log.2.gz"));
  CHECK(text_of(secret) == "secret");
}

TEST_CASE("what a compressed log had is in it") {
  folder f;
  std::filesystem::create_directories(f.path + "/p");
  auto log = f.path + "/p/0.log";
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += "2026-01-01T00:00:01.5Z stdout F line " + std::to_string(i) + "\n";
  std::ofstream(log + ".1") << text;
  std::ofstream(log) << "x";
  REQUIRE(set_log_aside(f.path, log, 5, "2"));
  auto* file = ::gzopen((log + ".1.gz").c_str(), "rb");
  REQUIRE(file);
  std::string back(text.size() + 1, '\0');
  auto n = ::gzread(file, back.data(), static_cast<unsigned>(back.size()));
  ::gzclose(file);
  back.resize(static_cast<std::size_t>(std::max(n, 0)));
  CHECK((back == text));
}

TEST_CASE("the options of a log that can't be are refused") {
  wall_time now{std::chrono::seconds(100)};
  CHECK(log_options::parse("follow=true&tailLines=5&sinceSeconds=10", now)->since ==
        wall_time(std::chrono::seconds(90)));
  for (std::string_view bad :
       {"tailLines=-1", "limitBytes=0", "sinceSeconds=0", "sinceTime=x", "stream=Both", "tailLines=x"})
    CHECK_FALSE(log_options::parse(bad, now));
}

TEST_CASE("a folder's mounts are shared, once, and none of them is hidden for it") {
  const std::string folder = "/tmp/kedge-shared-" + std::to_string(::getpid());
  // In mounts of its own, where nothing is shared.
  auto child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto count = [&](std::string_view mark) {
      std::ifstream in("/proc/self/mountinfo");
      int n = 0;
      for (std::string line; std::getline(in, line);) n += line.contains(" " + folder + " ") && line.contains(mark);
      return n;
    };
    bool fine = ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    std::filesystem::create_directories(folder + "/inside");
    fine = fine && ::mount("tmpfs", (folder + "/inside").c_str(), "tmpfs", 0, nullptr) == 0;
    fine = fine && make_shared(folder).has_value() && count("") == 0;
    fine = fine && ::umount((folder + "/inside").c_str()) == 0;
    for (int i = 0; i < 2; ++i) fine = fine && make_shared(folder).has_value() && count("shared:") == 1;
    ::_exit(fine ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  std::filesystem::remove_all(folder);
  CHECK(status == 0);
}

}  // namespace kedge::node
