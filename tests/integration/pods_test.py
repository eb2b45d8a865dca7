"""Pods on real containerd, as kubectl shows them."""

import json
import os
import subprocess
import unittest

from harness import Failed, Server, eventually, main, run
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node


def status_of(pod, container=None):
    all = pod.get("status", {}).get("containerStatuses", []) + pod.get("status", {}).get("initContainerStatuses", [])
    return next((s for s in all if container in (None, s["name"])), {})


def condition(pod, type):
    return next((c for c in pod.get("status", {}).get("conditions", []) if c["type"] == type), {})


def container(name="main", command=None, **more):
    return {"name": name, "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", **({"command": ["sh", "-c", command]} if command else {}), **more}


class Pods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        kubelet = os.path.join(cls.lab.folder, "kubelet.yaml")
        with open(kubelet, "w") as f:
            json.dump({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "containerLogMaxSize": "64Ki",
                       "containerLogMaxFiles": 3, "containerLogMonitorInterval": "3s"}, f)
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.lab.host(), args=[*ARGS, "--kubelet-arg=config=" + kubelet]).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))

    def tearDown(self):
        self.kubectl("delete", "deployments,pods", "--all", "--grace-period=1", "--wait=true", timeout=120)

    def kubectl(self, *args, **kw):
        return self.server.kubectl(*args, **kw)

    def pod(self, name):
        return self.server.get("pod", name)

    def make(self, name, *containers, **spec):
        metadata = spec.pop("metadata", {})
        spec.setdefault("terminationGracePeriodSeconds", 2)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": {"containers": list(containers), **spec}}
        self.kubectl("create", "-f", "-", input=json.dumps(pod))
        return name

    def wait(self, name, what, condition, timeout=60):
        try:
            return eventually(what, lambda: (lambda p: condition(p) and p)(self.pod(name)), timeout)
        except Failed as e:
            raise Failed(f"{e}\n{self.kubectl('describe', 'pod', name, check=False).stdout[-3000:]}\n{self.server.log()[-2000:]}") from None

    def phase(self, name, phase, timeout=60):
        return self.wait(name, f"pod {name} is {phase}", lambda p: p["status"].get("phase") == phase, timeout)

    def ready(self, name, timeout=60):
        return self.wait(name, f"pod {name} is Ready", lambda p: condition(p, "Ready").get("status") == "True", timeout)

    def logs(self, name, *args):
        return self.kubectl("logs", name, *args)

    def events(self, name):
        return [(e["reason"], e["message"]) for e in self.server.get("events", "--field-selector", f"involvedObject.name={name}")["items"]]

    def test_a_pod_runs_and_goes(self):
        self.kubectl("run", "web", "--image", BUSYBOX, "--image-pull-policy", "Never", "--", "sh", "-c", "echo hello; echo oops >&2; exec sleep 1000")
        pod = self.ready("web")
        s = status_of(pod)
        self.assertTrue(s["containerID"].startswith("containerd://"))
        self.assertEqual((pod["status"]["phase"], s["ready"], s["started"], s["restartCount"]), ("Running", True, True, 0))
        self.assertTrue(pod["status"]["podIP"].startswith("10.42."))
        self.assertEqual(pod["status"]["hostIP"], self.server.host.address)
        self.assertEqual([c["type"] for c in pod["status"]["conditions"]], ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"])
        self.assertEqual(sorted(eventually("both lines", lambda: (lambda l: len(l) == 2 and l)(self.logs("web").splitlines()))), ["hello", "oops"])
        self.assertEqual(self.logs("web", "--tail=0"), "")
        self.assertRegex(self.logs("web", "--timestamps", "--tail=1"), r"^20\d\d-\d\d-\d\dT\S+Z \w+\n$")
        self.assertEqual(self.kubectl("exec", "web", "--", "hostname"), "web\n")
        p = self.kubectl("exec", "web", "--", "sh", "-c", "exit 42", check=False)
        self.assertEqual(p.returncode, 42, p.stderr)
        self.assertEqual(self.kubectl("exec", "-i", "web", "--", "cat", input="through and back"), "through and back")
        self.assertIn("Container started", [m for _, m in self.events("web")])
        uid = pod["metadata"]["uid"]
        self.kubectl("delete", "pod", "web", "--grace-period=1")
        eventually("nothing of it is left in the runtime", lambda: uid not in self.lab.ctr(self.server, "containers", "list") and True)
        kubelet = os.path.join(self.server.data, "agent/kubelet/pods")
        eventually("nothing of it is left on the disk", lambda: uid not in os.listdir(kubelet))
        self.assertNotIn(uid, open("/proc/self/mounts").read())

    def test_a_deployment(self):
        self.kubectl("create", "deployment", "web", "--image", BUSYBOX, "--replicas=3", "--", "sleep", "1000")
        self.kubectl("rollout", "status", "deployment", "web", "--timeout=60s", timeout=90)
        pods = self.server.get("pods", "-l", "app=web")["items"]
        self.assertEqual(len({p["status"]["podIP"] for p in pods}), 3)
        self.kubectl("scale", "deployment", "web", "--replicas=1")
        eventually("one is left", lambda: len(self.server.get("pods", "-l", "app=web")["items"]) == 1, timeout=60)

    def test_init_containers_run_one_by_one(self):
        self.make("staged", container(command="cat /job/order; sleep 1000", volumeMounts=[{"name": "work", "mountPath": "/job"}]),
                  initContainers=[container("one", "echo one >> /job/order", volumeMounts=[{"name": "work", "mountPath": "/job"}]),
                                  container("two", "sleep 1; echo two >> /job/order", volumeMounts=[{"name": "work", "mountPath": "/job"}])],
                  volumes=[{"name": "work", "emptyDir": {}}])
        pod = self.ready("staged")
        self.assertEqual(eventually("its log", lambda: self.logs("staged")), "one\ntwo\n")
        self.assertEqual([(s["name"], s["ready"], s["state"]["terminated"]["reason"]) for s in pod["status"]["initContainerStatuses"]],
                         [("one", True, "Completed"), ("two", True, "Completed")])

    def test_an_init_container_that_fails(self):
        self.make("failing", container(command="sleep 1000"), initContainers=[container("first", "exit 3")], restartPolicy="Never")
        pod = self.phase("failing", "Failed")
        self.assertEqual(pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 3)
        self.assertEqual(status_of(pod, "main")["state"]["waiting"]["reason"], "PodInitializing")

    def test_a_sidecar_starts_before_and_ends_after(self):
        self.make("with-sidecar", container(command="test -e /job/up && echo found; sleep 2"), restartPolicy="Never",
                  initContainers=[container("side", "touch /job/up; sleep 1000", restartPolicy="Always", volumeMounts=[{"name": "work", "mountPath": "/job"}],
                                            startupProbe={"exec": {"command": ["test", "-e", "/job/up"]}, "periodSeconds": 1})],
                  volumes=[{"name": "work", "emptyDir": {}}])
        self.wait("with-sidecar", "both run", lambda p: status_of(p, "side").get("started") and "running" in status_of(p, "main").get("state", {}))
        self.phase("with-sidecar", "Succeeded")

    def test_it_ends(self):
        self.make("done", container(command="echo because > /dev/termination-log; exit 0"), restartPolicy="Never")
        pod = self.phase("done", "Succeeded")
        ended = status_of(pod)["state"]["terminated"]
        self.assertEqual((ended["exitCode"], ended["reason"], ended["message"]), (0, "Completed", "because\n"))
        self.assertEqual(condition(pod, "Ready")["reason"], "PodCompleted")
        self.make("wrong", container(command="echo why it failed; exit 7", terminationMessagePolicy="FallbackToLogsOnError"), restartPolicy="Never")
        ended = status_of(self.phase("wrong", "Failed"))["state"]["terminated"]
        self.assertEqual((ended["exitCode"], ended["reason"], ended["message"]), (7, "Error", "why it failed\n"))
        self.assertEqual(self.logs("wrong"), "why it failed\n")

    def test_it_crashes_and_backs_off(self):
        self.make("crash", container(command="echo run; exit 1"))
        pod = self.wait("crash", "it backs off", lambda p: status_of(p).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff")
        s = status_of(pod)
        self.assertGreaterEqual(s["restartCount"], 1)
        self.assertEqual(s["lastState"]["terminated"]["exitCode"], 1)
        self.assertRegex(s["state"]["waiting"]["message"], r"^back-off 10s restarting failed container=main pod=crash_default\([0-9a-f-]+\)$")
        self.assertEqual(pod["status"]["phase"], "Running")
        self.assertEqual(self.logs("crash", "--previous"), "run\n")

    def test_probes(self):
        probe = {"exec": {"command": ["test", "-e", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
        self.make("probed", container(command="sleep 1000", readinessProbe=probe))
        pod = self.phase("probed", "Running")
        self.assertEqual(condition(pod, "Ready")["message"], "containers with unready status: [main]")
        self.kubectl("exec", "probed", "--", "touch", "/tmp/ok")
        self.ready("probed")
        self.kubectl("exec", "probed", "--", "rm", "/tmp/ok")
        self.wait("probed", "it is unready", lambda p: condition(p, "Ready").get("status") == "False")
        self.make("web", container(command="httpd -p 80 -h /www && touch /www/index.html && sleep 1000", livenessProbe={"httpGet": {"path": "/index.html", "port": 80}, "periodSeconds": 1, "failureThreshold": 2},
                                   readinessProbe={"tcpSocket": {"port": 80}, "periodSeconds": 1}))
        self.ready("web")
        self.kubectl("exec", "web", "--", "rm", "/www/index.html")
        self.wait("web", "it was started anew", lambda p: status_of(p).get("restartCount", 0) >= 1)
        self.assertIn(("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 404"), self.events("web"))
        self.assertIn(("Killing", "Container main failed liveness probe, will be restarted"), self.events("web"))

    def test_configuration_comes_in(self):
        self.kubectl("create", "configmap", "settings", "--from-literal=color=blue", "--from-literal=size=3")
        self.kubectl("create", "secret", "generic", "keys", "--from-literal=password=hush")
        self.addCleanup(self.kubectl, "delete", "configmap/settings", "secret/keys")
        show = "env; echo --; cat /etc/settings/color; echo; cat /etc/keys/password; echo; ls -ln /etc/keys/..data/password; cat /etc/pod/labels; echo; sleep 1000"
        self.make("configured",
                  container(command=show, envFrom=[{"configMapRef": {"name": "settings"}, "prefix": "S_"}],
                            env=[{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                                 {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, {"name": "BOTH", "value": "$(S_color) and $(PASSWORD) $$(IP)"},
                                 {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}}],
                            resources={"requests": {"cpu": "50m"}},
                            volumeMounts=[{"name": "settings", "mountPath": "/etc/settings"}, {"name": "keys", "mountPath": "/etc/keys"}, {"name": "pod", "mountPath": "/etc/pod"}]),
                  metadata={"labels": {"app": "x", "tier": "y"}}, securityContext={"fsGroup": 2000},
                  volumes=[{"name": "settings", "configMap": {"name": "settings"}}, {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
                           {"name": "pod", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}])
        pod = self.ready("configured")
        out = eventually("its log", lambda: (lambda l: "tier" in l and l)(self.logs("configured")))
        env = dict(l.split("=", 1) for l in out.split("--")[0].splitlines() if "=" in l)
        self.assertEqual({k: env.get(k) for k in ("S_color", "S_size", "PASSWORD", "NODE", "IP", "BOTH", "CPU", "KUBERNETES_SERVICE_HOST", "FROM_IMAGE", "HOSTNAME")},
                         {"S_color": "blue", "S_size": "3", "PASSWORD": "hush", "NODE": "server", "IP": pod["status"]["podIP"], "BOTH": "blue and hush $(IP)", "CPU": "50",
                          "KUBERNETES_SERVICE_HOST": "10.43.0.1", "FROM_IMAGE": "yes", "HOSTNAME": "configured"})
        rest = out.split("--\n")[1].splitlines()
        self.assertEqual(rest[:2], ["blue", "hush"])
        self.assertRegex(rest[2], r"^-r--r----- +1 0 +2000 ")
        self.assertEqual(rest[3:5], ['app="x"', 'tier="y"'])
        token = self.kubectl("exec", "configured", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
        self.assertEqual(token.count("."), 2)
        self.assertIn("BEGIN CERTIFICATE", self.kubectl("exec", "configured", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"))

    def test_what_it_needs_comes_late(self):
        self.make("late", container(command="sleep 1000", env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}]))
        pod = self.wait("late", "it waits", lambda p: status_of(p).get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError")
        self.assertEqual(status_of(pod)["state"]["waiting"]["message"], 'configmap "later" not found')
        self.kubectl("create", "configmap", "later", "--from-literal=a=b")
        self.addCleanup(self.kubectl, "delete", "configmap", "later")
        self.ready("late")

    def test_an_image_that_is_nowhere(self):
        self.make("nowhere", {"name": "main", "image": "nowhere.invalid/none:1", "imagePullPolicy": "Never"})
        pod = self.wait("nowhere", "it waits", lambda p: "waiting" in status_of(p).get("state", {}) and status_of(p)["state"]["waiting"]["reason"] != "ContainerCreating")
        self.assertEqual(status_of(pod)["state"]["waiting"], {"reason": "ErrImageNeverPull", "message": 'Container image "nowhere.invalid/none:1" is not present with pull policy of Never'})
        self.make("registry", {"name": "main", "image": "127.0.0.1:1/none:1"})
        self.wait("registry", "it backs off", lambda p: status_of(p).get("state", {}).get("waiting", {}).get("reason") == "ImagePullBackOff")
        self.assertIn(("Failed", "Error: ErrImagePull"), self.events("registry"))

    def test_what_it_writes_is_followed_set_aside_and_limited(self):
        self.make("greedy", container(command="dd if=/dev/zero of=/job/much bs=1M count=3; sleep 1000", volumeMounts=[{"name": "work", "mountPath": "/job"}]),
                  volumes=[{"name": "work", "emptyDir": {"sizeLimit": "2Mi"}}])
        lines = 3000
        self.make("wordy", container(command=f"i=0; while [ $i -lt {lines} ]; do echo line $i of a log that grows; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 0.3; done; sleep 1000"))
        self.ready("wordy")
        followed = subprocess.Popen(self.server.host.command("timeout", "100", "kubectl", "--kubeconfig", self.server.kubeconfig, "logs", "-f", "wordy"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(followed.stdout.close)
        self.addCleanup(followed.wait)
        self.addCleanup(followed.terminate)
        for i in range(lines):
            self.assertEqual(followed.stdout.readline(), f"line {i} of a log that grows\n")
        uid = self.pod("wordy")["metadata"]["uid"]
        folder = os.path.join(self.server.data, f"agent/log/pods/default_wordy_{uid}/main")
        eventually("it was set aside, and what was before compressed", lambda: any(f.endswith(".gz") for f in os.listdir(folder)) and len(os.listdir(folder)) == 3)
        eventually("the newest file is small", lambda: os.path.getsize(os.path.join(folder, "0.log")) < 64 * 1024)
        gone = self.phase("greedy", "Failed")["status"]
        self.assertEqual((gone["reason"], gone["message"]), ("Evicted", 'Usage of EmptyDir volume "work" exceeds the limit "2Mi". '))

    def test_logs_of_restarts_that_are_forgotten_go(self):
        self.make("forgetful", container(command="echo run; sleep 0.2; exit 1"))
        uid = self.pod("forgetful")["metadata"]["uid"]
        self.wait("forgetful", "it was restarted", lambda p: status_of(p).get("restartCount", 0) >= 2)
        folder = os.path.join(self.server.data, f"agent/log/pods/default_forgetful_{uid}/main")
        eventually("the first one's is gone", lambda: "0.log" not in os.listdir(folder))
        self.assertEqual(self.logs("forgetful", "--previous"), "run\n")

    def test_hooks(self):
        self.make("hooked", container(command="trap 'exit 0' TERM; sleep 1000 & wait", volumeMounts=[{"name": "out", "mountPath": "/out"}],
                                      lifecycle={"postStart": {"exec": {"command": ["touch", "/out/started"]}}, "preStop": {"exec": {"command": ["sh", "-c", "sleep 1; touch /out/stopping"]}}}),
                  terminationGracePeriodSeconds=20, volumes=[{"name": "out", "hostPath": {"path": os.path.join(self.lab.folder, "hooks"), "type": "DirectoryOrCreate"}}])
        self.ready("hooked")
        self.assertEqual(os.listdir(os.path.join(self.lab.folder, "hooks")), ["started"])
        self.kubectl("delete", "pod", "hooked")
        self.assertEqual(sorted(os.listdir(os.path.join(self.lab.folder, "hooks"))), ["started", "stopping"])

    def test_it_has_its_time_to_end(self):
        self.make("stubborn", container(command="trap '' TERM; while true; do sleep 1; done"), terminationGracePeriodSeconds=600)
        self.ready("stubborn")
        self.kubectl("delete", "pod", "stubborn", "--wait=false")
        self.assertTrue(self.pod("stubborn")["metadata"]["deletionTimestamp"])
        self.kubectl("delete", "pod", "stubborn", "--grace-period=1", timeout=30)

    def test_a_pod_of_a_file(self):
        folder = os.path.join(self.server.data, "agent/pod-manifests")
        os.makedirs(folder, exist_ok=True)
        manifest = os.path.join(folder, "own.yaml")

        def write(command):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own", "labels": {"a": "b"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(command=command)]}}
            with open(manifest, "w") as f:
                json.dump(pod, f)
        with open(os.path.join(folder, "wrong.yaml"), "w") as f:
            f.write("kind: Deployment")
        write("echo one; sleep 1000")
        self.addCleanup(lambda: os.path.exists(manifest) and os.unlink(manifest))
        pod = self.ready("own-server")
        self.assertEqual((pod["metadata"]["annotations"]["kubernetes.io/config.source"], pod["metadata"]["ownerReferences"][0]["kind"]), ("file", "Node"))
        self.assertEqual(eventually("its log", lambda: self.logs("own-server")), "one\n")
        self.assertIn("wrong.yaml: it is no Pod of v1", self.server.log())
        self.kubectl("delete", "pod", "own-server", "--grace-period=0", "--force")
        again = self.wait("own-server", "the mirror is back", lambda p: condition(p, "Ready").get("status") == "True")
        self.assertEqual(status_of(again)["containerID"], status_of(pod)["containerID"])
        write("echo two; sleep 1000")
        eventually("the new one runs", lambda: self.logs("own-server") == "two\n", timeout=60)
        os.unlink(manifest)
        eventually("it is gone", lambda: "own-server" not in self.kubectl("get", "pods", "-o", "name"), timeout=60)

    def test_the_nodes_network(self):
        self.make("host", container(command="sleep 1000"), hostNetwork=True)
        pod = self.ready("host")
        self.assertEqual(pod["status"]["podIP"], self.server.host.address)

    def test_its_ports_and_its_input_are_reached(self):
        self.make("web", container(command="mkdir -p /tmp/www; echo hello > /tmp/www/index.html; httpd -f -p 8080 -h /tmp/www"))
        self.make("listens", container(command="while read x; do echo got $x; done", stdin=True))
        self.ready("web")
        self.ready("listens")
        kubectl = lambda *args: self.server.host.command("kubectl", "--kubeconfig", self.server.kubeconfig, *args)
        forward = subprocess.Popen(kubectl("port-forward", "pod/web", ":8080"), stdout=subprocess.PIPE, text=True)
        try:
            port = forward.stdout.readline().split("->")[0].rsplit(":", 1)[1].strip()
            fetch = lambda: run(*self.server.host.command("curl", "-s", "-f", "-m", "4", f"http://127.0.0.1:{port}/"), check=False).stdout
            eventually("the forwarded port answers", lambda: fetch() == "hello\n")
            self.assertEqual([fetch() for _ in range(3)], ["hello\n"] * 3)
        finally:
            forward.terminate()
            forward.wait(20)
            forward.stdout.close()
        attached = subprocess.Popen(kubectl("attach", "-i", "listens"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            attached.stdin.write("ping\n")
            attached.stdin.flush()
            self.assertEqual(attached.stdout.readline(), "got ping\n")
        finally:
            attached.terminate()
            attached.communicate(timeout=20)
        eventually("its log has it too", lambda: self.logs("listens") == "got ping\n")

    def test_network_policies(self):
        self.addCleanup(self.kubectl, "delete", "networkpolicies", "--all")

        def policy(name, **spec):
            self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}))

        def runs(name, command, **labels):
            return self.make(name, container(command=command), metadata={"labels": {"name": name, **labels}})

        serves = container(command="echo hello > /www/index.html; exec httpd -f -p 8080 -h /www", ports=[{"name": "http", "containerPort": 8080}],
                           readinessProbe={"httpGet": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 1})
        self.make("web", serves, metadata={"labels": {"name": "web"}})
        address = self.ready("web")["status"]["podIP"]
        fetch = f"echo 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 {address} 8080 2>&1"
        for name in ("friend", "stranger"):
            runs(name, "exec sleep 1000")
        policy("locked", podSelector={"matchLabels": {"locked": "yes"}}, policyTypes=["Egress"])
        table = self.server.host.command("nft", "list", "table", "ip", "kedge-policies")
        eventually("the policy is known to the node", lambda: run(*table))
        # Its first packet is what is asked about: what it says was said by the container's first command.
        runs("free", f"{fetch}; exec sleep 1000", locked="no")
        runs("locked", f"{fetch}; exec sleep 1000", locked="yes")
        self.assertIn("hello", eventually("what the free pod said", lambda: self.logs("free") or None))
        self.assertIn("refused", eventually("what the locked pod said", lambda: self.logs("locked") or None))

        for name in ("friend", "stranger"):
            self.ready(name)

        def reaches(name):
            return "hello" in self.kubectl("exec", name, "--", "sh", "-c", f"{fetch}; true")

        self.assertTrue(reaches("stranger"))
        policy("for-friends", podSelector={"matchLabels": {"name": "web"}},
               ingress=[{"from": [{"podSelector": {"matchLabels": {"name": "friend"}}}], "ports": [{"port": "http"}]}])
        eventually("strangers are refused", lambda: not reaches("stranger"), timeout=10)
        self.assertTrue(reaches("friend"))
        self.kubectl("label", "pod", "stranger", "name=friend", "--overwrite")
        eventually("a stranger becomes a friend", lambda: reaches("stranger"), timeout=10)
        # The node itself is never asked: Ready for as long as its probe has failed at once.
        self.assertEqual(condition(self.pod("web"), "Ready").get("status"), "True")
        self.assertIn("hello", run(*self.server.host.command("curl", "-s", "-m", "4", f"http://{address}:8080")))
        # What another program took away comes back, and what an earlier agent left is gone on with.
        run(*self.server.host.command("nft", "delete", "table", "ip", "kedge-policies"))
        eventually("the table is made again", lambda: "policy-" in run(*table), timeout=20)
        self.assertFalse(reaches("locked"))
        self.kubectl("delete", "networkpolicies", "--all")
        eventually("all reach again", lambda: reaches("locked"), timeout=10)
        eventually("nothing is left of it", lambda: run(*table, check=False).returncode != 0, timeout=10)

    def test_pods_of_our_shim_and_of_runcs_side_by_side(self):
        for name in ("kedge", "runc"):
            self.assertEqual(eventually(f"class {name} is there", lambda: self.server.get("runtimeclass", name))["handler"], name)
        try:
            command = "trap 'exit 3' TERM; echo started; while true; do sleep 0.1; done"
            self.make("plain", container(command=command), container("other", command))
            self.make("ours", container(command=command), runtimeClassName="kedge")
            self.make("theirs", container(command=command), runtimeClassName="runc")
            self.make("greedy", container(command="tail /dev/zero", resources={"limits": {"memory": "20Mi"}}), restartPolicy="Never")
            for name in ("plain", "ours", "theirs"):
                self.ready(name)
                self.assertEqual(eventually("its log", lambda: self.logs(name, "-c", "main")), "started\n")
                self.assertEqual(self.kubectl("exec", name, "-c", "main", "--", "hostname"), name + "\n")
            words = [open(f"/proc/{pid}/cmdline").read().split("\0")[0].rsplit("/", 1)[-1] for pid in self.lab.shims()[0]]
            # One of each pod, however many containers it has; greedy's may be gone.
            self.assertEqual(words.count("containerd-shim-runc-v2"), 1)
            self.assertIn(words.count("containerd-shim-kedge-v2"), (2, 3))
            dead = self.phase("greedy", "Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
            self.assertEqual((dead["reason"], dead["exitCode"]), ("OOMKilled", 137))
            p = self.kubectl("exec", "-i", "ours", "--", "sh", "-c", "cat; exit 4", input="in and out", check=False)
            self.assertEqual((p.returncode, p.stdout), (4, "in and out"))
        finally:
            self.kubectl("delete", "pods", "--all", "--grace-period=1", timeout=60)

    def resize(self, name, check=True, whole=None, **of_containers):
        patch = {"spec": {"containers": [{"name": c, "resources": r} for c, r in of_containers.items()], **({"resources": whole} if whole else {})}}
        return self.kubectl("patch", "pod", name, "--subresource=resize", "--type=strategic", "-p", json.dumps(patch), check=check)

    def limits(self, pod, container=None):
        """CPU shares, CPU quota and memory that a pod's control group has, or a container's."""
        below = f"kubepods/burstable/pod{pod['metadata']['uid']}"
        if container:
            below += "/" + status_of(pod, container)["containerID"].removeprefix("containerd://")
        if not os.path.exists("/sys/fs/cgroup/cpu"):
            weight, quota, memory = (open(f"/sys/fs/cgroup/{below}/{f}").read().split()[0] for f in ("cpu.weight", "cpu.max", "memory.max"))
            return round((int(weight) - 1) * 262142 / 9999 + 2), int(quota), int(memory)
        return tuple(int(open(f"/sys/fs/cgroup/{f[:f.index('.')]}/{below}/{f}").read()) for f in ("cpu.shares", "cpu.cfs_quota_us", "memory.limit_in_bytes"))

    def resizes_told(self, name):
        return [sum(reason == r for reason, _ in self.events(name)) for r in ("ResizeStarted", "ResizeCompleted", "ResizeDeferred")]

    def is_resized_at_all(self, pod):
        return condition(pod, "Ready").get("status") == "True" and not any(c["type"].startswith("PodResize") for c in pod["status"]["conditions"]) \
            and pod["status"]["observedGeneration"] == pod["metadata"]["generation"]

    def is_resized(self, pod):
        return self.is_resized_at_all(pod) and all(status_of(pod, c["name"]).get("resources") == c["resources"] for c in pod["spec"]["containers"])

    def test_it_is_resized_while_it_runs(self):
        def sized(cpu, memory):
            return {"requests": {"cpu": f"{cpu // 2}m", "memory": f"{memory // 2}Mi"}, "limits": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}}
        self.make("sized", container("kept", "sleep 1000", resources=sized(100, 64)),
                  container("anew", "sleep 1000", resources=sized(100, 64), resizePolicy=[{"resourceName": "memory", "restartPolicy": "RestartContainer"}]))
        before = self.ready("sized")
        self.assertEqual(self.limits(before), (102, 20000, 128 << 20))
        self.resize("sized", kept=sized(200, 96), anew=sized(100, 128))
        grown = self.wait("sized", "it has grown", self.is_resized)
        self.assertEqual((self.limits(grown), self.limits(grown, "kept"), self.limits(grown, "anew")),
                         ((153, 30000, 224 << 20), (102, 20000, 96 << 20), (51, 10000, 128 << 20)))
        self.assertEqual(status_of(grown, "kept")["containerID"], status_of(before, "kept")["containerID"])
        self.assertEqual([status_of(grown, c)["restartCount"] for c in ("kept", "anew")], [0, 1])
        self.assertIn(("Killing", "Container anew resize requires restart"), self.events("sized"))
        self.assertIn("node didn't have enough allocatable resources: cpu, requested: 450050, allocatable: ",
                      self.resize("sized", check=False, kept=sized(900_000, 96)).stderr)
        # What waits, and what it was given, are known to an agent that starts anew.
        cpus = int(self.server.get("node", "server")["status"]["allocatable"]["cpu"])
        self.make("other", container(command="sleep 1000", resources={"requests": {"cpu": f"{cpus * 1000 - 500}m"}}))
        self.ready("other")
        self.resize("sized", kept=sized(cpus * 2000 - 200, 96))
        waits = self.wait("sized", "it waits", lambda p: condition(p, "PodResizePending"))
        self.assertEqual((condition(waits, "PodResizePending")["reason"], condition(waits, "PodResizePending")["observedGeneration"]), ("Deferred", 3))
        eventually("all is told", lambda: self.resizes_told("sized") == [1, 1, 1])
        self.server.stop(9)
        self.server.start()
        self.server.wait_ready()
        ready_node(self.server, "server")
        self.resize("sized", kept=sized(50, 32))
        shrunk = self.wait("sized", "it has shrunk", self.is_resized)
        self.assertEqual((self.limits(shrunk), self.limits(shrunk, "kept")), ((76, 15000, 160 << 20), (25, 5000, 32 << 20)))
        self.assertEqual([status_of(shrunk, c)["restartCount"] for c in ("kept", "anew")], [0, 1])
        eventually("each was told once", lambda: self.resizes_told("sized") == [2, 2, 1])

    def test_it_is_resized_as_a_whole_while_it_runs(self):
        def sized(cpu, memory):
            return {"requests": {"cpu": f"{cpu // 2}m", "memory": f"{memory // 2}Mi"}, "limits": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}}
        self.make("whole", container("own", "sleep 1000", resources={"limits": {"cpu": "50m"}}), container("open", "sleep 1000"), resources=sized(200, 128))
        before = self.ready("whole")
        self.assertEqual([self.limits(before, c)[1:] for c in (None, "own", "open")], [(20000, 128 << 20), (5000, 128 << 20), (20000, 128 << 20)])
        for i, (cpu, memory) in enumerate(((400, 256), (100, 64)), 1):
            self.resize("whole", whole=sized(cpu, memory))
            done = self.wait("whole", "it has another size", lambda p: p["status"].get("resources") == sized(cpu, memory) and self.is_resized_at_all(p))
            self.assertEqual([self.limits(done, c)[1:] for c in (None, "own", "open")],
                             [(cpu * 100, memory << 20), (5000, memory << 20), (cpu * 100, memory << 20)])
            self.assertEqual(done["status"]["allocatedResources"], sized(cpu, memory)["requests"])
            self.assertEqual([status_of(done, c)["restartCount"] for c in ("own", "open")], [0, 0])
            eventually("each was told once", lambda: self.resizes_told("whole") == [i, i, 0])

    def test_it_is_not_given_less_memory_than_it_uses(self):
        self.make("full", container(command="head -c 40m /dev/zero > /dev/shm/x; echo full; sleep 1000", resources={"requests": {"memory": "20Mi"}, "limits": {"memory": "100Mi"}}))
        self.ready("full")
        eventually("it has filled its memory", lambda: self.logs("full") == "full\n")
        self.resize("full", main={"limits": {"memory": "20Mi"}})
        stays = self.wait("full", "it can't have less", lambda p: condition(p, "PodResizeInProgress").get("reason") == "Error")
        self.assertRegex(condition(stays, "PodResizeInProgress")["message"], r'^cannot decrease memory limits: \[attempting to set pod memory limit \(20971520\) below current usage \(\d+\), '
                         r'attempting to set container "main" memory limit \(20971520\) below current usage \(\d+\)\]$')
        self.assertEqual((self.limits(stays)[2], self.limits(stays, "main")[2], status_of(stays)["resources"]["limits"]["memory"]), (100 << 20, 100 << 20, "100Mi"))
        self.kubectl("exec", "full", "--", "rm", "/dev/shm/x")
        shrunk = self.wait("full", "it has shrunk", self.is_resized)
        self.assertEqual((self.limits(shrunk)[2], self.limits(shrunk, "main")[2]), (20 << 20, 20 << 20))

    def test_the_agent_starts_anew_and_the_pods_run_on(self):
        self.make("kept", container(command="sleep 1000", readinessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1}))
        before = self.ready("kept")
        self.server.stop(9)
        self.server.start()
        self.server.wait_ready()
        ready_node(self.server, "server")
        self.assertEqual(eventually("its node is asked again", lambda: self.kubectl("exec", "kept", "--", "echo", "alive")), "alive\n")
        after = self.pod("kept")
        self.assertEqual((status_of(after)["containerID"], status_of(after)["restartCount"], condition(after, "Ready")), (status_of(before)["containerID"], 0, condition(before, "Ready")))


if __name__ == "__main__":
    main()
