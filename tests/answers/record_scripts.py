#!/usr/bin/env python3
"""Records what a real kube-controller-manager makes of the scripts in controllers/*.yaml.

    KUBE_APISERVER=… ETCD=… KUBE_CONTROLLER_MANAGER=… tests/answers/record_scripts.py [AREA] [NAME OF A SCRIPT]

Each script has a kube-apiserver, an etcd and a kube-controller-manager of its own, which runs the controllers that the script names and
is told its arguments; scripts that are marked `together` share one, each in a namespace of its own. What its looks saw goes to
controllers/AREA.json, and tests/sim/scripts_test.cc plays the same steps to Kedge's controllers in simulated time.
controllers/README.md says what a step is. Scripts that are recorded already are left alone unless they are named.
"""

import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import adapters
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
    "Event": ("api/v1", "events", True), "Service": ("api/v1", "services", True), "Endpoints": ("api/v1", "endpoints", True),
    "ReplicationController": ("api/v1", "replicationcontrollers", True), "Deployment": ("apis/apps/v1", "deployments", True),
    "StatefulSet": ("apis/apps/v1", "statefulsets", True), "ControllerRevision": ("apis/apps/v1", "controllerrevisions", True),
    "Job": ("apis/batch/v1", "jobs", True), "CronJob": ("apis/batch/v1", "cronjobs", True),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices", True),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers", True),
    "StorageClass": ("apis/storage.k8s.io/v1", "storageclasses", False), "VolumeAttachment": ("apis/storage.k8s.io/v1", "volumeattachments", False),
    "CSINode": ("apis/storage.k8s.io/v1", "csinodes", False), "CSIDriver": ("apis/storage.k8s.io/v1", "csidrivers", False),
    "ServiceCIDR": ("apis/networking.k8s.io/v1", "servicecidrs", False), "IPAddress": ("apis/networking.k8s.io/v1", "ipaddresses", False),
    "ResourceClaim": ("apis/resource.k8s.io/v1", "resourceclaims", True), "ResourceClaimTemplate": ("apis/resource.k8s.io/v1", "resourceclaimtemplates", True),
    "CertificateSigningRequest": ("apis/certificates.k8s.io/v1", "certificatesigningrequests", False),
    "StorageVersionMigration": ("apis/storagemigration.k8s.io/v1", "storageversionmigrations", False),
}
BY_PLURAL = {plural: (group, namespaced) for group, plural, namespaced in PLURALS.values()}
KUBELETS_CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure")
OWN_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")
SAFE = "[bcdfghjklmnpqrstvwxz2456789]"  # the letters of generated names and of hashes
LONGEST = 40  # scripts that run together


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


def normal(value, hashes):
    """Times, uids and what is random in names are words: no two runs have the same. Hashes are counted as they come up."""
    if isinstance(value, dict):
        return {k: normal(v, hashes) for k, v in value.items()}
    if isinstance(value, list):
        return [normal(v, hashes) for v in value]
    if isinstance(value, str):
        if re.match(r"\d{4}-\d\d-\d\dT", value):
            return "TIME"
        if value.startswith(("-----BEGIN CERTIFICATE", "LS0tLS1CRUdJTi")):
            return "PEM"
        if value.startswith("ZXlK"):
            return "TOKEN"
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", value)
        value = re.sub(rf"(?<![a-z0-9.]){SAFE}{{7,10}}(?![a-z0-9.])", lambda m: hashes.get(m[0], m[0]), value)
        value = re.sub(rf"-{SAFE}{{5}}(?![a-z0-9.])", "-*", value)
        return re.sub(r"-[0-9]{8}(?![a-z0-9.])", "-MINUTE", value)
    return value


