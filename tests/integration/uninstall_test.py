"""`kedge stop --all`, `prepare-image` and `uninstall` on a machine of their own (namespaces, over an overlay of this one's files): nothing stays."""

import os
import pathlib
import subprocess
import unittest

from harness import BINARY, Failed, Lab, eventually, main, run

# $1 a folder for what is written. Becomes the machine's first process.
BOOT = r"""
set -e
mount --make-rprivate /
# What other nodes of this machine have mounted isn't this one's.
awk '$5 ~ "^/(run/k3s|var/lib/kubelet/|var/lib/rancher/)" {print $5}' /proc/self/mountinfo | tac | xargs -r -n 1 umount -l
mount -t tmpfs tmpfs "$1"
for folder in etc var/lib usr/local; do
  mkdir -p "$1/$folder/upper" "$1/$folder/work"
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/$folder/upper,workdir=$1/$folder/work" "/$folder"
done
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t proc proc /proc
rm -rf /etc/rancher /var/lib/rancher /var/lib/kubelet /var/lib/cni /usr/local/bin/k3s* /usr/local/bin/kedge* /etc/systemd/system/k3s* /etc/systemd/system/kedge*
ip link set lo up
ip link add uplink type bridge && ip addr add 10.99.0.1/24 dev uplink && ip link set uplink up && ip route add default via 10.99.0.2
cp "$KEDGE_BINARY" /usr/local/bin/kedge
for name in kedge-killall.sh kedge-uninstall.sh; do printf '#!/bin/sh\n' >/usr/local/bin/$name; done
ln -s kedge /usr/local/bin/k3s
exec sleep infinity
"""
# What a node's pods leave: a shim with a container, mounts, a network namespace, the bridge with a port, control groups.
PODS = r"""
set -e
bash -c 'exec -a /opt/containerd-shim-fake-v2 sh -c "sleep 7007 & wait" -namespace k8s.io -address /run/k3s/containerd/containerd.sock' >/dev/null 2>&1 &
mkdir -p "/var/lib/kubelet/pods/p/volumes/with space" /run/k3s/containerd/x /run/netns /var/lib/cni/networks /sys/fs/cgroup/kubepods/burstable/podp
mount -t tmpfs tmpfs "/var/lib/kubelet/pods/p/volumes/with space"
mount -t tmpfs tmpfs /run/k3s/containerd/x
mkdir -p /var/lib/rancher/k3s/agent/containerd/tmpmounts/x && mount -t tmpfs tmpfs /var/lib/rancher/k3s/agent/containerd/tmpmounts/x
ip netns add cni-1234
ip link show cni0 >/dev/null 2>&1 || ip link add cni0 type bridge
ip link add vethpod type veth peer name eth7 netns cni-1234 && ip link set vethpod master cni0
ip link show flannel.1 >/dev/null 2>&1 || ip link add flannel.1 type bridge
# Another one's, which stay.
ip link add other0 type bridge
nft add table ip others
ip netns add others
"""


class Machine:
    def __init__(self, lab, name):
        folder = os.path.join(lab.folder, name)
        os.mkdir(folder)
        self.process = lab.start(name, ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-c", BOOT, "boot", folder],
                                 env={**os.environ, "KEDGE_BINARY": BINARY})
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.first = int(eventually("its first process", lambda: children.read_text().split())[0])
        eventually("it is up", lambda: pathlib.Path(f"/proc/{self.first}/cmdline").read_text().startswith("sleep"), timeout=30)

    def command(self, *argv):
        return ["nsenter", "--target", str(self.first), "--mount", "--pid", "--net", "--uts", "--ipc", *argv]

    def run(self, *argv, check=True, input=None, timeout=150):
        return run(*self.command(*argv), check=check, input=input, timeout=timeout)

    def shell(self, text):
        return self.run("sh", "-c", text, check=False).stdout


