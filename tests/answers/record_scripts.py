#!/usr/bin/env python3
"""Records what a real kube-controller-manager makes of the scripts in controllers/*.yaml.

    KUBE_APISERVER=… ETCD=… KUBE_CONTROLLER_MANAGER=… tests/answers/record_scripts.py [AREA] [NAME OF A SCRIPT]

Each script has a kube-apiserver, an etcd and a kube-controller-manager of its own, which runs the controllers that the script names and
is told its arguments. What its looks saw goes to controllers/AREA.json, and tests/sim/scripts_test.cc plays the same steps to
Kedge's controllers in simulated time. controllers/README.md says what a step is. Scripts that are recorded already are left alone
unless they are named.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import judge
import yaml

HERE = pathlib.Path(__file__).parent / "controllers"
PLURALS = {
    "Node": ("api/v1", "nodes", False), "Pod": ("api/v1", "pods", True), "ConfigMap": ("api/v1", "configmaps", True),
    "Secret": ("api/v1", "secrets", True), "Namespace": ("api/v1", "namespaces", False), "ServiceAccount": ("api/v1", "serviceaccounts", True),
    "ResourceQuota": ("api/v1", "resourcequotas", True), "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims", True),
    "PersistentVolume": ("api/v1", "persistentvolumes", False), "Lease": ("apis/coordination.k8s.io/v1", "leases", True),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles", False), "ReplicaSet": ("apis/apps/v1", "replicasets", True),
    "DaemonSet": ("apis/apps/v1", "daemonsets", True), "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets", True),
    "Event": ("api/v1", "events", True),
}
BY_PLURAL = {plural: (group, namespaced) for group, plural, namespaced in PLURALS.values()}
KUBELETS_CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure")
OWN_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")


def now(micro=False):
    t = datetime.datetime.now(datetime.timezone.utc)
    return t.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def path(kind, ns=None, name=None, sub=None):
    group, plural, namespaced = PLURALS[kind]
    parts = ["", group] + (["namespaces", ns or "default"] if namespaced else []) + [plural] + ([name] if name else []) + ([sub] if sub else [])
    return "/".join(parts)


def pod_of(step):
    """A step's pod in full, and its status."""
    meta = {"name": step["name"], "namespace": step.get("namespace", "default")}
    for name in ("labels", "finalizers"):
        if name in step:
            meta[name] = step[name]
    if "owner" in step:
        meta["ownerReferences"] = [step["owner"]]
    container = {"name": "c", "image": "i"}
    if "resources" in step:
        container["resources"] = step["resources"]
    spec = {"containers": [container], "terminationGracePeriodSeconds": 30, "automountServiceAccountToken": False, "serviceAccountName": "default"}
    for name, field in (("node", "nodeName"), ("tolerations", "tolerations"), ("volumes", "volumes")):
        if name in step:
            spec[field] = step[name]
    status = {}
    if "node" in step or "phase" in step:
        status = {"phase": step.get("phase", "Running"), "conditions": [{"type": "Ready", "status": step.get("ready", "True")}]}
    if "reason" in step:
        status["reason"] = step["reason"]
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": spec}, status


def normal(value):
    """Times and uids are words: no two runs have the same."""
    if isinstance(value, dict):
        return {k: normal(v) for k, v in value.items()}
    if isinstance(value, list):
        return [normal(v) for v in value]
    if isinstance(value, str):
        if re.match(r"\d{4}-\d\d-\d\dT", value):
            return "TIME"
        if value.startswith("-----BEGIN CERTIFICATE"):
            return "PEM"
        return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", value)
    return value


