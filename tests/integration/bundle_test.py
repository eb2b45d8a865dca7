"""scripts/bundle and install.sh without a network: a machine that has neither containerd, runc, etcd and kubectl nor the libraries of Kedge,
and whose only link leads nowhere, becomes a cluster from one file; a damaged file, or another architecture's, changes nothing."""

import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import stat
import tarfile
import unittest

from harness import BINARY, Lab, eventually, main, run
from runtime import BUSYBOX, RuntimeHost, image
from systemd_test import BIN, SCRIPTS, UNITS, Machine

LIB = "/usr/local/lib/kedge"
PROGRAMS = "containerd containerd-shim-runc-v2 ctr runc crun etcd kubectl crictl".split()
OF_THE_MACHINE = ("sh bash tar gzip sed grep sha256sum install readlink cmp dbus-daemon modprobe systemctl /lib/systemd/systemd "
                  "/lib/systemd/systemd-journald /lib/systemd/systemd-logind").split()


def libraries(*programs):
    return {line.split()[0] for p in filter(None, map(shutil.which, programs)) for line in run("ldd", p, check=False).stdout.splitlines() if "=>" in line}


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.archive = os.path.join(cls.lab.folder, "one.tar.gz")
        cls.options = ["--kedge", BINARY, "--level", "1", "--image", image(cls.lab.folder, BUSYBOX, [], ["sleep", "1000000"])]
        cls.again = os.path.join(cls.lab.folder, "again.tar.gz")
        # One after the other: what the first has compiled in Go the other one finds in Go's cache.
        for out in (cls.archive, cls.again):
            run(str(SCRIPTS / "bundle"), *cls.options, "--output", out, timeout=1800)
        with tarfile.open(cls.archive) as tar:
            cls.members = {m.name.partition("/")[2]: m for m in tar}
            cls.top = next(iter(cls.members.values())).name
            tar.extract(f"{cls.top}/manifest", cls.lab.folder)
        bare = ([f"{folder}/{name}" for folder in "usr/local/sbin usr/local/bin usr/sbin usr/bin sbin bin".split() for name in PROGRAMS]
                + [f"usr/lib/*/{name}*" for name in sorted(cls.in_folder("lib") - libraries(*OF_THE_MACHINE))])
        host = cls.lab.host()
        run("ip", "-n", host.name, "route", "del", "default")
        run("ip", "link", "set", f"{cls.lab.prefix}v1", "nomaster")
        cls.machine = Machine(cls.lab, host, 1, change="rm -f " + " ".join(bare))
        cls.addClassCleanup(cls.machine.close)
        cls.inside = pathlib.Path(f"/proc/{cls.machine.init}/root")
        cls.give(cls.archive, "one.tar.gz")

    @classmethod
    def in_folder(cls, folder):
        return {name.partition("/")[2] for name in cls.members if name.startswith(folder + "/")}

    @classmethod
    def give(cls, file, name):
        shutil.copy(file, f"{cls.inside}/opt/kedge/{name}")

    def install(self, name, *args, check=True, **env):
        return self.machine.run("/opt/kedge/install.sh", *args, check=check, env={"INSTALL_KEDGE_BUNDLE": f"/opt/kedge/{name}", **env}, timeout=600)

    def kubectl(self, *args):
        return self.machine.run("kedge", "kubectl", *args, timeout=180)

    def test_1_the_same_bytes_and_all_that_is_needed(self):
        digests = [hashlib.sha256(pathlib.Path(f).read_bytes()).digest() for f in (self.archive, self.again)]
        self.assertEqual(*digests)
        self.assertEqual(self.in_folder("bin"), {"kedge", "containerd-shim-kedge-v2", "kedge-cni", *PROGRAMS})
        with tarfile.open(self.archive) as tar:
            contents = tar.extractfile(f"{self.top}/CONTENTS").read().decode().splitlines()[1:]
            licences = {licence for _, _, licence in (line.split("\t") for line in contents) if licence.startswith(("LICENSE", "licences/"))}
            for licence in licences:
                self.assertGreater(self.members[licence].size, 100, licence)
        listed = {line.split("\t")[0] for line in contents}
        self.assertEqual(listed, {n for n, m in self.members.items() if m.isfile() and n.startswith(("bin/", "lib/", "glibc/", "images/"))})

    def test_2_a_bad_one_changes_nothing(self):
        before = self.files()
        # The machine has nothing that Kedge could use.
        self.assertNotEqual(self.machine.run("/opt/kedge/kedge", "--version", check=False).returncode, 0)
        for name in PROGRAMS:
            self.assertEqual(self.machine.run("sh", "-c", f"command -v {name}", check=False).stdout, "")
        good = pathlib.Path(self.archive).read_bytes()
        middle = len(good) // 2
        for kind, content, words in (("cut", good[:middle], "damaged, or there is no room"),
                                     ("flipped", good[:middle] + bytes([good[middle] ^ 0x55]) + good[middle + 1:], "damaged"),
                                     ("other", b"#!/bin/sh\n", "no bundle of Kedge"), ("empty", b"", "no bundle of Kedge")):
            with self.subTest(kind):
                (self.inside / "opt/kedge/bad.tar.gz").write_bytes(content)
                self.refused(self.install("bad.tar.gz", check=False), words)
                self.assertEqual(self.files(), before)
        for name, old, new, words in (("manifest", r"architecture: \w+", "architecture: s390x", "is for s390x, this machine is"),
                                      ("LICENSE", r"Apache", "Other", "files in it aren't what its SHA256SUMS says"),
                                      ("bin/crictl", None, None, "files in it aren't what its SHA256SUMS says"),
                                      ("bin/kedge", None, "#!/bin/sh\nexit 1\n", "don't run on this machine; they need glibc 2.")):
            with self.subTest(words), self.unpacked(name, old, new, checked=name == "bin/kedge"):
                self.refused(self.install("unpacked", check=False), words)
                self.assertEqual(self.files(), before)
        self.machine.run("sh", "-c", f"mkdir -p {LIB} && mount -t tmpfs -o size=20m tmpfs {LIB}")
        self.refused(self.install("one.tar.gz", check=False), "there is no room in")
        self.machine.run("sh", "-c", f"umount {LIB} && rmdir {LIB}")
        self.assertEqual(self.files(), before)
        self.refused(self.install("nothing", check=False), "can't read")
        self.refused(self.install("", "--rollback", check=False), "nothing to go back to")
        self.assertEqual(self.files(), before)

    def test_3_a_cluster_from_one_file(self):
        m = self.machine
        said = self.install("one.tar.gz", "--node-name", "island", "--disable", "traefik")
        self.assertIn("Starting kedge.service", said)
        eventually("the node is Ready", lambda: self.kubectl("get", "node", "island", "--no-headers").split()[1] == "Ready", timeout=120)
        # Programs of the bundle, under the name that stays.
        self.assertIn(f'{LIB}/current/bin/crun', m.run("cat", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"))
        self.assertEqual(m.run("readlink", f"{BIN}/kubectl").strip(), "kedge")
        # The sandbox's image and the pod's own came in the file.
        self.kubectl("run", "kept", "--image", BUSYBOX, "--image-pull-policy=Never")
        self.kubectl("wait", "--for=condition=Ready", "pod/kept", "--timeout=120s")
        self.assertEqual(self.kubectl("exec", "kept", "--", "echo", "alive"), "alive\n")
        running = m.run("ps", "-eo", "args")
        self.assertIn(f"{LIB}/current/bin/containerd ", running)
        self.assertRegex(running, rf"{LIB}/.*/bin/containerd-shim-kedge-v2 ")
        self.assertEqual(m.run("readlink", "/var/lib/rancher/k3s/data/cni/bridge").strip(), f"{LIB}/{m.run('readlink', f'{LIB}/current').strip()}/bin/kedge-cni")
        self.assertIn("kept", m.run("crictl", "pods", timeout=180))
        self.assertIn(BUSYBOX, m.run("ctr", "images", "ls"))
        type(self).before = self.container()
        self.assertIn("Nothing changed", self.install("one.tar.gz", "--node-name", "island", "--disable", "traefik"))

    def test_4_upgraded_in_place_and_back(self):
        m = self.machine
        first = m.run("readlink", f"{LIB}/current").strip()
        with self.unpacked("manifest", r"version: .*", "version: next", checked=True):
            self.install("unpacked", "--node-name", "island", "--disable", "traefik")
        self.assertTrue(m.run("readlink", f"{LIB}/current").startswith("next-"))
        self.assertEqual(m.run("readlink", f"{LIB}/previous").strip(), first)
        self.assertTrue(self.serves_from("next-"))
        self.install("", "--rollback")
        self.assertTrue(self.serves_from(first))
        self.assertTrue(m.run("readlink", f"{LIB}/previous").startswith("next-"))
        # The pod ran on, through both.
        eventually("the node is Ready", lambda: self.kubectl("get", "node", "island", "--no-headers").split()[1] == "Ready", timeout=120)
        self.assertEqual(self.container(), self.before)

    def test_5_nothing_stays(self):
        self.machine.run("k3s-uninstall.sh", timeout=300)
        for path in (LIB, f"{BIN}/kedge", f"{BIN}/kubectl", "/var/lib/rancher/k3s", f"{UNITS}/kedge.service"):
            self.assertFalse(self.machine.exists(path), path)

    def test_6_a_machine_of_another_c_library(self):
        """Alpine, as far as this goes: busybox, OpenRC's names, and no loader for what is linked with glibc."""
        root = pathlib.Path(self.lab.folder, "alpine")
        for folder in "bin sbin dev etc proc tmp opt".split():
            (root / folder).mkdir(parents=True)
        shutil.copy("/bin/busybox", root / "bin")
        shutil.copy(SCRIPTS / "install.sh", root / "opt")
        (root / "sbin/openrc-run").write_text("")
        (root / "sbin/openrc-run").chmod(0o755)
        os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.link(self.archive, root / "opt/one.tar.gz")
        inside = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc", "chroot", str(root), "/bin/busybox", "env", "-i", "PATH=/usr/local/bin:/usr/local/lib/kedge/current/bin:/bin:/sbin"]
        for applet in set(run("/bin/busybox", "--list").split()) - {"busybox"}:
            (root / "bin" / applet).symlink_to("busybox")
        said = run(*inside, "INSTALL_KEDGE_BUNDLE=/opt/one.tar.gz", "INSTALL_K3S_SKIP_ENABLE=true", "K3S_TOKEN=it's $HOME", "/opt/install.sh", "--node-label", "who=it's $HOME", timeout=300)
        self.assertIn("Installing /usr/local/lib/kedge/", said)
        for argv, words in (("kedge --version", "kedge version"), ("kubectl version --client", "Client Version"), ("containerd --version", "containerd"), ("crun --version", "crun version"),
                            ("etcd --version", "etcd Version")):
            self.assertIn(words, run(*inside, *argv.split()))
        # The service's words are what a shell makes of them again.
        shown = run(*inside, "sh", "-c", 'depend() { :; }; . /etc/init.d/kedge; eval "set -- $command_args"; printf "%s\\n" "$K3S_TOKEN" "$@"')
        self.assertEqual(shown.splitlines(), ["it's $HOME", "server", "--node-label", "who=it's $HOME"])
        run(*inside, "kedge", "uninstall", "--yes")
        left = run("find", str(root), "-name", "*kedge*", "-o", "-name", "ld-linux*", "-o", "-name", "*linux-gnu", "-o", "-name", "k3s*").split()
        self.assertEqual([p for p in left if not p.endswith("/opt/one.tar.gz")], [])

    def test_7_an_image(self):
        """Made from the bundle, and run by containerd: process 1 starts a server, takes the ends of orphans, and ends it at SIGTERM."""
        images = [os.path.join(self.lab.folder, f"image{n}.tar") for n in (1, 2)]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for made in [pool.submit(run, str(SCRIPTS / "image"), "--bundle", self.archive, "--name", "kedge:test", "--level", "1", "--output", out, timeout=900) for out in images]:
                made.result()
        self.assertEqual(*(hashlib.sha256(pathlib.Path(f).read_bytes()).digest() for f in images))
        with tarfile.open(images[0]) as tar:
            config = json.load(tar.extractfile(json.load(tar.extractfile("manifest.json"))[0]["Config"]))["config"]
        self.assertEqual((config["Entrypoint"], config["Cmd"], config["StopSignal"]), (["/bin/kedge"], ["agent"], "SIGTERM"))
        self.assertEqual(set(config["Volumes"]), {"/var/lib/rancher/k3s", "/var/lib/kubelet", "/var/lib/cni", "/var/log"})

        folder, host = pathlib.Path(self.lab.folder, "containerd"), RuntimeHost(self.lab, len(self.lab.hosts) + 1)
        self.lab.hosts.append(host)
        folder.mkdir()
        (folder / "config.toml").write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        address = str(folder / "sock")
        self.lab.start("containerd", host.command("containerd", "--config", str(folder / "config.toml"), "--root", str(folder / "root"), "--state", str(folder / "state"), "--address", address))

        def ctr(*argv, check=True, timeout=120):
            return run("ctr", "--address", address, *argv, check=check, timeout=timeout)
        eventually("containerd answers", lambda: ctr("version"))
        ctr("images", "import", images[0], timeout=300)
        name = f"{self.lab.prefix}served"
        ctr("run", "--detach", "--net-host", "docker.io/library/kedge:test", name, *config["Entrypoint"], "server", "--disable-agent", "--disable=traefik")
        try:
            def inside(*argv):
                return ctr("task", "exec", "--exec-id", f"e{next(numbers)}", name, *argv)
            numbers = itertools.count()
            eventually("the server is ready", lambda: inside("kubectl", "get", "--raw", "/readyz") == "ok", timeout=120, every=0.3)
            self.assertIn("kubernetes", inside("k3s", "kubectl", "get", "service"))
            first = re.search(rf"{name} +(\d+)", ctr("tasks", "ls"))[1]
            children = pathlib.Path(f"/proc/{first}/task/{first}/children")
            for _ in range(5):
                inside("sh", "-c", "sleep 0.1 >/dev/null 2>&1 &")
            eventually("nobody but the server is left", lambda: len(children.read_text().split()) == 1)
            ctr("tasks", "kill", "--signal", "SIGTERM", name)
            eventually("it has stopped", lambda: "STOPPED" in ctr("tasks", "ls"), timeout=60)
            self.assertEqual(ctr("tasks", "delete", name, check=False).returncode, 0)
        finally:
            ctr("tasks", "delete", "--force", name, check=False)
            ctr("containers", "delete", name, check=False)

    # Of the running pod: the container's identity and how often it was started.
    def container(self):
        return self.kubectl("get", "pod", "kept", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}")

    def serves_from(self, version):
        pid = self.machine.property("kedge", "MainPID")
        return self.machine.run("readlink", f"/proc/{pid}/exe").startswith(f"{LIB}/{version}")

    def refused(self, p, words):
        """`p` failed with these words, by the script's own judgement."""
        self.assertEqual(p.returncode, 1, p.stderr)
        self.assertIn("[ERROR]", p.stderr)
        self.assertIn(words, p.stderr)

    def files(self):
        return self.machine.run("find", "/usr/local/bin", "/usr/local/lib", "/opt/bin", UNITS, "/var/lib/rancher", "/etc/rancher", "-maxdepth", "3", "-printf", "%p %l\n", check=False).stdout

    @contextlib.contextmanager
    def unpacked(self, name, old, new, checked=False):
        """The bundle as a folder with one file changed: words of it, all of it, or (with neither) its end cut; its checksum made true, or not."""
        folder = self.inside / "opt/kedge/unpacked"
        if not folder.exists():
            self.machine.run("sh", "-c", f"cd /opt/kedge && tar -xzf one.tar.gz && mv {self.top} unpacked", timeout=300)
        kept = [(folder / n, (folder / n).read_bytes()) for n in (name, "SHA256SUMS")]
        content = kept[0][1]
        (folder / name).write_bytes(re.sub(old, new, content.decode()).encode() if old else new.encode() if new else content[:-1])
        if checked:
            sums = [line for line in kept[1][1].decode().splitlines() if not line.endswith("  " + name)]
            sums.append(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}")
            (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
        try:
            yield
        finally:
            for file, was in kept:
                file.write_bytes(was)


if __name__ == "__main__":
    main()
