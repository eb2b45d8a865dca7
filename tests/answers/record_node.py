#!/usr/bin/env python3
"""Records what a real kubelet's port tells of a pod that runs and of its node: node/*, to which tests/integration/metrics_test.py holds Kedge's.

    KEDGE_BINARY=… KUBELET=… tests/answers/record_node.py

A node of Kedge lends its containerd and its network, and stands still meanwhile. The kubelet's pods are in a control group of their own.
"""

import json
import os
import pathlib
import re
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from harness import Server, eventually, run  # noqa: E402
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node  # noqa: E402

KEPT = pathlib.Path(__file__).parent / "node/kubelet.json"
PORT = 10350
GROUP = f"kedge-judge-{os.getpid()}"
CADVISOR_SOCKET = pathlib.Path("/run/containerd/containerd.sock")  # cAdvisor asks there for containers' names, and nowhere else
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busy", "namespace": "default"},
       "spec": {"containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", "while :; do echo x >> /file; sync; done"],
                                "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}},
                                "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}]}}


def groups():
    """The judge's control group under each controller that this machine has."""
    root = pathlib.Path("/sys/fs/cgroup")
    return [root / GROUP] if (root / "cgroup.controllers").exists() else [c / GROUP for c in root.iterdir()]


def make_groups():
    for folder in groups():
        folder.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if folder.parent.name == "cpuset":
                (folder / name).write_text((folder.parent / name).read_text())


def remove_groups():
    for folder in groups():
        if not folder.exists():
            continue
        for below in sorted(folder.rglob("*"), key=lambda p: -len(p.parts)):
            if below.is_dir():
                below.rmdir()
        folder.rmdir()


def shape(value):
    """Of a value, what is the same each time: names of members, and kinds of what they hold."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def families(text):
    """Of each family: its type, help, names of labels, and whether its samples tell a time."""
    out, about = {}, {}
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, rest = line.split(" ", 3)
            about.setdefault(name, {})[what.lower()] = rest
            continue
        name, labels, rest = re.fullmatch(r"([^{ ]+)(?:\{(.*)\})? (.*)", line).groups()
        family = name if name in about else re.sub(r"_(bucket|sum|count)$", "", name)
        names = sorted(re.findall(r'([a-zA-Z_]+)="', labels or ""))
        f = out.setdefault(family, {**about[family], "labels": [], "timed": len(rest.split(" ")) > 1})
        if names not in f["labels"]:
            f["labels"].append(names)
    for f in out.values():
        f["labels"].sort()
    return dict(sorted(out.items()))


def text_of(out):
    """JSON, a line for each family and member."""
    rooms = (f"{json.dumps(path)}: {{\n" + ",\n".join(f" {json.dumps(n)}: {json.dumps(v, sort_keys=True)}" for n, v in sorted(all.items())) + "}"
             for path, all in sorted(out.items()))
    return "{" + ",\n".join(rooms) + "}\n"


def main():
    lab = RuntimeLab()
    try:
        make_groups()
        server = lab.adopt(Server(lab, "server", host=lab.host(), args=ARGS).wait_ready())
        ready_node(server, "server")
        os.kill(server.process.pid, signal.SIGSTOP)
        CADVISOR_SOCKET.symlink_to(server.containerd)
        manifests = pathlib.Path(lab.folder) / "manifests"
        manifests.mkdir()
        (manifests / "busy.yaml").write_text(json.dumps(POD))
        config = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "failCgroupV1": False, "failSwapOn": False,
                  "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + GROUP, "staticPodPath": str(manifests), "port": PORT, "healthzPort": 0,
                  "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}}, "authorization": {"mode": "AlwaysAllow"},
                  "containerRuntimeEndpoint": "unix://" + server.containerd, "enableServer": True, "readOnlyPort": PORT + 1, "address": "127.0.0.1",
                  "evictionHard": {"memory.available": "1Mi"}, "podLogsDir": lab.folder + "/logs"}
        path = pathlib.Path(lab.folder) / "kubelet.yaml"
        path.write_text(json.dumps(config))
        lab.start("kubelet", server.host.command(os.environ["KUBELET"], f"--config={path}", f"--root-dir={lab.folder}/kubelet", "--hostname-override=server",
                                                 f"--cert-dir={lab.folder}/certs"))

        def read(what):
            return run(*server.host.command("curl", "-sf", f"http://127.0.0.1:{PORT + 1}/{what}"))

        def whole():
            pods = json.loads(read("stats/summary"))["pods"]
            return pods and "network" in pods[0] and "usageNanoCores" in pods[0].get("cpu", {}) and pods[0]["containers"][0]["cpu"]["usageNanoCores"]
        try:
            eventually("the kubelet tells of its pod", whole, timeout=90, every=1)
        except Exception:
            print(open(lab.processes[-1].log).read()[-6000:], file=sys.stderr)
            raise
        out = {"stats/summary": shape(json.loads(read("stats/summary")))}
        out |= {name: families(read(name)) for name in ("metrics/resource", "metrics/cadvisor", "metrics/probes")}
        KEPT.write_text(text_of(out))
    finally:
        if CADVISOR_SOCKET.is_symlink():
            CADVISOR_SOCKET.unlink()
        for p in lab.processes:
            if p.poll() is None:
                os.kill(p.pid, signal.SIGCONT)
        lab.close()
        try:
            remove_groups()
        except OSError as e:
            print(e, file=sys.stderr)


if __name__ == "__main__":
    main()
