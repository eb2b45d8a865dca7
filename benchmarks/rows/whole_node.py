"""Everything that a node with pods keeps in memory beside their own processes: by process, and the kernel's part; our shim and the Go shim in turn."""

import sys

from .density import PODS, pss_kib
from .kit import *

KERNEL = ("Slab", "PageTables", "KernelStack", "Percpu")


def kernel_kib():
    text = open("/proc/meminfo").read()
    return {name: int(re.search(rf"^{name}: +(\d+)", text, re.M).group(1)) for name in KERNEL}


def whole_node():
    os.environ["KEDGE_BINARY"] = KEDGE
    sys.path.insert(0, os.path.join(ROOT, "tests/integration"))
    import runtime
    from harness import Agent, Server, eventually
    lab = runtime.RuntimeLab()
    figures = {}
    try:
        server = Server(lab, "srv", host=lab.host(), args=["--disable-agent"]).wait_ready()
        agent = lab.adopt(Agent(lab, "n1", lab.host(), server.url, server.token(), args=[*runtime.ARGS, f"--kubelet-arg=max-pods={PODS + 10}"]))
        eventually("the node is Ready", lambda: runtime.is_ready(server.get("node", "n1")), timeout=120)
        eventually("the account of pods", lambda: server.get("serviceaccount", "default"))
        eventually("both runtimes have a class", lambda: all(server.get("runtimeclass", name) for name in ("kedge", "runc")))
        containerd = next(pid for pid in filter(str.isdigit, os.listdir("/proc")) if words(pid)[:1] and words(pid)[0].endswith("containerd") and any(lab.states[0] in w or agent.data in w for w in words(pid)))
        for kind in ("kedge", "runc"):
            before = kernel_kib()
            began = time.monotonic()
            server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{kind}-{i}"}, "spec": {
                    "runtimeClassName": kind, "nodeName": "n1", "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": runtime.BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "1000000"]}]}} for i in range(PODS)]}))
            eventually("all run", lambda: server.kubectl("get", "pods", "--field-selector=status.phase=Running", "-o", "name").count("pod/") == PODS, timeout=60 + 5 * PODS, every=0.5)
            figures["seconds until Running", kind] = time.monotonic() - began
            time.sleep(5)
            shims, inside = lab.shims()
            sandboxes = [pid for pid in inside if "2147483647" in " ".join(words(pid))]
            figures["agent", kind] = pss_kib(agent.process.pid) / 1024
            figures["containerd", kind] = pss_kib(containerd) / 1024
            figures[f"shims ({len(shims)})" if kind == "kedge" else "shims", kind] = sum(map(pss_kib, shims)) / 1024
            figures["sandbox processes", kind] = sum(map(pss_kib, sandboxes)) / 1024
            for name, kib in kernel_kib().items():
                figures["kernel: " + name, kind] = (kib - before[name]) / 1024
            server.kubectl("delete", "pods", "--all", "--wait=true")
            eventually("they are gone", lambda: not lab.shims()[0], timeout=60 + 2 * PODS, every=0.5)
    finally:
        lab.close()
    beside = {name.split(" (")[0]: name for name, kind in figures if kind == "kedge"}
    for name in dict.fromkeys(name.split(" (")[0] for name, _ in figures):
        ours, theirs = figures[beside[name], "kedge"], figures[name, "runc"]
        unit = "s" if name.startswith("seconds") else "MiB"
        row(f"node with {PODS} pods, {beside[name]}", f"{ours:.1f} {unit}", f"with runc's shim {theirs:.1f} {unit}", f"{ours / theirs:.2f} ×" if theirs > 0 else "", "≤ 0.6 ×" if unit == "s" else "")
    own = sum(figures[beside[name], "kedge"] for name in ("agent", "containerd", "shims"))
    theirs = sum(figures[name, "runc"] for name in ("agent", "containerd", "shims"))
    row(f"node with {PODS} pods, all but their own processes and the kernel's part", f"{own:.0f} MiB", f"with runc's shim {theirs:.0f} MiB", f"{own / theirs:.2f} ×", "≤ 200 MB; kubelet, kube-proxy, CoreDNS and Go shims 1,713 MB")


def words(pid):
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/cmdline").read().split("\0")
    return []
