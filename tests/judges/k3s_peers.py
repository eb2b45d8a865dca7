#!/usr/bin/env python3
"""A real K3s beside Kedge, and in its place.

KEDGE_BINARY=<kedge> KEDGE_JUDGES=<folder with k3s> tests/judges/k3s_peers.py [joins] [joined] [datastore] [takeover] [etcd] [kept] [commands]

By hand, as root; it builds nothing. The folder of `k3s` (K3s's cmd/server, the program without its wrapper) also has containerd-shim-runc-v2 of K3s's
containerd, and `flannel` of flannel's cni-plugin; runc and the other plugins are the distribution's. Each part makes machines of its own (machines.py):

    joins      a K3s agent joins two Kedge servers behind haproxy, one of which dies
    joined     a Kedge agent joins a K3s server
    datastore  a K3s server and a Kedge server have one PostgreSQL
    takeover   a K3s server's data directory goes to Kedge, and back, twice
    etcd       the same with K3s's embedded etcd
    kept       pods of K3s's containerd and shims stay under Kedge (all it wants of `k3s` is containerd)
    commands   what K3s's own commands say to a Kedge server

A row that doesn't hold is told, and the exit code is 1."""

import json
import os
import sys
import time

from machines import Daemon, MachineLab, eventually, run  # noqa: E402  (which finds the others)

from ha_lab import Haproxy, Postgres  # noqa: E402
from harness import BINARY, Failed, is_ready  # noqa: E402
from runtime import ARGS, BUSYBOX  # noqa: E402

K3S = os.path.join(os.environ.get("KEDGE_JUDGES", ""), "k3s")
PLUGINS = "/usr/lib/cni"
DATA = "/var/lib/rancher/k3s"
TOKEN = "cluster-secret"
# What nobody can pull here.
LEAN = ["--disable", "traefik", "--disable", "metrics-server", "--disable", "local-storage"]


class Rows:
    def __init__(self):
        self.held, self.failed = 0, 0

    def __call__(self, what, holds, timeout=30):
        """`holds` is asked until it gives something true; that is given."""
        try:
            got = eventually(what, holds, timeout / 3, every=0.3)  # eventually is three times as patient
            self.held += 1
            print(f"  holds: {what}", flush=True)
            return got
        except (Failed, SystemError, KeyError, IndexError, TypeError) as e:
            self.failed += 1
            print(f"  FAILS: {what}: {e}", flush=True)
            return None

    def same(self, what, ours, theirs):
        return self(what, lambda: ours == theirs or (_ for _ in ()).throw(Failed(f"{ours} is not {theirs}")), timeout=0)