class Uninstall(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.machine = m = Machine(cls.lab, "machine")
        m.log = os.path.join(cls.lab.folder, "server.log")
        cls.daemon = subprocess.Popen(m.command("/usr/local/bin/kedge", "server", "--node-name", "one"), stdout=open(m.log, "w"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        cls.addClassCleanup(cls.end)
        try:
            eventually("the server serves", lambda: m.run("/usr/local/bin/kedge", "kubectl", "get", "--raw", "/readyz") == "ok", timeout=60, every=0.5)
            eventually("rules of Services stand", lambda: "table ip kedge" in m.shell("nft list tables"), timeout=60, every=0.5)
        except Failed as e:
            raise Failed(f"{e}\n{open(m.log).read()[-3000:]}") from None
        m.run("sh", "-c", PODS)

    @classmethod
    def end(cls):
        if cls.daemon.poll() is None:
            cls.daemon.kill()
        cls.daemon.wait(20)

    def nothing_left(self):
        m = self.machine
        self.assertEqual(m.shell("ps -eo args | grep -E 'kedge|shim-fake|sleep 7007|containerd' | grep -v grep"), "")
        self.assertEqual(m.shell("grep -E ' /run/k3s| /var/lib/kubelet/pods| /var/lib/rancher' /proc/self/mountinfo"), "")
        self.assertEqual(m.shell("ls /sys/class/net | sort | tr '\\n' ' '"), "lo other0 uplink ")
        self.assertEqual(m.shell("ls /run/netns"), "others\n")
        self.assertEqual(m.shell("nft list tables"), "table ip others\n")
        self.assertEqual(m.shell("ls -d /run/k3s /var/lib/cni /run/flannel /sys/fs/cgroup/kubepods"), "")

    def test_1_nobody_is_asked_and_nothing_is_done(self):
        m = self.machine
        p = m.run("/usr/local/bin/kedge", "uninstall", check=False, input="")
        self.assertEqual(p.returncode, 1)
        self.assertIn("--yes says that it is meant", p.stderr)
        p = m.run("/usr/local/bin/kedge", "stop", check=False)
        self.assertIn("--all is missing", p.stderr)
        self.assertIsNone(self.daemon.poll())
        self.assertIn("vethpod", m.shell("ls /sys/class/net"))

    def test_2_stop_all_keeps_data(self):
        m = self.machine
        told = m.run("/usr/local/bin/kedge", "stop", "--all")
        self.assertIn("ended 1 servers and agents", told)
        self.assertIn("ended 1 pods' shims", told)
        self.assertEqual(self.daemon.wait(20), 0)  # orderly
        self.nothing_left()
        self.assertIn("state.db", m.shell("ls /var/lib/rancher/k3s/server/db"))
        self.assertEqual(m.run("/usr/local/bin/kedge", "stop", "--all"), "")
        # A disk below the data directory is data.
        disk = "/var/lib/rancher/k3s/storage"
        m.run("sh", "-c", f"mkdir -p {disk} && mount -t tmpfs tmpfs {disk} && touch {disk}/kept")
        m.run("/usr/local/bin/kedge", "stop", "--all")
        self.assertEqual(m.shell(f"ls {disk} && umount {disk}"), "kept\n")

    def test_3_a_disk_becomes_an_image(self):
        """A copy of what the machine had: after it, no key, no token and no certificate stands there, and what a user configured does."""
        m = self.machine
        m.run("sh", "-c", "cp -a /var/lib/rancher/k3s /run/image && mkdir -p /run/image/agent/pod-manifests /run/image/agent/images /etc/rancher/k3s && echo kept >/run/image/agent/pod-manifests/mine.yaml"
                          " && echo kept >/run/image/agent/images/mine.txt && echo 'node-label: [zone=attic]' >/etc/rancher/k3s/config.yaml && ls -l /etc/rancher/node/password")
        prepare = lambda *words, **kw: m.run("/usr/local/bin/kedge", "prepare-image", "--data-dir", "/run/image", *words, **kw)
        own = lambda: m.shell(r"grep -rlE 'PRIVATE KEY|BEGIN CERTIFICATE|::server:|::node:|SQLite format' /run/image /etc/rancher/node")
        refused = prepare(check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("/run/image/server holds a cluster", refused.stderr)
        before = own()
        self.assertIn("server-ca.key", before)
        self.assertIn("would remove /run/image/server/tls\n", prepare("--with-cluster", "--dry-run"))
        self.assertEqual(own(), before)
        told = prepare("--with-cluster")
        for path in ("/etc/rancher/node/password", "/run/image/server/token", "/run/image/server/db", "/run/image/agent/client-kubelet.key", "/run/image/agent/etc/machine.json"):
            self.assertIn(f"removed {path}\n", told)
        self.assertIn("/etc/machine-id", told)
        self.assertEqual(own(), "")
        self.assertEqual(m.shell("cat /run/image/agent/pod-manifests/mine.yaml /run/image/agent/images/mine.txt; cat /etc/rancher/k3s/config.yaml"), "kept\nkept\nnode-label: [zone=attic]\n")
        self.assertIn("nothing here is of one machine alone", prepare())

    def test_4_what_others_have_stays(self):
        m = self.machine
        # A folder beside others' and their disk (named with a slash at its end), and one on whose way a link stands, with a disk below it that is seen elsewhere, too.
        m.run("sh", "-c", "mount -t tmpfs tmpfs /srv && mkdir -p /srv/real/seen /srv/real/k3s/server/disk /srv/apps/server /srv/apps/theirs/disk && mount -t tmpfs tmpfs /srv/apps/theirs/disk && ln -s real /srv/link && mount -t tmpfs tmpfs /srv/real/k3s/server/disk"
                          " && touch /srv/real/k3s/server/disk/kept /srv/apps/theirs/disk/kept && mount --bind /srv/real/k3s/server/disk /srv/real/seen")
        for folder in ("/srv/apps/", "/srv/link/k3s", "/srv/", "//srv"):
            m.run(BINARY, "uninstall", "--yes", "--data-dir", folder)
        self.assertEqual(m.shell("ls -d /srv/apps/server"), "")
        self.assertEqual(m.shell("ls /srv/apps/theirs/disk /srv/real/seen | sort -u"), "\n/srv/apps/theirs/disk:\n/srv/real/seen:\nkept\n")
        for disk in ("/srv/apps/theirs/disk", "/srv/real/k3s/server/disk"):
            self.assertIn(f" {disk} ", m.shell("cat /proc/self/mountinfo"))

    def test_5_uninstall_leaves_nothing(self):
        m = self.machine
        m.run("/usr/local/bin/kedge", "uninstall", "--yes", "--keep-data")
        self.assertEqual(m.shell("ls /usr/local/bin | grep -E 'kedge|k3s'"), "")
        self.assertIn("state.db", m.shell("ls /var/lib/rancher/k3s/server/db"))
        # A program that runs from elsewhere than an installer has put it stays.
        m.run(BINARY, "uninstall", "--yes")
        self.assertTrue(os.path.exists(BINARY))
        self.assertEqual(m.shell("ls -d /var/lib/rancher /var/lib/kubelet /etc/rancher"), "")
        self.nothing_left()


if __name__ == "__main__":
    main()
