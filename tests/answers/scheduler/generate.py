#!/usr/bin/env python3
"""Makes small clusters and a pod that is to be placed, for record.go: one case a line, as JSON.

  tests/answers/scheduler/generate.py [CASES [SEED]]

Each plugin of kube-scheduler has its corners here: what is just enough and just too much, keys that are missing, operators of every kind,
terms that are empty, pods that are ending, namespaces that are selected.
"""
import json
import random
import sys

ZONES, RACKS, DISKS = ["a", "b", "c"], ["r1", "r2"], ["ssd", "hdd"]
APPS, TIERS = ["web", "db", "cache"], ["front", "back"]
NAMESPACES = {"default": {}, "blue": {"team": "blue", "kind": "prod"}, "red": {"team": "red", "kind": "prod"}, "lab": {"kind": "lab"}}
TAINTS = [("dedicated", "db"), ("dedicated", "web"), ("gpu", ""), ("node.kubernetes.io/unschedulable", ""), ("spot", "true")]
EFFECTS = ["NoSchedule", "NoExecute", "PreferNoSchedule"]
IMAGES = [("registry/app:1", 700 << 20), ("registry/app:2", 40 << 20), ("registry/db:1", 1500 << 20), ("small:latest", 5 << 20)]
HOST, ZONE, RACK = "kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack"


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def some(self, chance):
        return self.r.random() < chance

    def pick(self, *of):
        return self.r.choice(of)

    def node(self, i):
        labels = {HOST: f"n{i}"}
        if self.some(0.85):
            labels[ZONE] = self.r.choice(ZONES)
        if self.some(0.6):
            labels[RACK] = self.r.choice(RACKS)
        if self.some(0.6):
            labels["disk"] = self.r.choice(DISKS)
        if self.some(0.3):
            labels["cores"] = str(self.r.choice([2, 4, 8, 16]))
        allocatable = {"cpu": self.pick("2", "4", "8", "7900m"), "memory": self.pick("4Gi", "8Gi", "16Gi", "15970Mi"), "pods": self.pick("3", "8", "110", "110"),
                       "ephemeral-storage": self.pick("10Gi", "2Gi")}
        if self.some(0.25):
            allocatable["example.com/gpu"] = self.pick("1", "4")
        if self.some(0.15):
            allocatable["hugepages-2Mi"] = "128Mi"
        node = {"metadata": {"name": f"n{i}", "labels": labels}, "spec": {}, "status": {"capacity": allocatable, "allocatable": allocatable}}
        taints = [{"key": k, "value": v, "effect": self.r.choice(EFFECTS)} for k, v in TAINTS if self.some(0.05)]
        if taints:
            node["spec"]["taints"] = taints
        if self.some(0.04):
            node["spec"]["unschedulable"] = True
        if self.some(0.5):
            node["status"]["images"] = [{"names": [n], "sizeBytes": s} for n, s in IMAGES if self.some(0.5)]
        return node

    def labels(self):
        out = {}
        if self.some(0.85):
            out["app"] = self.r.choice(APPS)
        if self.some(0.5):
            out["tier"] = self.r.choice(TIERS)
        if self.some(0.3):
            out["version"] = self.pick("1", "2")
        return out

    def selector(self):
        kind = self.r.random()
        if kind < 0.05:
            return {}
        if kind < 0.55:
            return {"matchLabels": {"app": self.r.choice(APPS)}}
        expressions = [self.pick({"key": "app", "operator": "In", "values": self.r.sample(APPS, 2)}, {"key": "tier", "operator": "NotIn", "values": ["front"]},
                                 {"key": "tier", "operator": "Exists"}, {"key": "version", "operator": "DoesNotExist"})]
        if self.some(0.3):
            return {"matchLabels": {"app": self.r.choice(APPS)}, "matchExpressions": expressions}
        return {"matchExpressions": expressions}

    def resources(self):
        out = {}
        if self.some(0.75):
            out["cpu"] = self.pick("0", "100m", "250m", "500m", "1", "1500m", "3900m")
        if self.some(0.7):
            out["memory"] = self.pick("64Mi", "200Mi", "512Mi", "1Gi", "3Gi")
        if self.some(0.1):
            out["ephemeral-storage"] = self.pick("1Gi", "3Gi")
        if self.some(0.03):
            out["example.com/gpu"] = self.pick("1", "2")
        if self.some(0.015):
            out["hugepages-2Mi"] = self.pick("64Mi", "256Mi")
        return out

    def container(self, name):
        c = {"name": name, "image": self.r.choice(IMAGES)[0], "resources": {}}
        requests = self.resources()
        if requests:
            c["resources"] = {"requests": requests}
        return c

    def tolerations(self):
        out = []
        for k, v in TAINTS:
            if self.some(0.25):
                t = {"key": k, "operator": "Exists"} if self.some(0.5) else {"key": k, "operator": "Equal", "value": v}
                if self.some(0.6):
                    t["effect"] = self.r.choice(EFFECTS)
                out.append(t)
        if self.some(0.03):
            out.append({"operator": "Exists"})
        return out

    def node_requirement(self):
        return self.pick({"key": "disk", "operator": "In", "values": ["ssd"]}, {"key": "disk", "operator": "NotIn", "values": ["hdd"]}, {"key": RACK, "operator": "Exists"},
                         {"key": RACK, "operator": "DoesNotExist"}, {"key": "cores", "operator": "Gt", "values": ["4"]}, {"key": "cores", "operator": "Lt", "values": ["8"]},
                         {"key": ZONE, "operator": "In", "values": self.r.sample(ZONES, 2)})

    def node_term(self):
        term = {}
        if self.some(0.9):
            term["matchExpressions"] = [self.node_requirement() for _ in range(self.pick(1, 1, 2))]
        if self.some(0.12):
            term["matchFields"] = [{"key": "metadata.name", "operator": self.pick("In", "NotIn"), "values": [f"n{self.r.randrange(6)}"]}]
        return term

    def node_affinity(self):
        out = {}
        if self.some(0.4):
            out["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [self.node_term() for _ in range(self.pick(1, 1, 2))]}
        if self.some(0.7):
            out["preferredDuringSchedulingIgnoredDuringExecution"] = [{"weight": self.r.randrange(1, 101), "preference": self.node_term()} for _ in range(self.pick(1, 2, 3))]
        return out

    def pod_term(self):
        term = {"labelSelector": self.selector(), "topologyKey": self.pick(HOST, ZONE, ZONE, RACK)}
        if self.some(0.2):
            term["namespaces"] = self.r.sample(list(NAMESPACES), 2)
        if self.some(0.2):
            term["namespaceSelector"] = self.pick({}, {"matchLabels": {"kind": "prod"}}, {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]})
        return term

    def pod_affinity(self):
        out = {}
        if self.some(0.45):
            out["requiredDuringSchedulingIgnoredDuringExecution"] = [self.pod_term() for _ in range(self.pick(1, 1, 2))]
        if self.some(0.6):
            out["preferredDuringSchedulingIgnoredDuringExecution"] = [{"weight": self.r.randrange(1, 101), "podAffinityTerm": self.pod_term()} for _ in range(self.pick(1, 2))]
        return out

    def spread(self, labels):
        key = self.pick(HOST, ZONE, ZONE, RACK)
        hard = self.some(0.5)
        c = {"maxSkew": self.pick(1, 1, 2, 3), "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
             "labelSelector": {"matchLabels": {"app": labels["app"]}} if "app" in labels and self.some(0.6) else self.selector()}
        if hard and self.some(0.25):
            c["minDomains"] = self.pick(1, 2, 3, 4)
        if self.some(0.2):
            c["nodeAffinityPolicy"] = self.pick("Honor", "Ignore")
        if self.some(0.2):
            c["nodeTaintsPolicy"] = self.pick("Honor", "Ignore")
        if self.some(0.15) and "version" in labels:
            c["matchLabelKeys"] = ["version"]
        return c

    def pod(self, name, placed=None):
        labels = self.labels()
        spec = {"containers": [self.container(f"c{i}") for i in range(self.pick(1, 1, 2))]}
        chance = 0.25 if placed else 0.4
        if self.some(0.2):
            spec["initContainers"] = [self.container("i0")]
            if self.some(0.5):
                spec["initContainers"].insert(self.pick(0, 1), {**self.container("s0"), "restartPolicy": "Always"})
        if self.some(0.07):
            spec["overhead"] = {"cpu": "250m", "memory": "128Mi"}
        if self.some(0.07):
            spec["resources"] = {"requests": {"cpu": self.pick("500m", "2"), "memory": self.pick("256Mi", "1Gi")}}
        if self.some(0.12):
            spec["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": self.pick(80, 8080), "protocol": self.pick("TCP", "UDP"), **self.pick({}, {"hostIP": "10.0.0.1"}, {"hostIP": "0.0.0.0"})}]
        if self.some(chance):
            spec["tolerations"] = self.tolerations()
        affinity = {}
        if not placed and self.some(0.35):
            affinity["nodeAffinity"] = self.node_affinity()
        if self.some(chance * 0.7):
            affinity["podAffinity"] = self.pod_affinity()
        if self.some(chance * 0.7):
            affinity["podAntiAffinity"] = self.pod_affinity()
        if affinity:
            spec["affinity"] = affinity
        if not placed:
            if self.some(0.1):
                spec["nodeSelector"] = {k: v for k, v in self.pick({"disk": "ssd"}, {ZONE: self.r.choice(ZONES)}, {"disk": "ssd", RACK: "r1"}).items()}
            if self.some(0.4):
                spec["topologySpreadConstraints"] = [self.spread(labels) for _ in range(self.pick(1, 1, 2))]
            if self.some(0.03):
                spec["nodeName"] = ""
        else:
            spec["nodeName"] = placed
        meta = {"name": name, "namespace": self.r.choice(list(NAMESPACES)) if placed else self.pick("default", "blue"), "uid": "uid-" + name, "labels": labels}
        if placed and self.some(0.08):
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            meta["deletionGracePeriodSeconds"] = 30
            meta["finalizers"] = ["example.com/f"]
        return {"metadata": meta, "spec": spec}

    def case(self):
        nodes = [self.node(i) for i in range(self.r.randrange(1, 11))]
        pods = [self.pod(f"p{i}", self.r.choice(nodes)["metadata"]["name"]) for i in range(self.r.randrange(0, 18))]
        return {"nodes": nodes, "pods": pods, "namespaces": NAMESPACES, "pod": self.pod("new")}


def main():
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for i in range(cases):
        print(json.dumps(Maker(seed * 1_000_000 + i).case(), separators=(",", ":")))


if __name__ == "__main__":
    main()
