"""A large cluster's nodes: what a heartbeat costs, and what all others notice when some nodes fall silent."""

import multiprocessing
import socket
import threading

from .kit import *

NODES, PODS = int(os.environ.get("KEDGE_BENCH_NODES", "2000")), int(os.environ.get("KEDGE_BENCH_PODS", "100000"))
SILENT, GRACE = 20, 40
BEAT = 5  # seconds from one renewal of all Leases to the next, at most


def now(micro=False):
    t = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + (f".{int(t * 1e6) % 1000000:06}Z" if micro else "Z")


class Pipe:
    """One connection with many requests under way: http.client waits for each."""

    def __init__(self, kedge, depth=64):
        connection = kedge.connect()
        connection.connect()
        self.stream, self.depth, self.waiting, self.held = connection.sock, depth, 0, b""
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, method, path, body, kind="application/json", fine=(200, 201)):
        text = json.dumps(body, separators=(",", ":"))
        self.stream.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        self.waiting += 1
        if self.waiting >= self.depth:
            self.receive(fine)

    def receive(self, fine=(200, 201)):
        while b"\r\n\r\n" not in self.held:
            self.held += self.more()
        head, self.held = self.held.split(b"\r\n\r\n", 1)
        size = int(re.search(rb"content-length: (\d+)", head, re.I).group(1))
        while len(self.held) < size:
            self.held += self.more()
        body, self.held = self.held[:size], self.held[size:]
        self.waiting -= 1
        status = int(head.split(b" ", 2)[1])
        if status not in fine:
            raise SystemExit(f"{status} {body.decode()}")

    def more(self):
        got = self.stream.recv(1 << 16)
        if not got:
            raise SystemExit("the server closed a connection")
        return got

    def drain(self):
        while self.waiting:
            self.receive()


def name(i):
    return f"node-{i:04}"


def condition(kind, status="True"):
    return {"type": kind, "status": status, "reason": "KubeletReady", "message": "kubelet is posting ready status", "lastHeartbeatTime": now(),
            "lastTransitionTime": "2026-01-01T00:00:00Z"}


def beat(pipe, i):
    """As a kubelet's status: one condition's time."""
    pipe.send("PATCH", f"/api/v1/nodes/{name(i)}/status", {"status": {"conditions": [condition("Ready")]}}, "application/strategic-merge-patch+json")


def renew(pipe, i):
    pipe.send("PATCH", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name(i)}", {"spec": {"renewTime": now(True)}}, "application/merge-patch+json")


def fill(kedge):
    pipe = Pipe(kedge)
    short = [{"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5} for k in ("unreachable", "not-ready")]
    for i in range(NODES):
        pipe.send("POST", "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name(i), "labels": {"kubernetes.io/os": "linux"}}})
        pipe.send("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
                  {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": name(i)},
                   "spec": {"holderIdentity": name(i), "leaseDurationSeconds": 40, "renewTime": now(True)}})
    pipe.drain()
    for i in range(NODES):
        beat(pipe, i)
    renewals = Renewals(kedge)
    for i in range(PODS):
        pipe.send("POST", "/api/v1/namespaces/default/pods",
                  {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": f"pod-{i:06}", "labels": {"app": f"app-{i % 500}"}},
                   "spec": {"nodeName": name(i % NODES), "tolerations": short, "automountServiceAccountToken": False,
                            "containers": [{"name": "main", "image": "registry.example/app:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}})
    pipe.drain()
    renewals.end()


def settled_cpu(kedge, seconds=3):
    """Processor seconds a second while nobody asks for anything."""
    before = cpu_seconds(kedge.process.pid)
    time.sleep(seconds)
    return (cpu_seconds(kedge.process.pid) - before) / seconds


def heartbeat(kedge):
    pipe = Pipe(kedge, 8)
    idle = settled_cpu(kedge)
    count = 4 * NODES
    before, began = cpu_seconds(kedge.process.pid), time.monotonic()
    for i in range(count):
        beat(pipe, i % NODES)
    pipe.drain()
    time.sleep(1)  # what is done about them
    took = cpu_seconds(kedge.process.pid) - before - idle * (time.monotonic() - began)
    row(f"a node's heartbeat among {NODES:,} nodes and {PODS:,} pods", f"{took / count * 1000:.2f} ms of CPU", "", "", "≤ 0.3 ms")


def watch_waits(kedge, longest, over):
    """Reads one object again and again, in a process of its own; the longest wait, in seconds."""
    connection = kedge.connect()
    while not over.is_set():
        began = time.monotonic()
        connection.request("GET", "/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt")
        connection.getresponse().read()
        longest.value = max(longest.value, time.monotonic() - began)
        time.sleep(0.002)


class Prober:
    def __init__(self, kedge):
        self.longest, self.over = multiprocessing.Value("d", 0.0), multiprocessing.Event()
        self.process = multiprocessing.Process(target=watch_waits, args=(kedge, self.longest, self.over), daemon=True)
        self.process.start()

    def end(self):
        self.over.set()
        self.process.join(10)
        return self.longest.value * 1000


class Renewals:
    """All Leases but those of the first `quiet` nodes."""

    def __init__(self, kedge):
        self.quiet, self.over, self.pipe = 0, threading.Event(), Pipe(kedge, 1)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            for i in range(self.quiet, NODES):
                renew(self.pipe, i)
            self.pipe.drain()
            self.over.wait(max(0.0, BEAT - (time.monotonic() - began)))

    def end(self):
        self.over.set()
        self.thread.join(30)


def gone(kedge):
    """Whether all pods of the silent nodes are being deleted."""
    for i in range(SILENT):
        for pod in json.loads(kedge.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{name(i)}"))["items"]:
            if "deletionTimestamp" not in pod["metadata"]:
                return False
    return True


def silence(kedge):
    renewals = Renewals(kedge)
    prober = Prober(kedge)
    time.sleep(15)
    usual = prober.end()
    before = most = resident_kib(kedge.process.pid)
    prober = Prober(kedge)
    renewals.quiet = SILENT
    end = time.monotonic() + GRACE + 60
    while time.monotonic() < end and (time.monotonic() < end - 60 + 5 or not gone(kedge)):
        most = max(most, resident_kib(kedge.process.pid))
        time.sleep(0.5)
    evicted = gone(kedge)
    longest = prober.end()
    renewals.end()
    if not evicted:
        raise SystemExit(f"the pods of {SILENT} silent nodes are still there:\n" + open(kedge.log.name).read()[-2000:])
    row(f"{SILENT} of {NODES:,} nodes fall silent, {PODS:,} pods: memory", f"{(most - before) / 1024:+.1f} MiB", f"{before / 1024:,.0f} MiB before", "", "≤ +20 MB")
    row(f"{SILENT} of {NODES:,} nodes fall silent, {PODS:,} pods: longest wait of a GET", f"{longest:.1f} ms", f"with none silent {usual:.1f} ms", "", "≤ 20 ms")


def nodes():
    # All at once is the worst that can be asked for.
    arguments = [f"--kube-controller-manager-arg={a}" for a in (f"node-monitor-grace-period={GRACE}s", "node-eviction-rate=1000")]
    with alone(("--disable-agent", "--disable-scheduler", *arguments)) as kedge:
        kedge.wait_ready()
        wait_until_account(kedge)
        fill(kedge)
        time.sleep(5)
        heartbeat(kedge)
        silence(kedge)


def wait_until_account(kedge):
    while json.loads(kedge.get("/api/v1/namespaces/default/serviceaccounts/default")).get("kind") != "ServiceAccount":
        time.sleep(0.05)
