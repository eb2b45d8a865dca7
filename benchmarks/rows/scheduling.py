"""Scheduler and controllers beside kube-scheduler and kube-controller-manager, which run unchanged against the same Kedge server with its own
switched off. $KEDGE_BENCH_KUBE is a folder with both programs (built from the Go module k8s.io/kubernetes); without it only Kedge is measured.

Nodes are objects without anybody behind them: what is measured is who decides, not who runs."""

import multiprocessing
import socket
import statistics

from .kit import *
from .nodes import Pipe, wait_until_account

KUBE = os.environ.get("KEDGE_BENCH_KUBE", "")
NODES, PODS = int(os.environ.get("KEDGE_BENCH_NODES", "1000")), int(os.environ.get("KEDGE_BENCH_PODS", "10000"))
MANY_NODES = int(os.environ.get("KEDGE_BENCH_MANY_NODES", "5000"))
REPLICAS = int(os.environ.get("KEDGE_BENCH_REPLICAS", "1000"))
DEPLOYMENTS = int(os.environ.get("KEDGE_BENCH_DEPLOYMENTS", "5000"))
LONE_PODS = 40
IDLE_SECONDS = 20
# What was replaced is kept for 90 s, for watches that begin in the past; then what stands is put together.
PAST_SECONDS = int(os.environ.get("KEDGE_BENCH_QUIET_SECONDS", "180"))
# Nodes of which no kubelet tells anything stay as they are.
PATIENT = ("--kube-controller-manager-arg=node-monitor-grace-period=24h", "--kube-controller-manager-arg=node-startup-grace-period=24h")
NOBODY = ("--disable-agent", "--disable-scheduler", "--disable-controller-manager")


