"""What nodes and pods use: `kubectl top`, metrics.k8s.io and the kubelet's port, beside the kernel's own counters and a kubelet's answers."""

import json
import pathlib
import re
import sys
import unittest

from harness import Server, eventually, main, run
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "answers"))
import record_node  # noqa: E402

KUBELET = json.loads(record_node.KEPT.read_text())
# Families that a kubelet has where the kernel tells of them, and where it was recorded it didn't.
BY_KERNEL = {"container_fs_reads_bytes_total", "container_fs_writes_bytes_total"} | {
    f"container_pressure_{what}_{how}_seconds_total" for what in ("cpu", "memory", "io") for how in ("waiting", "stalled")}
RESOURCE = "/apis/metrics.k8s.io/v1beta1"
QUICK = ("--kube-controller-manager-arg=horizontal-pod-autoscaler-sync-period=2s",)


def cores(text):
    scale = {"n": 1e-9, "u": 1e-6, "m": 1e-3}
    return float(text[:-1]) * scale[text[-1]] if text[-1] in scale else float(text)


def size(text):
    scale = {"Ki": 1024, "Mi": 1024 ** 2, "Gi": 1024 ** 3}
    return float(text[:-2]) * scale[text[-2:]] if text[-2:] in scale else float(text)


def number_in(path, name=None):
    with open(path) as file:
        text = file.read()
    return int(text) if name is None else int(re.search(rf"^{name} (\d+)$", text, re.M)[1])


