"""Claims on the nodes' disks (class local-path), with real containers: bound, mounted, kept across pods, removed with the claim."""

import json
import os
import stat
import time
import unittest

from harness import Server, eventually, main
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node


class Storage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.folder = os.path.join(cls.lab.folder, "volumes")
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.lab.host(), args=[
            *ARGS, "--default-local-storage-path", cls.folder]).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))
        eventually("the class", lambda: cls.server.get("storageclass", "local-path"))

    def kubectl(self, *args, **kw):
        return self.server.kubectl(*args, **kw)

    def claim(self, name, **notes):
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "annotations": notes},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}))

    def pod(self, name, claim, command):
        spec = {"containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", command + "; sleep 1000"],
                                "volumeMounts": [{"name": "data", "mountPath": "/data"}] if claim else []}],
                "terminationGracePeriodSeconds": 1}
        if claim:
            spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        began = time.monotonic()
        self.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))
        eventually(f"{name} runs", lambda: self.server.get("pod", name)["status"].get("phase") == "Running", every=0.02)
        return time.monotonic() - began

    def reasons(self, name):
        return {e["reason"] for e in self.server.get("events", "--field-selector", f"involvedObject.name={name}")["items"]}

    def test_a_claim_is_bound_mounted_kept_and_removed(self):
        self.pod("warm", None, "true")
        alone = self.pod("alone", None, "true")
        self.claim("data")
        with_claim = self.pod("first", "data", "echo kept > /data/file; id > /data/who")
        print(f"a pod until it runs: {alone * 1000:.0f} ms; with a claim: {with_claim * 1000:.0f} ms", flush=True)
        claim = self.server.get("pvc", "data")
        uid = claim["metadata"]["uid"]
        self.assertEqual(("Bound", f"pvc-{uid}", "local-path"),
                         (claim["status"]["phase"], claim["spec"]["volumeName"], claim["spec"]["storageClassName"]))
        volume = self.server.get("pv", f"pvc-{uid}")
        path = os.path.join(self.folder, f"pvc-{uid}_default_data")
        self.assertEqual({"path": path}, volume["spec"]["local"])
        self.assertEqual({"local.path.provisioner/selected-node": "server", "pv.kubernetes.io/provisioned-by": "rancher.io/local-path"},
                         {k: volume["metadata"]["annotations"][k] for k in ("local.path.provisioner/selected-node", "pv.kubernetes.io/provisioned-by")})
        self.assertEqual([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["server"]}]}],
                         volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"])
        self.assertEqual(("Delete", "Filesystem", "1Gi"), (volume["spec"]["persistentVolumeReclaimPolicy"], volume["spec"]["volumeMode"],
                                                           volume["spec"]["capacity"]["storage"]))
        self.assertEqual((0o777, 0o700), (stat.S_IMODE(os.stat(path).st_mode), stat.S_IMODE(os.stat(self.folder).st_mode)))
        eventually("its events", lambda: {"ExternalProvisioning", "Provisioning", "ProvisioningSucceeded"} <= self.reasons("data"))
        # It grows while its pod runs.
        self.kubectl("patch", "pvc", "data", "-p", json.dumps({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}))
        eventually("it has grown", lambda: self.server.get("pvc", "data")["status"]["capacity"]["storage"] == "2Gi")
        self.assertEqual("2Gi", self.server.get("pv", f"pvc-{uid}")["spec"]["capacity"]["storage"])
        # What one pod wrote the next one reads.
        self.kubectl("delete", "pod", "first", "--wait=true", timeout=60)
        self.pod("second", "data", "cat /data/file")
        self.assertEqual("kept\n", eventually("its log", lambda: self.kubectl("logs", "second")))
        # The claim waits for its pod, and the folder for the claim.
        self.kubectl("delete", "pvc", "data", "--wait=false")
        self.assertTrue(os.path.exists(path + "/file"))
        os.symlink("/etc", path + "/out")
        self.kubectl("delete", "pod", "second", "--wait=true", timeout=60)
        eventually("the volume goes", lambda: not self.kubectl("get", "pv", f"pvc-{uid}", "--ignore-not-found"))
        self.assertFalse(os.path.exists(path))
        self.assertTrue(os.path.exists("/etc/passwd"))

    def test_a_stateful_set_has_a_volume_for_each(self):
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
                "replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                    "accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "10Mi"}}}}],
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {
                    "terminationGracePeriodSeconds": 1, "containers": [{
                        "name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", "hostname > /data/name; sleep 1000"],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}}))
        self.kubectl("rollout", "status", "statefulset", "db", "--timeout=60s", timeout=90)
        folders = {n.split("_")[2]: n for n in os.listdir(self.folder) if "_data-db-" in n}
        self.assertEqual({"data-db-0", "data-db-1"}, set(folders))
        self.assertEqual("db-1\n", eventually("what it wrote", lambda: open(os.path.join(self.folder, folders["data-db-1"], "name")).read()))
        self.kubectl("delete", "statefulset", "db")
        eventually("nothing is left", lambda: not [n for n in os.listdir(self.folder) if "_data-db-" in n])

    def test_what_is_refused_says_why(self):
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "many"},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}}))
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"}, "spec": {
                "containers": [{"name": "main", "image": BUSYBOX}], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "many"}}]}}))
        eventually("it is told", lambda: "ProvisioningFailed" in self.reasons("many"))
        self.assertIn("NodePath only supports ReadWriteOnce", self.kubectl("describe", "pvc", "many"))
        self.kubectl("delete", "pod", "waits", "--wait=false")
        self.kubectl("delete", "pvc", "many", "--wait=false")


if __name__ == "__main__":
    main()
