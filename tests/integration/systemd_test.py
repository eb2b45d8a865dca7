"""scripts/install.sh and scripts/deb under real systemd, and under OpenRC: machines that share this one's files (an overlay, nothing is written through), each in
namespaces and control groups of its own, with systemd as its first process."""

import concurrent.futures
import hashlib
import os
import pathlib
import subprocess
import unittest

from harness import BINARY, Lab, eventually, run

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
BIN, UNITS = "/usr/local/bin", "/etc/systemd/system"

# $1 the machine's folder, $2 its name for control groups. Becomes systemd.
BOOT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do touch dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for folder in run tmp var/lib/rancher; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount --bind "/sys/fs/cgroup/$2" sys/fs/cgroup
else
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
  for h in /sys/fs/cgroup/*/"$2"; do
    h=${h%/*}; h=${h##*/}; mkdir sys/fs/cgroup/$h; mount --bind "/sys/fs/cgroup/$h/$2" sys/fs/cgroup/$h
  done
fi
mkdir -p opt/kedge && touch opt/kedge/kedge && mount --bind "$KEDGE_BINARY" opt/kedge/kedge
for beside in containerd-shim-kedge-v2 kedge-cni; do touch opt/kedge/$beside && mount --bind "$(dirname "$KEDGE_BINARY")/$beside" opt/kedge/$beside; done
cp "$SCRIPTS/install.sh" opt/kedge/
[ ! -e "$PACKAGE" ] || cp "$PACKAGE" opt/kedge/kedge.deb
# What this machine starts is not this test's matter; what it has installed may be in the way of an empty machine.
rm -rf etc/systemd/system/*.wants etc/systemd/system/k3s* etc/systemd/system/kedge* etc/rancher etc/machine-id
for name in k3s kedge kedge-killall.sh; do rm -f usr/local/bin/$name; done
echo "$MACHINE_ID" >etc/machine-id
sh -ec "$CHANGE"
export container=kedge-test
if [ "$INIT" = openrc ]; then
  rm -rf etc/runlevels && mkdir -p etc/runlevels/sysinit etc/runlevels/boot etc/runlevels/default etc/runlevels/shutdown
  exec chroot . /sbin/openrc-init
fi
exec chroot . /lib/systemd/systemd --system --unit=multi-user.target
"""


def control_groups(name):
    top = pathlib.Path("/sys/fs/cgroup")
    hierarchies = [top] if (top / "cgroup.controllers").exists() else [h for h in top.iterdir() if h.is_dir() and not h.is_symlink()]
    return [h / name for h in hierarchies if (h / "cgroup.procs").exists()]


class Machine:
    def __init__(self, lab, host, number, change="", init="systemd", package=""):
        """`change` is done to its files before it starts: a shell's commands in its root. `package`: what lies there as kedge.deb."""
        self.name = f"{lab.prefix}sd{number}"
        self.folder = os.path.join(lab.folder, self.name)
        os.mkdir(self.folder)
        self.init, self.groups = None, control_groups(self.name)
        for group in self.groups:
            group.mkdir()
            for need in ("cpuset.cpus", "cpuset.mems"):
                if (group / need).exists() and not (group / need).read_text().strip():
                    (group / need).write_text((group.parent / need).read_text())
        enter = "".join(f"echo $$ >{g}/cgroup.procs; " for g in self.groups)
        env = {**os.environ, "SCRIPTS": str(SCRIPTS), "KEDGE_BINARY": BINARY, "MACHINE_ID": f"{number}" * 32, "CHANGE": change, "INIT": init, "PACKAGE": package}
        # Not `ip netns exec`: that hides the control groups.
        self.process = lab.start(self.name, ["nsenter", f"--net=/run/netns/{host.name}",
            "sh", "-c", enter + 'exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child sh -c "$0" boot "$@"',
            BOOT, self.folder, self.name], env=env)
        try:
            self.wait_until_up(number, ("systemctl", "is-system-running") if init == "systemd" else ("rc-status", "--runlevel"))
        except BaseException:
            self.close()
            raise

    def wait_until_up(self, number, question):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.init = int(eventually("the machine's first process", lambda: children.read_text().split())[0])
        eventually("it is up", lambda: self.run(*question, check=False).stdout.strip() in ("running", "degraded", "default"),
                   timeout=120, every=0.2)
        self.run("hostname", f"machine{number}")

    def run(self, *argv, check=True, env=None, timeout=120):
        nsenter = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", f"--root=/proc/{self.init}/root",
                   "--wd=/proc/%d/root" % self.init]
        base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        return run(*nsenter, *argv, check=check, env={**base, **(env or {})}, timeout=timeout)

    def install(self, *args, check=True, **env):
        return self.run("/opt/kedge/install.sh", *args, check=check, env={k: v for k, v in env.items()})

    def property(self, unit, name):
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def exists(self, path):
        return os.path.lexists(f"/proc/{self.init}/root{path}")

    def close(self):
        self.process.kill()  # takes its child along, and that everything in its namespace
        self.process.wait(20)
        for group in self.groups:
            for folder, _, _ in os.walk(group, topdown=False):
                eventually("the control group is empty", lambda f=folder: os.rmdir(f) or True)


class Systemd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.hosts, cls.machines = [cls.lab.host(), cls.lab.host()], []
        for number, host in enumerate(cls.hosts, 1):
            cls.machines.append(Machine(cls.lab, host, number))
            cls.addClassCleanup(cls.machines[-1].close)

    def test_1_mistakes_are_named(self):
        machine = self.machines[0]
        for args, env, message in [
            ((), {"K3S_URL": "https://10.0.0.1:6443"}, "an agent needs K3S_TOKEN"),
            (("agent",), {}, "an agent needs K3S_URL"),
            (("agent", "--server", "http://10.0.0.1:6443", "--token", "x"), {}, "only https:// URLs"),
            (("bake",), {}, "unknown command bake"),
            ((), {"INSTALL_K3S_NAME": "../../etc"}, "INSTALL_K3S_NAME may have"),
            ((), {"INSTALL_K3S_SKIP_DOWNLOAD": "true"}, "no executable /usr/local/bin/kedge"),
            ((), {"K3S_DATA_DIR": "/"}, "data directory must be"),
        ]:
            p = machine.install(*args, check=False, **env)
            self.assertEqual(p.returncode, 1, message)
            self.assertIn("[ERROR]", p.stderr)
            self.assertIn(message, p.stderr)
        self.assertFalse(machine.exists(BIN + "/kedge"))
        self.assertIn("INSTALL_K3S_EXEC", machine.install("--help"))

    def test_2_life_of_a_cluster(self):
        server, agent = self.machines
        token = 'a "quoted" $HOME `id` back\\slash %n'

        # A server: install.sh returns when systemd has heard that it is ready.
        options = {"INSTALL_KEDGE_BINARY": "/opt/kedge/kedge", "K3S_TOKEN": token,
                   "INSTALL_K3S_EXEC": "server --node-name first --node-label 'blank=' --disable=traefik"}
        output = server.install("--node-label", "zone=attic", **options)
        self.assertIn("Starting kedge.service", output)
        for name in ("kedge", "k3s"):
            self.assertEqual(server.run("systemctl", "is-active", name).strip(), "active")
            self.assertEqual(server.run("systemctl", "is-enabled", name).strip(), "enabled" if name == "kedge" else "alias")
        self.assertEqual(server.property("kedge", "Type"), "notify")
        self.assertEqual(server.run("k3s", "kubectl", "get", "--raw", "/readyz"), "ok")
        kept = server.run("stat", "-c", "%a", UNITS + "/kedge.service.env").strip()
        self.assertEqual(kept, "600")
        self.assertNotIn("quoted", server.run("cat", UNITS + "/kedge.service"))
        self.assertTrue(server.run("cat", "/var/lib/rancher/k3s/server/node-token").strip().endswith("::server:" + token))
        eventually("the server's node is Ready", lambda: "Ready" == self.ready(server, "first"), timeout=120)
        self.assertEqual(server.run("kedge", "kubectl", "get", "node", "first", "-o", "jsonpath={.metadata.labels.zone}"), "attic")
        self.assertTrue(server.exists(BIN + "/containerd-shim-kedge-v2"))
        self.assertEqual(server.run("readlink", "/var/lib/rancher/k3s/data/cni/bridge").strip(), BIN + "/kedge-cni")
        self.assertIn('default_runtime_name = "kedge"', server.run("cat", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"))
        # What the machine has is not hidden by links.
        self.assertNotEqual(server.run("readlink", "-f", server.run("which", "kubectl").strip()).strip(), BIN + "/kedge")

        # The same again changes nothing; a restart is asked for or follows from a change.
        pid = server.property("kedge", "MainPID")
        arguments = ("--node-label", "zone=attic")
        self.assertIn("Nothing changed", server.install(*arguments, **options))
        self.assertEqual(server.property("kedge", "MainPID"), pid)
        server.run("kedge", "kubectl", "create", "configmap", "kept", "--from-literal=a=b")
        server.install(*arguments, **options, INSTALL_K3S_FORCE_RESTART="true")
        self.assertNotEqual(server.property("kedge", "MainPID"), pid)
        self.assertIn("kept", server.run("kedge", "kubectl", "get", "configmaps", "-o", "name"))

        # A crash: systemd brings it back.
        pid = server.property("kedge", "MainPID")
        server.run("kill", "-9", pid)
        eventually("it runs again", lambda: server.property("kedge", "ActiveState") == "active" and server.property("kedge", "MainPID") != pid, timeout=60)
        eventually("it serves again", lambda: server.run("k3s", "kubectl", "get", "--raw", "/readyz") == "ok")

        # An agent: K3S_URL makes it one.
        agent.install(INSTALL_KEDGE_BINARY="/opt/kedge/kedge", K3S_URL=f"https://{self.hosts[0].address}:6443", K3S_TOKEN=token, K3S_NODE_NAME="second")
        self.assertEqual(agent.run("systemctl", "is-active", "k3s-agent").strip(), "active")
        eventually("the agent's node is Ready", lambda: "Ready" == self.ready(server, "second"), timeout=120)

        # A stop is clean, and ends what is not a container too.
        agent.run("systemctl", "stop", "kedge-agent")
        self.assertEqual(agent.property("kedge-agent", "Result"), "success")
        self.assertEqual(agent.run("pgrep", "-x", "containerd", check=False).stdout, "")

        # Killall keeps the data; uninstall leaves nothing.
        server.run("k3s-killall.sh")
        self.assertEqual(server.property("kedge", "ActiveState"), "inactive")
        self.assertTrue(server.exists("/var/lib/rancher/k3s/server/db/state.db"))
        self.assertFalse(server.exists("/run/k3s"))
        agent.run("kedge-agent-uninstall.sh")
        server.run("k3s-uninstall.sh")
        for machine in self.machines:
            for path in ("/var/lib/rancher/k3s", "/var/lib/kubelet", "/etc/rancher", "/run/k3s", "/var/lib/cni", "/sys/class/net/cni0"):
                self.assertFalse(machine.exists(path), path)
            left = machine.run("sh", "-c", f"ls {BIN} {UNITS} {UNITS}/multi-user.target.wants | grep -E 'kedge|k3s'", check=False).stdout
            self.assertEqual(left, "")
            self.assertEqual(machine.run("pgrep", "-f", "k3s|kedge server|kedge agent", check=False).stdout, "")
            self.assertEqual(machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "kedge*", "k3s*"), "")

    def ready(self, server, node):
        return server.run("kedge", "kubectl", "get", "node", node, "--no-headers").split()[1]

    def test_3_a_k3s_that_is_there_is_not_run_over(self):
        machine = self.machines[0]
        machine.run("sh", "-c", f"echo '[Service]' >{UNITS}/k3s.service")
        p = machine.install(check=False, INSTALL_KEDGE_BINARY="/opt/kedge/kedge")
        self.assertEqual(p.returncode, 1)
        self.assertIn("K3s is installed here", p.stderr)
        self.assertFalse(machine.exists(BIN + "/kedge"))
        machine.run("rm", UNITS + "/k3s.service")

    def test_4_names_and_folders_of_ones_own(self):
        machine = self.machines[1]
        machine.install(INSTALL_KEDGE_BINARY="/opt/kedge/kedge", INSTALL_K3S_NAME="lab", INSTALL_K3S_SKIP_START="true", INSTALL_K3S_BIN_DIR="/opt/tools",
                        INSTALL_K3S_SYMLINK="skip", INSTALL_K3S_EXEC="--data-dir /srv/lab --disable-agent")
        self.assertEqual(machine.run("systemctl", "is-enabled", "kedge-lab").strip(), "enabled")
        self.assertEqual(machine.property("kedge-lab", "ActiveState"), "inactive")
        self.assertIn('ExecStart=/opt/tools/kedge server "--data-dir" "/srv/lab" "--disable-agent"', machine.run("cat", UNITS + "/kedge-lab.service"))
        self.assertFalse(machine.exists("/opt/tools/k3s"))
        complaints = machine.run("systemd-analyze", "verify", "--man=no", UNITS + "/kedge-lab.service", check=False)
        self.assertEqual((complaints.returncode, complaints.stderr), (0, ""))
        machine.run("systemctl", "start", "kedge-lab")
        self.assertTrue(machine.exists("/srv/lab/server/node-token"))
        machine.run("/opt/tools/kedge-lab-uninstall.sh")
        for path in ("/srv/lab", "/opt/tools/kedge", UNITS + "/kedge-lab.service", UNITS + "/k3s-lab.service"):
            self.assertFalse(machine.exists(path), path)

    def test_5_a_package(self):
        packages = [os.path.join(self.lab.folder, f"kedge{n}.deb") for n in (1, 2)]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for made in [pool.submit(run, str(SCRIPTS / "deb"), "--kedge", BINARY, "--output", out, timeout=600) for out in packages]:
                made.result()
        self.assertEqual(*(hashlib.sha256(pathlib.Path(f).read_bytes()).digest() for f in packages))
        host = self.lab.host()
        machine = Machine(self.lab, host, 3, change="rm -f usr/sbin/policy-rc.d", package=packages[0])
        self.addCleanup(machine.close)

        # It is there, and nothing runs.
        install = ("dpkg", "--force-unsafe-io", "-i", "/opt/kedge/kedge.deb")
        self.assertIn("nothing was started", machine.run(*install))
        for unit in ("kedge", "kedge-agent"):
            self.assertEqual(machine.run("systemctl", "is-enabled", unit, check=False).stdout.strip(), "disabled")
            self.assertEqual(machine.property(unit, "ActiveState"), "inactive")
            complaints = machine.run("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{unit}.service", check=False)
            self.assertEqual((complaints.returncode, complaints.stderr), (0, ""))
        self.assertIn("complete", machine.run("cat", "/usr/share/bash-completion/completions/kedge"))
        self.assertIn("Apache-2.0", machine.run("cat", "/usr/share/doc/kedge/copyright"))

        machine.run("sh", "-c", "mkdir -p /etc/rancher/k3s && echo 'disable-agent: true' >/etc/rancher/k3s/config.yaml && echo K3S_TOKEN=given >>/etc/default/kedge")
        machine.run("systemctl", "enable", "--quiet", "--now", "kedge")
        self.assertEqual(machine.run("k3s", "kubectl", "get", "--raw", "/readyz"), "ok")
        self.assertTrue(machine.run("cat", "/var/lib/rancher/k3s/server/node-token").strip().endswith("::server:given"))
        # Another version's place is taken, what was changed in a file of settings stays, and what runs is the new one.
        pid = machine.property("kedge", "MainPID")
        machine.run(*install)
        self.assertNotEqual(machine.property("kedge", "MainPID"), pid)
        self.assertEqual(machine.property("kedge", "ActiveState"), "active")
        self.assertIn("K3S_TOKEN=given", machine.run("cat", "/etc/default/kedge"))

        # Without the program nothing runs; data are nobody's to delete.
        machine.run("dpkg", "--force-unsafe-io", "--remove", "kedge")
        self.assertEqual(machine.run("pgrep", "-f", "kedge server", check=False).stdout, "")
        self.assertIn("/var/lib/rancher/k3s stays", machine.run("dpkg", "--force-unsafe-io", "--purge", "kedge"))
        for path, there in (("/usr/bin/kedge", False), ("/etc/default/kedge", False), (f"{UNITS}/multi-user.target.wants/kedge.service", False), (f"{UNITS}/k3s.service", False),
                            ("/var/lib/rancher/k3s/server/db/state.db", True), ("/etc/rancher/k3s/config.yaml", True)):
            self.assertEqual(machine.exists(path), there, path)

    def test_6_openrc(self):
        host = self.lab.host()
        machine = Machine(self.lab, host, 4, init="openrc")
        self.addCleanup(machine.close)
        token = 'a "quoted" $HOME `id` back\\slash it\'s'
        output = machine.install("--node-label", "blank=", "--write-kubeconfig", "/etc/it's $HOME", "--disable-agent", INSTALL_KEDGE_BINARY="/opt/kedge/kedge", K3S_TOKEN=token)
        self.assertIn("Starting kedge", output)
        self.assertEqual(machine.run("stat", "-c", "%a", "/etc/rancher/k3s/kedge.env").strip(), "600")
        ready = ("k3s", "kubectl", "--kubeconfig", "/etc/it's $HOME", "get", "--raw", "/readyz")
        eventually("it serves", lambda: machine.run(*ready) == "ok", timeout=120)
        self.assertTrue(machine.run("cat", "/var/lib/rancher/k3s/server/node-token").strip().endswith("::server:" + token))
        self.assertIn("kedge", machine.run("rc-update", "show", "default"))
        self.assertIn("Nothing changed", machine.install("--node-label", "blank=", "--write-kubeconfig", "/etc/it's $HOME", "--disable-agent", INSTALL_KEDGE_BINARY="/opt/kedge/kedge", K3S_TOKEN=token))

        def pid():
            return machine.run("pgrep", "-f", "^/usr/local/bin/kedge server", check=False).stdout.strip()
        before = pid()
        self.assertTrue(machine.exists("/etc/it's $HOME"))
        machine.run("kill", "-9", before)
        eventually("it runs again", lambda: pid() not in ("", before), timeout=60)
        eventually("it serves again", lambda: machine.run(*ready) == "ok", timeout=120)
        machine.run("kedge-killall.sh")
        self.assertEqual(machine.run("rc-service", "kedge", "status", check=False).returncode, 3)
        self.assertTrue(machine.exists("/var/lib/rancher/k3s/server/db/state.db"))
        machine.run("rc-service", "kedge", "start")
        machine.run("k3s-uninstall.sh")
        self.assertEqual(pid(), "")
        left = machine.run("sh", "-c", f"ls {BIN} /etc/init.d /etc/runlevels/default /etc/logrotate.d /run | grep -E 'kedge|k3s'", check=False).stdout
        self.assertEqual(left, "")
        self.assertFalse(machine.exists("/var/lib/rancher/k3s"))


if __name__ == "__main__":
    unittest.main()