class Box:
    """A machine with both programs, their configuration for this place, and the images that pods use."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.machine = lab.machine(name)
        self.bin = f"{DATA}/data/judge/bin"
        where = self.machine.path(self.bin)
        os.makedirs(where)
        for link in ("k3s", "containerd", "ctr", "kubectl"):
            os.symlink(K3S, f"{where}/{link}")
        beside = os.path.dirname(os.path.realpath(K3S))
        for program in ("containerd-shim-runc-v2", "flannel"):
            os.symlink(f"{beside}/{program}", f"{where}/{program}")
        for plugin in os.listdir(PLUGINS):
            if plugin != "flannel":
                os.symlink(f"{PLUGINS}/{plugin}", f"{where}/{plugin}")
        os.symlink("judge", self.machine.path(f"{DATA}/data/current"))
        # No process here may lower its score; and a kernel with cgroups of version 1 is what there is.
        self.machine.write(f"{DATA}/agent/etc/containerd/config-v3.toml.d/here.toml",
                           "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  restrict_oom_score_adj = true\n")
        self.machine.write(f"{DATA}/agent/etc/kubelet.conf.d/99-here.conf",
                           "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n")
        os.makedirs(self.machine.path(f"{DATA}/agent/images"))
        for n, archive in enumerate(lab.archives):
            with open(archive, "rb") as f, open(self.machine.path(f"{DATA}/agent/images/{n}.tar"), "wb") as g:
                g.write(f.read())

    @property
    def address(self):
        return self.machine.address

    def k3s(self, role, *args):
        env = {"PATH": f"{self.bin}:{os.environ['PATH']}", "CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS": "365"}
        return Daemon(self.lab, self.machine, f"{self.bin}/k3s", role, *ARGS, *args, env=env)

    def kedge(self, role, *args, **how):
        return Daemon(self.lab, self.machine, BINARY, role, *ARGS, *args, **how)

    def kubectl(self, *args, check=True, input=None, timeout=60):
        return self.machine.run("kubectl", "--kubeconfig", Daemon.kubeconfig, *args, check=check, input=input, timeout=timeout)

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def serves(self, timeout=120):
        return eventually(f"{self.name} serves", lambda: self.kubectl("get", "--raw", "/readyz", timeout=20) == "ok", timeout / 3, every=0.3)

    def ready(self, node):
        return is_ready(self.get("node", node))

    def restarts(self):
        """Of all containers: when each began, and how often."""
        out = {}
        for p in self.get("pods", "-A")["items"]:
            for c in p.get("status", {}).get("containerStatuses", []):
                key = f"{p['metadata']['namespace']}/{p['metadata']['name']}/{c['name']}"
                out[key] = (c["restartCount"], c.get("containerID"), c.get("state", {}).get("running", {}).get("startedAt"))
        return out


def pod(name, node=None, command="while true; do echo here; sleep 1; done", **more):
    spec = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", command], **more}]}
    if node:
        spec["nodeName"] = node
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})


def web(name):
    return "mkdir -p /www; echo " + name + " > /www/index.html; httpd -f -p 80 -h /www"


def running(box, name):
    def looks():
        return box.get("pod", name)["status"].get("phase") == "Running"
    return looks


def streams(rows, box, name):
    """Logs and commands of a pod, as kubectl gets them."""
    rows(f"kubectl logs {name}", lambda: "here" in box.kubectl("logs", name, "--tail", "5"))
    rows(f"kubectl exec {name}", lambda: box.kubectl("exec", name, "--", "echo", "inside").strip() == "inside")
    rows(f"kubectl exec {name}, with input and an exit code",
         lambda: box.kubectl("exec", "-i", name, "--", "sh", "-c", "cat; exit 3", check=False, input="word\n").returncode == 3)


def joins(rows, lab):
    """A K3s agent joins two Kedge servers behind haproxy."""
    database = Postgres(lab, lab.host())
    a, b, n = Box(lab, "a"), Box(lab, "b"), Box(lab, "n")
    front = lab.host()
    servers = []
    for box in (a, b):
        box.daemon = box.kedge("server", "--token", TOKEN, "--datastore-endpoint", database.url, "--tls-san", front.address, *LEAN).start()
        box.serves()
        servers.append(type("Peer", (), {"name": box.name, "address": box.address, "port": 6443}))
    haproxy = Haproxy(lab, front, servers)
    agent = n.k3s("agent", "--server", haproxy.url, "--token", TOKEN).start()
    rows("the K3s node is Ready", lambda: a.ready("n"), timeout=180)
    if not a.kubectl("get", "node", "n", check=False).stdout:
        print(agent.log()[-6000:])
        return
    node = a.get("node", "n")
    rows("a K3s node's version", lambda: "+k3s" in node["status"]["nodeInfo"]["kubeletVersion"])
    rows("its address", lambda: {"type": "InternalIP", "address": n.address} in a.get("node", "n")["status"]["addresses"])
    rows("it is initialized by the cloud controller", lambda: a.get("node", "n")["spec"].get("providerID") == "k3s://n")
    rows("no taint is left", lambda: not a.get("node", "n")["spec"].get("taints"))
    rows("its password is kept", lambda: a.get("secret", "n.node-password.k3s", "-n", "kube-system"))
    a.kubectl("create", "-f", "-", input=pod("theirs", "n", web("theirs") + "& while true; do echo here; sleep 1; done"))
    a.kubectl("create", "-f", "-", input=pod("ours", "b", web("ours") + "& while true; do echo here; sleep 1; done"))
    for name in ("theirs", "ours"):
        rows(f"pod {name} runs", running(a, name), timeout=120)
    for box in (a, b):
        streams(rows, box, "theirs")
    network(rows, a, "theirs", "ours")
    metrics(rows, a, "n")
    a.daemon.stop(9)
    rows("the K3s node stays Ready when a server dies", lambda: time.sleep(50) or b.ready("n"), timeout=120)
    streams(rows, b, "theirs")
    b.kubectl("create", "-f", "-", input=pod("later", "n"))
    rows("a pod made later runs", running(b, "later"), timeout=120)
    b.kubectl("delete", "pod", "theirs", "later", "--wait=false")
    rows("pods go", lambda: "theirs" not in b.kubectl("get", "pods", "-o", "name"))
    a.daemon.start()
    a.serves()
    rows("the tunnel to a server that came back", lambda: "inside" in a.kubectl("exec", "-i", "ours", "--", "echo", "inside"))
    agent.stop()
    agent.start()
    rows("the K3s agent joins again with its password", lambda: b.ready("n"), timeout=120)
    b.kubectl("delete", "node", "n")
    rows("its password goes with the node", lambda: "n.node-password" not in b.kubectl("get", "secrets", "-n", "kube-system"), timeout=90)


def get(box, pod, address, path="/", timeout=3):
    """What a pod gets by HTTP. Not by busybox's wget, which may crash in its resolver where it is linked statically."""
    text = box.kubectl("exec", "-i", pod, "--", "sh", "-c", f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w {timeout} {address} 80", timeout=20)
    return text.partition("\n\n")[2] or text.partition("\r\n\r\n")[2]


def network(rows, box, one, other, nameless=()):
    """Pods on two nodes reach each other, a Service reaches both, and names are answered but to `nameless`."""
    box.kubectl("expose", "pod", one, "--port=80")
    box.kubectl("expose", "pod", other, "--port=80")
    for here, there in ((one, other), (other, one)):
        address = box.get("pod", there)["status"].get("podIP")
        service = box.get("service", there)["spec"]["clusterIP"]
        rows(f"{here} reaches {there} at its address", lambda: get(box, here, address).strip() == there)
        rows(f"{here} reaches {there} by its Service", lambda: get(box, here, service).strip() == there)
        box.kubectl("exec", there, "--", "sh", "-c", "yes 0123456789 | head -c 200000 > /www/large")
        rows(f"{here} has 200,000 bytes of {there}", lambda: len(get(box, here, address, "/large", 5)) == 200000)
        name = f"{there}.default.svc.cluster.local"
        if here not in nameless:
            rows(f"{here} knows {name}", lambda: service in box.kubectl("exec", here, "--", "nslookup", name, timeout=20))


def metrics(rows, box, node):
    rows(f"the kubelet of {node} through the API", lambda: "pods" in json.loads(box.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary")))


def joined(rows, lab):
    """A Kedge agent joins a K3s server."""
    a, n = Box(lab, "a"), Box(lab, "n")
    server = a.k3s("server", "--token", TOKEN, *LEAN).start()
    server.running("K3s serves", lambda: a.kubectl("get", "--raw", "/readyz", timeout=20) == "ok", timeout=100)
    n.kedge("agent", "--server", f"https://{a.address}:6443", "--token", TOKEN).start()
    rows("the Kedge node is Ready", lambda: a.ready("n"), timeout=120)
    rows("the K3s node is Ready", lambda: a.ready("a"), timeout=180)
    rows("it is initialized by the cloud controller", lambda: a.get("node", "n")["spec"].get("providerID") == "k3s://n")
    rows("no taint is left", lambda: not a.get("node", "n")["spec"].get("taints"))
    a.kubectl("create", "-f", "-", input=pod("ours", "n", web("ours") + "& while true; do echo here; sleep 1; done"))
    a.kubectl("create", "-f", "-", input=pod("theirs", "a", web("theirs") + "& while true; do echo here; sleep 1; done"))
    for name in ("ours", "theirs"):
        rows(f"pod {name} runs", running(a, name), timeout=120)
    streams(rows, a, "ours")
    network(rows, a, "theirs", "ours", nameless=["theirs"])  # CoreDNS's image isn't here
    metrics(rows, a, "n")
    a.kubectl("delete", "pod", "ours", "--wait=false")
    rows("a pod goes", lambda: "ours" not in a.kubectl("get", "pods", "-o", "name"))


def datastore(rows, lab):
    """A K3s server and a Kedge server have one PostgreSQL: whoever comes first, the other takes what it left."""
    for first, second in (("k3s", "kedge"), ("kedge", "k3s")):
        inner = MachineLab()
        try:
            shared(rows, inner, first, second)
        finally:
            inner.close()


def shared(rows, lab, first, second):
    database = Postgres(lab, lab.host())
    a, b = Box(lab, "a"), Box(lab, "b")
    args = ["--token", TOKEN, "--datastore-endpoint", database.url, "--secrets-encryption", *LEAN]
    one = getattr(a, first)("server", *args).start()
    one.running(f"{first} serves", lambda: a.kubectl("get", "--raw", "/readyz", timeout=20) == "ok", timeout=120)
    a.kubectl("create", "secret", "generic", "sealed", "--from-literal=word=first")
    two = getattr(b, second)("server", *args).start()
    try:
        two.running(f"{second} serves beside {first}", lambda: b.kubectl("get", "--raw", "/readyz", timeout=20) == "ok", timeout=120)
    except (Failed, SystemError) as e:
        rows(f"{second} serves beside {first}: {e}", lambda: False, timeout=0)
        return
    label = f"{second} after {first}"
    for name in ("server-ca.crt", "client-ca.crt", "request-header-ca.crt", "service.key", "server-ca.key"):
        rows.same(f"{label}: {name}", a.machine.read(f"{DATA}/server/tls/{name}"), b.machine.read(f"{DATA}/server/tls/{name}"))
    rows(f"{label}: a sealed secret is read", lambda: b.get("secret", "sealed")["data"]["word"] == "Zmlyc3Q=")
    rows(f"{label}: both nodes are Ready, to both", lambda: all(box.ready(node) for box in (a, b) for node in "ab"), timeout=180)
    b.kubectl("create", "secret", "generic", "back", "--from-literal=word=back")
    rows(f"{label}: and the other way", lambda: a.get("secret", "back")["data"]["word"] == "YmFjaw==")
    raw = database.sql("select count(*) from kine where name = '/registry/secrets/default/back' and encode(value, 'escape') like '%k8s:enc:%'", "kubernetes")
    rows.same(f"{label}: it is sealed in the database", raw, "1")
    # Written by either in turn, and seen by the other's watch.
    a.kubectl("create", "configmap", "turns", "--from-literal=n=0")
    for n in range(1, 11):
        writer, reader = (a, b) if n % 2 else (b, a)
        writer.kubectl("patch", "configmap", "turns", "-p", json.dumps({"data": {"n": str(n)}}))
        rows(f"{label}: write {n} is seen", lambda: reader.get("configmap", "turns")["data"]["n"] == str(n))
    a.kubectl("create", "-f", "-", input=json.dumps(deployment("web", 4)))
    rows(f"{label}: a deployment of both nodes is available", lambda: b.get("deployment", "web")["status"].get("availableReplicas") == 4, timeout=180)
    rows(f"{label}: it has just its pods", lambda: len(b.get("pods", "-l", "app=web")["items"]) == 4 and len(b.get("replicasets", "-l", "app=web")["items"]) == 1)
    leases = {l["metadata"]["name"]: l["spec"] for l in a.get("leases", "-n", "kube-system")["items"]}
    print("    leases:", {n: l.get("holderIdentity") for n, l in leases.items() if not n.startswith("apiserver-")})
    time.sleep(30)
    later = {l["metadata"]["name"]: l["spec"] for l in a.get("leases", "-n", "kube-system")["items"]}
    for name, spec in leases.items():
        if "leaseTransitions" in spec:
            rows.same(f"{label}: nobody fights for {name}", (later[name]["holderIdentity"], later[name]["leaseTransitions"]), (spec["holderIdentity"], spec["leaseTransitions"]))
    rows(f"{label}: the servers' addresses", lambda: sorted(e["addresses"][0] for e in a.get("endpointslice", "kubernetes")["endpoints"]) == sorted([a.address, b.address]))
    for node, box in (("b", a), ("a", b)):
        name = next(p["metadata"]["name"] for p in box.get("pods", "-l", "app=web", "--field-selector", f"spec.nodeName={node}")["items"])
        rows(f"{label}: exec on the other's node {node}", lambda: box.kubectl("exec", name, "--", "echo", "in").strip() == "in")
    # The first one goes; the other leads alone.
    one.stop()
    b.kubectl("scale", "deployment", "web", "--replicas=5")
    rows(f"{label}: {second} leads when {first} has gone", lambda: len(b.get("pods", "-l", "app=web")["items"]) == 5, timeout=90)
    one.start()
    rows(f"{label}: {first} comes back", lambda: a.kubectl("get", "--raw", "/readyz", timeout=20) == "ok", timeout=120)
    rows(f"{label}: both nodes are Ready again", lambda: all(box.ready(node) for box in (a, b) for node in "ab"), timeout=180)


def deployment(name, replicas, claim=None, command=None):
    spec = json.loads(pod(name, command=command or web(name)))["spec"]
    if claim:
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        spec["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}}


WORKLOADS = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"word": "kept"}},
    {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gizmos.example.com"},
     "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Gizmo", "plural": "gizmos", "singular": "gizmo"},
              "versions": [{"name": "v1", "served": True, "storage": True,
                            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}}}]}},
    deployment("web", 3),
    {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
     "spec": {"serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}},
              "template": {"metadata": {"labels": {"app": "db"}}, "spec": json.loads(pod("db"))["spec"]}}},
    {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "each"},
     "spec": {"selector": {"matchLabels": {"app": "each"}}, "template": {"metadata": {"labels": {"app": "each"}}, "spec": json.loads(pod("each"))["spec"]}}},
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": 30080}]}},
    {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "now-and-then"},
     "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {**json.loads(pod("c", command="true"))["spec"], "restartPolicy": "Never"}}}}}},
    {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "done"},
     "spec": {"template": {"spec": {**json.loads(pod("d", command="true"))["spec"], "restartPolicy": "Never"}}}},
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "none"}, "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}},
]
ADDON = """apiVersion: v1
kind: ConfigMap
metadata: {name: brought, namespace: default}
data: {by: manifests}
"""


