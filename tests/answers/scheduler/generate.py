#!/usr/bin/env python3
"""Makes small clusters and a pod that is to be placed, for record.go: one case a line, as JSON.

  tests/answers/scheduler/generate.py [CASES [SEED [plugins|volumes|preemption|devices|resources|features]]]

Each plugin of kube-scheduler has its corners here: what is just enough and just too much, keys that are missing, operators of every kind,
terms that are empty, pods that are ending, namespaces that are selected. `volumes` is about claims and what they are bound to, `preemption`
about pods of less priority that would have to go, `devices` about claims of devices, `resources` about extended resources that are given
as devices, `features` about what nodes declare and pods ask for.
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


BOUND, SELECTED = "pv.kubernetes.io/bind-completed", "volume.kubernetes.io/selected-node"
DRIVERS = ["csi.one", "csi.two"]
CLASSES = [{"metadata": {"name": "wait"}, "provisioner": "csi.one", "volumeBindingMode": "WaitForFirstConsumer"},
           {"metadata": {"name": "zones"}, "provisioner": "csi.two", "volumeBindingMode": "WaitForFirstConsumer",
            "allowedTopologies": [{"matchLabelExpressions": [{"key": ZONE, "values": ["a", "b"]}]}, {"matchLabelExpressions": [{"key": RACK, "values": ["r1"]}, {"key": "disk", "values": ["ssd"]}]}]},
           {"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"},
           {"metadata": {"name": "now"}, "provisioner": "csi.two", "volumeBindingMode": "Immediate"}]
SIZES = ["1Gi", "5Gi", "10Gi", "10240Mi"]


class VolumeMaker(Maker):
    def volume(self, i):
        v = {"metadata": {"name": f"v{i}", "uid": f"uid-v{i}", "labels": {}},
             "spec": {"capacity": {"storage": self.r.choice(SIZES)}, "accessModes": self.pick(["ReadWriteOnce"], ["ReadWriteOnce", "ReadOnlyMany"], ["ReadWriteOncePod"]),
                      "persistentVolumeReclaimPolicy": "Retain"},
             "status": {"phase": self.pick(*["Available"] * 6, "Released")}}
        if self.some(0.9):
            v["spec"]["storageClassName"] = self.pick("wait", "local", "local", "local", "now", "zones")
        if self.some(0.6):
            v["spec"]["csi"] = {"driver": self.r.choice(DRIVERS), "volumeHandle": f"h{self.r.randrange(6)}"}
        else:
            v["spec"]["local"] = {"path": "/x"}
        if self.some(0.4):
            v["spec"]["nodeAffinity"] = {"required": {"nodeSelectorTerms": [self.node_term() for _ in range(self.pick(1, 1, 2))]}}
        if self.some(0.3):
            v["metadata"]["labels"][self.pick(ZONE, ZONE, "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone")] = self.pick("a", "b", "a__b", "c__ a", "a__")
        if self.some(0.2):
            v["metadata"]["labels"]["app"] = "db"
        if self.some(0.08):
            v["spec"]["volumeMode"] = self.pick("Block", "Filesystem")
        if self.some(0.05):
            v["spec"]["volumeAttributesClassName"] = "gold"
        if self.some(0.05):
            v["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            v["metadata"]["finalizers"] = ["kubernetes.io/pv-protection"]
        return v

    def claim(self, name, volumes, namespace):
        c = {"metadata": {"name": name, "namespace": namespace, "uid": "uid-" + name, "annotations": {}},
             "spec": {"accessModes": self.pick(["ReadWriteOnce"], ["ReadWriteOnce"], ["ReadOnlyMany"], ["ReadWriteOncePod"])}, "status": {"phase": "Pending"}}
        if self.some(0.95):
            c["spec"]["resources"] = {"requests": {"storage": self.pick("1Gi", "1Gi", "1Gi", *SIZES)}}
        if self.some(0.93):
            c["spec"]["storageClassName"] = self.pick("wait", "wait", "local", "local", "local", "zones", "zones", "now", "gone", "")
        elif self.some(0.3):
            c["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"] = "local"
        kind = self.r.random()
        free = [v for v in volumes if "claimRef" not in v["spec"]]
        if kind < 0.4 and free:
            v = self.r.choice(free)
            c["spec"]["volumeName"] = v["metadata"]["name"]
            v["spec"]["claimRef"] = {"kind": "PersistentVolumeClaim", "name": name, "namespace": namespace, "uid": "uid-" + name}
            if self.some(0.9):
                c["metadata"]["annotations"][BOUND] = "yes"
                c["status"]["phase"] = v["status"]["phase"] = "Bound"
        elif kind < 0.44:
            c["spec"]["volumeName"], c["metadata"]["annotations"][BOUND] = "v-gone", "yes"
            c["status"]["phase"] = self.pick("Bound", "Lost")
        elif kind < 0.5 and free:  # set aside for it by a user
            v = self.r.choice(free)
            v["spec"]["claimRef"] = {"kind": "PersistentVolumeClaim", "name": name, "namespace": namespace, **self.pick({}, {"uid": "uid-" + name}, {"uid": "uid-other"})}
        elif kind < 0.6:
            c["metadata"]["annotations"][SELECTED] = f"n{self.r.randrange(5)}"
        if self.some(0.1):
            c["spec"]["selector"] = self.pick({"matchLabels": {"app": "db"}}, {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]})
        if self.some(0.1):
            c["spec"]["volumeMode"] = self.pick("Block", "Filesystem")
        if self.some(0.04):
            c["spec"]["volumeAttributesClassName"] = "gold"
        if self.some(0.03):
            c["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            c["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
        return c

    def disk(self):
        readonly = self.some(0.5)
        return self.pick({"gcePersistentDisk": {"pdName": self.pick("d1", "d2"), "readOnly": readonly}}, {"awsElasticBlockStore": {"volumeID": self.pick("d1", "d2"), "readOnly": readonly}},
                         {"iscsi": {"targetPortal": "x", "iqn": self.pick("i1", "i2"), "lun": 0, "readOnly": readonly}},
                         {"rbd": {"monitors": self.r.sample(["m1", "m2", "m3"], 2), "pool": "rbd", "image": self.pick("i1", "i2"), "readOnly": readonly}})

    def volumes_of(self, claims, chance):
        out = [{"name": f"c{i}", "persistentVolumeClaim": {"claimName": c}} for i, c in enumerate(self.r.sample(claims, min(len(claims), self.pick(0, 1, 1, 1, 2, 3)))) if self.some(chance)]
        if self.some(0.2):
            out.append({"name": "disk", **self.disk()})
        if self.some(0.1):
            out.append({"name": "inline", "csi": {"driver": self.r.choice(DRIVERS)}})
        return out

    def pod_with(self, name, node=None, volumes=()):
        spec = {"containers": [{"name": "c", "image": "small:latest", "resources": {"requests": {"cpu": "10m"}}}], "volumes": list(volumes)}
        if node:
            spec["nodeName"] = node
        return {"metadata": {"name": name, "namespace": "default", "uid": "uid-" + name}, "spec": spec}

    def csi_node(self, name):
        drivers = []
        for d in DRIVERS:
            if self.some(0.7):
                drivers.append({"name": d, "nodeID": name, "topologyKeys": None, **({"allocatable": {"count": self.pick(1, 1, 2, 3)}} if self.some(0.8) else {})})
        return {"metadata": {"name": name}, "spec": {"drivers": drivers}}

    def case(self):
        nodes = [self.node(i) for i in range(self.r.randrange(1, 7))]
        for n in nodes:
            n["spec"].pop("taints", None)
        names = [n["metadata"]["name"] for n in nodes]
        volumes = [self.volume(i) for i in range(self.r.randrange(0, 13))]
        claims = [self.claim(f"c{i}", volumes, "default") for i in range(self.r.randrange(1, 6))]
        asked = [c["metadata"]["name"] for c in claims] + (["missing"] if self.some(0.05) else [])
        pods = [self.pod_with(f"p{i}", self.r.choice(names), self.volumes_of(asked, 0.4)) for i in range(self.r.randrange(0, 5))]
        pod = self.pod_with("new", volumes=self.volumes_of(asked, 0.95))
        if self.some(0.12):
            pod["spec"]["volumes"].append({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}})
            if self.some(0.8):
                own = self.claim("new-scratch", volumes, "default")
                if self.some(0.8):
                    own["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": "new", "uid": "uid-new", "controller": True}]
                claims.append(own)
        capacities = [{"metadata": {"name": f"k{i}", "namespace": "default"}, "storageClassName": self.pick("wait", "zones", "local"), "capacity": self.pick("1Gi", "5Gi", "100Gi"),
                       **({"maximumVolumeSize": self.pick("1Gi", "5Gi")} if self.some(0.2) else {}),
                       **({"nodeTopology": {"matchLabels": {ZONE: self.r.choice(ZONES)}}} if self.some(0.9) else {})} for i in range(self.r.randrange(0, 5))]
        drivers = [{"metadata": {"name": d}, "spec": {**({"storageCapacity": self.some(0.6)} if self.some(0.8) else {}), **({"preventPodSchedulingIfMissing": True} if self.some(0.15) else {})}}
                   for d in DRIVERS if self.some(0.6)]
        attachments = [{"metadata": {"name": f"a{i}"}, "spec": {"attacher": self.r.choice(DRIVERS), "nodeName": self.r.choice(names), "source": {"persistentVolumeName": f"v{self.r.randrange(9)}"}}}
                       for i in range(self.r.randrange(0, 4))]
        return {"nodes": nodes, "pods": pods, "namespaces": NAMESPACES, "pod": pod, "claims": claims, "volumes": volumes, "classes": [c for c in CLASSES if self.some(0.97)],
                "csiNodes": [self.csi_node(n) for n in names if self.some(0.7)], "csiDrivers": drivers, "capacities": capacities, "attachments": attachments}


class PreemptionMaker(Maker):
    def heavy(self):
        return {"requests": {"cpu": self.pick("500m", "1", "2", "3"), "memory": self.pick("512Mi", "1Gi", "3Gi")}}

    def case(self):
        nodes = [self.node(i) for i in range(self.r.randrange(1, 8))]
        for n in nodes:
            if self.some(0.8):
                n["spec"].pop("taints", None)
        pods, seconds = [], self.r.sample(range(3600), 30)  # none as old as another: those come in no order
        for i in range(self.r.randrange(2, 30)):
            p = self.pod(f"p{i}", self.r.choice(nodes)["metadata"]["name"])
            p["spec"]["priority"] = self.pick(-10, 0, 0, 1, 5, 5, 100)
            if self.some(0.6):
                p["spec"]["containers"][0]["resources"] = self.heavy()
            p["status"] = {"startTime": f"2026-01-01T00:{seconds[i] // 60:02}:{seconds[i] % 60:02}Z"}
            if p["metadata"].get("deletionTimestamp") and self.some(0.5):
                p["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
            pods.append(p)
        budgets = []
        for i in range(self.pick(0, 1, 1, 2)):
            budgets.append({"metadata": {"name": f"b{i}", "namespace": self.r.choice(list(NAMESPACES))}, "spec": {"selector": self.selector()},
                            "status": {"disruptionsAllowed": self.pick(0, 0, 1, 2), **({"disruptedPods": {f"p{self.r.randrange(9)}": "2026-01-01T00:00:00Z"}} if self.some(0.3) else {})}})
        pod = self.pod("new")
        if self.some(0.7):
            for what in ("nodeSelector", "topologySpreadConstraints"):
                pod["spec"].pop(what, None)
            pod["spec"].get("affinity", {}).pop("nodeAffinity", None)
            pod["spec"].get("affinity", {}).pop("podAffinity", None)
        pod["spec"]["priority"] = self.pick(0, 4, 10, 10, 10, 1000)
        # What fits anywhere preempts nobody.
        pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": self.pick("1", "2", "3", "5"), "memory": self.pick("1Gi", "3Gi", "6Gi")}}
        if self.some(0.04):
            pod["spec"]["preemptionPolicy"] = "Never"
        if self.some(0.2):
            pod["status"] = {"nominatedNodeName": self.r.choice(nodes)["metadata"]["name"]}
        return {"nodes": nodes, "pods": pods, "namespaces": NAMESPACES, "pod": pod, "budgets": budgets, "preempts": True}


GPU, NIC = "gpu.example.com", "nic.example.com"
MODELS = ["a100", "h100", "t4"]


class DeviceMaker(Maker):
    """Slices of devices, classes, and a pod with claims."""

    def reach(self, nodes):
        """Of what more than one node reaches."""
        if self.some(0.4):
            return {"allNodes": True}
        requirement = self.pick({"key": ZONE, "operator": "In", "values": self.r.sample(ZONES, self.pick(1, 2))}, {"key": RACK, "operator": "Exists"},
                                {"key": "disk", "operator": "NotIn", "values": ["hdd"]})
        return {"nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}

    def taint(self):
        return {"key": self.pick("example.com/unhealthy", "example.com/maintenance"), **({"value": self.pick("a", "b")} if self.some(0.5) else {}),
                "effect": self.pick("NoSchedule", "NoSchedule", "NoExecute", "None"), "timeAdded": "2026-01-01T00:00:00Z"}

    def policy(self):
        kind = self.r.random()
        if kind < 0.3:
            return None
        if kind < 0.6:
            return {"default": "1Gi", "validValues": ["1Gi", "2Gi", "4Gi"]}
        return self.pick({"default": "1Gi", "validRange": {"min": "1Gi", "step": "512Mi"}}, {"default": "2Gi", "validRange": {"min": "1Gi", "max": "4Gi"}},
                         {"default": "500m", "validRange": {"min": "250m", "max": "8Gi", "step": "250m"}}, {"default": "1Gi", "validRange": {"min": "1Gi", "max": "6Gi", "step": "1Gi"}})

    def device(self, name, driver):
        d = {"name": name, "attributes": {"index": {"int": self.r.randrange(8)}, "example.com/numa": {"int": self.r.randrange(2)}}}
        if driver == GPU:
            d["attributes"].update({"model": {"string": self.r.choice(MODELS)}, "healthy": {"bool": self.some(0.8)},
                                    "driverVersion": {"version": self.pick("1.2.3", "1.10.0", "2.0.0-rc.1", "2.0.0")}})
            d["capacity"] = {"memory": {"value": self.pick("8Gi", "16Gi", "40Gi")}}
        elif self.some(0.5):
            d["attributes"]["sriov"] = {"bool": self.some(0.5)}
        if self.some(0.1):
            d["attributes"].pop("example.com/numa")
        if self.some(0.12):
            d["taints"] = [self.taint()]
        if self.some(0.25):
            d["allowMultipleAllocations"] = True
            d["capacity"] = {"memory": {"value": self.pick("4Gi", "8Gi", "6Gi")}, **({"bandwidth": {"value": "10G"}} if self.some(0.3) else {})}
            policy = self.policy()
            if policy:
                d["capacity"]["memory"]["requestPolicy"] = policy
        if self.some(0.04):
            d["bindingConditions"], d["bindingFailureConditions"] = ["example.com/attached"], ["example.com/broken"]
            if self.some(0.5):
                d["bindsToNode"] = True
        return d

    def pool(self, driver, name, reach, count):
        """All its slices: whole and right, or on their way, or wrong."""
        generation = self.pick(1, 2, 7)
        devices = [self.device(f"d{i}", driver) for i in range(count)]
        parts = [devices] if count < 3 or self.some(0.6) else [devices[:count // 2], devices[count // 2:]]
        if self.some(0.2):
            for d in devices:
                if self.some(0.7):
                    d["consumesCounters"] = [{"counterSet": "whole", "counters": {"memory": {"value": self.pick("10Gi", "20Gi", "40Gi")}, **({"slots": {"value": "1"}} if self.some(0.4) else {})}}]
            parts.append(None)
        if self.some(0.08):
            reach = {"perDeviceNodeSelection": True}
            for d in devices:
                d.update(self.pick({"allNodes": True}, {"nodeName": self.pick("n0", "n1")}, self.reach(None)))
        out = []
        for i, part in enumerate(parts):
            spec = {"driver": driver, "pool": {"name": name, "generation": generation, "resourceSliceCount": len(parts)}, **reach}
            if part is None:
                spec["sharedCounters"] = [{"name": "whole", "counters": {"memory": {"value": self.pick("40Gi", "30Gi", "80Gi")}, "slots": {"value": self.pick("1", "2", "7")}}}]
            else:
                spec["devices"] = part
            out.append({"metadata": {"name": f"{driver}-{name}-{self.r.randrange(90)}-{i}", "uid": f"s-{driver}-{name}-{i}"}, "spec": spec})
        kind = self.r.random()
        if kind < 0.05:
            for s in out:
                s["spec"]["pool"]["resourceSliceCount"] += 1
        elif kind < 0.1:
            old = json.loads(json.dumps(out[0]))
            old["metadata"]["name"] += "-old"
            old["spec"]["pool"].update(generation=generation - 1, resourceSliceCount=self.pick(1, 2))
            out.append(old)
        elif kind < 0.13 and len(parts) > 1 and parts[1]:
            parts[1][0]["name"] = "d0"
        elif kind < 0.15 and parts[-1] is None:
            devices[0]["consumesCounters"] = [{"counterSet": self.pick("none", "whole"), "counters": {"nothing": {"value": "1"}}}]
        return out

    def selector(self):
        return {"cel": {"expression": self.pick(
            f"device.driver == '{GPU}'", f"device.attributes['{GPU}'].model == '{self.r.choice(MODELS)}'", f"device.attributes['{GPU}'].?healthy.orValue(false)",
            f"device.capacity['{GPU}'].?memory.orValue(quantity('0')).compareTo(quantity('16Gi')) >= 0", "'example.com' in device.attributes && device.attributes['example.com'].numa == 0",
            f"has(device.attributes['{GPU}'].driverVersion) && device.attributes['{GPU}'].driverVersion.isGreaterThan(semver('1.3.0'))",
            f"cel.bind(gpu, device.attributes['{GPU}'], has(gpu.index) && gpu.index % 2 == 0)", "device.allowMultipleAllocations", "!device.allowMultipleAllocations",
            f"device.attributes['{NIC}'].exists(a, a == 'sriov') || device.driver != '{NIC}'", "'other.example.com' in device.attributes", "true")}}

    def tolerations(self):
        return [self.pick({"operator": "Exists"}, {"key": "example.com/unhealthy", "operator": "Exists", "effect": "NoSchedule"},
                          {"key": "example.com/maintenance", "operator": "Equal", "value": "a"})]

    def demand(self, alternatives=False):
        d = {"deviceClassName": self.pick("gpu", "gpu", "nic", "any", "any", *(["broken"] if self.some(0.05) else []), *(["missing"] if self.some(0.02) else []))}
        if self.some(0.12):
            d["allocationMode"] = "All"
        else:
            d.update(allocationMode="ExactCount", count=self.pick(1, 1, 1, 1, 2, 3, *([30] if self.some(0.05) else [])))
        if self.some(0.3):
            d["selectors"] = [self.selector()]
        if self.some(0.2):
            d["tolerations"] = self.tolerations()
        if self.some(0.2):
            d["capacity"] = {"requests": {"memory": self.pick("1Gi", "1500Mi", "2Gi", "3Gi", "5Gi", "300m", "16Gi"), **({"bandwidth": "1G"} if self.some(0.15) else {})}}
        if self.some(0.08) and not alternatives:
            d["adminAccess"] = True
        return d

    def claim(self, name):
        requests = []
        for i in range(self.pick(1, 1, 1, 1, 2, 2, 3)):
            if self.some(0.3):
                requests.append({"name": f"r{i}", "firstAvailable": [{"name": f"s{j}", **self.demand(True)} for j in range(self.pick(1, 2, 2, 3))]})
            else:
                requests.append({"name": f"r{i}", "exactly": self.demand()})
        names = [r["name"] for r in requests] + [f"{r['name']}/{s['name']}" for r in requests for s in r.get("firstAvailable", [])]
        devices = {"requests": requests}
        if self.some(0.3):
            constraint = {self.pick("matchAttribute", "matchAttribute", "distinctAttribute"): self.pick("example.com/numa", f"{GPU}/model", f"{GPU}/driverVersion", f"{GPU}/healthy", f"{NIC}/index")}
            if self.some(0.4):
                constraint["requests"] = self.r.sample(names, self.r.randrange(1, len(names) + 1))
            devices["constraints"] = [constraint]
        if self.some(0.25):
            config = {"opaque": {"driver": GPU, "parameters": {"mode": "x"}}}
            if self.some(0.6):
                config["requests"] = self.r.sample(names, self.r.randrange(1, len(names) + 1))
            devices["config"] = [config]
        return {"metadata": {"name": name, "namespace": "default", "uid": f"c-{name}"}, "spec": {"devices": devices}}

    def given(self, claim, slices, node):
        """The claim with some devices, whoever else has them."""
        results = []
        for i in range(self.pick(1, 1, 2)):
            s = self.r.choice(slices)
            if not s["spec"].get("devices"):
                continue
            d = self.r.choice(s["spec"]["devices"])
            result = {"request": claim["spec"]["devices"]["requests"][0]["name"], "driver": s["spec"]["driver"], "pool": s["spec"]["pool"]["name"], "device": d["name"]}
            if self.some(0.1):
                result["adminAccess"] = True
            elif d.get("allowMultipleAllocations"):
                result["shareID"] = f"00000000-0000-4000-8000-{self.r.randrange(10 ** 12):012}"
                if self.some(0.8):
                    result["consumedCapacity"] = {"memory": self.pick("1Gi", "2Gi", "500m")}
            results.append(result)
        if not results:
            return claim
        claim["status"] = {"allocation": {"devices": {"results": results}}}
        if self.some(0.5):
            claim["status"]["allocation"]["nodeSelector"] = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}
        if self.some(0.6):
            claim["status"]["reservedFor"] = [{"resource": "pods", "name": "other", "uid": "uid-other"}]
        return claim

    def case(self):
        nodes = [self.node(i) for i in range(self.r.randrange(1, 5))]
        for n in nodes:
            n["spec"].pop("unschedulable", None)
            n["spec"].pop("taints", None)
        slices = []
        for n in nodes:
            if self.some(0.9):
                slices += self.pool(GPU, n["metadata"]["name"], {"nodeName": n["metadata"]["name"]}, self.r.randrange(2, 8))
        for i in range(self.pick(0, 1, 1, 2)):
            slices += self.pool(self.pick(NIC, NIC, GPU), f"net{i}", self.reach(nodes), self.r.randrange(1, 5))
        names = set()
        slices = [s for s in slices if not (s["metadata"]["name"] in names or names.add(s["metadata"]["name"]))]
        classes = [("gpu", [f"device.driver == '{GPU}'"]), ("nic", [f"device.driver == '{NIC}'"]), ("any", []), ("broken", [f"device.attributes['{GPU}'].nothing == 1"])]
        classes = [{"metadata": {"name": name}, "spec": {**({"selectors": [{"cel": {"expression": e}} for e in by]} if by else {}),
                                                         **({"config": [{"opaque": {"driver": GPU, "parameters": {"of": name}}}]} if self.some(0.3) else {})}} for name, by in classes]
        claims = [self.claim(f"c{i}") for i in range(self.pick(1, 1, 1, 2, 3))]
        pod = {"metadata": {"name": "new", "namespace": "default", "uid": "uid-new"},
               "spec": {"schedulerName": "default-scheduler", "containers": [{"name": "c", "image": "x"}],
                        "resourceClaims": [{"name": c["metadata"]["name"], "resourceClaimName": c["metadata"]["name"]} for c in claims]}}
        if slices and self.some(0.2):
            self.given(claims[0], slices, self.r.choice(nodes)["metadata"]["name"])
        if self.some(0.03):
            claims[-1]["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x/y"])
        if self.some(0.02):
            pod["spec"]["resourceClaims"].append({"name": "gone", "resourceClaimName": "gone"})
        for i in range(self.pick(0, 0, 1, 2, 3) if slices else 0):
            claims.append(self.given(self.claim(f"other{i}"), slices, self.r.choice(nodes)["metadata"]["name"]))
        rules = []
        if self.some(0.15):
            by = self.pick({"driver": GPU}, {"pool": "n0"}, {"driver": NIC, "device": "d0"}, {"device": "d1"}, None)
            rules.append({"metadata": {"name": "rule"}, "spec": {**({"deviceSelector": by} if by else {}), "taint": self.taint()}})
        return {"nodes": nodes, "pods": [], "namespaces": {"default": {}}, "pod": pod, "slices": slices, "deviceClasses": classes, "deviceClaims": claims, "taintRules": rules}


class ResourceMaker(DeviceMaker):
    """Pods that ask for extended resources, which classes stand for, nodes count, or nobody knows."""

    NAMES = ["example.com/gpu", "example.com/nic", "example.com/other", "deviceclass.resource.kubernetes.io/any", "deviceclass.resource.kubernetes.io/gpu"]

    def container(self, name, init=False):
        requests = {"cpu": "1m"} if self.some(0.5) else {}
        for resource in self.NAMES:
            if self.some(0.25 if resource != "example.com/other" else 0.08):
                requests[resource] = self.pick("1", "1", "1", "2", "3", "0", *(["20"] if self.some(0.1) else []))
        c = {"name": name, "image": "x"}
        if requests:
            c["resources"] = {"requests": requests, "limits": dict(requests)}
        if init and self.some(0.35):
            c["restartPolicy"] = "Always"
        return c

    def case(self):
        case = super().case()
        nodes, slices, pod, claims = case["nodes"], case["slices"], case["pod"], case["deviceClaims"]
        classes = case["deviceClasses"]
        names = {"gpu": "example.com/gpu", "nic": "example.com/nic"}
        for c in classes:
            if c["metadata"]["name"] in names and self.some(0.85):
                c["spec"]["extendedResourceName"] = names[c["metadata"]["name"]]
        if self.some(0.1):  # the newer one counts
            classes.append({"metadata": {"name": "newer", "creationTimestamp": "2026-01-02T00:00:00Z"}, "spec": {"extendedResourceName": "example.com/gpu"}})
            classes[0]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        for n in nodes:
            for amounts in [n["status"]["allocatable"]]:
                amounts.pop("example.com/gpu", None)
                if self.some(0.2):
                    amounts["example.com/gpu"] = self.pick("0", "1", "4")
                if self.some(0.1):
                    amounts["example.com/other"] = self.pick("0", "2")
                amounts["pods"] = "110"
        own = {c["name"] for c in pod["spec"]["resourceClaims"]}
        if self.some(0.65):
            pod["spec"]["resourceClaims"] = []
            case["deviceClaims"] = claims = [c for c in claims if c["metadata"]["name"] not in own]
        pod["spec"]["initContainers"] = [self.container(f"i{i}", True) for i in range(self.pick(0, 0, 0, 1, 2, 3))]
        pod["spec"]["containers"] = [self.container(f"c{i}") for i in range(self.pick(1, 1, 2, 3))]
        if not any("/" in r for c in pod["spec"]["initContainers"] + pod["spec"]["containers"] for r in c.get("resources", {}).get("requests", {})):
            pod["spec"]["containers"][0]["resources"] = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
        if slices and self.some(0.06):  # an earlier try left it
            left = self.given({"metadata": {"name": "new-extended-resources-abc", "namespace": "default", "uid": "c-left",
                                            "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
                                            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "new", "uid": "uid-new", "controller": True}]},
                               "spec": {"devices": {"requests": [{"name": "container-0-request-0", "exactly": {"deviceClassName": "any", "allocationMode": "ExactCount", "count": 1}}]}}},
                              slices, nodes[0]["metadata"]["name"])
            if left.get("status"):
                left["status"]["reservedFor"] = [{"resource": "pods", "name": "new", "uid": "uid-new"}]
            claims.append(left)
        if self.some(0.3):
            case["scoring"] = self.r.sample(self.NAMES, self.pick(1, 2))
        return case


# What nodes say that they can, and what no pod asks for.
FEATURES = ["InPlacePodVerticalScalingInitContainers", "RestartAllContainersOnContainerExits", "SomethingOfTomorrow", "UserNamespacesHostNetworkSupport"]


class FeatureMaker(Maker):
    def case(self):
        case = super().case()
        for n in case["nodes"]:
            declared = [f for f in FEATURES if self.some(0.6)]
            if declared:
                n["status"]["declaredFeatures"] = declared
        spec = case["pod"]["spec"]
        if self.some(0.3):
            spec["initContainers"] = [{"name": "i", "image": "registry/app:1"}]
        for c in spec["containers"] + spec.get("initContainers", []):
            if self.some(0.5):
                c["restartPolicy"] = "Never"
                c["restartPolicyRules"] = [{"action": self.pick("Restart", "RestartAllContainers", "RestartAllContainers"), "exitCodes": {"operator": "In", "values": [3]}}
                                           for _ in range(self.pick(1, 2))]
        if self.some(0.4):
            spec["hostNetwork"] = self.some(0.7)
        if self.some(0.4):
            spec["hostUsers"] = self.some(0.3)
        return case


KINDS = {"features": FeatureMaker, "plugins": Maker, "volumes": VolumeMaker, "preemption": PreemptionMaker, "devices": DeviceMaker, "resources": ResourceMaker}


def main():
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    make = KINDS[sys.argv[3] if len(sys.argv) > 3 else "plugins"]
    for i in range(cases):
        print(json.dumps(make(seed * 1_000_000 + i).case(), separators=(",", ":")))


if __name__ == "__main__":
    main()
