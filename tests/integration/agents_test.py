"""A node in trouble: short of memory, as its threshold has it; and after power cuts while no server answers."""

import contextlib
import json
import os
import signal
import time
import unittest

from harness import Agent, Server, eventually, main
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node


class OneAgent(unittest.TestCase):
    ARGS = []

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
        return Agent(cls.lab, "worker", cls.host, cls.server.url, cls.server.token(), args=[*ARGS, "--kubelet-arg=node-status-update-frequency=1s", *cls.ARGS])

    def runtime(self):
        """The pid of the node's containerd."""
        runtimes = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = open(f"/proc/{pid}/cmdline").read().split("\0")
                if words[0].endswith("/containerd") and any(w.startswith(self.agent.data) for w in words):
                    runtimes.append(pid)
        self.assertEqual(len(runtimes), 1)
        return runtimes[0]

    def cut_power(self):
        """The agent, its runtime and all that runs in it end at once."""
        shims, inside = self.lab.shims()
        for pid in [str(self.agent.process.pid), self.runtime(), *shims, *inside]:
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        self.agent.process.wait(20)


class Agents(OneAgent):
    # Less than a hundred terabytes are left: always so.
    ARGS = ["--kubelet-arg=eviction-soft=memory.available<100Ti", "--kubelet-arg=eviction-soft-grace-period=memory.available=1s"]

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


# Of each kind what it says that it needs, and a line that tells that it has it.
KINDS = """---
{apiVersion: v1, kind: ConfigMap, metadata: {name: told}, data: {word: open}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {
  containers: [{name: c, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, "cat /told/word; sleep 1000"], volumeMounts: [{name: told, mountPath: /told}],
    readinessProbe: {exec: {command: [cat, /told/word]}, periodSeconds: 1}}],
  volumes: [{name: told, configMap: {name: told}}]}}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {serviceName: db, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {
  containers: [{name: c, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, "echo $HOSTNAME >>/data/starts; wc -l </data/starts; sleep 1000"], volumeMounts: [{name: data, mountPath: /data}]}]}},
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}]}}
---
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: each}, spec: {selector: {matchLabels: {app: each}}, template: {metadata: {labels: {app: each}}, spec: {hostNetwork: true,
  containers: [{name: c, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, "echo $NODE; sleep 1000"], env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]}]}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: steps, labels: {app: steps}}, spec: {
  initContainers: [{name: first, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, "echo begun >/shared/word"], volumeMounts: [{name: shared, mountPath: /shared}]},
    {name: beside, image: IMAGE, imagePullPolicy: Never, restartPolicy: Always, command: [sleep, "1000"]}],
  containers: [{name: c, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, "cat /shared/word; sleep 1000"], volumeMounts: [{name: shared, mountPath: /shared}]}],
  volumes: [{name: shared, emptyDir: {medium: Memory}}]}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: work}, spec: {template: {metadata: {labels: {app: work}}, spec: {restartPolicy: OnFailure,
  containers: [{name: c, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, "echo working; sleep 1000"]}]}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: done}, spec: {template: {metadata: {labels: {app: done}}, spec: {restartPolicy: Never,
  containers: [{name: c, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, "echo once"]}]}}}}
"""


class PowerCut(OneAgent):
    """All of the cluster ends at once, and the node comes back first."""

    def pods(self):
        return {p["metadata"]["name"]: p for p in self.server.get("pods", "-l", "app")["items"]}

    def logs(self, pod):
        """Those of its container c, by the files that the runtime writes: a line each, the rounds one after the other."""
        folder = os.path.join(self.agent.data, f"agent/log/pods/default_{pod['metadata']['name']}_{pod['metadata']['uid']}/c")
        with contextlib.suppress(FileNotFoundError):
            return {name: [line.split(" ", 3)[3].strip() for line in open(os.path.join(folder, name))] for name in os.listdir(folder)}
        return {}

    def test_a_runtime_that_hangs_is_told_and_its_pods_run_on(self):
        self.server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "through"}, "spec": {
            "nodeName": "worker", "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "1000"]}]}}))
        state = lambda: (lambda s: s and (s[0].get("containerID"), s[0]["restartCount"], "running" in s[0]["state"]))(self.server.get("pod", "through")["status"].get("containerStatuses"))
        before = eventually("it runs", lambda: (lambda s: s and s[2] and s)(state()))
        node = lambda: next(c for c in self.server.get("node", "worker")["status"]["conditions"] if c["type"] == "Ready")
        containerd = int(self.runtime())
        os.kill(containerd, signal.SIGSTOP)
        try:
            told = eventually("the node tells it", lambda: (lambda c: c["status"] == "False" and c)(node()))
            self.assertIn("container runtime is down", told["message"])
            self.assertEqual(state(), before)
        finally:
            os.kill(containerd, signal.SIGCONT)
        eventually("the node is well again", lambda: node()["status"] == "True")
        self.assertEqual(state(), before)
        self.server.kubectl("delete", "pod", "through", timeout=60)

    def test_pods_of_every_kind_come_back_before_the_servers(self):
        self.server.kubectl("apply", "-f", "-", input=KINDS.replace("IMAGE", BUSYBOX))
        ready = lambda p: any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))

        def settled():
            found = self.pods()
            return len(found) == 7 and all(ready(p) or p["status"]["phase"] == "Succeeded" for p in found.values()) and found
        before = eventually("all run, and one has ended", settled)
        lasting = {name: p for name, p in before.items() if p["status"]["phase"] == "Running"}
        self.assertEqual(len(lasting), 6)
        ended = next(p for p in before.values() if p["status"]["phase"] == "Succeeded")
        records = os.path.join(self.agent.data, "agent/offline")
        eventually("the node keeps what it knows", lambda: len([n for n in os.listdir(records) if not n.endswith(".tmp")]) > len(lasting))
        first = {name: self.logs(p)["0.log"] for name, p in lasting.items()}
        self.server.stop(signal.SIGKILL)
        self.cut_power()
        began = time.monotonic()
        type(self).agent = self.start_agent()
        second = {**first, "db-0": ["2"]}  # its volume is the one that it had
        eventually("all of them run again", lambda: {name: self.logs(p).get("1.log") for name, p in lasting.items()} == second)
        print(f"6 pods ran {time.monotonic() - began:.1f} s after the start of their node, without a server", flush=True)
        self.assertEqual(self.logs(ended), {"0.log": ["once"]})
        self.server.start()
        self.server.wait_ready()
        ready_node(self.server, "worker")

        def true_again():
            now = self.pods()
            return now.keys() == before.keys() and all(
                ready(now[name]) and now[name]["metadata"]["uid"] == p["metadata"]["uid"] and next(s for s in now[name]["status"]["containerStatuses"])["restartCount"] == 1
                for name, p in lasting.items())
        eventually("the server tells the truth of them", true_again)
        self.assertEqual(self.pods()[ended["metadata"]["name"]]["status"]["phase"], "Succeeded")
        self.assertEqual(self.server.get("job", "done")["status"]["succeeded"], 1)
        eventually("the Deployment is available", lambda: self.server.get("deployment", "web")["status"].get("availableReplicas") == 2)
        self.assertEqual(self.server.kubectl("exec", "db-0", "--", "cat", "/data/starts"), "db-0\ndb-0\n")


if __name__ == "__main__":
    main()
