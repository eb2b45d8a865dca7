"""A node in trouble: short of memory, as its threshold has it; and after a power cut while no server answers."""

import contextlib
import json
import os
import signal
import unittest

from harness import Agent, Server, eventually, main
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node


class Agents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.server = Server(cls.lab, "server", host=cls.lab.host(), args=["--disable-agent"]).wait_ready()
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))
        cls.host = cls.lab.host()
        cls.agent = cls.lab.adopt(cls.start_agent())
        ready_node(cls.server, "worker")

    @classmethod
    def start_agent(cls):
        # Less than a hundred terabytes are left: always so.
        return Agent(cls.lab, "worker", cls.host, cls.server.url, cls.server.token(), args=[
            *ARGS, "--kubelet-arg=eviction-soft=memory.available<100Ti", "--kubelet-arg=eviction-soft-grace-period=memory.available=1s",
            "--kubelet-arg=node-status-update-frequency=1s"])

    def make(self, name, command="sleep 1000", container=None, **spec):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": "worker", "terminationGracePeriodSeconds": 1, **spec, "containers": [
            {"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", command], **(container or {})}]}}
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
        self.make("modest", container={"resources": {"requests": {"memory": "16Mi"}}})
        gone = self.phase("modest", "Failed")
        self.assertEqual(gone["status"]["reason"], "Evicted")
        self.assertRegex(gone["status"]["message"], r"^The node was low on resource: memory\. Threshold quantity: 100Ti, available: \d+Ki\. ")
        disruption = next(c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget")
        self.assertEqual((disruption["status"], disruption["reason"], disruption["message"]), ("True", "TerminationByKubelet", gone["status"]["message"]))
        self.assertEqual([e["message"] for e in self.server.get("events", "--field-selector", "involvedObject.name=modest,reason=Evicted")["items"]], [gone["status"]["message"]])
        self.assertEqual(self.phase("critical", "Running")["status"]["phase"], "Running")

    def cut_power(self):
        """The agent, its runtime and all that runs in it end at once."""
        shims, inside = self.lab.shims()
        runtimes = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = open(f"/proc/{pid}/cmdline").read().split("\0")
                if words[0].endswith("/containerd") and any(w.startswith(self.agent.data) for w in words):
                    runtimes.append(pid)
        self.assertEqual(len(runtimes), 1)
        for pid in [str(self.agent.process.pid), *runtimes, *shims, *inside]:
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        self.agent.process.wait(20)

    def test_without_servers(self):
        records = os.path.join(self.agent.data, "agent/offline")
        kept = lambda: {name for name in os.listdir(records) if not name.endswith(".tmp")}
        before = kept()
        self.server.kubectl("create", "configmap", "told", "--from-literal=word=open")
        self.server.kubectl("create", "secret", "generic", "key", "--from-literal=word=sesame")
        self.make("lasting", 'echo $WORD $(cat /key/word) $(cat /var/run/secrets/kubernetes.io/serviceaccount/namespace) $KUBERNETES_SERVICE_PORT; sleep 1000',
                  priorityClassName="system-node-critical", volumes=[{"name": "key", "secret": {"secretName": "key"}}],
                  container={"env": [{"name": "WORD", "valueFrom": {"configMapKeyRef": {"name": "told", "key": "word"}}}], "volumeMounts": [{"name": "key", "mountPath": "/key"}]})
        pod = self.phase("lasting", "Running")
        said = "open sesame default 443\n"
        eventually("it has what it needs", lambda: self.server.kubectl("logs", "lasting") == said)
        own = eventually("it is kept", lambda: (lambda new: len(new) >= 4 and new)(kept() - before))  # the pod, its token, both objects
        for name in own:
            self.assertNotIn(b"sesame", open(os.path.join(records, name), "rb").read())
        self.server.stop()
        self.cut_power()
        type(self).agent = self.start_agent()
        log = os.path.join(self.agent.data, f"agent/log/pods/default_lasting_{pod['metadata']['uid']}/main/1.log")
        eventually("it runs again", lambda: open(log).read().endswith("F " + said))
        self.assertIn("no server answers: node worker runs the pods that it had", self.agent.log())
        self.assertNotIn("its network policies are not enforced yet", self.agent.log())
        self.server.start()
        self.server.wait_ready()
        eventually("everything is true again", lambda: self.server.get("pod", "lasting")["status"]["containerStatuses"][0]["restartCount"] == 1 and
                   self.server.kubectl("logs", "lasting") == said)
        ready_node(self.server, "worker")
        self.server.kubectl("delete", "pod", "lasting", "--grace-period=1", timeout=60)
        eventually("nothing of it is kept any more", lambda: not own & kept())


if __name__ == "__main__":
    main()
