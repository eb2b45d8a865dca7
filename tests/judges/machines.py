"""Machines for judges that want a whole one: a network, processes, cgroups, /run, /etc and /var of their own on this machine's programs.

K3s and Kedge then both have their usual paths, one after the other on the same data or beside each other, and a kubelet that removes
cgroups it doesn't know removes nobody else's. What runs in a machine ends with it."""

import contextlib
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))

from ha_lab import HaLab  # noqa: E402
from harness import Failed, Host, eventually, run  # noqa: E402
from runtime import RuntimeLab  # noqa: E402

# Into a cgroup of each hierarchy, which then is the root of what the machine sees.
ENTER = """
set -e
for folder in /sys/fs/cgroup/*/; do
  mkdir -p "$folder$1"
  case $folder in */cpuset/) cat "$folder/cpuset.cpus" > "$folder$1/cpuset.cpus"; cat "$folder/cpuset.mems" > "$folder$1/cpuset.mems";; esac
  echo $$ > "$folder$1/cgroup.procs"
done
exec unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --propagation private sh -c "$SETUP" machine "$@"
"""
SETUP = """
set -e
hostname "$2"
# What others have mounted is theirs to unmount.
awk '$2 ~ "^/(tmp|run)/" { print $2 }' /proc/mounts | tac | while read -r place; do umount -l "$place" 2>/dev/null || true; done
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for name in cpu cpuacct cpuset memory devices freezer blkio pids; do
  mkdir /sys/fs/cgroup/$name
  mount -t cgroup -o $name cgroup /sys/fs/cgroup/$name
done
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
for name in lib log; do
  mkdir -p "$3/$name"
  mount --bind "$3/$name" /var/$name
done
for name in /etc /usr/libexec /opt; do
  mkdir -p "$3/upper$name" "$3/work$name"
  mount -t overlay -o "lowerdir=$name,upperdir=$3/upper$name,workdir=$3/work$name" overlay $name
done
mount --make-rshared /
echo ready
exec sleep infinity
"""
INSIDE = 'for group in /sys/fs/cgroup/*/; do echo $$ > "$group/cgroup.procs"; done; exec "$@"'


class Machine(Host):
    def __init__(self, lab, number, name):
        super().__init__(lab, number)
        self.title = name
        self.group = f"{lab.prefix}{name}"
        self.folder = os.path.join(lab.folder, name)
        os.makedirs(self.folder)
        self.keeper = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.name}", "--", "sh", "-c", ENTER, "enter", self.group, name, self.folder],
                                       stdout=subprocess.PIPE, stderr=open(os.path.join(self.folder, "made.log"), "w"), stdin=subprocess.DEVNULL,
                                       text=True, env={**os.environ, "SETUP": SETUP})
        if self.keeper.stdout.readline() != "ready\n":
            raise Failed(f"machine {name} could not be made")
        self.first = children(self.keeper.pid)[0]

    def command(self, *argv):
        # nsenter stays as the parent; its end ends the command.
        return ["nsenter", "-t", str(self.first), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--", "setpriv", "--pdeathsig", "KILL", "sh", "-c", INSIDE, "inside", *argv]

    def run(self, *argv, **how):
        return run(*self.command(*argv), **how)

    def path(self, path):
        """The same file, from outside."""
        return f"/proc/{self.first}/root{path}"

    def read(self, path):
        with open(self.path(path)) as f:
            return f.read()

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w") as f:
            f.write(text)

    def end(self, process, number=signal.SIGTERM, timeout=90):
        """Ends what was started with `command`, leaving its own children alone, and gives its exit code."""
        for pid in children(process.pid):
            os.kill(pid, number)
        return process.wait(timeout)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.first, signal.SIGKILL)  # the first process takes all others with it
        self.keeper.wait(30)
        for hierarchy in os.listdir("/sys/fs/cgroup"):
            top = os.path.join("/sys/fs/cgroup", hierarchy, self.group)
            for folder, _, _ in os.walk(top, topdown=False):
                for _ in range(50):
                    try:
                        os.rmdir(folder)
                        break
                    except OSError:
                        time.sleep(0.1)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(word) for word in f.read().split()]


class MachineLab(RuntimeLab, HaLab):
    def machine(self, name):
        self.hosts.append(Machine(self, len(self.hosts) + 1, name))
        return self.hosts[-1]

    def close(self):
        for host in self.hosts:
            if isinstance(host, Machine):
                host.close()
        super().close()


class Daemon:
    """K3s or Kedge as `server` or `agent` of a machine, with K3s's usual paths."""

    kubeconfig = "/etc/rancher/k3s/k3s.yaml"

    def __init__(self, lab, machine, program, role, *args, env=None, name=None):
        self.lab, self.machine, self.program, self.role, self.args, self.env = lab, machine, program, role, args, env or {}
        self.name = name or f"{machine.title}-{os.path.basename(program)}-{role}"
        self.process = None

    def start(self):
        environment = {**os.environ, **self.env}
        self.process = self.lab.start(self.name, self.machine.command(self.program, self.role, *self.args), env=environment)
        return self

    def stop(self, number=signal.SIGTERM):
        return self.machine.end(self.process, number)

    def log(self):
        with open(self.process.log, errors="replace") as f:
            return f.read()

    def running(self, what, condition, timeout=90):
        def holds():
            if self.process.poll() is not None:
                raise SystemError(f"{self.name} ended with {self.process.returncode}:\n{self.log()[-3000:]}")
            return condition()
        try:
            return eventually(what, holds, timeout, every=0.3)
        except Failed as e:
            raise Failed(f"{e}\n{self.name}:\n{self.log()[-3000:]}") from None