def stands(rows, box, label, before, node="a"):
    """What the last one left goes on under the next one."""
    rows(f"{label}: the node is Ready", lambda: box.ready(node), timeout=120)
    rows(f"{label}: the deployment is available", lambda: box.get("deployment", "web")["status"].get("availableReplicas") == 3, timeout=90)
    time.sleep(15)  # what would be restarted, would be by now
    now = box.restarts()
    for key, state in before.items():
        if "/" in key and key.split("/")[0] == "default":
            rows.same(f"{label}: {key} runs on", now.get(key), state)
    rows.same(f"{label}: no pod is new", sorted(k for k in now if k.startswith("default/")), sorted(k for k in before if k.startswith("default/")))
    rows(f"{label}: objects are there", lambda: box.get("configmap", "settings")["data"]["word"] == "kept" and box.get("gizmo", "one")["spec"] == {"size": 3})
    rows(f"{label}: what came by the folder is there", lambda: box.get("configmap", "brought")["data"]["by"] == "manifests")
    rows(f"{label}: its AddOn", lambda: box.get("addon", "mine", "-n", "kube-system")["spec"]["checksum"])
    rows(f"{label}: the node port answers", lambda: box.machine.run("curl", "-sS", "-m", "3", f"http://{box.address}:30080").strip() == "web")
    web = box.get("pods", "-l", "app=web")["items"][0]["metadata"]["name"]
    rows(f"{label}: exec", lambda: box.kubectl("exec", web, "--", "cat", "/www/index.html").strip() == "web")
    rows(f"{label}: logs", lambda: "here" in box.kubectl("logs", "db-0", "--tail", "3"))
    made = f"made-{len(label)}"
    box.kubectl("create", "-f", "-", input=pod(made))
    rows(f"{label}: a new pod runs", running(box, made), timeout=90)
    address = next(p["status"]["podIP"] for p in box.get("pods", "-l", "app=web")["items"])
    rows(f"{label}: it reaches an old one", lambda: get(box, made, address).strip() == "web")
    rows(f"{label}: a rolling restart", lambda: box.kubectl("rollout", "restart", "deployment/web") and box.kubectl("rollout", "status", "deployment/web", "--timeout=50s", timeout=70), timeout=120)
    box.kubectl("delete", "pod", made, "--wait=false")
    rows(f"{label}: it goes", lambda: made not in box.kubectl("get", "pods", "-o", "name"))


