"""Nodes that run real containers: images made on the spot, hosts whose containerd sees the machine's cgroups, nothing left behind."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import tarfile
import time

from harness import Agent, Failed, Host, Lab, Server, eventually, is_ready, run

BUSYBOX = "docker.io/library/busybox:test"
PAUSE = "docker.io/library/pause:test"
ARGS = ["--pause-image", PAUSE]  # of servers and agents
APPLETS = ("sh sleep echo cat ls true false wget httpd nc env id mkdir mount ps kill touch tail test seq sync stat date dd head grep vi tar "
           "printf hostname readlink chmod rm ln nslookup ping wc sed mv cp yes sort expr pwd").split()


def image(folder, name, entrypoint, command=(), user="", files=()):
    """A docker archive of one layer: busybox under all the names that the tests use, and `files`: (path, content) of programs."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        def add(path, kind, mode=0o755, **more):
            info = tarfile.TarInfo(path)
            info.type, info.mode = kind, mode
            for key, value in more.items():
                setattr(info, key, value)
            return info
        for directory, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("proc", 0o555), ("dev", 0o755), ("sys", 0o555), ("www", 0o755)):
            tar.addfile(add(directory, tarfile.DIRTYPE, mode))
        binary = open("/bin/busybox", "rb").read()
        tar.addfile(add("bin/busybox", tarfile.REGTYPE, size=len(binary)), io.BytesIO(binary))
        for applet in APPLETS:
            tar.addfile(add(f"bin/{applet}", tarfile.SYMTYPE, linkname="busybox"))
        for path, content in files:
            tar.addfile(add(path.lstrip("/"), tarfile.REGTYPE, size=len(content)), io.BytesIO(content))
        users = b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"
        tar.addfile(add("etc/passwd", tarfile.REGTYPE, 0o644, size=len(users)), io.BytesIO(users))
    layer = layer.getvalue()
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
                         "config": {"Entrypoint": list(entrypoint) or None, "Cmd": list(command) or None, "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "User": user}}).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name.removeprefix("docker.io/").removeprefix("library/")], "Layers": ["layer.tar"]}]).encode()
    path = os.path.join(folder, hashlib.sha256(name.encode()).hexdigest()[:12] + ".tar")
    with tarfile.open(path, "w") as tar:
        for file, content in (("layer.tar", layer), (config_name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(file)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


class RuntimeHost(Host):
    """A network of its own, but this machine's /sys: runc needs the cgroups that `ip netns exec` hides."""

    def command(self, *argv):
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *argv]


class RuntimeLab(Lab):
    def __init__(self):
        super().__init__()
        self.archives = [image(self.folder, PAUSE, ["/bin/sleep", "2147483647"]), image(self.folder, BUSYBOX, [], ["sh"])]
        self.states = []
        self.networks = set()  # of pods, by inode

    def host(self):
        self.hosts.append(RuntimeHost(self, len(self.hosts) + 1))
        return self.hosts[-1]

    def adopt(self, node):
        """Gives `node` (a Server or Agent) its images, once its containerd answers."""
        state = "/run/k3s-" + hashlib.sha256(node.data.encode()).hexdigest()[:8]
        self.states.append(state)
        node.containerd = state + "/containerd/containerd.sock"

        def loaded():
            for archive in self.archives:
                run("ctr", "-a", node.containerd, "-n", "k8s.io", "images", "import", archive)
            return True
        eventually("the node's images are there", loaded, timeout=60, every=0.2)
        return node

    def ctr(self, node, *args):
        return run("ctr", "-a", node.containerd, "-n", "k8s.io", *args)

    def shims(self):
        """The shims of this lab's nodes, and what runs in their containers."""
        children, mine = {}, []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, IndexError):
                words = open(f"/proc/{pid}/cmdline").read()
                children.setdefault(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1], []).append(pid)
                if any(s in words for s in self.states) and "containerd-shim" in words:
                    mine.append(pid)
        inside = [c for p in mine for c in children.get(p, [])]
        for pid in inside:
            with contextlib.suppress(OSError):
                self.networks.add(os.stat(f"/proc/{pid}/ns/net").st_ino)
        return mine, inside

    def close(self):
        for p in reversed(self.processes):
            if p.poll() is None:
                p.terminate()
        for p in self.processes:
            with contextlib.suppress(Exception):
                p.wait(20)
        shims, inside = self.shims()
        for pid in inside + shims:
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        # What the runtime would have taken away with their sandboxes.
        for name in os.listdir("/run/netns"):
            with contextlib.suppress(OSError):
                if name.startswith("cni-") and os.stat(os.path.join("/run/netns", name)).st_ino in self.networks:
                    run("ip", "netns", "del", name, check=False)
        end = time.monotonic() + 5
        while any(self.shims()) and time.monotonic() < end:
            time.sleep(0.05)
        for line in reversed(open("/proc/self/mounts").read().splitlines()):
            where = line.split()[1]
            if where.startswith(self.folder + "/") or any(where.startswith(s + "/") for s in self.states):
                run("umount", "-l", where, check=False)
        for s in self.states:
            shutil.rmtree(s, ignore_errors=True)
        super().close()


def ready_node(server, name):
    return eventually(f"node {name} is Ready", lambda: (lambda n: is_ready(n) and n)(server.get("node", name)), timeout=60)
