"""Our shim when a machine runs out: disks that are full, output that nobody reads, floods of it, no more processes. And scripted lives beside the Go shim's, and
deaths of shims and of containerd at any moment."""

import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest

import shim_test
from harness import Failed, eventually, main, run, stands_still
from shim_test import BUSYBOX, KEDGE, OURS, RUNC, THEIRS

LIVES = int(os.environ.get("KEDGE_SHIM_LIVES", "12"))
FLOOD_MB = 64
KILLS = int(os.environ.get("KEDGE_SHIM_KILLS", "16"))
SEED = int(os.environ.get("KEDGE_SHIM_SEED", "15"))


def own_kb(pid):
    return int(re.search(r"Anonymous: +(\d+)", open(f"/proc/{pid}/smaps_rollup").read()).group(1))


def pids_folder(*names):
    """Of the controller of processes, whichever version it is of."""
    v1 = "/sys/fs/cgroup/pids"
    return os.path.join(v1 if os.path.isdir(v1) else "/sys/fs/cgroup", *names)


def nothing_left(node):
    """Of bundles, mounts, cgroups and processes. Sockets bear nobody's name, and another containerd's may come and go meanwhile: shim_test looks at them."""
    left = lambda: [what for what in node.leftovers() if not re.fullmatch("[0-9a-f]{32}", what)]
    try:
        eventually("nothing is left", lambda: not left())
    except Failed:
        raise Failed(f"left: {left()}") from None


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = shim_test.Node()
        cls.addClassCleanup(cls.node.close)

    def tearDown(self):
        for space in (OURS, THEIRS):
            self.node.remove(*self.node.ctr("containers", "ls", "-q", space=space).split(), space=space)
        nothing_left(self.node)

    @contextlib.contextmanager
    def disk(self, name, size):
        """A small one, mounted in the node's folder."""
        folder = os.path.join(self.node.folder, name)
        os.makedirs(folder, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
        try:
            yield folder
        finally:
            run("umount", "-l", folder)

    def ended(self, id):
        eventually(f"{id} stops", lambda: self.node.tasks()[id][1] == "STOPPED", timeout=60)

    def code(self, id):
        """The exit code of an ended task, which goes; ctr tells it on its standard error."""
        p = self.node.ctr("tasks", "rm", id, check=False)
        found = re.search(r"exit code (\d+)", p.stderr)
        return int(found.group(1)) if found else p.returncode

    def bystander(self):
        """In the same shim as the pod's others: what befalls these isn't its business."""
        self.node.run(KEDGE, "bystander", "sleep", "1000", flags=["-d", "--null-io", "--annotation", "io.containerd.runc.v2.group=pod"])
        return self.node.shims()["bystander"]

    def still_well(self, shim):
        self.assertEqual(self.node.shims()["bystander"], shim)
        self.assertEqual(self.node.tasks()["bystander"][1], "RUNNING")
        self.assertEqual(self.node.ctr("tasks", "exec", "--exec-id", "well", "bystander", "echo", "well"), "well\n")

    GROUP = ("-d", "--annotation", "io.containerd.runc.v2.group=pod")

    def test_a_log_on_a_full_disk(self):
        shim = self.bystander()
        with self.disk("logs", "1m") as folder:
            self.node.run(KEDGE, "full", "sh", "-c", "dd if=/dev/zero bs=64k count=64 2>/dev/null; exit 4", flags=[*self.GROUP, "--log-uri", f"file://{folder}/log"])
            self.ended("full")
            self.assertEqual(self.code("full"), 4)
            self.assertGreater(os.path.getsize(folder + "/log"), 500_000)
        self.still_well(shim)

    def test_no_room_for_what_the_shim_notes(self):
        """The bundle's disk is full: what runs goes on and its end is told, what is to begin is refused with the reason, and begins when there is room."""
        node = shim_test.Node.__new__(shim_test.Node)
        node.folder, node.process = os.path.join(self.node.folder, "small"), None
        with self.disk("small/state", "2m") as state:
            with open(node.folder + "/config.toml", "w") as f:
                f.write(shim_test.CONFIG.format(node.folder))
            node.start()
            try:
                node.ctr("images", "import", shim_test.image(node.folder, BUSYBOX, [], ["sh"]))
                node.run(KEDGE, "ends", "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 6", flags=["-d", "--null-io"])
                pid = node.tasks()["ends"][0]
                ballast = os.open(state + "/ballast", os.O_WRONLY | os.O_CREAT)
                with contextlib.suppress(OSError):
                    while True:
                        os.write(ballast, b"x" * 4096)
                os.close(ballast)
                p = node.run(KEDGE, "refused", "true", flags=["--rm", "--null-io"], check=False)
                self.assertNotEqual(p.returncode, 0)
                self.assertIn("no space left on device", p.stderr.lower())
                open(f"/proc/{pid}/root/go", "w").close()
                eventually("its end is told", lambda: node.tasks()["ends"][1] == "STOPPED", timeout=60)
                os.remove(state + "/ballast")
                self.assertIn("exit code 6", node.ctr("tasks", "rm", "ends", check=False).stderr)
                self.assertEqual(node.ctr("run", "--rm", "--runtime", KEDGE, "--null-io", BUSYBOX, "now", "true"), "")
            finally:
                node.remove(*node.ctr("containers", "ls", "-q").split())
                node.stop()

    def test_output_that_nobody_reads(self):
        """A process that writes into a full pipe stands still, costs nothing, and can be killed."""
        shim = self.bystander()
        self.node.run(KEDGE, "mute", "yes", flags=[*self.GROUP])
        self.node.ctr("tasks", "exec", "-d", "--fifo-dir", self.node.folder + "/fifo", "--exec-id", "loud", "bystander", "yes")
        pid = self.node.tasks()["mute"][0]

        def written():
            return int(re.search(r"wchar: (\d+)", open(f"/proc/{pid}/io").read()).group(1))
        eventually("the pipe is full", lambda: written() >= 65536)
        stands_still("it writes no more", written)
        self.assertLess(own_kb(shim), 300)
        self.still_well(shim)
        self.node.ctr("tasks", "kill", "-s", "SIGKILL", "mute")
        self.ended("mute")
        self.assertEqual(self.code("mute"), 137)
        self.node.ctr("tasks", "kill", "-s", "SIGKILL", "--exec-id", "loud", "bystander")
        self.still_well(shim)

    def test_floods_of_output(self):
        """Into a file, through a fifo and through a terminal: every byte comes, and the shim holds none."""
        shim, log = self.bystander(), os.path.join(self.node.folder, "flood")
        flood = f"dd if=/dev/zero bs=64k count={FLOOD_MB * 16} 2>/dev/null"
        self.node.run(KEDGE, "file", "sh", "-c", flood, flags=[*self.GROUP, "--log-uri", f"file://{log}"])
        self.ended("file")
        self.assertEqual(self.code("file"), 0)
        self.assertEqual(os.path.getsize(log), FLOOD_MB << 20)
        os.remove(log)
        group = self.GROUP[1:]
        p = subprocess.Popen(self.node.command("run", "--rm", "--runtime", KEDGE, "--fifo-dir", self.node.folder + "/fifo", *group, BUSYBOX, "fifo", "sh", "-c", flood), stdout=subprocess.PIPE)
        size = 0
        while piece := p.stdout.read(1 << 20):
            size += len(piece)
        p.stdout.close()
        self.assertEqual((p.wait(30), size), (0, FLOOD_MB << 20))
        # Not through ctr, which drops the last of what it reads when its own terminal is slow. It wants to have one.
        fifos, ends = os.path.join(self.node.folder, "tty"), os.openpty()
        os.makedirs(fifos)
        try:
            subprocess.run(self.node.command("run", "-d", "-t", "--runtime", KEDGE, "--fifo-dir", fifos, *group, BUSYBOX, "tty", "sh", "-c",
                                             "while [ ! -e /go ]; do sleep 0.05; done; yes 0123456789 | head -n 200000; exit 3"),
                           stdin=ends[1], stdout=ends[1], stderr=ends[1], start_new_session=True, check=True, timeout=60)
        finally:
            for end in ends:
                os.close(end)
        pid = self.node.tasks()["tty"][0]
        size = 0
        with open(next(p for p in pathlib.Path(fifos).rglob("*stdout")), "rb", buffering=0) as out:
            open(f"/proc/{pid}/root/go", "w").close()
            while piece := out.read(1 << 16):
                size += len(piece)
        self.assertEqual(size, 200000 * len("0123456789\r\n"))
        self.ended("tty")
        self.assertEqual(self.code("tty"), 3)
        self.assertLess(own_kb(shim), 300)
        self.still_well(shim)

    def test_no_more_processes(self):
        """In the container, then for the shim itself: what can't be begun is refused with the reason, what ends is told, and all goes on afterwards."""
        shim = self.bystander()
        self.node.run(KEDGE, "a", "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 8", flags=[*self.GROUP, "--null-io"])
        limit = pids_folder(OURS, "bystander", "pids.max")
        with open(limit, "w") as f:
            f.write("1")
        p = self.node.ctr("tasks", "exec", "--exec-id", "x", "bystander", "sh", "-c", "sleep 0 & wait", check=False)
        self.assertNotEqual(p.returncode, 0)
        with open(limit, "w") as f:
            f.write("max")
        self.still_well(shim)
        own = pids_folder(f"{OURS}-shim")
        os.mkdir(own)
        before = pids_folder(re.search(r"^\d+:pids:/?(.*)$|^0::/?(.*)$", open(f"/proc/{shim}/cgroup").read(), re.M).group(1) or "")
        try:
            with open(own + "/cgroup.procs", "w") as f:
                f.write(str(shim))
            with open(own + "/pids.max", "w") as f:
                f.write("1")
            for n in range(3):
                p = self.node.ctr("tasks", "exec", "--exec-id", f"y{n}", "bystander", "true", check=False)
                self.assertNotEqual(p.returncode, 0)
                self.assertIn("resource temporarily unavailable", p.stderr.lower())
            # An end needs no process to be told.
            open(f"/proc/{self.node.tasks()['a'][0]}/root/go", "w").close()
            self.ended("a")
        finally:
            with open(own + "/pids.max", "w") as f:
                f.write("max")
            with open(before + "/cgroup.procs", "w") as f:
                f.write(str(shim))
            eventually("the group is empty", lambda: os.rmdir(own) is None)
        self.assertEqual(self.code("a"), 8)
        self.still_well(shim)


class Scripts(unittest.TestCase):
    """Lives of containers by a seed, each on both shims: the same exit codes, states and events (KEDGE_SHIM_LIVES=100 for more of them)."""

    @classmethod
    def setUpClass(cls):
        cls.node = shim_test.Node()
        cls.addClassCleanup(cls.node.close)

    COMMANDS = ("sleep 1000", "trap 'exit 5' TERM; trap 'exit 6' HUP; while :; do sleep 0.02; done", "sleep 1000 & sleep 1001 & wait", "exit {n}", "kill -{signal} $$",
                "echo out; echo err >&2; exit {n}", "exec sh -c 'exit {n}'", "true & wait; exit {n}")

    def play(self, seed, runtime, space):
        node, r, seen = self.node, random.Random(seed), []
        id = f"life{seed}"

        def step(*args):
            p = subprocess.run(node.command(*args, space=space), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
            seen.append((args[:2], p.returncode))
            return p

        def state():
            return node.tasks(space).get(id, (0, "NONE"))[1]
        command = r.choice(self.COMMANDS).format(n=r.randrange(0, 200), signal=r.choice(("KILL", "SEGV", "ABRT")))
        output = r.choice((["--null-io"], ["--log-uri", f"file://{node.folder}/{space}-{id}"], ["--fifo-dir", node.folder + "/fifo"]))
        memory = r.choice(([], [], ["--memory-limit", "50000000"]))
        step("run", "-d", "--runtime", runtime, *output, *memory, BUSYBOX, id, "sh", "-c", command)
        stays = "1000" in command or "while" in command
        if not stays:  # a signal of its own is nothing to an init, which then ends by itself
            eventually("it has ended", lambda: state() == "STOPPED")
        for n in range(r.randrange(0, 4)):
            what = r.choice(("exec", "exec", "missing", "pause", "signal", "ls"))
            if what == "exec":
                step("tasks", "exec", "--exec-id", f"e{n}", id, "sh", "-c", f"exit {r.randrange(0, 100)}")
            elif what == "missing":
                step("tasks", "exec", "--exec-id", f"m{n}", id, "/nonexistent")
            elif what == "pause":
                step("tasks", "pause", id)
                seen.append(state())
                step("tasks", "resume", id)
            elif what == "signal":
                word = r.choice(("SIGTERM", "SIGHUP", "SIGWINCH"))
                step("tasks", "kill", "-s", word, id)
                if "trap" in command and word != "SIGWINCH" and seen[-1][1] == 0:
                    eventually("it ends by that", lambda: state() == "STOPPED", timeout=60)
            else:
                seen.append(state())
        if state() != "STOPPED":
            step("tasks", "kill", "-s", "SIGKILL", id)
            eventually("it ends", lambda: state() == "STOPPED", timeout=60)
        told = step("tasks", "rm", id)
        seen.append(re.findall(r"exit code \d+", told.stderr))
        step("containers", "rm", id)
        if output[0] == "--log-uri":
            path = f"{node.folder}/{space}-{id}"
            if runtime == KEDGE:  # the Go shim copies, and sometimes ends before it has copied all
                self.assertEqual(sorted(open(path).readlines()), ["err\n", "out\n"] if command.startswith("echo") else [], command)
            os.remove(path)
        return command, seen

    def test_scripted_lives(self):
        spaces, events = {KEDGE: OURS, RUNC: THEIRS}, {}
        readers = []
        for runtime, space in spaces.items():
            p = subprocess.Popen(self.node.command("events", space=space), stdout=subprocess.PIPE, text=True)
            lines = events[runtime] = []
            reader = threading.Thread(target=lambda p=p, lines=lines: lines.extend(p.stdout))
            reader.start()
            readers.append((p, reader))
            eventually("the events are heard", lambda: (self.node.ctr("namespaces", "label", space, f"n={random.random()}"), lines)[1])
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            jobs = {(seed, runtime): pool.submit(self.play, seed, runtime, space) for seed in range(LIVES) for runtime, space in spaces.items()}
            lived = {key: job.result() for key, job in jobs.items()}

        def told(runtime):
            out = {}
            for line in list(events[runtime]):
                topic, _, body = re.sub(r"^.*? UTC \S+ ", "", line).partition(" ")
                if topic.startswith("/tasks/") and topic != "/tasks/oom":
                    event = {k: v for k, v in json.loads(body).items() if k not in ("pid", "exited_at", "bundle", "rootfs", "io")}
                    out.setdefault(event["container_id"], []).append((topic, event))
            return out
        for runtime in spaces:
            eventually("the last event", lambda: sum(e[-1][0] == "/tasks/delete" for e in told(runtime).values()) == LIVES)
        for p, reader in readers:
            p.terminate()
            p.wait(10)
            reader.join()
            p.stdout.close()
        ours, theirs = told(KEDGE), told(RUNC)
        for seed in range(LIVES):
            with self.subTest(seed=seed, command=lived[seed, KEDGE][0]):
                self.assertEqual(lived[seed, KEDGE], lived[seed, RUNC])
                self.assertEqual(ours[f"life{seed}"], theirs[f"life{seed}"])
        nothing_left(self.node)


class Storm(unittest.TestCase):
    """Containers begin, execute and end in many threads while shims and containerd are killed (KEDGE_SHIM_KILLS=1000 for a real storm, KEDGE_SHIM_SEED
    for another one). Whose shim wasn't killed tells its own exit code, whatever became of containerd meanwhile; nothing is left of anybody."""

    @classmethod
    def setUpClass(cls):
        cls.node = shim_test.Node()
        cls.addClassCleanup(cls.node.close)

    def setUp(self):
        self.over = threading.Event()
        self.shot = set()  # of whom the shim was killed
        self.wrong, self.fates, self.deaths = [], collections.Counter(), 0

    def asked(self, *args):
        """Of containerd, as often as it takes for it to be there."""
        while True:
            p = subprocess.run(self.node.command(*args), capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
            if p.returncode == 0 or not re.search("connection refused|transport|no such file or directory.*c.sock|Unavailable|deadline exceeded|connection error|EOF|closed", p.stderr):
                return p
            time.sleep(0.1)

    def state(self, id):
        for line in self.asked("tasks", "ls").stdout.splitlines()[1:]:
            words = line.split()
            if words[0] == id:
                return words[2]
        return "NONE"

    def forget(self, id):
        def gone():
            self.asked("tasks", "rm", "-f", id)
            self.asked("containers", "rm", id)
            return id not in self.asked("containers", "ls", "-q").stdout.split()
        eventually(f"{id} can be taken away", gone, timeout=120, every=0.2)

    def live(self, id, r):
        code = r.randrange(1, 100)
        seconds = r.choice(("0", "0.05", "0.3", "1"))
        oci = ["--runtime-config-path", self.crun] if self.crun and r.random() < 0.5 else []
        output = r.choice((["--null-io"], ["--log-uri", f"file://{self.node.folder}/{id}.log"]))
        begun = subprocess.run(self.node.command("run", "-d", "--runtime", KEDGE, *oci, *output, BUSYBOX, id, "sh", "-c", f"echo {id}; sleep {seconds}; exit {code}"),
                               capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while (state := self.state(id)) in ("RUNNING", "PAUSED", "UNKNOWN") and time.monotonic() < end:
            if state == "RUNNING" and r.random() < 0.3:
                subprocess.run(self.node.command("tasks", "exec", "--exec-id", f"x{r.randrange(10**9)}", id, "true"), capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
            time.sleep(0.05)
        fate = state
        if state == "STOPPED":
            deaths = self.deaths
            while "exit code" not in (told := self.asked("tasks", "rm", id)).stderr and self.state(id) == "STOPPED":
                time.sleep(0.1)
            found = re.search(r"exit code (\d+)", told.stderr)
            fate = int(found.group(1)) if found else "untold"
            # The answer of a deletion may have died with containerd.
            if not found and deaths == self.deaths and id not in self.shot:
                self.wrong.append((id, "its exit code was not told", told.stderr))
            if found and fate != code and not (id in self.shot and fate == 137):
                self.wrong.append((id, f"ended with {code}, told was {fate}", told.stderr))
        elif state in ("RUNNING", "PAUSED"):
            self.wrong.append((id, f"is {state} after two minutes", begun.stderr))
        elif state == "NONE" and begun.returncode == 0 and id not in self.shot:
            self.wrong.append((id, "was begun, and nothing of it is known", begun.stderr))
        if output[0] == "--log-uri" and isinstance(fate, int) and fate == code and open(output[1].removeprefix("file://")).read() != f"{id}\n":
            self.wrong.append((id, "its output is not what it wrote"))
        self.forget(id)
        self.fates["its own code" if fate == code else fate] += 1

    def work(self, thread):
        n = 0
        while not self.over.is_set():
            id = f"s{thread}-{n}"
            try:
                self.live(id, random.Random(f"{SEED} {id}"))
            except Exception as e:  # in a thread nobody would see it
                self.wrong.append((id, repr(e)))
            n += 1

    def test_deaths_of_shims_and_of_containerd(self):
        r = random.Random(SEED)
        self.crun = ""
        if shutil.which("crun"):
            self.crun = os.path.join(self.node.folder, "crun.toml")
            with open(self.crun, "w") as f:
                f.write('BinaryName = "crun"\n')
        threads = [threading.Thread(target=self.work, args=(t,)) for t in range(4)]
        for t in threads:
            t.start()
        shims_killed = 0
        while shims_killed + self.deaths < KILLS and not self.wrong:
            time.sleep(r.random() * 0.4)
            if r.random() < 0.15:
                self.deaths += 1
                self.node.stop(signal.SIGKILL)
                self.node.start()
                continue
            shims = self.node.shims()
            if shims:
                id = r.choice(sorted(shims))
                self.shot.add(id)
                with contextlib.suppress(OSError):
                    os.kill(shims[id], signal.SIGKILL)
                    shims_killed += 1
        self.over.set()
        for t in threads:
            t.join()
        print(f"seed {SEED}: {shims_killed} shims and {self.deaths} times containerd were killed; containers: {dict(self.fates)}", flush=True)
        self.assertEqual(self.wrong, [], f"seed {SEED}")
        # containerd gives a bundle a hidden name before it takes it away, and looks at none of these when it died in between.
        for folder in pathlib.Path(self.node.folder, "state/io.containerd.runtime.v2.task", OURS).glob(".*"):
            shutil.rmtree(folder)
        nothing_left(self.node)


if __name__ == "__main__":
    main()