def takeover(rows, lab, extra=()):
    """A K3s server's data directory goes to Kedge, and back."""
    a = Box(lab, "a")
    a.machine.write(f"{DATA}/server/manifests/mine.yaml", ADDON)
    args = ["--token", TOKEN, *LEAN, *extra]
    k3s, kedge = a.k3s("server", *args), a.kedge("server", *args)
    k3s.start()
    k3s.running("K3s serves", lambda: a.kubectl("get", "--raw", "/readyz", timeout=20) == "ok", timeout=100)
    for o in WORKLOADS:
        eventually("an object", lambda: a.kubectl("apply", "-f", "-", input=json.dumps(o)))
    eventually("a custom object", lambda: a.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "example.com/v1", "kind": "Gizmo", "metadata": {"name": "one"}, "spec": {"size": 3}})))
    rows("K3s: all pods run", lambda: a.ready("a") and len([p for p in a.get("pods")["items"] if p["status"]["phase"] == "Running"]) == 5, timeout=180)
    rows("K3s: the job is done", lambda: a.get("job", "done")["status"].get("succeeded") == 1, timeout=90)
    for turn in (1, 2):
        for name, daemon, other in (("Kedge", kedge, k3s), ("K3s", k3s, kedge)):
            before = a.restarts()
            rows.same(f"{turn}: the other one stops", other.stop(), 0)
            began = time.monotonic()
            daemon.start()
            try:
                daemon.running(f"{name} serves", lambda: a.kubectl("get", "--raw", "/readyz", timeout=20) == "ok", timeout=100)
            except (Failed, SystemError) as e:
                rows(f"{turn}: {name} serves: {e}", lambda: False, timeout=0)
                return
            eventually("the node is Ready", lambda: a.ready("a"), 100)
            print(f"    {name} serves and its node is Ready after {time.monotonic() - began:.1f} s")
            stands(rows, a, f"{turn}: {name}", before)


