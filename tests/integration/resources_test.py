"""What a node gives its pods and takes from them: control groups above containers, and a machine that runs out or goes down."""

import json
import os
import pathlib
import signal
import unittest

from harness import Failed, Server, eventually, main
from logind import Logind
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node

GROUPS = pathlib.Path("/sys/fs/cgroup")
OVERRIDE = pathlib.Path("/etc/systemd/logind.conf.d/99-kubelet.conf")


# Kubernetes' own plugin (`go build k8s.io/kubernetes/test/images/sample-device-plugin`): two devices that are none.
PLUGIN = os.environ.get("KEDGE_SAMPLE_DEVICE_PLUGIN")
RESOURCE = "example.com/resource"


def group_value(path, v1, v2):
    """Of a control group: v1's controller and file, or v2's file."""
    unified = (GROUPS / "cgroup.controllers").exists()
    return (GROUPS / path / v2 if unified else GROUPS / v1[0] / path / v1[1]).read_text().strip()


def condition(thing, type):
    return next((c for c in thing.get("status", {}).get("conditions", []) if c["type"] == type), {})


def container(name="main", command="exec sleep 1000", **more):
    return {"name": name, "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", command], **more}


class Resources(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.logind = Logind(cls.lab, delay_max=5)
        cls.logind.wanted = 30
        cls.had_override = OVERRIDE.exists()
        cls.addClassCleanup(lambda: cls.had_override or OVERRIDE.unlink(missing_ok=True))
        eventually("the bus is there", lambda: os.path.exists(cls.logind.path))
        cls.logind.serve()
        config = os.path.join(cls.lab.folder, "kubelet.yaml")
        with open(config, "w") as f:
            json.dump({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "podPidsLimit": 200, "cpuManagerPolicy": "static",
                       "memoryManagerPolicy": "Static", "reservedMemory": [{"numaNode": 0, "limits": {"memory": "100Mi"}}], "topologyManagerPolicy": "best-effort",
                       "systemReserved": {"memory": "100Mi", "cpu": "100m"},
                       "shutdownGracePeriodByPodPriority": [{"priority": 1000, "shutdownGracePeriodSeconds": 8}, {"priority": 0, "shutdownGracePeriodSeconds": 6}]}, f)
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.lab.host(), args=[*ARGS, "--kubelet-arg=config=" + config], env=cls.logind.env).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))

    def make(self, name, *containers, **spec):
        spec.setdefault("terminationGracePeriodSeconds", 2)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": list(containers), **spec}}
        self.server.kubectl("create", "-f", "-", input=json.dumps(pod))

    def wait(self, name, what, holds, timeout=60):
        try:
            return eventually(what, lambda: (lambda p: holds(p) and p)(self.server.get("pod", name)), timeout)
        except Failed as e:
            raise Failed(f"{e}\n{self.server.kubectl('describe', 'pod', name, check=False).stdout[-3000:]}\n{self.server.log()[-2000:]}") from None

    def ready(self, name):
        return self.wait(name, f"pod {name} is Ready", lambda p: condition(p, "Ready").get("status") == "True")

    def events(self, name, kind="Pod"):
        return [(e["reason"], e["message"]) for e in self.server.get("events", "-A", "--field-selector", f"involvedObject.kind={kind},involvedObject.name={name}")["items"]]

    def test_groups_above_containers_have_the_pods_limits(self):
        self.make("burstable", container(resources={"requests": {"cpu": "300m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}))
        self.make("guaranteed", container(resources={"limits": {"cpu": "200m", "memory": "48Mi"}}))
        uids = {name: self.ready(name)["metadata"]["uid"] for name in ("burstable", "guaranteed")}
        burstable, guaranteed = f"kubepods/burstable/pod{uids['burstable']}", f"kubepods/pod{uids['guaranteed']}"
        self.assertEqual(group_value(burstable, ("memory", "memory.limit_in_bytes"), "memory.max"), str(64 << 20))
        self.assertEqual(group_value(burstable, ("pids", "pids.max"), "pids.max"), "200")
        self.assertEqual(group_value(guaranteed, ("memory", "memory.limit_in_bytes"), "memory.max"), str(48 << 20))
        if (GROUPS / "cpu/kubepods").exists():
            self.assertEqual(group_value(burstable, ("cpu", "cpu.shares"), None), "307")
            self.assertEqual(group_value(guaranteed, ("cpu", "cpu.cfs_quota_us"), None), "20000")
            self.assertEqual(group_value("kubepods/besteffort", ("cpu", "cpu.shares"), None), "2")
        # All pods together have what the Node says that it has, and the evictions' margin beside.
        node = self.server.get("node", "server")["status"]
        capacity = int(node["capacity"]["memory"].removesuffix("Ki")) * 1024
        self.assertEqual(int(group_value("kubepods", ("memory", "memory.limit_in_bytes"), "memory.max")), capacity - (100 << 20))
        self.assertIn(("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods"), self.events("server", "Node"))
        self.server.kubectl("delete", "pods", "--all", "--wait=true")
        for path in (burstable, guaranteed):
            self.assertFalse((GROUPS / "memory" / path).exists() or (GROUPS / path).exists())

    def cpus(self, pod):
        out = set()
        for part in self.server.kubectl("exec", pod, "--", "grep", "Cpus_allowed_list", "/proc/self/status").split()[1].split(","):
            first, _, last = part.partition("-")
            out.update(range(int(first), int(last or first) + 1))
        return out

    @unittest.skipUnless(len(os.sched_getaffinity(0)) > 1, "one CPU can't be shared out")
    def test_a_container_has_whole_cpus_for_itself_and_the_others_leave_them(self):
        self.make("other", container())
        self.ready("other")
        every = self.cpus("other")
        self.make("own", container(resources={"limits": {"cpu": "1", "memory": "32Mi"}}))
        self.ready("own")
        mine = self.cpus("own")
        self.assertEqual(len(mine), 1)
        eventually("the other has left it", lambda: self.cpus("other") == every - mine)
        state = json.load(open(self.server.data + "/agent/kubelet/cpu_manager_state"))
        self.assertEqual((state["policyName"], list(state["entries"].values())), ("static", [{"main": str(*mine)}]))
        # Its memory is of as few NUMA nodes as can be.
        state = json.load(open(self.server.data + "/agent/kubelet/memory_manager_state"))
        (block,) = next(iter(state["entries"].values()))["main"]
        self.assertEqual((state["policyName"], block["type"], block["size"], len(block["numaAffinity"])), ("Static", "memory", 32 << 20, 1))
        mems = self.server.kubectl("exec", "own", "--", "grep", "Mems_allowed_list", "/proc/self/status").split()[1]
        self.assertEqual(mems, str(block["numaAffinity"][0]))
        self.make("more", container(resources={"limits": {"cpu": str(len(every)), "memory": "32Mi"}}), nodeName="server")
        more = self.wait("more", "a pod that wants all of them is refused", lambda p: p["status"]["phase"] == "Failed")
        self.assertEqual(more["status"]["reason"], "OutOfcpu")
        self.server.kubectl("delete", "pod", "own", "more", "--wait=true")
        eventually("they are the other's again", lambda: self.cpus("other") == every, timeout=30)
        self.server.kubectl("delete", "pods", "--all", "--wait=true")

    def test_pods_have_users_of_their_own_where_the_runtime_can(self):
        self.server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "by-runc"}, "handler": "runc"}))
        self.make("nobody", container(command="cat /proc/self/uid_map; touch /e/x; stat -c %u /e/x; exec sleep 1000", volumeMounts=[{"name": "e", "mountPath": "/e"}]),
                  hostUsers=False, runtimeClassName="by-runc", volumes=[{"name": "e", "emptyDir": {}}])
        told = self.server.get("node", "server")["status"].get("runtimeHandlers", [])
        if not any(h.get("name") == "runc" and h["features"]["userNamespaces"] for h in told):
            refused = ("FailedCreatePodSandBox", "Failed to create pod sandbox: can't set `spec.hostUsers: false`, "
                       'RuntimeClass handler "runc" does not support user namespaces')
            eventually("it is refused", lambda: refused in self.events("nobody"))
        else:
            uid = self.ready("nobody")["metadata"]["uid"]
            folder = pathlib.Path(self.server.data) / "agent/kubelet/pods" / uid
            (ids,) = json.loads((folder / "userns").read_text())["uidMappings"]
            said = self.server.kubectl("logs", "nobody").split()
            self.assertEqual(said, ["0", str(ids["hostId"]), "65536", "0"])
            # The volume's files are the machine's root's: they are mapped where they are mounted.
            self.assertEqual((folder / "volumes/kubernetes.io~empty-dir/e/x").stat().st_uid, 0)
        self.server.kubectl("delete", "pod", "nobody", "--wait=true")

    def amounts(self):
        status = self.server.get("node", "server")["status"]
        return status["capacity"].get(RESOURCE), status["allocatable"].get(RESOURCE)

    @unittest.skipUnless(PLUGIN, "KEDGE_SAMPLE_DEVICE_PLUGIN names no plugin")
    def test_upstreams_plugin_has_its_devices_given_to_pods(self):
        folder = self.server.data + "/agent/kubelet/device-plugins"
        begin = f"mount -t tmpfs none /var/lib && mkdir -p /var/lib/kubelet/device-plugins && mount --bind {folder} /var/lib/kubelet/device-plugins && exec {PLUGIN}"
        plugin = self.lab.start("plugin", ["unshare", "--mount", "sh", "-c", begin])
        eventually("the node has two devices", lambda: self.amounts() == ("2", "2"))
        limits = {"limits": {RESOURCE: "1"}}
        self.make("one", container(resources=limits))
        one = self.ready("one")
        given = one["status"]["containerStatuses"][0]["allocatedResourcesStatus"]
        device = given[0]["resources"][0]["resourceID"]
        self.assertEqual(given, [{"name": RESOURCE, "resources": [{"health": "Healthy", "resourceID": device}]}])
        self.assertIn(device, self.server.kubectl("exec", "one", "--", "ls", "/tmp"))
        self.make("greedy", container(resources={"limits": {RESOURCE: "2"}}), nodeName="server")
        greedy = self.wait("greedy", "a pod that wants more is refused", lambda p: p["status"]["phase"] == "Failed")
        why = f"Allocate failed due to requested number of devices unavailable for {RESOURCE}. Requested: 2, Available: 1, which is unexpected"
        self.assertEqual((greedy["status"]["reason"], greedy["status"]["message"]), ("UnexpectedAdmissionError", "Pod was rejected: " + why))
        self.assertIn(("UnexpectedAdmissionError", why), self.events("greedy"))
        # The agent starts anew: the plugin comes back by itself, and the pod has what it had.
        registered = f"device plugin of {RESOURCE} registered"
        before = self.server.log().count(registered)
        self.server.stop()
        self.server.start()
        self.server.wait_ready()
        eventually("the plugin has come back", lambda: self.server.log().count(registered) > before, timeout=60)
        eventually("the node has two devices again", lambda: self.amounts() == ("2", "2"))
        after = self.server.get("pod", "one")["status"]["containerStatuses"][0]
        self.assertEqual((after["containerID"], after["restartCount"]), (one["status"]["containerStatuses"][0]["containerID"], 0))
        self.make("two", container(resources=limits))
        two = self.ready("two")["status"]["containerStatuses"][0]["allocatedResourcesStatus"][0]["resources"][0]["resourceID"]
        self.assertNotEqual(two, device)
        plugin.send_signal(signal.SIGKILL)
        eventually("nothing can be had of the devices", lambda: self.amounts() == ("2", "0"))
        self.wait("one", "its device is unhealthy", lambda p: p["status"]["containerStatuses"][0]["allocatedResourcesStatus"][0]["resources"][0]["health"] == "Unhealthy")
        self.server.kubectl("delete", "pods", "--all", "--wait=true")

    def test_zz_a_machine_that_goes_down_takes_its_pods_with_it_in_order(self):
        self.assertEqual(self.logind.reloads, 1)  # it delayed a shutdown by less than these pods may take
        self.assertIn("InhibitDelayMaxSec=14\n", OVERRIDE.read_text())
        self.server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "important"}, "value": 5000}))
        stubborn = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"
        self.make("first", container(command=stubborn), terminationGracePeriodSeconds=30)
        self.make("last", container(command=stubborn), terminationGracePeriodSeconds=30, priorityClassName="important")
        for name in ("first", "last"):
            self.ready(name)
        mine = len(self.logind.locks) - 1
        self.assertFalse(self.logind.released(mine))
        # Anybody may send that signal on the bus, and isn't believed.
        stranger = self.logind.by_a_stranger(True)
        eventually("a stranger is told of", lambda: "who isn't logind, says that the machine goes down" in self.server.log())
        self.assertNotIn(("NodeShutdown", "Shutdown manager detected shutdown event"), self.events("server", "Node"))
        stranger.bus.close()
        self.logind.prepare_for_shutdown(True)
        first = self.wait("first", "the first pod ends", lambda p: p["status"]["phase"] == "Failed")
        self.assertEqual((first["status"]["reason"], first["status"]["message"]), ("Terminated", "Pod was terminated in response to imminent node shutdown."))
        self.assertEqual(condition(first, "DisruptionTarget").get("reason"), "TerminationByKubelet")
        node = eventually("the node isn't ready", lambda: (lambda n: condition(n, "Ready")["status"] == "False" and n)(self.server.get("node", "server")))
        self.assertEqual((condition(node, "Ready")["reason"], condition(node, "Ready")["message"]), ("KubeletNotReady", "node is shutting down"))
        self.make("late", container(), nodeName="server")
        late = self.wait("late", "a late pod is refused", lambda p: p["status"]["phase"] == "Failed")
        self.assertEqual((late["status"]["reason"], late["status"]["message"]), ("NodeShutdown", "Pod was rejected: Pod was rejected as the node is shutting down."))
        last = self.wait("last", "the last pod ends", lambda p: p["status"]["phase"] == "Failed")
        eventually("the machine may go down", lambda: self.logind.released(mine))
        ended = [p["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] for p in (first, last)]
        self.assertLess(*ended)
        self.assertIn(("NodeShutdown", "Shutdown manager detected shutdown event"), self.events("server", "Node"))
        # Called off: the node takes pods again, and another shutdown waits again.
        self.logind.prepare_for_shutdown(False)
        ready_node(self.server, "server")
        eventually("there is a lock again", lambda: len(self.logind.locks) == mine + 2)
        self.make("again", container())
        self.ready("again")


if __name__ == "__main__":
    main()
