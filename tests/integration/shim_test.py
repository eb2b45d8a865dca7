"""Our shim under the machine's containerd, beside the Go shim as its judge: the same lives on both, then what goes wrong."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from harness import Failed, eventually, main, run
from runtime import BUSYBOX, image

SHIM = os.environ["KEDGE_SHIM"]
KEDGE, RUNC = "io.containerd.kedge.v2", "io.containerd.runc.v2"
OURS, THEIRS = f"kedge{os.getpid()}", f"runc{os.getpid()}"  # containerd's namespaces, which cgroups are named after

CONFIG = """version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{0}/c.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{0}/opt"
"""


def lives(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Node:
    """A containerd of the test's own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="kedge-shim-", dir="/var/tmp")
        self.process = None
        with open(os.path.join(self.folder, "config.toml"), "w") as f:
            f.write(CONFIG.format(self.folder))
        self.start()
        for space in (OURS, THEIRS):
            self.ctr("images", "import", image(self.folder, BUSYBOX, [], ["sh"]), space=space)

    def start(self):
        log = open(os.path.join(self.folder, "log"), "ab")
        env = {**os.environ, "PATH": os.path.dirname(SHIM) + ":" + os.environ["PATH"]}
        self.process = subprocess.Popen([os.environ.get("KEDGE_CONTAINERD", "containerd"), "--config", self.folder + "/config.toml"], stdout=log, stderr=log, env=env)
        eventually("containerd answers", lambda: self.ctr("version"))

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(20)

    def command(self, *args, space=OURS):
        return ["ctr", "-a", self.folder + "/c.sock", "-n", space, *args]

    def ctr(self, *args, space=OURS, **kw):
        return run(*self.command(*args, space=space), **kw)

    def run(self, runtime, id, *args, flags=(), **kw):
        # ctr leaves the fifos of what it started and doesn't wait for.
        return self.ctr("run", "--runtime", runtime, "--fifo-dir", self.folder + "/fifo", *flags, BUSYBOX, id, *args, **kw)

    def tasks(self, space=OURS):
        """Of each container that has a task: its pid and state."""
        lines = self.ctr("tasks", "ls", space=space).splitlines()[1:]
        return {w[0]: (int(w[1]), w[2]) for w in (line.split() for line in lines)}

    def shims(self):
        """The pid of each of our shims, and by which container it was begun."""
        out = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = open(f"/proc/{pid}/cmdline").read().split("\0")
                # What containerd runs to start one and to clean up after one is no shim.
                if words[0].endswith("containerd-shim-kedge-v2") and self.folder + "/c.sock" in words and not {"start", "delete"} & set(words):
                    out[words[words.index("-id") + 1]] = int(pid)
        return out

    def remove(self, *ids, space=OURS):
        for id in ids:
            self.ctr("tasks", "rm", "-f", id, space=space, check=False)
            self.ctr("containers", "rm", id, space=space, check=False)

    def leftovers(self):
        """What should be gone with the containers: bundles, mounts, cgroups, processes, sockets."""
        out = [f"shim of {id}" for id in self.shims()]
        for space in (OURS, THEIRS):
            bundles = f"{self.folder}/state/io.containerd.runtime.v2.task/{space}"
            if os.path.isdir(bundles):
                out += os.listdir(bundles)
        out += [line for line in open("/proc/self/mounts").read().splitlines() if self.folder in line]
        for space in (OURS, THEIRS):
            for controller in ("memory", "pids", "unified", ""):
                folder = f"/sys/fs/cgroup/{controller}/{space}"
                if os.path.isdir(folder):
                    out += [f"{folder}/{name}" for name in os.listdir(folder) if os.path.isdir(f"{folder}/{name}")]
        addresses = os.listdir("/run/containerd/s") if os.path.isdir("/run/containerd/s") else []
        return out + [a for a in addresses if a not in self.sockets_before and len(a.split(".")[0]) == 32]

    sockets_before = frozenset(os.listdir("/run/containerd/s")) if os.path.isdir("/run/containerd/s") else frozenset()

    def close(self):
        with contextlib.suppress(Exception):
            for space in (OURS, THEIRS):
                self.remove(*self.ctr("containers", "ls", "-q", space=space).split(), space=space)
        for pid in self.shims().values():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            self.stop()
        for line in reversed(open("/proc/self/mounts").read().splitlines()):
            if line.split()[1].startswith(self.folder + "/"):
                run("umount", "-l", line.split()[1], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        for space in (OURS, THEIRS):  # what runc keeps for a namespace, empty
            shutil.rmtree("/run/containerd/runc/" + space, ignore_errors=True)
            for folder in [f"/sys/fs/cgroup/{space}", *(f"/sys/fs/cgroup/{name}/{space}" for name in os.listdir("/sys/fs/cgroup"))]:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)