def text(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def whole_pod(o):
    """A pod as its workload made it."""
    spec = o["spec"]
    out = {"labels": {k: v for k, v in o["metadata"].get("labels", {}).items() if not k.startswith("topology.")}, "phase": o["status"].get("phase")}
    out["containers"] = [{k: c[k] for k in ("name", "image", "env") if k in c} for c in spec["containers"]]
    out["volumes"] = sorted((v for v in spec.get("volumes", []) if not v["name"].startswith("kube-api-access")), key=lambda v: v["name"])
    out["tolerations"] = sorted(spec.get("tolerations", []), key=text)
    for name in ("nodeName", "hostname", "subdomain", "affinity", "restartPolicy"):
        if name in spec:
            out[name] = spec[name]
    return out


def seen(o, hashes, whole=False):
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
        if "volumesAttached" in o.get("status", {}):
            rest["volumesAttached"] = o["status"]["volumesAttached"]
    elif whole:
        rest = whole_pod(o)
    elif kind == "CertificateSigningRequest":  # without who asked
        rest["spec"] = {k: v for k, v in o["spec"].items() if k not in ("username", "uid", "groups", "extra")}
    elif kind == "EndpointSlice":
        rest["endpoints"] = sorted(rest.get("endpoints") or [], key=lambda e: text(e.get("addresses")))
    elif kind == "Pod":
        out.pop("labels", None)  # its node's topology among them: an admission plugin's
        rest = {"status": {k: v for k, v in o.get("status", {}).items() if k in ("phase", "reason", "message", "conditions", "observedGeneration", "resourceClaimStatuses")}}
    return normal({**out, **rest}, hashes)


def connection(port):
    api = judge.Judge.__new__(judge.Judge)
    api.port, api.connection = port, None
    return api


def start_manager(api, script):
    folder = pathlib.Path(api.folder)
    (folder / "kubeconfig").write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": f"https://127.0.0.1:{api.port}", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "x", "user": {"token": judge.TOKEN}}]}))
    subprocess.run(["openssl", "req", "-x509", "-key", "sa.key", "-subj", "/CN=ca", "-days", "2", "-out", "ca.crt"], cwd=folder, check=True, capture_output=True)
    api.start(os.environ["KUBE_CONTROLLER_MANAGER"], "--kubeconfig=kubeconfig", "--leader-elect=false", "--secure-port=0",
              "--controllers=" + ",".join(script["controllers"]), "--root-ca-file=ca.crt", "--service-account-private-key-file=sa.key",
              "--cluster-signing-cert-file=ca.crt", "--cluster-signing-key-file=sa.key", "--v=2",
              "--kube-api-qps=1000", "--kube-api-burst=2000", *[f"--{a}" for a in script.get("arguments", [])])
    log, end = folder / "kube-controller-manager.log", time.monotonic() + 120
    while "Caches are synced" not in log.read_text() and "Starting" not in log.read_text():
        if time.monotonic() > end or api.processes[-1].poll() is not None:
            raise SystemExit(log.read_text())
        time.sleep(0.1)
    time.sleep(2)


def measured(script):
    return any("measures" in step for step in script["steps"])


def record(scripts, done):
    """Scripts of the same controllers and arguments on one cluster, at once; `done(script, answer)` as each ends."""
    with judge.Judge("--service-account-lookup=false") as api:
        alone = len(scripts) == 1
        measuring = None
        if measured(scripts[0]):
            measuring = adapters.Adapters(api.folder)
            measuring.register(lambda *request: api.ask(*request).json)
        start_manager(api, scripts[0])

        def one(numbered):
            number, script = numbered
            ns = "default" if alone else f"ou-{number}-ou"
            if not alone:
                connection(api.port).ask("POST", path("Namespace"), {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": ns}})
            done(script, Play(script, api.port, ns, measuring).play())

        with concurrent.futures.ThreadPoolExecutor(LONGEST) as pool:
            for ended in concurrent.futures.as_completed([pool.submit(one, n) for n in enumerate(scripts)]):
                try:
                    ended.result()
                except SystemExit as e:
                    print(e, flush=True)


class Play:
    """One script. `ns` is what its namespace is called."""

    def __init__(self, script, port, ns="default", measuring=None):
        self.measuring = measuring
        self.script, self.ns, self.alive, self.over = script, ns, set(), threading.Event()
        self.port, self.api = port, connection(port)
        self.hashes, self.addresses, self.auto = {}, 0, False
        self.lock = threading.Lock()

    def ask(self, method, where, body=None, headers=None, fine=(200, 201, 202)):
        answer = self.api.ask(method, where, body, headers)
        if answer.code not in fine:
            raise SystemExit(f"{self.script['name']}: {method} {where}: {answer.code} {answer.body.decode()}")
        return answer.json if answer.body else None

    def merge(self, kind, ns, name, body, sub=None):
        return self.ask("PATCH", self.path(kind, ns, name, sub), body, {"Content-Type": "application/merge-patch+json"})

    def path(self, kind, ns=None, name=None, sub=None):
        return path(kind, self.ns if ns in (None, "default") else ns, name, sub)

    def in_namespace(self, value):
        """An object of the script, where it really lives."""
        if self.ns == "default":
            return value
        if isinstance(value, dict):
            return {k: self.ns if k == "namespace" and v == "default" else self.in_namespace(v) for k, v in value.items()}
        return [self.in_namespace(v) for v in value] if isinstance(value, list) else value

    def play(self):
        # What pods can't be created without.
        self.ask("POST", self.path("ServiceAccount"), {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}})
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

    def renew(self):
        """Kubelets, as far as the API sees them. On a connection of their own."""
        api, ticks = connection(self.port), 0
        while not self.over.wait(0.2):
            if self.auto:
                self.kubelet({"does": "run"}, api)
                self.kubelet({"does": "end"}, api)
            ticks += 1
            for name in sorted(self.alive) if ticks % 5 == 0 else ():
                lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": name, "namespace": "kube-node-lease"},
                         "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now(True)}}
                where = path("Lease", "kube-node-lease")
                if api.ask("PATCH", f"{where}/{name}", {"spec": lease["spec"]}, {"Content-Type": "application/merge-patch+json"}).code == 404:
                    api.ask("POST", where, lease)

    def kubelet(self, act, api):
        """What kubelets do to pods: those of a name, or of some labels, that the act is for; the first `count` of them."""
        with self.lock:
            does, chosen = act["does"], []
            for pod in api.ask("GET", self.path("Pod")).json["items"]:
                meta, phase = pod["metadata"], pod["status"].get("phase")
                labels, deleting = meta.get("labels", {}), "deletionTimestamp" in meta
                fits = deleting if does == "end" else not deleting and (phase == "Pending" if does == "run" else phase not in ("Succeeded", "Failed"))
                if fits and act.get("name", meta["name"]) == meta["name"] and all(labels.get(k) == v for k, v in act.get("labels", {}).items()):
                    chosen.append(pod)
            for pod in sorted(chosen, key=lambda p: (p["status"].get("phase") != "Running", p["metadata"]["name"]))[:act.get("count", len(chosen))]:
                self.kubelet_does(act, pod, api)

    def kubelet_does(self, act, pod, api):
        does, name = act["does"], pod["metadata"]["name"]
        if does == "end":
            api.ask("DELETE", self.path("Pod", None, name), {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
            return
        if "nodeName" not in pod["spec"]:
            node = act.get("node", "a")
            for term in pod["spec"].get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", []):
                for field in term.get("matchFields", []):
                    node = field["values"][0]
            api.ask("POST", self.path("Pod", None, name, "binding"), {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}})
        status = {"phase": {"succeed": "Succeeded", "fail": "Failed"}.get(does, "Running"),
                  "conditions": [{"type": "Ready", "status": "True" if does == "run" else "False", "lastTransitionTime": now()}, *act.get("conditions", [])]}
        if not pod["status"].get("podIPs"):
            self.addresses += 1
            ip = f"10.1.{self.addresses // 250}.{self.addresses % 250 + 1}"
            status |= {"podIP": ip, "podIPs": [{"ip": ip}], "startTime": now()}
        state = {"running": {"startedAt": now()}}
        if does in ("succeed", "fail"):
            state = {"terminated": {"exitCode": act.get("exit", 0 if does == "succeed" else 1), "reason": "Completed" if does == "succeed" else "Error", "startedAt": now(), "finishedAt": now()}}
        status["containerStatuses"] = [{"name": c["name"], "image": "i", "imageID": "", "ready": does == "run", "restartCount": act.get("restarts", 0), "state": state} for c in pod["spec"]["containers"]]
        if "reason" in act:
            status["reason"] = act["reason"]
        api.ask("PATCH", self.path("Pod", None, name, "status"), {"status": status}, {"Content-Type": "application/strategic-merge-patch+json"})

    def with_uids(self, value):
        if isinstance(value, dict):
            return {k: self.with_uids(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.with_uids(v) for v in value]
        found = isinstance(value, str) and re.fullmatch(r"\$uid\((\w+)/([\w-]*)/([\w.-]+)\)", value)
        if not found:
            return value
        plural, ns, name = found.groups()
        ns = self.in_namespace({"namespace": ns})["namespace"]
        group, namespaced = BY_PLURAL[plural]
        return self.ask("GET", "/".join(["", group] + (["namespaces", ns] if namespaced else []) + [plural, name]))["metadata"]["uid"]

    def do(self, step):
        step = self.in_namespace(self.with_uids(step))
        if "after" in step:
            time.sleep(int(step["after"].removesuffix("s")))
        elif "minute" in step:
            time.sleep((step["minute"] - time.time() % 60) % 60)
        elif "deleteall" in step:
            group, _ = BY_PLURAL[step["deleteall"]]
            for o in self.ask("GET", f"/{group}/namespaces/{self.ns}/{step['deleteall']}")["items"]:
                self.ask("DELETE", f"/{group}/namespaces/{self.ns}/{step['deleteall']}/{o['metadata']['name']}", {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
        elif "finishjobs" in step:
            self.finish_jobs(step["finishjobs"])
        elif "kubelet" in step:
            if isinstance(step["kubelet"], dict):
                self.kubelet(step["kubelet"], self.api)
            else:
                self.auto = step["kubelet"] == "auto"
        elif "alive" in step:
            self.alive = set(step["alive"])
        elif "nodes" in step:
            for name in step["nodes"]:
                labels = {"kubernetes.io/os": "linux"}
                if "zone" in step:
                    labels["topology.kubernetes.io/zone"] = step["zone"]
                self.ask("POST", path("Node"), {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": labels | step.get("labels", {})}}, fine=(201, 409))
                self.set_conditions(name, {"Ready": "True", **{c: "False" for c in KUBELETS_CONDITIONS}})
        elif "ready" in step:
            for name, status in step["ready"].items():
                self.set_conditions(name, {"Ready": status})
        elif "conditions" in step:
            for name, wanted in step["conditions"].items():
                self.set_conditions(name, wanted)
        elif "pod" in step:
            pod, status = pod_of(step["pod"])
            pod = self.in_namespace(pod)
            self.ask("POST", self.path("Pod", pod["metadata"]["namespace"]), pod)
            if status:
                self.merge("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"], {"status": status}, "status")
        elif "podstatus" in step:
            self.merge("Pod", "default", step["podstatus"]["name"], {"status": {"phase": step["podstatus"]["phase"]}}, "status")
        elif "create" in step:
            o = step["create"]
            self.ask("POST", self.path(o["kind"], o["metadata"].get("namespace")), o)
        elif "patch" in step or "status" in step:
            o = step.get("patch") or step["status"]
            body = {k: v for k, v in o.items() if k not in ("kind", "apiVersion")}
            self.merge(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"], body, "status" if "status" in step else None)
        elif "measures" in step:
            for where, items in step["measures"].items():
                self.measuring.items[where.replace("/namespaces/default/", f"/namespaces/{self.ns}/")] = items
        elif "approve" in step or "deny" in step:
            kind, name = ("Approved", step["approve"]) if "approve" in step else ("Denied", step["deny"])
            condition = {"type": kind, "status": "True", "reason": "ByHand", "message": "by hand"}
            self.merge("CertificateSigningRequest", None, name, {"status": {"conditions": [condition]}}, "approval")
        elif "delete" in step:
            o = step["delete"]
            options = {"kind": "DeleteOptions", "apiVersion": "v1", **{k: o[k] for k in ("propagationPolicy", "gracePeriodSeconds") if k in o}}
            self.ask("DELETE", self.path(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]), options)
        elif "look" in step:
            self.count_hashes()
            return {what: self.look(what) for what in step["look"]}
        else:
            raise SystemExit(f"{self.script['name']}: what is {step}?")
        return None

    def finish_jobs(self, how):
        """Ends jobs as job-controller would, when it doesn't run."""
        for o in self.ask("GET", f"/apis/batch/v1/namespaces/{self.ns}/jobs")["items"]:
            if not o["status"].get("conditions"):
                reached = "SuccessCriteriaMet" if how == "Complete" else "FailureTarget"
                status = {"startTime": now(), "conditions": [{"type": t, "status": "True", "lastTransitionTime": now(), "lastProbeTime": now()} for t in (reached, how)]}
                status |= {"completionTime": now(), "succeeded": 1} if how == "Complete" else {}
                self.merge("Job", None, o["metadata"]["name"], {"status": status}, "status")

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

    def count_hashes(self):
        """The hashes of templates, in the order of their revisions."""
        found = []
        for plural in ("replicasets", "controllerrevisions"):
            for o in self.ask("GET", f"/apis/apps/v1/namespaces/{self.ns}/{plural}")["items"]:
                meta = o["metadata"]
                hashed = meta.get("labels", {}).get("pod-template-hash") or meta.get("labels", {}).get("controller.kubernetes.io/hash") or meta["name"].rpartition("-")[2]
                owner = meta.get("ownerReferences", [{"name": ""}])[0]["name"]
                found.append((owner, int(meta.get("annotations", {}).get("deployment.kubernetes.io/revision", o.get("revision", 0))), hashed))
        for _, _, hashed in sorted(found):
            if re.fullmatch(f"{SAFE}{{7,10}}", hashed):
                self.hashes.setdefault(hashed, f"HASH{len(self.hashes) + 1}")

    def look(self, what):
        plural, _, name = what.partition("/")
        if plural == "slicesizes":  # where which endpoints a slice has is chance
            return sorted(len(o.get("endpoints") or []) for o in self.ask("GET", f"/apis/discovery.k8s.io/v1/namespaces/{self.ns}/endpointslices")["items"]
                          if o["metadata"]["name"] != "kubernetes")
        whole, plural = plural == "wholepods", "pods" if plural == "wholepods" else plural
        group, namespaced = BY_PLURAL[plural]
        items = self.ask("GET", f"/{group}/{plural}")["items"]
        kind = next(k for k, v in PLURALS.items() if v[1] == plural)
        items = [{"kind": kind, **o} for o in items if not (plural in ("endpoints", "endpointslices", "services") and o["metadata"]["name"] == "kubernetes") and o["metadata"].get("namespace") not in OWN_NAMESPACES and (not name or o["metadata"]["name"] == name)]
        if self.ns != "default" and namespaced:
            items = json.loads(json.dumps([o for o in items if o["metadata"]["namespace"] == self.ns]).replace(self.ns, "default"))
        if plural == "events":
            items = [o for o in items if o["source"].get("component")]  # kube-apiserver tells of its own, too
        else:
            return sorted((seen(o, self.hashes, whole) for o in items), key=lambda o: (o["name"], text(o)))
        return sorted({normal(f'{e["type"]} {e["reason"]} {e["source"].get("component")} {e["involvedObject"]["kind"]} '
                              f'{e["involvedObject"].get("namespace", "")}/{e["involvedObject"].get("name", "")}: {e.get("message", "")}', self.hashes) for e in items})


def main():
    area, name = (sys.argv[1:] + [None, None])[:2]
    for file in sorted(HERE.glob(f"{area or '*'}.yaml")):
        answers_file = file.with_suffix(".json")
        answers = json.loads(answers_file.read_text()) if answers_file.exists() else {}
        scripts = yaml.safe_load(file.read_text())
        answers = {s["name"]: answers[s["name"]] for s in scripts if s["name"] in answers}
        clusters = {}
        for number, script in enumerate(scripts):
            if script["name"] != name if name else script["name"] in answers:
                continue
            alone = [] if script.get("together") else [number]
            clusters.setdefault(text([script["controllers"], script.get("arguments", []), measured(script), alone]), []).append(script)
        began, lock = time.monotonic(), threading.Lock()

        def done(script, answer):
            with lock:
                answers[script["name"]] = answer
                answers_file.write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")
                print(f"{file.stem}: {script['name']}: {time.monotonic() - began:.0f} s", flush=True)

        for cluster in clusters.values():
            record(cluster, done)


if __name__ == "__main__":
    main()