def etcd(rows, lab):
    """The same with K3s's embedded etcd."""
    takeover(rows, lab, ["--cluster-init"])


def kept(rows, lab):
    """Pods that K3s's containerd runs with its own shims, and ours: a Kedge that finds both containerds keeps them."""
    a = Box(lab, "a")
    args = ["--token", TOKEN, *LEAN]
    under = a.kedge("server", *args, env={"PATH": f"{a.bin}:{os.environ['PATH']}"}, name="under-k3s")
    after = a.kedge("server", *args, name="kept")
    ours = a.machine.run("which", "containerd").strip()

    def serves(daemon):
        daemon.running("Kedge serves", lambda: a.kubectl("get", "--raw", "/readyz", timeout=20) == "ok" and a.ready("a"))

    def runs(program):
        """Whether `program` is what the machine's containerd was started from."""
        return program in a.machine.run("sh", "-c", "tr '\\0' '\\n' < /proc/$(pidof -s containerd)/cmdline").split()

    serves(under.start())
    rows("K3s's containerd is run where there is no other in PATH before it", lambda: runs(f"{a.bin}/containerd"))
    for name, runtime in (("theirs", "runc"), ("ours", "kedge")):
        spec = json.loads(pod(name))
        spec["spec"]["runtimeClassName"] = runtime
        eventually("the account of pods", lambda: a.kubectl("create", "-f", "-", input=json.dumps(spec)))
        rows(f"pod {name} runs", running(a, name), timeout=90)
    ran = a.restarts()
    before = under
    for turn in ("the pods are kept", "and once more"):
        before.stop()
        serves(after.start())
        rows(f"{turn}: by K3s's containerd", lambda: runs(f"{DATA}/data/current/bin/containerd"))
        for name in ("theirs", "ours"):
            streams(rows, a, name)
        rows(f"{turn}: nothing is started anew", lambda: a.restarts() == ran)
        before = after
    a.kubectl("delete", "pod", "theirs", "--wait=true", timeout=90)
    ran = a.restarts()
    after.stop()
    serves(after.start())
    rows("without them the machine's own containerd is run", lambda: runs(ours))
    streams(rows, a, "ours")
    rows("what our shim keeps runs on", lambda: a.restarts() == ran)
    a.kubectl("create", "-f", "-", input=pod("later"))
    rows("a new pod runs", running(a, "later"), timeout=90)
    ran = a.restarts()
    after.stop()
    serves(under.start())
    rows("K3s's containerd is run again", lambda: runs(f"{a.bin}/containerd"))
    for name in ("ours", "later"):
        streams(rows, a, name)
    rows("and keeps what the machine's own ran", lambda: a.restarts() == ran)
    under.stop()