class Shim(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node()
        cls.addClassCleanup(cls.node.close)

    def tearDown(self):
        for space in (OURS, THEIRS):
            self.node.remove(*self.node.ctr("containers", "ls", "-q", space=space).split(), space=space)
        try:
            eventually("nothing is left", lambda: not self.node.leftovers(), timeout=10)
        except Failed:
            self.fail(f"left: {self.node.leftovers()}")

    def test_the_same_lives_as_with_runcs_shim(self):
        """Each step's exit code and words, and all events in their order, with either OCI runtime."""
        # crun refuses this machine when both versions of cgroups have controllers; ours takes one of them away from it.
        alone = os.path.join(self.node.folder, "crun-alone")
        with open(alone, "w") as f:
            f.write("""#!/bin/sh
exec unshare -m --propagation unchanged sh -c '[ ! -d /sys/fs/cgroup/unified ] || { mount --make-private /sys/fs/cgroup; umount -l /sys/fs/cgroup/unified; }; exec crun "$@"' sh "$@"
""")
        os.chmod(alone, 0o755)
        binaries = {"runc": "runc"}
        # Before 1.14.3 it refuses what containerd 2 writes.
        crun = shutil.which("crun") and [int(n) for n in re.search(r"version (\d+)\.(\d+)", run("crun", "--version")).groups()]
        if crun and (crun >= [1, 15] or "/v2" not in run(os.environ.get("KEDGE_CONTAINERD", "containerd"), "--version")):
            binaries["crun"] = alone
        for oci, theirs in binaries.items():
            config = os.path.join(self.node.folder, oci + ".toml")
            with open(config, "w") as f:
                f.write(f'BinaryName = "{oci}"\n')
            with self.subTest(oci):
                self.assertEqual(self.life(KEDGE, OURS, "--runtime-config-path", config), self.life(RUNC, THEIRS, "--runc-binary", theirs))

    def life(self, runtime, space, *oci):
        node, seen = self.node, []
        events = subprocess.Popen(node.command("events", space=space), stdout=subprocess.PIPE, text=True)
        self.addCleanup(events.stdout.close)
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(events.stdout))
        reader.start()

        def step(*args, input=None, words=True):
            p = subprocess.run(node.command(*args, space=space), input=input, capture_output=True, text=True, timeout=30)
            # What a runtime says on its standard error about a process that it can't start: ours lets it through.
            errors = "\n".join(line for line in p.stderr.splitlines() if not re.match("(exec|runc create) failed: |executable file `", line))
            seen.append((args[:2], p.returncode, (p.stdout, re.sub(r'time="[^"]*"', "", errors)) if words else ()))

        def start(id, *command, flags=()):
            step("run", "--runtime", runtime, *oci, "--fifo-dir", node.folder + "/fifo", *flags, BUSYBOX, id, *command)

        eventually("the events are heard", lambda: (step("namespaces", "label", space, f"n={len(seen)}", words=False), lines)[1])
        seen.clear()
        start("a", "sleep", "1000", flags=["-d"])
        step("tasks", "exec", "--exec-id", "e1", "a", "sh", "-c", "echo out; echo err >&2; exit 7")
        step("tasks", "exec", "--exec-id", "e2", "a", "cat", input="through\n")
        step("tasks", "exec", "--exec-id", "e3", "a", "/nonexistent")
        step("tasks", "exec", "--exec-id", "fds", "a", "ls", "/proc/self/fd", "/proc/1/fd")  # of the host none
        step("tasks", "pause", "a")
        seen.append(node.tasks(space)["a"][1])
        step("tasks", "exec", "--exec-id", "e4", "a", "true")
        step("tasks", "resume", "a")
        step("tasks", "resume", "a")
        step("tasks", "rm", "a")
        step("tasks", "metrics", "a", words=False)
        step("tasks", "ps", "a", words=False)
        step("tasks", "kill", "-s", "SIGKILL", "a")
        eventually("it stops", lambda: node.tasks(space)["a"][1] == "STOPPED")
        step("tasks", "kill", "-s", "SIGKILL", "a")
        step("tasks", "exec", "--exec-id", "e5", "a", "true")
        step("tasks", "rm", "a")
        step("containers", "rm", "a")
        start("b", "sh", "-c", "echo hello; kill -9 $$", flags=["--rm"])
        start("c", "/nonexistent", flags=["--rm"])
        start("d", "sh", "-c", "exit 5", flags=["--rm", "--null-io"])
        log = f"{node.folder}/{space}.log"
        start("e", "sh", "-c", "echo to the file; echo and this >&2", flags=["--rm", "--log-uri", "file://" + log])
        # The Go shim's two pipes keep no order, and it may still be writing.
        seen.append(sorted(eventually("the log", lambda: (lambda l: len(l) == 2 and l)(open(log).readlines()))))
        os.remove(log)
        terminal = subprocess.run(["script", "-qec", " ".join(node.command(
            "run", "--rm", "-t", "--runtime", runtime, *oci, BUSYBOX, "f", "sh", "-c", "'tty; echo hi; exit 6'", space=space)), "/dev/null"],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
        seen.append((terminal.returncode, terminal.stdout.replace(b"\0", b"").replace(b"^@", b"")))
        start("g", "sh", "-c", "tail /dev/zero", flags=["--rm", "--memory-limit", "10000000"])
        eventually("the last event", lambda: any("/containers/delete" in line and '"g"' in line for line in lines))
        events.terminate()
        events.wait(10)
        reader.join()
        told = []
        for line in lines:
            topic, _, body = re.sub(r"^.*? UTC \S+ ", "", line).partition(" ")
            if not topic.startswith("/tasks/"):
                continue
            event = {k: v for k, v in json.loads(body).items() if k not in ("pid", "exited_at", "bundle", "rootfs", "io")}
            # How often the kernel tells of it before it kills is its own business.
            if (topic, event) != ("/tasks/oom", told[-1][1] if told else None):
                told.append((topic, event))
        # Only within a container there is an order.
        return seen, sorted(told, key=lambda e: e[1]["container_id"])

    def test_both_live_side_by_side_and_containers_of_a_group_share_a_shim(self):
        self.node.run(RUNC, "theirs", "sleep", "1000", flags=["-d"])
        group = ["-d", "--annotation", "io.containerd.runc.v2.group=pod"]
        for id in ("one", "two", "three"):
            self.node.run(KEDGE, id, "sleep", "1000", flags=group)
        self.node.run(KEDGE, "alone", "sleep", "1000", flags=["-d"])
        self.assertEqual(sorted(self.node.shims()), ["alone", "one"])
        self.assertEqual({state for _, state in self.node.tasks().values()}, {"RUNNING"})
        self.node.remove("one")  # whose start began the shim
        self.assertEqual(sorted(self.node.shims()), ["alone", "one"])
        self.assertEqual(self.node.ctr("tasks", "exec", "--exec-id", "x", "two", "echo", "lives"), "lives\n")
        self.node.remove("two", "three")
        eventually("the shim of the group ends", lambda: sorted(self.node.shims()) == ["alone"])

    def test_containerd_starts_anew(self):
        self.node.run(KEDGE, "stays", "sleep", "1000", flags=["-d"])
        self.node.run(KEDGE, "ends", "sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; exit 9", flags=["-d"])
        pid = self.node.tasks()["ends"][0]
        self.node.stop(signal.SIGKILL)
        open(f"/proc/{pid}/root/go", "w").close()
        eventually("it ends meanwhile", lambda: not lives(pid))
        self.node.start()
        eventually("its end is known", lambda: self.node.tasks()["ends"][1] == "STOPPED")
        self.assertEqual(self.node.tasks()["stays"][1], "RUNNING")
        self.assertEqual(self.node.ctr("tasks", "exec", "--exec-id", "x", "stays", "echo", "here"), "here\n")
        p = self.node.ctr("tasks", "rm", "ends", check=False)
        self.assertIn("exit code 9", p.stderr)

    def test_a_shim_is_killed_in_whatever_state(self):
        """containerd cleans up through `delete`; a container that had ended keeps its exit code."""
        def exits(id):
            events = subprocess.Popen(self.node.command("events"), stdout=subprocess.PIPE, text=True)
            try:
                time.sleep(0.2)
                os.kill(self.node.shims()[id], signal.SIGKILL)
                for line in events.stdout:
                    if "/tasks/exit" in line and f'"{id}"' in line:
                        return json.loads(line[line.index("{"):]).get("exit_status")
            finally:
                events.kill()
                events.stdout.close()
                events.wait()

        for id, command in (("running", "sleep 1000"), ("paused", "sleep 1000"), ("ended", "exit 3"), ("executing", "sleep 1000")):
            self.node.run(KEDGE, id, "sh", "-c", command, flags=["-d"])
        self.node.ctr("tasks", "pause", "paused")
        self.node.ctr("tasks", "exec", "-d", "--fifo-dir", self.node.folder + "/fifo", "--exec-id", "x", "executing", "sleep", "1000")
        eventually("one has ended", lambda: self.node.tasks()["ended"][1] == "STOPPED")
        pids = [pid for pid, _ in self.node.tasks().values()]
        self.assertEqual({id: exits(id) for id in ("running", "paused", "ended", "executing")},
                         {"running": 137, "paused": 137, "ended": 3, "executing": 137})
        eventually("no process of them lives", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
        eventually("no task is left", lambda: not self.node.tasks())

    def test_random_deaths_under_load(self):
        """Containers start, execute and end in many threads, while shims are killed. Whoever isn't killed tells its exit code."""
        random.seed(7)
        wrong, done, stop = [], [0], threading.Event()

        def lives(thread):
            for n in range(12):
                id, code = f"l{thread}-{n}", random.randrange(1, 100)
                p = subprocess.run(self.node.command("run", "--rm", "--runtime", KEDGE, "--fifo-dir", self.node.folder + "/fifo", BUSYBOX, id, "sh", "-c", f"echo {id}; exit {code}"),
                                   capture_output=True, text=True, timeout=60)
                done[0] += 1
                if p.returncode == code:
                    if p.stdout != f"{id}\n":
                        wrong.append((id, "output", p.stdout, p.stderr))
                elif p.returncode not in (1, 137, 255):  # killed, with its shim, somewhere on its way
                    wrong.append((id, code, p.returncode, p.stderr))
                if p.returncode != code:
                    killed.append(id)

        killed, shot = [], [0]

        def shoot():
            while not stop.wait(random.random() * 0.5):
                targets = list(self.node.shims().values())
                if targets:
                    with contextlib.suppress(OSError):
                        os.kill(random.choice(targets), signal.SIGKILL)
                        shot[0] += 1

        threads = [threading.Thread(target=lives, args=(t,)) for t in range(4)]
        hunter = threading.Thread(target=shoot)
        for t in [*threads, hunter]:
            t.start()
        for t in threads:
            t.join()
        stop.set()
        hunter.join()
        self.assertEqual(wrong, [])
        self.assertEqual(done[0], 48)
        self.assertLessEqual(len(killed), shot[0])
        # A shim that dies before containerd has reached it is cleaned up after by nobody: the next crash takes its socket away.
        left = [a for a in os.listdir("/run/containerd/s") if len(a) == 32 and a not in self.node.sockets_before]
        for a in left:
            os.utime(f"/run/containerd/s/{a}", (0, 0))
        self.node.run(KEDGE, "last", "sleep", "1000", flags=["-d"])
        os.kill(self.node.shims()["last"], signal.SIGKILL)

    def test_a_storm_of_execs_leaves_nothing(self):
        self.node.run(KEDGE, "a", "sleep", "1000", flags=["-d"])
        shim = self.node.shims()["a"]
        bundle = f"{self.node.folder}/state/io.containerd.runtime.v2.task/{OURS}/a"

        def measure():
            return len(os.listdir(f"/proc/{shim}/fd")), sorted(os.listdir(bundle))

        def own_kb():
            return int(re.search(r"Anonymous: +(\d+)", open(f"/proc/{shim}/smaps_rollup").read()).group(1))

        self.node.ctr("tasks", "exec", "--exec-id", "first", "a", "true")
        before = measure()

        def execs(thread):
            for n in range(15):
                p = subprocess.run(self.node.command("tasks", "exec", "--exec-id", f"x{thread}-{n}", "a", "sh", "-c", f"echo {n}; exit {n}"),
                                   capture_output=True, text=True, timeout=60)
                done.append(1)
                if (p.returncode, p.stdout) != (n, f"{n}\n"):
                    wrong.append((n, p.returncode, p.stdout, p.stderr))

        done, wrong = [], []
        threads = [threading.Thread(target=execs, args=(t,)) for t in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual((len(done), wrong), (90, []))
        eventually("descriptors and files are as before", lambda: measure() == before, timeout=5)
        self.assertLess(own_kb(), 300)

    def test_processes_that_outlive_init_are_killed_where_pids_are_shared(self):
        self.node.run(KEDGE, "a", "sleep", "1000", flags=["-d"])
        pid = self.node.tasks()["a"][0]
        self.node.run(KEDGE, "b", "sh", "-c", "sleep 1001 & sleep 1002", flags=["-d", "--with-ns", f"pid:/proc/{pid}/ns/pid"])

        def processes():
            return sorted(int(p) for p in run("cat", f"/sys/fs/cgroup/pids/{OURS}/b/cgroup.procs", check=False).stdout.split())
        inside = eventually("all of b runs", lambda: (lambda l: len(l) >= 2 and l)(processes()))
        os.kill(self.node.tasks()["b"][0], signal.SIGKILL)
        eventually("b stops", lambda: self.node.tasks()["b"][1] == "STOPPED")
        # Their parent is a's init, which waits for nobody: they stay as zombies.
        eventually("nothing of it lives", lambda: not any(lives(p) for p in inside), timeout=10)
        self.assertEqual(self.node.tasks()["a"][1], "RUNNING")

    def test_hostile_frames(self):
        self.node.run(KEDGE, "a", "sleep", "1000", flags=["-d"])
        shim = self.node.shims()["a"]
        path = open(f"{self.node.folder}/state/io.containerd.runtime.v2.task/{OURS}/a/address").read().removeprefix("unix://")
        random.seed(3)
        for n in range(200):
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            s.settimeout(5)
            size = random.choice([0, 1, 20, 2**32 - 1, 5 << 20])
            body = random.randbytes(min(size, 64))
            with contextlib.suppress(OSError):
                s.sendall(random.randbytes(n) if n % 3 == 0 else struct.pack(">IIBB", size, n, n % 4, 0) + body)
            s.close()
        half = socket.socket(socket.AF_UNIX)  # says that it sends four megabytes, and doesn't
        half.connect(path)
        half.sendall(struct.pack(">IIBB", 4 << 20, 1, 1, 0))
        self.addCleanup(half.close)
        self.assertEqual(self.node.shims()["a"], shim)
        self.assertEqual(self.node.ctr("tasks", "exec", "--exec-id", "x", "a", "echo", "lives"), "lives\n")
        eventually("the connections are closed", lambda: len(os.listdir(f"/proc/{shim}/fd")) < 20, timeout=5)


if __name__ == "__main__":
    main()