class Kube:
    """One of Kubernetes' own programs at work on a server, with the requests a second that its defaults don't allow it."""

    def __init__(self, kedge, program, *args):
        self.log = open(os.path.join(kedge.folder, f"{program}.log"), "ab")
        self.process = subprocess.Popen([os.path.join(KUBE, program), "--kubeconfig", kedge.kubeconfig, "--kube-api-qps=20000", "--kube-api-burst=20000",
                                         "--secure-port=0", "--leader-elect=false", *args], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def follow(kedge, wanted, began, ended, ready, over):
    """In a process of its own: when the first and the last of `wanted` pods were seen bound."""
    connection = kedge.connect()
    connection.request("GET", "/api/v1/pods?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
    answer, bound = connection.getresponse(), set()
    while len(bound) < wanted and not over.is_set():
        line = answer.readline()
        if b'"k8s.io/initial-events-end":"true"' in line[:4096]:
            ready.set()
            continue
        pod = json.loads(line)["object"]
        if pod["spec"].get("nodeName") and pod["metadata"]["name"] not in bound:
            if not bound:
                began.value = time.monotonic()
            bound.add(pod["metadata"]["name"])
            ended.value = time.monotonic()


class Bindings:
    """Watches a server's pods get their nodes."""

    def __init__(self, kedge, wanted):
        self.began, self.ended = multiprocessing.Value("d", 0.0), multiprocessing.Value("d", 0.0)
        self.wanted, self.ready, self.over = wanted, multiprocessing.Event(), multiprocessing.Event()
        self.process = multiprocessing.Process(target=follow, args=(kedge, wanted, self.began, self.ended, self.ready, self.over), daemon=True)
        self.process.start()
        if not self.ready.wait(120):
            raise SystemExit("the watch of the pods did not begin")

    def all(self, seconds):
        """When the first and the last was bound."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.terminate()
            raise SystemExit(f"of {self.wanted} pods not all were bound within {seconds} s")
        return self.began.value, self.ended.value


def node(i):
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": f"node-{i:05}", "labels": {"kubernetes.io/hostname": f"node-{i:05}", "kubernetes.io/os": "linux",
                                                                                           "topology.kubernetes.io/zone": f"zone-{i % 3}"}},
            "status": {"capacity": (room := {"cpu": "16", "memory": "64Gi", "pods": "110"}), "allocatable": room,
                       "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}


def add_nodes(kedge, count):
    pipe = Pipe(kedge)
    for i in range(count):
        pipe.send("POST", "/api/v1/nodes", node(i))
    pipe.drain()
    for i in range(count):  # a node that joins is kept empty until somebody looks at it
        pipe.send("PATCH", f"/api/v1/nodes/node-{i:05}", {"spec": {"taints": None}}, "application/merge-patch+json")
    pipe.drain()


def template(i):
    """A tenth keeps away from its like, a tenth spreads over the zones."""
    app = f"app-{i % 100}"
    spec = {"containers": [{"name": "main", "image": "registry.example/app:1", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}],
            "automountServiceAccountToken": False}
    selector = {"matchLabels": {"app": app}}
    if i % 10 == 0:
        spec["affinity"] = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}}]}}
    if i % 10 == 1:
        spec["topologySpreadConstraints"] = [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]
    return {"metadata": {"labels": {"app": app}}, "spec": spec}


def add_pods(kedge, count):
    pipe = Pipe(kedge)
    for i in range(count):
        pod = template(i)
        pod["metadata"]["name"] = f"pod-{i:06}"
        pipe.send("POST", "/api/v1/namespaces/default/pods", {"kind": "Pod", "apiVersion": "v1", **pod})
    pipe.drain()


def copy_of(kedge):
    kept = kedge.folder + "-kept"
    shutil.copytree(kedge.data, kept, symlinks=True, ignore=lambda folder, names: [n for n in names if n.endswith(".sock")])
    return kept


@contextlib.contextmanager
def filled(nodes, pods):
    """A folder with a stopped server's state, for as many runs as are wanted."""
    with alone(NOBODY, reactors=1) as kedge:
        kedge.wait_ready()
        kedge.kubectl("create", "serviceaccount", "default") if "NotFound" in kedge.get("/api/v1/namespaces/default/serviceaccounts/default") else None
        add_nodes(kedge, nodes)
        add_pods(kedge, pods)
        kedge.stop()
        kept = copy_of(kedge)
        try:
            yield kedge, kept
        finally:
            shutil.rmtree(kept, ignore_errors=True)


@contextlib.contextmanager
def again(first, kept, args):
    shutil.rmtree(first.data)
    shutil.copytree(kept, first.data, symlinks=True)
    kedge = Kedge(first.folder, args)
    first.process = kedge.process  # stopped with the folder
    try:
        yield kedge
    finally:
        kedge.stop()


def crowd():
    what = f"{PODS:,} pods on {NODES:,} nodes, a tenth with anti-affinity, a tenth spread"
    with filled(NODES, PODS) as (first, kept):
        with again(first, kept, ("--disable-agent", "--disable-controller-manager")) as kedge:
            kedge.wait_ready()
            from_ready = time.monotonic()
            _, end = Bindings(kedge, PODS).all(300)
            ours = PODS / (end - from_ready)
        if not KUBE:
            return row(what, f"{ours:,.0f} pods/s", "", "", "≥ 10 × kube-scheduler")
        with again(first, kept, NOBODY) as kedge:
            kedge.wait_ready()
            bindings, kube = Bindings(kedge, PODS), Kube(kedge, "kube-scheduler")
            try:
                begin, end = bindings.all(900)
            finally:
                kube.stop()
            theirs = (PODS - 1) / (end - begin)
        row(what, f"{ours:,.0f} pods/s", f"kube-scheduler {theirs:,.0f}", f"{ours / theirs:.1f} ×", "≥ 5,000/s, ≥ 10 ×")


def one_by_one(kedge):
    """Median of how long a pod waits from its creation's answer until its binding is seen."""
    took = []
    for i in range(LONE_PODS):
        watch, writer = kedge.connect(), kedge.connect()
        watch.request("GET", f"/api/v1/namespaces/default/pods?watch=1&fieldSelector=metadata.name%3Dlone-{i}")
        events = watch.getresponse()
        writer.request("POST", "/api/v1/namespaces/default/pods", json.dumps({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": f"lone-{i}"}, "spec": template(5)["spec"]}),
                       {"Content-Type": "application/json"})
        writer.getresponse().read()
        began = time.monotonic()
        while not json.loads(events.readline())["object"]["spec"].get("nodeName"):
            pass
        took.append(time.monotonic() - began)
        watch.close(), writer.close()
        time.sleep(0.05)  # so that one doesn't wait for what is done about the one before
    return statistics.median(took) * 1000


def lone_pod():
    what = f"a pod among {MANY_NODES:,} nodes, from its creation until it is bound"
    with filled(MANY_NODES, 0) as (first, kept):
        with again(first, kept, ("--disable-agent", "--disable-controller-manager")) as kedge:
            kedge.wait_ready()
            ours = one_by_one(kedge)
        if not KUBE:
            return row(what, f"{ours:.1f} ms", "", "", "≤ 5 ms")
        with again(first, kept, NOBODY) as kedge:
            kedge.wait_ready()
            kube = Kube(kedge, "kube-scheduler")
            try:
                theirs = one_by_one(kedge)
            finally:
                kube.stop()
    row(what, f"{ours:.1f} ms", f"kube-scheduler {theirs:.1f} ms", f"{theirs / ours:.1f} ×", "≤ 5 ms")


def deployment(name, replicas):
    pod = template(5)
    pod["metadata"]["labels"] = {"app": name}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod}}


def scale_up(kedge):
    first = Bindings(kedge, 1)
    pipe = Pipe(kedge, 1)
    pipe.send("POST", "/apis/apps/v1/namespaces/default/deployments", deployment("web", 1))
    first.all(60)
    bindings = Bindings(kedge, REPLICAS)
    began = time.monotonic()
    pipe.send("PATCH", "/apis/apps/v1/namespaces/default/deployments/web", {"spec": {"replicas": REPLICAS}}, "application/merge-patch+json")
    return bindings.all(600)[1] - began


def scaled():
    what = f"a Deployment from 1 to {REPLICAS:,} replicas on {NODES:,} nodes, until all are bound"
    with filled(NODES, 0) as (first, kept):
        with again(first, kept, ("--disable-agent", *PATIENT)) as kedge:
            kedge.wait_ready()
            wait_until_account(kedge)
            ours = scale_up(kedge)
        if not KUBE:
            return row(what, f"{ours:.2f} s", "", "", "≤ 1 s")
        with again(first, kept, NOBODY) as kedge:
            kedge.wait_ready()
            both = [Kube(kedge, "kube-controller-manager", "--controllers=deployment,replicaset,serviceaccount", "--service-account-private-key-file="),
                    Kube(kedge, "kube-scheduler")]
            try:
                wait_until_account(kedge)
                theirs = scale_up(kedge)
            finally:
                for k in both:
                    k.stop()
    row(what, f"{ours:.2f} s", f"kube-controller-manager with kube-scheduler {theirs:.2f} s", f"{theirs / ours:.1f} ×", "≤ 1 s, ≥ 10 ×")


def idle_deployments():
    pods = 2 * DEPLOYMENTS
    with filled(NODES, 0) as (first, kept), again(first, kept, ("--disable-agent", *PATIENT)) as kedge:
        kedge.wait_ready()
        wait_until_account(kedge)
        before = resident_kib(kedge.process.pid)
        bindings, pipe = Bindings(kedge, pods), Pipe(kedge)
        for i in range(DEPLOYMENTS):
            pipe.send("POST", "/apis/apps/v1/namespaces/default/deployments", deployment(f"web-{i}", 2))
        pipe.drain()
        bindings.all(600)
        settle(kedge)
        soon = (resident_kib(kedge.process.pid) - before) / pods
        busy, began = cpu_seconds(kedge.process.pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        busy = (cpu_seconds(kedge.process.pid) - busy) / (time.monotonic() - began)
        time.sleep(PAST_SECONDS)
        memory = (resident_kib(kedge.process.pid) - before) / pods
    row(f"{DEPLOYMENTS:,} Deployments, {pods:,} pods, {NODES:,} nodes, nothing changing: memory a pod, all in", f"{memory:.1f} KiB",
        f"{soon:.1f} KiB as soon as they stand, with what was replaced", "", "≤ 12 KB")
    row(f"{DEPLOYMENTS:,} Deployments, {pods:,} pods, {NODES:,} nodes, nothing changing: CPU", f"{busy * 100:.1f} % of a core", "", "", "≤ 3 %")


def settle(kedge, quiet=0.05, most=120):
    """Until the server does next to nothing for two seconds."""
    end = time.monotonic() + most
    while time.monotonic() < end:
        before = cpu_seconds(kedge.process.pid)
        time.sleep(2)
        if (cpu_seconds(kedge.process.pid) - before) / 2 < quiet:
            return


def scheduling():
    crowd()
    lone_pod()
    scaled()
    idle_deployments()
