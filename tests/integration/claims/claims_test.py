"""Claims of devices (resource.k8s.io): from a template to a container and back, with a driver of the test's own that the node asks."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Server, eventually, main
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node

PROGRAM = os.environ["KEDGE_DRA_DRIVER"]
NAME = "gpu.test"


class Claims(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.lab.host(), args=ARGS).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))
        root = os.path.join(cls.server.data, "agent/kubelet")
        cls.folder, socket = os.path.join(cls.lab.folder, "driver"), os.path.join(root, "plugins", NAME, "dra.sock")
        registration = os.path.join(root, "plugins_registry", NAME + "-reg.sock")
        for folder in (cls.folder, os.path.dirname(socket), os.path.dirname(registration)):
            os.makedirs(folder, exist_ok=True)
        cls.lab.start("driver", [PROGRAM, NAME, socket, registration, cls.folder])
        cls.checkpoint = os.path.join(root, "dra_manager_state")
        cls.create({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "gpu"},
                    "spec": {"selectors": [{"cel": {"expression": f"device.driver == '{NAME}'"}}]}})
        cls.create({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "server-gpu"}, "spec": {
            "driver": NAME, "nodeName": "server", "pool": {"name": "server", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "d0", "attributes": {"model": {"string": "small"}}}, {"name": "d1", "attributes": {"model": {"string": "large"}}}]}})
        cls.create({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "server-gone"}, "spec": {
            "driver": "gone.test", "nodeName": "server", "pool": {"name": "server", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d0"}]}})
        cls.create({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": "any"},
                    "spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}}})
        eventually("the driver is registered", lambda: os.path.exists(os.path.join(cls.folder, "registered")))

    @classmethod
    def create(cls, what):
        cls.server.kubectl("create", "-f", "-", input=json.dumps(what))

    def pod(self, name):
        self.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 1, "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "any"}],
            "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "resources": {"claims": [{"name": "gpu"}]},
                            "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]}]}})

    def runs(self, name):
        eventually(name + " runs", lambda: self.server.get("pod", name)["status"].get("phase") == "Running")

    def claim_of(self, pod):
        (made,) = self.server.get("pod", pod)["status"]["resourceClaimStatuses"]
        return self.server.get("resourceclaim", made["resourceClaimName"])

    def events(self, name, reason):
        return [e["message"] for e in self.server.get("events", "--field-selector", f"involvedObject.name={name}")["items"] if e["reason"] == reason]

    def calls(self, method):
        try:
            with open(os.path.join(self.folder, "calls")) as f:
                return [name for c in map(json.loads, f) if c["method"] == method for name in c["claims"]]
        except FileNotFoundError:
            return []

    def kept(self):
        with open(self.checkpoint) as f:
            return {c["ClaimName"]: c for c in json.loads(json.load(f)["Data"])["ClaimInfoStateList"] or []}

    def test_a_claim_goes_from_a_template_to_a_container_and_back(self):
        for name in ("one", "two"):
            self.pod(name)
            self.runs(name)
        claims = {name: self.claim_of(name) for name in ("one", "two")}
        self.assertEqual({"d0", "d1"}, {r["device"] for c in claims.values() for r in c["status"]["allocation"]["devices"]["results"]})
        for name, c in claims.items():
            self.assertEqual([name], [u["name"] for u in c["status"]["reservedFor"]])
            self.assertIn(c["metadata"]["name"], self.calls("NodePrepareResources"))
            (device,) = self.kept()[c["metadata"]["name"]]["DriverState"][NAME]["Devices"]
            self.assertEqual([f"{NAME}/claim={c['metadata']['uid']}"], device["CDIDeviceIDs"])
        # There are two devices.
        self.pod("three")
        why = "0/1 nodes are available: 1 cannot allocate all claims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        eventually("three is refused", lambda: why in self.events("three", "FailedScheduling"))
        self.server.kubectl("delete", "pod", "one", "--wait=true", timeout=60)
        gone = claims["one"]["metadata"]["name"]
        self.assertIn(gone, self.calls("NodeUnprepareResources"))
        self.assertNotIn(gone, self.kept())
        self.runs("three")
        for name in ("two", "three"):
            self.server.kubectl("delete", "pod", name, "--wait=true", timeout=60)
        eventually("no claims are left", lambda: not self.server.get("resourceclaims")["items"])
        self.assertEqual({}, self.kept())

    def test_a_driver_that_fails_is_asked_again(self):
        wish = os.path.join(self.folder, "fail-NodePrepareResources")
        with open(wish, "w") as f:
            f.write("the lid is open")
        self.pod("waits")
        eventually("it is told", lambda: any(m.endswith(": the lid is open") and m.startswith(
            "Failed to prepare dynamic resources: prepare dynamic resources: NodePrepareResources failed for ResourceClaim waits-gpu-")
            for m in self.events("waits", "FailedPrepareDynamicResources")))
        os.remove(wish)
        self.runs("waits")
        self.server.kubectl("delete", "pod", "waits", "--wait=true", timeout=60)

    def test_what_a_driver_said_that_is_not_there_is_removed(self):
        eventually("its slices are gone", lambda: ["server-gpu"] == [s["metadata"]["name"] for s in self.server.get("resourceslices")["items"]], timeout=180)


if __name__ == "__main__":
    main()