class Metrics(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.lab.host(), args=(*ARGS, *QUICK)).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))
        for name, command, labels in (("busy", "while :; do :; done", {"load": "high"}), ("idle", "exec sleep 1000", {"load": "none"})):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
                   "spec": {"terminationGracePeriodSeconds": 1,
                            "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", command],
                                            "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}},
                                            "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}]}}
            cls.server.kubectl("create", "-f", "-", input=json.dumps(pod))
        cls.server.kubectl("wait", "--for=condition=Ready", "pod/busy", "pod/idle", "--timeout=60s", timeout=90)

    def kubectl(self, *args, **kw):
        return self.server.kubectl(*args, **kw)

    def raw(self, path):
        return self.kubectl("get", "--raw", path)

    def node(self, path):
        return self.raw(f"/api/v1/nodes/server/proxy/{path}")

    def cgroup(self, name):
        """Processor seconds and working set of a pod's container, as the kernel counts them."""
        pod = self.server.get("pod", name)
        below = f"/kubepods/pod{pod['metadata']['uid']}/{pod['status']['containerStatuses'][0]['containerID'].removeprefix('containerd://')}"
        try:
            cpu = number_in(f"/sys/fs/cgroup/cpuacct{below}/cpuacct.usage") / 1e9
            folder, used, inactive = f"/sys/fs/cgroup/memory{below}", "memory.usage_in_bytes", "total_inactive_file"
        except FileNotFoundError:
            folder, used, inactive = f"/sys/fs/cgroup{below}", "memory.current", "inactive_file"
            cpu = number_in(f"{folder}/cpu.stat", "usage_usec") / 1e6
        return cpu, number_in(f"{folder}/{used}") - number_in(f"{folder}/memory.stat", inactive)

    def test_top_shows_what_the_kernel_counts(self):
        pod = eventually("figures of the busy pod", lambda: json.loads(self.raw(f"{RESOURCE}/namespaces/default/pods/busy")), timeout=60)
        cpu, memory = self.cgroup("busy")
        told = pod["containers"][0]["usage"]
        # In its window it used no more than ever, and no more than its quota, which the kernel gives out in tenths of a second.
        window = float(pod["window"].removesuffix("s"))
        self.assertLess(cores(told["cpu"]) * window, cpu)
        self.assertLess(cores(told["cpu"]), 0.2 + 0.04 / window)
        self.assertAlmostEqual(size(told["memory"]), memory, delta=2 * 1024 ** 2)
        self.assertEqual(pod["metadata"]["labels"], {"load": "high"})

        def top():
            all = dict(line.split(maxsplit=1) for line in self.kubectl("top", "pod", "--no-headers").splitlines())
            busy, idle = (cores(all[name].split()[0]) for name in ("busy", "idle"))
            return busy >= 0.01 and busy > idle
        eventually("the busy pod is seen to be busy", top)
        self.assertRegex(self.kubectl("top", "pod", "-l", "load=high", "--containers", "--no-headers"), r"^busy +main +\d+m +\d+Mi *\n$")
        self.assertRegex(self.kubectl("top", "pod", "-A", "--sum"), r"(?s)^NAMESPACE .*default +busy .*default +idle ")
        self.assertRegex(self.kubectl("top", "node"), r"^NAME +CPU\(cores\) +CPU\(%\) +MEMORY\(bytes\) +MEMORY\(%\) *\nserver +\d+m +\d+% +\d+Mi +\d+% *\n$")
        self.assertRegex(self.kubectl("get", "pods.metrics.k8s.io", "busy"), r"^NAME +CPU +MEMORY +WINDOW *\nbusy +\w+ +\w+ +[\d.]+m?s *\n$")

    def test_an_autoscaler_goes_by_it(self):
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "crowd"},
            "spec": {"selector": {"matchLabels": {"app": "crowd"}}, "template": {"metadata": {"labels": {"app": "crowd"}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", "while :; do :; done"],
                                "resources": {"requests": {"cpu": "5m"}, "limits": {"cpu": "100m"}}}]}}}}))
        self.addCleanup(self.kubectl, "delete", "deployment,hpa", "crowd")
        self.kubectl("autoscale", "deployment", "crowd", "--max=2", "--cpu-percent=50")
        # A container counts when it was ready for a whole reading.
        eventually("there is another", lambda: self.server.get("deployment", "crowd")["spec"]["replicas"] == 2, timeout=120)

        def used():
            for metric in self.server.get("hpa", "crowd")["status"].get("currentMetrics", ()):
                if "resource" in metric:
                    return metric["resource"]["current"]["averageUtilization"]
        self.assertGreater(eventually("it says by what", used), 50)

    def test_it_is_an_api_as_others(self):
        self.assertRegex(eventually("the API service", lambda: self.kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "--no-headers")), r"v1beta1.metrics.k8s.io +Local +True ")
        self.assertIn("PodMetrics", self.kubectl("api-resources", "--api-group=metrics.k8s.io"))
        self.kubectl("create", "serviceaccount", "viewer")
        self.kubectl("create", "rolebinding", "viewer", "--clusterrole=view", "--serviceaccount=default:viewer")
        as_viewer = ("--as=system:serviceaccount:default:viewer", "get")
        eventually("its role", lambda: self.kubectl(*as_viewer, "pods.metrics.k8s.io").count("\n") >= 3)
        for beyond in (("pods.metrics.k8s.io", "-n", "kube-system"), ("nodes.metrics.k8s.io",)):
            p = self.kubectl(*as_viewer, *beyond, check=False)
            self.assertIn("Forbidden", p.stderr)

    def told_of_pods(self):
        """/stats/summary, once both pods were measured twice."""
        def whole():
            summary = json.loads(self.node("stats/summary"))
            pods = {p["podRef"]["name"]: p for p in summary["pods"]}
            return sorted(pods) == ["busy", "idle"] and all(p["containers"] for p in pods.values()) and (summary, pods)
        return eventually("both pods are told of", whole)

    def test_the_port_tells_as_a_kubelet(self):
        def without(value, left_out):
            if isinstance(value, dict):
                return {name: without(member, left_out) for name, member in value.items() if name not in left_out}
            return [without(v, left_out) for v in value] if isinstance(value, list) else value
        # Cgroup v1 has no pressure, and a kernel may not count swap.
        by_kernel = {"psi", "io", "swapAvailableBytes"}
        told, wanted = (without(s, by_kernel) for s in (record_node.shape(self.told_of_pods()[0]), KUBELET["stats/summary"]))
        # A kubelet limits the groups above containers too.
        for group in (group for s in (told, wanted) for group in (*s["node"]["systemContainers"], *s["pods"])):
            group["memory"].pop("availableBytes", None)
        self.assertEqual(told, wanted)

        def pods_only(path):  # without what the machine tells of swap
            return {n: f for n, f in record_node.families(self.node(path)).items() if n != "container_swap_limit_bytes"}
        del KUBELET["metrics/resource"]["container_swap_limit_bytes"]
        self.assertEqual(pods_only("metrics/resource"), KUBELET["metrics/resource"])
        eventually("probes are counted", lambda: 'pod="busy"' in self.node("metrics/probes"))
        self.assertEqual(record_node.families(self.node("metrics/probes")), KUBELET["metrics/probes"])
        kubelet, cadvisor = KUBELET["metrics/cadvisor"], record_node.families(self.node("metrics/cadvisor"))
        self.assertLessEqual(set(cadvisor), set(kubelet) | BY_KERNEL)
        for name in set(cadvisor) - BY_KERNEL:
            self.assertEqual(cadvisor[name], kubelet[name], name)

    def test_the_nodes_port(self):
        summary, pods = self.told_of_pods()
        series = self.node("metrics/resource")
        self.assertRegex(series, r'container_cpu_usage_seconds_total\{container="main",namespace="default",pod="busy"\} \d')
        self.assertRegex(series, r'pod_memory_working_set_bytes\{namespace="default",pod="idle"\} [1-9]')
        self.assertIn("\nresource_scrape_error 0\n", series)
        series = self.node("metrics/cadvisor")
        of_busy = r'container="main",id="/kubepods/pod[^"]+",image="[^"]*busybox[^"]*",name="[0-9a-f]{64}",namespace="default",pod="busy"\}'
        for name, value in (("container_cpu_cfs_throttled_periods_total", r"\d"), ("container_spec_cpu_quota", "20000"), ("container_memory_rss", "[1-9]"),
                            ("container_spec_memory_limit_bytes", "6.7108864e[+]0?7|67108864"), ("container_start_time_seconds", "[1-9]")):
            self.assertRegex(series, rf"{name}\{{{of_busy} ({value})")
        self.assertRegex(series, r'container_network_receive_bytes_total\{interface="eth0",[^}]*namespace="default",pod="busy"\} \d')
        self.assertRegex(series, r"machine_cpu_cores\{[^}]*\} [1-9]")
        series = eventually("probes are counted", lambda: (lambda t: 'pod="busy"' in t and t)(self.node("metrics/probes")))
        self.assertRegex(series, r'prober_probe_total\{container="main",namespace="default",pod="busy",pod_uid="[^"]+",probe_type="Readiness",result="successful"\} [1-9]')
        series = self.node("metrics")
        self.assertIn('\nkubelet_running_pods 2\n', series)
        self.assertRegex(series, r'kubelet_runtime_operations_total\{operation_type="run_podsandbox"\} ([2-9]|[1-9]\d+)\n')
        self.assertEqual(summary["node"]["nodeName"], "server")
        self.assertEqual(pods["busy"]["network"]["name"], "eth0")
        self.assertGreater(pods["busy"]["cpu"]["usageCoreNanoSeconds"], pods["idle"]["cpu"]["usageCoreNanoSeconds"])
        self.assertEqual(pods["busy"]["containers"][0]["name"], "main")
        self.assertGreater(pods["busy"]["containers"][0]["rootfs"]["capacityBytes"], 0)
        running = json.loads(self.node("runningpods/"))
        self.assertEqual(sorted(p["metadata"]["name"] for p in running["items"]), ["busy", "idle"])
        self.assertEqual(running["items"][0]["spec"]["containers"][0]["name"], "main")

    def test_who_may_read_what(self):
        self.kubectl("create", "serviceaccount", "scraper")
        self.kubectl("create", "clusterrole", "scraper", "--verb=get", "--resource=nodes/metrics,nodes/healthz")
        self.kubectl("create", "clusterrolebinding", "scraper", "--clusterrole=scraper", "--serviceaccount=default:scraper")
        token = self.kubectl("create", "token", "scraper").strip()

        def code(path, *more):
            return run(*self.server.host.command("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *more, f"https://127.0.0.1:10250{path}"))
        bearer = ("-H", f"Authorization: Bearer {token}")
        # Before the node is asked, which remembers a refusal for a while.
        eventually("its role", lambda: self.kubectl("auth", "can-i", "get", "nodes", "--subresource=metrics", "--as=system:serviceaccount:default:scraper", check=False).stdout == "yes\n")
        self.assertEqual(code("/metrics/resource", *bearer), "200")
        for path in ("/metrics", "/metrics/cadvisor", "/metrics/probes", "/healthz"):
            self.assertEqual(code(path, *bearer), "200", path)
        for path in ("/stats/summary", "/pods", "/runningpods/", "/configz", "/logs/", "/exec/default/busy/main?command=id&output=1", "/nothing"):
            self.assertEqual(code(path, *bearer), "403", path)
        self.assertEqual(code("/metrics/resource", *bearer, "-X", "POST"), "403")
        self.assertEqual(code("/metrics/resource"), "401")
        self.assertEqual(code("/metrics/resource", "-H", "Authorization: Bearer nonsense"), "401")

    def test_it_can_be_left_out(self):
        server = Server(self.lab, "without", host=self.lab.host(), args=["--disable-agent", "--disable=metrics-server"]).wait_ready()
        self.assertEqual(server.kubectl("api-resources", "--api-group=metrics.k8s.io", "--no-headers"), "")
        p = server.kubectl("top", "node", check=False)
        self.assertIn("Metrics API not available", p.stderr)
        self.assertNotIn("metrics", server.kubectl("get", "apiservices", "-o", "name"))


if __name__ == "__main__":
    main()
