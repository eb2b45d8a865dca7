#!/usr/bin/env python3
"""What a user does with workloads, on a server and hollow nodes (benchmarks/hollow): pods are made, bound, run, replaced and gone."""
import json
import os
import unittest

from harness import ClusterTest, Failed, eventually, main


class Workloads(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nodes = cls.lab.start("hollow", cls.host.command(
            os.environ["KEDGE_HOLLOW"], "--server", cls.server.url, "--token", cls.server.token(), "--nodes", "6", "--folder", os.path.join(cls.lab.folder, "hollow")))
        eventually("all nodes are ready", lambda: cls.server.kubectl("get", "nodes").count(" Ready ") == 6)

    def setUp(self):
        self.space = self._testMethodName.replace("test_", "").replace("_", "-")[:60]
        self.kubectl("create", "namespace", self.space)

    def tearDown(self):
        self.kubectl("delete", "namespace", self.space, timeout=120)

    def k(self, *args, **kw):
        return self.kubectl("-n", self.space, *args, **kw)

    def items(self, what, *args):
        return json.loads(self.k("get", what, "-o", "json", *args))["items"]

    def rolled_out(self, what):
        self.assertIn("successfully rolled out", self.k("rollout", "status", what, "--timeout=60s", timeout=70))

    def test_a_deployment_and_its_service(self):
        self.k("create", "deployment", "web", "--image=v1", "--replicas=6", "--port=80")
        self.rolled_out("deployment/web")
        pods = self.items("pods")
        self.assertEqual(len(pods), 6)
        self.assertEqual(len({p["spec"]["nodeName"] for p in pods}), 6)  # spread
        self.assertEqual(len({p["status"]["podIP"] for p in pods}), 6)
        self.k("expose", "deployment", "web", "--port=80")
        addresses = lambda: {a for s in self.items("endpointslices") for e in s["endpoints"] or [] if e["conditions"]["ready"] for a in e["addresses"]}
        eventually("the service has them all", lambda: addresses() == {p["status"]["podIP"] for p in self.items("pods")})
        self.k("scale", "deployment", "web", "--replicas=2")
        eventually("the others are gone", lambda: len(self.items("pods")) == 2)
        eventually("also from the service", lambda: addresses() == {p["status"]["podIP"] for p in self.items("pods")})
        gone = self.items("pods")[0]["metadata"]["name"]
        self.k("delete", "pod", gone)
        eventually("another takes its place", lambda: len([p for p in self.items("pods") if p["status"].get("phase") == "Running"]) == 2)
        self.assertNotIn(gone, [p["metadata"]["name"] for p in self.items("pods")])

    def test_a_rollout_its_history_and_the_way_back(self):
        self.k("create", "deployment", "web", "--image=v1", "--replicas=4")
        self.rolled_out("deployment/web")
        self.k("set", "image", "deployment/web", "v1=v2")
        self.rolled_out("deployment/web")
        images = lambda: {c["image"] for p in self.items("pods") if "deletionTimestamp" not in p["metadata"] for c in p["spec"]["containers"]}
        self.assertEqual(images(), {"v2"})
        self.assertRegex(self.k("rollout", "history", "deployment/web"), r"(?s)1 .*2 ")
        self.k("rollout", "undo", "deployment/web")
        self.rolled_out("deployment/web")
        self.assertEqual(images(), {"v1"})
        self.k("rollout", "pause", "deployment/web")
        self.k("set", "image", "deployment/web", "v1=v3")
        eventually("it has been seen", lambda: self.items("deployments")[0]["status"]["observedGeneration"] == self.items("deployments")[0]["metadata"]["generation"])
        self.assertEqual(images(), {"v1"})
        self.k("rollout", "resume", "deployment/web")
        self.rolled_out("deployment/web")
        self.assertEqual(images(), {"v3"})
        self.k("rollout", "restart", "deployment/web")
        self.rolled_out("deployment/web")
        sets = {s["spec"]["replicas"] for s in self.items("replicasets")}
        self.assertEqual(sets, {0, 4})

    def test_what_is_deleted_takes_its_own_along(self):
        for name, how in (("back", "background"), ("fore", "foreground"), ("leaves", "orphan")):
            self.k("create", "deployment", name, "--image=v1", "--replicas=2")
            self.rolled_out(f"deployment/{name}")
            self.k("delete", "deployment", name, f"--cascade={how}")
        left = lambda kind: sorted({i["metadata"]["labels"]["app"] for i in self.items(kind)})
        eventually("all but the orphans are gone", lambda: (left("replicasets"), left("pods")) == (["leaves"], ["leaves"]))
        # A new one adopts what fits.
        before = {p["metadata"]["uid"] for p in self.items("pods")}
        self.k("create", "deployment", "leaves", "--image=v1", "--replicas=2")
        self.rolled_out("deployment/leaves")
        self.assertEqual({p["metadata"]["uid"] for p in self.items("pods")}, before)

    def test_what_has_no_place_says_why(self):
        self.k("run", "huge", "--image=v1", "--overrides", json.dumps({"spec": {"containers": [{"name": "huge", "image": "v1", "resources": {"requests": {"cpu": "100"}}}]}}))
        told = eventually("the scheduler says why", lambda: [e for e in self.items("events") if e["reason"] == "FailedScheduling"])[0]
        self.assertIn("0/6 nodes are available: 6 Insufficient cpu.", told["message"])

    def test_a_pod_goes_where_its_volume_is(self):
        only_on = lambda node: {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}
        volumes = [{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": d}, "spec": {"storageClassName": "late", "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "2Gi"}, "local": {"path": "/disk"}, "nodeAffinity": only_on(d.replace("disk", "hollow"))}} for d in ("disk-2", "disk-3")]
        late = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"}, "provisioner": "kubernetes.io/no-provisioner",
                "volumeBindingMode": "WaitForFirstConsumer"}
        claim = {"metadata": {"name": "data"}, "spec": {"storageClassName": "late", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
        labels = {"app": "db"}
        db = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
            "replicas": 3, "podManagementPolicy": "Parallel", "selector": {"matchLabels": labels}, "volumeClaimTemplates": [claim],
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "db", "image": "v1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}}
        try:
            self.k("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [late, *volumes, db]}))
            running = lambda: {p["metadata"]["name"]: p["spec"]["nodeName"] for p in self.items("pods") if p["status"].get("phase") == "Running"}
            eventually("two have a volume and run", lambda: len(running()) == 2)
            found = {c["metadata"]["name"].removeprefix("data-"): c["spec"]["volumeName"].replace("disk", "hollow") for c in self.items("pvc") if c["status"]["phase"] == "Bound"}
            self.assertEqual(running(), found)
            third = ({"db-0", "db-1", "db-2"} - set(found)).pop()
            why = lambda: [e["message"] for e in self.items("events") if e["reason"] == "FailedScheduling" and e["involvedObject"]["name"] == third]
            self.assertIn("6 node(s) didn't find available persistent volumes to bind.", eventually("the third is told why not", why)[-1])
            self.kubectl("apply", "-f", "-", input=json.dumps({**volumes[0], "metadata": {"name": "disk-5"}, "spec": {**volumes[0]["spec"], "nodeAffinity": only_on("hollow-5")}}))
            eventually("it runs where a new one is", lambda: running().get(third) == "hollow-5")
        finally:
            self.k("delete", "statefulset", "db", "--ignore-not-found")
            self.k("delete", "pvc", "--all")
            self.kubectl("delete", "pv", "--all")
            self.kubectl("delete", "storageclass", "late", "--ignore-not-found")

    def test_a_pod_that_waits_for_its_volume_says_where_it_will_be_and_in_which_zone_it_is(self):
        node = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"]
        self.kubectl("label", "node", node, "topology.kubernetes.io/zone=here", "topology.kubernetes.io/region=around")
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "slow"}, "provisioner": "nobody.example.com", "volumeBindingMode": "WaitForFirstConsumer"}))
        try:
            self.k("create", "-f", "-", input=json.dumps({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
                "spec": {"storageClassName": "slow", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}))
            self.k("create", "-f", "-", input=json.dumps({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "patient"},
                "spec": {"nodeSelector": {"topology.kubernetes.io/zone": "here"}, "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                         "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}))
            pod = lambda: self.items("pods")[0]
            eventually("it says where", lambda: pod()["status"].get("nominatedNodeName") == node)
            self.assertNotIn("nodeName", pod()["spec"])
            self.assertIn(f" {node} ", self.k("get", "pods", "-o", "wide"))
            claim = self.items("pvc")[0]
            self.assertEqual(claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"], node)
            self.kubectl("create", "-f", "-", input=json.dumps({  # what its provisioner would make
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "made"},
                "spec": {"storageClassName": "slow", "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp"},
                         "claimRef": {"namespace": self.space, "name": "data", "uid": claim["metadata"]["uid"]}}}))
            eventually("it is there", lambda: pod()["spec"].get("nodeName") == node)
            self.assertNotIn("nominatedNodeName", pod()["status"])
            self.assertEqual({l: v for l, v in pod()["metadata"]["labels"].items()}, {"topology.kubernetes.io/zone": "here", "topology.kubernetes.io/region": "around"})
        finally:
            self.k("delete", "pod,pvc", "--all")
            self.kubectl("delete", "pv/made", "sc/slow", "--ignore-not-found")
            self.kubectl("label", "node", node, "topology.kubernetes.io/zone-", "topology.kubernetes.io/region-")

    def test_a_drained_node_is_empty(self):
        self.k("create", "deployment", "web", "--image=v1", "--replicas=6")
        self.rolled_out("deployment/web")
        node = self.items("pods")[0]["spec"]["nodeName"]
        try:
            self.kubectl("drain", node, "--ignore-daemonsets", "--timeout=60s", timeout=70)
            self.rolled_out("deployment/web")
            eventually("its pods live elsewhere", lambda: all(p["spec"]["nodeName"] != node for p in self.items("pods")) and len(self.items("pods")) == 6)
        finally:
            self.kubectl("uncordon", node)

    def test_a_quota_is_kept_and_told(self):
        self.k("create", "quota", "few", "--hard=pods=2")
        self.k("create", "deployment", "web", "--image=v1", "--replicas=4")
        failure = lambda: [c for c in self.items("deployments")[0]["status"].get("conditions", []) if c["type"] == "ReplicaFailure"]
        self.assertIn("exceeded quota: few", eventually("the deployment says why", failure)[0]["message"])
        self.assertEqual(len(self.items("pods")), 2)
        self.k("delete", "quota", "few")
        self.rolled_out("deployment/web")
        eventually("and no more", lambda: not failure())


if __name__ == "__main__":
    main()