def commands(rows, lab):
    """What K3s's own commands say to a Kedge server, beside what they say to a K3s server."""
    said = {}
    for program in ("k3s", "kedge"):
        box = Box(lab, program)
        daemon = getattr(box, program)("server", "--token", TOKEN, "--secrets-encryption", *LEAN).start()
        daemon.running(f"{program} serves", lambda: box.kubectl("get", "--raw", "/readyz", timeout=20) == "ok", timeout=120)
        eventually("the node tells of its keys", lambda: "k3s.io/encryption-config-hash" in box.get("node", program)["metadata"]["annotations"] and box.ready(program))
        said[program] = {}
        for command in (["token", "list"], ["token", "create", "--ttl", "1h", "abcdef.0123456789abcdef"], ["token", "list"], ["token", "delete", "abcdef"],
                        ["secrets-encrypt", "status"], ["certificate", "check", "--output", "json"], ["etcd-snapshot", "ls"], ["etcd-snapshot", "save"],
                        ["token", "rotate", "--token", TOKEN, "--new-token", "another-secret"]):
            p = box.machine.run(f"{box.bin}/k3s", *command, check=False, timeout=60, env={**os.environ, "PATH": f"{box.bin}:{os.environ['PATH']}"})
            said[program][" ".join(command)] = (p.returncode, p.stdout, p.stderr)
        daemon.stop()
    for command, (code, out, err) in said["k3s"].items():
        ours = said["kedge"][command]
        print(f"    k3s {command}: {code}\n{out}{err[-600:]}\n    ---- kedge: {ours[0]}\n{ours[1]}{ours[2][-600:]}")
        # Kedge's snapshots are of any datastore; K3s's of its own etcd alone.
        rows.same(f"k3s {command} ends " + ("with Kedge's answer" if "etcd-snapshot" in command else "alike"), ours[0], 0 if "etcd-snapshot" in command else code)


PARTS = {"joins": joins, "joined": joined, "datastore": datastore, "takeover": takeover, "etcd": etcd, "kept": kept, "commands": commands}


def main():
    if not os.access(K3S, os.X_OK):
        raise SystemExit("KEDGE_JUDGES names no folder with k3s")
    rows = Rows()
    for name in sys.argv[1:] or PARTS:
        print(f"{name}: {PARTS[name].__doc__}", flush=True)
        lab = MachineLab()
        try:
            PARTS[name](rows, lab)
        finally:
            if os.environ.get("KEDGE_KEEP"):
                input(f"{lab.folder}, {[h.first for h in lab.hosts if hasattr(h, 'first')]}: Enter ends it")
            lab.close()
    print(f"{rows.held} hold, {rows.failed} fail")
    return 1 if rows.failed else 0


if __name__ == "__main__":
    sys.exit(main())
