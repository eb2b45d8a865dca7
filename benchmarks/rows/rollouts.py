"""Jobs and rollouts on hollow nodes: Kedge's controllers and scheduler beside kube-controller-manager and kube-scheduler, as in scheduling.py."""

import multiprocessing

from .kit import *
from .nodes import Pipe, wait_until_account
from .scheduling import KUBE, NOBODY, PATIENT, Kube, again, alone, copy_of, deployment

HOLLOW = os.path.join(BUILD, "benchmarks/hollow")
NODES, JOBS, COMPLETIONS = int(os.environ.get("KEDGE_BENCH_HOLLOW", "100")), int(os.environ.get("KEDGE_BENCH_JOBS", "1000")), 5
REPLICAS, READY_MS = int(os.environ.get("KEDGE_BENCH_REPLICAS", "500")), 100
ROUNDS_AT_LEAST = 4  # of a quarter each


class Hollow:
    """Nodes that do what a script says, in a process of their own."""

    def __init__(self, kedge, folder, script):
        self.log = open(os.path.join(kedge.folder, "hollow.log"), "ab")
        self.process = subprocess.Popen([HOLLOW, "--server", kedge.url, "--token", open(f"{kedge.data}/server/node-token").read().strip(), "--nodes", str(NODES),
                                         "--folder", folder, "--script", script], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        began = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        while len(ready_nodes(kedge)) < NODES or len(leases_since(kedge, began)) < NODES:  # which are Ready since a run before
            if self.process.poll() is not None:
                raise SystemExit("the hollow nodes ended; see their log:\n" + open(self.log.name).read()[-2000:])
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def ready_nodes(kedge):
    return [n for n in json.loads(kedge.get("/api/v1/nodes"))["items"] if not n["spec"].get("taints")
            and any(c["type"] == "Ready" and c["status"] == "True" for c in n.get("status", {}).get("conditions", []))]


def leases_since(kedge, began):
    return [x for x in json.loads(kedge.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"))["items"] if x["spec"]["renewTime"] > began]


def follow(kedge, path, holds, wanted, ended, ready):
    """In a process of its own: when the last of `wanted` objects was seen to be as it should."""
    connection = kedge.connect()
    connection.request("GET", f"{path}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
    answer, done = connection.getresponse(), set()
    while len(done) < wanted:
        seen = json.loads(answer.readline())
        if seen["type"] == "BOOKMARK":
            ready.set()
        elif holds(seen["object"]):
            done.add(seen["object"]["metadata"]["name"])
    ended.value = time.monotonic()


class Watcher:
    def __init__(self, kedge, path, holds, wanted):
        self.ended, ready = multiprocessing.Value("d", 0.0), multiprocessing.Event()
        self.process = multiprocessing.Process(target=follow, args=(kedge, path, holds, wanted, self.ended, ready), daemon=True)
        self.process.start()
        if not ready.wait(60):
            raise SystemExit("the watch did not begin")

    def all(self, seconds):
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.terminate()
            raise SystemExit(f"not all was done within {seconds} s")
        return self.ended.value


def is_complete(job):
    return any(c["type"] == "Complete" and c["status"] == "True" for c in job.get("status", {}).get("conditions", []))


def is_rolled_out(d):
    s = d.get("status", {})
    return s.get("observedGeneration", 0) >= d["metadata"]["generation"] and all(s.get(k) == REPLICAS for k in ("replicas", "updatedReplicas", "availableReplicas"))


def run_jobs(kedge):
    watcher, pipe = Watcher(kedge, "/apis/batch/v1/jobs", is_complete, JOBS), Pipe(kedge)
    began = time.monotonic()
    for i in range(JOBS):
        pipe.send("POST", "/apis/batch/v1/namespaces/default/jobs", {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": f"job-{i}"}, "spec": {
            "completions": COMPLETIONS, "parallelism": COMPLETIONS, "template": {"spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [{"name": "main", "image": "registry.example/app:1"}]}}}})
    pipe.drain()
    return watcher.all(900) - began


def roll_out(kedge):
    path, pipe = "/apis/apps/v1/namespaces/default/deployments", Pipe(kedge, 1)
    object_ = deployment("web", REPLICAS)
    object_["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}
    object_["spec"]["template"]["spec"]["containers"][0]["resources"] = {}
    watcher = Watcher(kedge, path, is_rolled_out, 1)
    pipe.send("POST", path, object_)
    watcher.all(300)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "registry.example/app:2"}]}}}}
    began = time.monotonic()
    pipe.send("PATCH", path + "/web", change, "application/strategic-merge-patch+json")
    pipe.drain()
    return Watcher(kedge, path, is_rolled_out, 1).all(300) - began


def both(work, script, controllers):
    """How long it takes Kedge, and the others."""
    took = []
    with alone(("--disable-agent", *PATIENT), reactors=1) as first:
        first.wait_ready()
        wait_until_account(first)
        folder = os.path.join(first.folder, "hollow")
        Hollow(first, folder, script).stop()
        first.stop()
        kept = copy_of(first)
        try:
            for kube in (False, True) if KUBE else (False,):
                with again(first, kept, NOBODY if kube else ("--disable-agent", *PATIENT)) as kedge:
                    kedge.wait_ready()
                    programs = [Hollow(kedge, folder, script)]
                    try:
                        if kube:
                            programs += [Kube(kedge, "kube-controller-manager", f"--controllers={controllers}", "--service-account-private-key-file="), Kube(kedge, "kube-scheduler")]
                            time.sleep(5)  # their caches
                        took.append(work(kedge))
                    finally:
                        for p in programs:
                            p.stop()
        finally:
            shutil.rmtree(kept, ignore_errors=True)
    return took


def show(what, took, target):
    ours, theirs = took[0], took[1] if KUBE else None
    row(what, f"{ours:.2f} s", f"kube-controller-manager with kube-scheduler {theirs:.2f} s" if theirs else "", f"{theirs / ours:.1f} ×" if theirs else "", target)


def jobs():
    show(f"{JOBS:,} Jobs of {COMPLETIONS} completions on {NODES} hollow nodes, until all are complete", both(run_jobs, "ready=10ms,exit=10ms", "job,serviceaccount"), "≥ 10 ×")


def rollout():
    least = ROUNDS_AT_LEAST * READY_MS / 1000
    show(f"a rolling update of {REPLICAS} replicas that are ready after {READY_MS} ms, a quarter more at most", both(roll_out, f"ready={READY_MS}ms", "deployment,replicaset,serviceaccount"),
         f"≤ {1.2 * least:.2f} s, 1.2 × the least that the rounds allow")