def seen(o):
    """What a look keeps of an object."""
    meta = o["metadata"]
    out = {"name": f'{meta["namespace"]}/{meta["name"]}' if "namespace" in meta else meta["name"]}
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if meta.get(name):
            out[name] = meta[name]
    if "deletionTimestamp" in meta:
        out["deleting"] = True
    rest = {k: v for k, v in o.items() if k not in ("kind", "apiVersion", "metadata")}
    kind = o["kind"]
    if kind == "Node":
        rest = {"taints": sorted(o["spec"].get("taints", []), key=lambda t: (t["key"], t["effect"])), "unschedulable": o["spec"].get("unschedulable", False),
                "conditions": o.get("status", {}).get("conditions", [])}
    elif kind == "Pod":
        out.pop("labels", None)  # its node's topology among them: an admission plugin's
        rest = {"status": {k: v for k, v in o.get("status", {}).items() if k in ("phase", "reason", "message", "conditions", "observedGeneration")}}
    return normal({**out, **rest})


class Play:
    def __init__(self, script):
        self.script, self.alive, self.over = script, set(), threading.Event()

    def ask(self, method, where, body=None, headers=None, fine=(200, 201, 202)):
        answer = self.api.ask(method, where, body, headers)
        if answer.code not in fine:
            raise SystemExit(f"{self.script['name']}: {method} {where}: {answer.code} {answer.body.decode()}")
        return answer.json if answer.body else None

    def merge(self, kind, ns, name, body, sub=None):
        return self.ask("PATCH", path(kind, ns, name, sub), body, {"Content-Type": "application/merge-patch+json"})

    def record(self):
        with judge.Judge("--service-account-lookup=false") as self.api:
            # What pods can't be created without.
            self.ask("POST", path("ServiceAccount"), {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}})
            self.start_manager()
            renewing = threading.Thread(target=self.renew)
            renewing.start()
            try:
                out = []
                for step in self.script["steps"]:
                    found = self.do(step)
                    if found is not None:
                        out.append(found)
                return out
            finally:
                self.over.set()
                renewing.join()

    def start_manager(self):
        folder = pathlib.Path(self.api.folder)
        (folder / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {"server": f"https://127.0.0.1:{self.api.port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "x", "user": {"token": judge.TOKEN}}]}))
        subprocess.run(["openssl", "req", "-x509", "-key", "sa.key", "-subj", "/CN=ca", "-days", "2", "-out", "ca.crt"], cwd=folder, check=True, capture_output=True)
        self.api.start(os.environ["KUBE_CONTROLLER_MANAGER"], "--kubeconfig=kubeconfig", "--leader-elect=false", "--secure-port=0",
                       "--controllers=" + ",".join(self.script["controllers"]), "--root-ca-file=ca.crt", "--service-account-private-key-file=sa.key", "--v=2",
                       *[f"--{a}" for a in self.script.get("arguments", [])])
        log, end = folder / "kube-controller-manager.log", time.monotonic() + 120
        while "Caches are synced" not in log.read_text() and "Starting" not in log.read_text():
            if time.monotonic() > end or self.api.processes[-1].poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        time.sleep(2)

    def renew(self):
        """Kubelets, as far as the API sees them. On a connection of their own."""
        api = judge.Judge.__new__(judge.Judge)
        api.port, api.connection = self.api.port, None
        while not self.over.wait(1):
            for name in sorted(self.alive):
                lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": name, "namespace": "kube-node-lease"},
                         "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now(True)}}
                where = path("Lease", "kube-node-lease")
                if api.ask("PATCH", f"{where}/{name}", {"spec": lease["spec"]}, {"Content-Type": "application/merge-patch+json"}).code == 404:
                    api.ask("POST", where, lease)

    def with_uids(self, value):
        if isinstance(value, dict):
            return {k: self.with_uids(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.with_uids(v) for v in value]
        found = isinstance(value, str) and re.fullmatch(r"\$uid\((\w+)/([\w-]*)/([\w.-]+)\)", value)
        if not found:
            return value
        plural, ns, name = found.groups()
        group, namespaced = BY_PLURAL[plural]
        return self.ask("GET", "/".join(["", group] + (["namespaces", ns] if namespaced else []) + [plural, name]))["metadata"]["uid"]

    def do(self, step):
        step = self.with_uids(step)
        if "after" in step:
            time.sleep(int(step["after"].removesuffix("s")))
        elif "alive" in step:
            self.alive = set(step["alive"])
        elif "nodes" in step:
            for name in step["nodes"]:
                labels = {"kubernetes.io/os": "linux"}
                if "zone" in step:
                    labels["topology.kubernetes.io/zone"] = step["zone"]
                self.ask("POST", path("Node"), {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}})
                self.set_conditions(name, {"Ready": "True", **{c: "False" for c in KUBELETS_CONDITIONS}})
        elif "ready" in step:
            for name, status in step["ready"].items():
                self.set_conditions(name, {"Ready": status})
        elif "conditions" in step:
            for name, wanted in step["conditions"].items():
                self.set_conditions(name, wanted)
        elif "pod" in step:
            pod, status = pod_of(step["pod"])
            self.ask("POST", path("Pod", pod["metadata"]["namespace"]), pod)
            if status:
                self.merge("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"], {"status": status}, "status")
        elif "podstatus" in step:
            self.merge("Pod", "default", step["podstatus"]["name"], {"status": {"phase": step["podstatus"]["phase"]}}, "status")
        elif "create" in step:
            o = step["create"]
            self.ask("POST", path(o["kind"], o["metadata"].get("namespace")), o)
        elif "patch" in step or "status" in step:
            o = step.get("patch") or step["status"]
            body = {k: v for k, v in o.items() if k not in ("kind", "apiVersion")}
            self.merge(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"], body, "status" if "status" in step else None)
        elif "delete" in step:
            o = step["delete"]
            options = {"kind": "DeleteOptions", "apiVersion": "v1", **{k: o[k] for k in ("propagationPolicy", "gracePeriodSeconds") if k in o}}
            self.ask("DELETE", path(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]), options)
        elif "look" in step:
            return {what: self.look(what) for what in step["look"]}
        else:
            raise SystemExit(f"{self.script['name']}: what is {step}?")
        return None

    def set_conditions(self, name, wanted):
        """As a kubelet does: with a heartbeat."""
        while True:
            node = self.ask("GET", path("Node", None, name))
            conditions = node["status"].get("conditions", [])
            for kind, status in wanted.items():
                c = next((c for c in conditions if c["type"] == kind), None)
                if c is None:
                    c = {"type": kind}
                    conditions.append(c)
                c.update(status=status, reason="Posted", message="posted", lastHeartbeatTime=now(), lastTransitionTime=now())
            node["status"]["conditions"] = conditions
            if self.ask("PUT", path("Node", None, name, "status"), node, fine=(200, 409))["kind"] == "Node":
                return

    def look(self, what):
        plural, _, name = what.partition("/")
        group, _ = BY_PLURAL[plural]
        items = self.ask("GET", f"/{group}/{plural}")["items"]
        kind = next(k for k, v in PLURALS.items() if v[1] == plural)
        items = [{"kind": kind, **o} for o in items if o["metadata"].get("namespace") not in OWN_NAMESPACES and (not name or o["metadata"]["name"] == name)]
        if plural != "events":
            return sorted((seen(o) for o in items), key=lambda o: o["name"])
        return sorted({normal(f'{e["type"]} {e["reason"]} {e["source"].get("component")} {e["involvedObject"]["kind"]} '
                              f'{e["involvedObject"].get("namespace", "")}/{e["involvedObject"].get("name", "")}: {e.get("message", "")}') for e in items})


def main():
    area, name = (sys.argv[1:] + [None, None])[:2]
    for file in sorted(HERE.glob(f"{area or '*'}.yaml")):
        answers_file = file.with_suffix(".json")
        answers = json.loads(answers_file.read_text()) if answers_file.exists() else {}
        scripts = yaml.safe_load(file.read_text())
        answers = {s["name"]: answers[s["name"]] for s in scripts if s["name"] in answers}
        for script in scripts:
            if script["name"] != name if name else script["name"] in answers:
                continue
            began = time.monotonic()
            answers[script["name"]] = Play(script).record()
            answers_file.write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")
            print(f"{file.stem}: {script['name']}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
