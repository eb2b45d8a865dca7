"""A node that is short of memory, as its threshold has it: what it says of itself, whom it takes, and who has to go."""

import json
import unittest

from harness import Agent, Server, eventually, main
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node


class Eviction(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.server = Server(cls.lab, "server", host=cls.lab.host(), args=["--disable-agent"]).wait_ready()
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))
        # Less than a hundred terabytes are left: always so.
        cls.agent = cls.lab.adopt(Agent(cls.lab, "worker", cls.lab.host(), cls.server.url, cls.server.token(), args=[
            *ARGS, "--kubelet-arg=eviction-soft=memory.available<100Ti", "--kubelet-arg=eviction-soft-grace-period=memory.available=15s"]))
        ready_node(cls.server, "worker")

    def make(self, name, resources=None, **spec):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": "worker", "terminationGracePeriodSeconds": 1, **spec, "containers": [
            {"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", "sleep 1000"], "resources": resources or {}}]}}
        self.server.kubectl("create", "-f", "-", input=json.dumps(pod))

    def phase(self, name, phase):
        return eventually(f"pod {name} is {phase}", lambda: (lambda p: p["status"].get("phase") == phase and p)(self.server.get("pod", name)))

    def test_pressure(self):
        def condition():
            return next(c for c in self.server.get("node", "worker")["status"]["conditions"] if c["type"] == "MemoryPressure")
        told = eventually("the node says so", lambda: (lambda c: c["status"] == "True" and c)(condition()))
        self.assertEqual((told["reason"], told["message"]), ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"))
        eventually("the node is tainted", lambda: any(t["key"] == "node.kubernetes.io/memory-pressure" for t in self.server.get("node", "worker")["spec"].get("taints", [])))
        self.make("careless")
        refused = self.phase("careless", "Failed")["status"]
        self.assertEqual((refused["reason"], refused["message"]), ("Evicted", "Pod was rejected: The node had condition: [MemoryPressure]. "))
        self.make("critical", priorityClassName="system-node-critical")
        self.make("modest", {"requests": {"memory": "16Mi"}})
        gone = self.phase("modest", "Failed")
        self.assertEqual(gone["status"]["reason"], "Evicted")
        self.assertRegex(gone["status"]["message"], r"^The node was low on resource: memory\. Threshold quantity: 100Ti, available: \d+Ki\. ")
        disruption = next(c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget")
        self.assertEqual((disruption["status"], disruption["reason"], disruption["message"]), ("True", "TerminationByKubelet", gone["status"]["message"]))
        self.assertEqual([e["message"] for e in self.server.get("events", "--field-selector", "involvedObject.name=modest,reason=Evicted")["items"]], [gone["status"]["message"]])
        self.assertEqual(self.phase("critical", "Running")["status"]["phase"], "Running")


if __name__ == "__main__":
    main()
