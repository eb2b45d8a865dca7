"""What pods bring that nobody expects: names and values, lines without end, thousands of arguments, links that lead outside, users and
programs that aren't there, probes that are answered for ever, configuration with errors."""

import json
import os
import subprocess
import tempfile
import unittest

from harness import Agent, Api, Server, eventually, main, run
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node

MEGABYTE = 1 << 20


def container(command="sleep 1000", **more):
    return {"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", command], **more}


class OneNode(unittest.TestCase):
    ARGS = []

    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.lab.host(), args=[*ARGS, *cls.ARGS]).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))

    def tearDown(self):
        self.kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=true", timeout=120)

    def kubectl(self, *args, **kw):
        return self.server.kubectl(*args, **kw)

    def make(self, name, main, **spec):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [main], **spec}}
        self.kubectl("create", "-f", "-", input=json.dumps(pod))

    def wait(self, name, what, holds):
        return eventually(what, lambda: (lambda p: holds((p["status"].get("containerStatuses") or [{}])[0], p) and p)(self.server.get("pod", name)))

    def ready(self, name):
        return self.wait(name, f"pod {name} is ready", lambda s, p: s.get("ready"))

    def binary(self, *args):
        """kubectl's output as it comes."""
        return subprocess.run(self.server.host.command("kubectl", "--kubeconfig", self.server.kubeconfig, *args), stdout=subprocess.PIPE, timeout=120, check=True).stdout

    def events(self, name):
        return [e["message"] for e in self.server.get("events", "--field-selector", f"involvedObject.name={name}")["items"]]


class OddPods(OneNode):
    def test_names_and_values_of_the_environment(self):
        given = {"plain": "x", "with.dot-and-dash": "1", "1starts": "2", "with space": "3", "smile ☺"[:5]: "4", "lines": "a\nb\n", "empty": "", "equals": "a=b=c",
                 "wide": "ü☺" * 100, "large": "v" * 100_000, "dollars": "$$(plain) $(nothing) $(plain)"}
        self.kubectl("create", "configmap", "odd", *(f"--from-literal={name}=of a map" for name in ("in.map", "0in-map")))
        self.addCleanup(self.kubectl, "delete", "configmap", "odd")
        self.make("environed", {**container(), "command": ["sleep", "1000"]} | dict(env=[{"name": n, "value": v} for n, v in given.items()], envFrom=[{"configMapRef": {"name": "odd"}, "prefix": "p "}]))
        self.ready("environed")
        has = dict(line.split("=", 1) for line in self.binary("exec", "environed", "--", "cat", "/proc/1/environ").decode().split("\0") if line)
        given["dollars"] = "$(plain) $(nothing) x"
        self.assertEqual({n: has.get(n) for n in given}, given)
        self.assertEqual((has["p in.map"], has["p 0in-map"]), ("of a map", "of a map"))

    def test_lines_of_a_megabyte_and_lines_without_an_end(self):
        self.make("long", container(f"head -c {MEGABYTE} /dev/zero | tr '\\0' a; echo; echo short; head -c {MEGABYTE} /dev/zero | tr '\\0' b"), restartPolicy="Never")
        self.wait("long", "it has ended", lambda s, p: p["status"]["phase"] == "Succeeded")
        whole = b"a" * MEGABYTE + b"\nshort\n" + b"b" * MEGABYTE
        self.assertEqual(self.binary("logs", "long").rstrip(b"\n"), whole)
        # A runtime cuts a long line into pieces of 16 KiB, and these are what is counted, as by the kubelet.
        self.assertEqual(self.binary("logs", "long", "--tail=2").rstrip(b"\n"), b"b" * 32 * 1024)
        self.assertEqual(self.binary("logs", "long", "--limit-bytes=1000"), b"a" * 1000)
        stamped = self.binary("logs", "long", "--timestamps").split(b"\n")
        self.assertEqual([line[31:] for line in stamped if line][1], b"short")

    def test_commands_of_thousands_of_arguments(self):
        self.make("asked", container())
        self.ready("asked")
        ask = lambda n, **kw: self.kubectl("exec", "asked", "--", "sh", "-c", f'echo $#; shift {n - 1}; echo "$@"', "sh", *(f"word-{i}" for i in range(n)), **kw)
        self.assertEqual(ask(3_000), "3000\nword-2999\n")
        # A head of more than 64 KiB is refused, and said to be.
        refused = ask(10_000, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("414 Request URI Too Long", refused.stderr)

    def test_trees_with_links_that_lead_outside_are_copied_both_ways(self):
        self.make("treed", container("mkdir -p /tree/inner; echo kept >/tree/inner/file; ln -s /etc/passwd /tree/outside; ln -s ../../../../../../../tmp/escaped /tree/inner/up; "
                                     "ln -s inner/file /tree/inside; sleep 1000"))
        self.ready("treed")
        with tempfile.TemporaryDirectory() as folder:
            self.kubectl("cp", "treed:/tree", folder + "/copy")
            found = {os.path.relpath(os.path.join(at, f), folder) for at, _, files in os.walk(folder) for f in files}
            self.assertEqual(open(folder + "/copy/inner/file").read(), "kept\n")
            self.assertFalse({f for f in found if "outside" in f or "up" in f}, found)
            os.symlink("/etc/hostname", folder + "/copy/back")
            self.kubectl("cp", folder + "/copy", "treed:/again")
        self.assertEqual(self.kubectl("exec", "treed", "--", "cat", "/again/inner/file"), "kept\n")
        self.assertFalse(os.path.exists("/tmp/escaped"))

    def test_who_looks_into_pods_and_nodes(self):
        """kubectl run -i --rm, and debug: beside a pod's containers, in a copy, and on the node."""
        never = "--image-pull-policy=Never"
        ask = lambda *args, **kw: self.kubectl(*args, timeout=120, **kw)

        def talk(words, *args):
            # A runtime shows nothing more to who has ended what he says, where a container's input outlives him.
            kubectl = ["kubectl", "--kubeconfig", self.server.kubeconfig, *args]
            return run(*self.server.host.command("sh", "-c", '(echo "$0"; sleep 2) | "$@"', words, *kubectl), timeout=120)
        out = ask("run", "passing", "-i", "--rm", "--restart=Never", f"--image={BUSYBOX}", never, "--", "sh", input="echo said $((1+1)); exit\n")
        self.assertIn("said 2", out)
        self.assertNotIn("passing", ask("get", "pods", "-o", "name"))
        self.make("watched", container("echo secret >/tmp/word; sleep 1234"))
        self.ready("watched")
        beside = talk("ps; cat /proc/1/root/tmp/word; exit", "debug", "watched", "-i", f"--image={BUSYBOX}", never, "--target=main", "-c", "looks", "--", "sh")
        self.assertIn("sleep 1234", beside)
        self.assertIn("secret", beside)
        ended = lambda p: next((s["state"].get("terminated") for s in p["status"].get("ephemeralContainerStatuses", [])), None)
        self.assertEqual(self.wait("watched", "its look has ended", lambda s, p: ended(p)) and ended(self.server.get("pod", "watched"))["exitCode"], 0)
        ask("debug", "watched", "--copy-to=copied", "--container=main", never, "--", "sleep", "4321")
        self.ready("copied")
        self.assertEqual(self.server.get("pod", "copied")["spec"]["containers"][0]["command"], ["sleep", "4321"])
        host = talk("ls /host; exit", "debug", "node/server", "-i", f"--image={BUSYBOX}", never, "--profile=general", "--", "sh")
        self.assertLessEqual({"etc", "proc", "usr"}, set(host.split()))

    def test_programs_and_users_that_arent_there(self):
        self.make("nowhere", {**container(), "command": ["/no/such/program"]}, restartPolicy="Never")
        status = self.wait("nowhere", "it can't start", lambda s, p: s.get("state", {}).get("terminated"))["status"]
        ended = status["containerStatuses"][0]["state"]["terminated"]
        self.assertEqual((ended["reason"], ended["exitCode"], status["phase"]), ("StartError", 128, "Failed"))
        self.assertIn("/no/such/program", ended["message"])  # in runc's words or in crun's
        self.make("numbered", container("id -u; sleep 1000", securityContext={"runAsUser": 4_000_000_000 - 2_000_000_000}))
        self.ready("numbered")
        self.assertEqual(self.kubectl("logs", "numbered"), "2000000000\n")

    def test_a_probe_that_is_answered_for_ever(self):
        endless = "while true; do (printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'; yes) | nc -l -p 8080 >/dev/null; done"
        probe = {"httpGet": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 2}
        self.make("endless", container(endless, readinessProbe=probe))
        self.make("closed", container(readinessProbe={"tcpSocket": {"port": 9}, "periodSeconds": 1}))
        self.ready("endless")
        eventually("the closed port is told", lambda: any("connection refused" in m for m in self.events("closed")))
        memory = int(next(line for line in open(f"/proc/{self.server.process.pid}/status") if line.startswith("VmRSS")).split()[1])
        self.assertLess(memory, 400_000, "kilobytes of the server with its node")

    def test_errors_in_registries_yaml_are_told_with_their_place(self):
        host = self.lab.host()
        for i, (text, told) in enumerate((("mirrors:\n  docker.io:\n    endpoint: [\n", "line 4"), ("mirrors: 3\n", "mirrors"), ("mirrors:\n  docker.io: {endpoint: 3}\n", "docker.io"))):
            path = os.path.join(self.lab.folder, f"registries-{i}.yaml")
            with open(path, "w") as f:
                f.write(text)
            agent = Agent(self.lab, f"wrong-{i}", host, self.server.url, self.server.token(), args=["--private-registry", path])
            line = eventually("it says what is wrong", lambda: next((l for l in agent.log().splitlines() if path in l), None))
            self.assertIn(told, line)
            agent.process.kill()
            agent.process.wait(20)


class ToldNode(OneNode):
    """A node that was told by the kubelet's flags what it wouldn't do otherwise."""
    ARGS = [f"--kubelet-arg={a}" for a in ("pods-per-core=3", "seccomp-default=true", "allowed-unsafe-sysctls=net.core.*", "registry-qps=1", "registry-burst=1",
                                            "serialize-image-pulls=true", "system-reserved=cpu=100m", "eviction-hard=memory.available<100Mi,nodefs.available<5%",
                                            "eviction-minimum-reclaim=nodefs.available=10%")]

    def test_pods_of_so_many_cpus(self):
        self.assertEqual(self.server.get("node", "server")["status"]["capacity"]["pods"], str(min(110, 3 * os.cpu_count())))

    def test_its_configuration_is_told(self):
        config = json.loads(self.kubectl("get", "--raw", "/api/v1/nodes/server/proxy/configz"))["kubeletconfig"]
        told = {"kind": "KubeletConfiguration", "podsPerCore": 3, "seccompDefault": True, "registryPullQPS": 1, "serializeImagePulls": True, "allowedUnsafeSysctls": ["net.core.*"],
                "evictionHard": {"memory.available": "104857600", "nodefs.available": "5%"}, "evictionMinimumReclaim": {"nodefs.available": "10%"}, "systemReserved": {"cpu": "100m"}}
        self.assertEqual({name: config.get(name) for name in told}, told)

    def test_a_profile_of_system_calls_for_who_names_none(self):
        modes = lambda name: self.kubectl("exec", name, "--", "grep", "Seccomp:", "/proc/self/status").split()[1]
        self.make("silent", container())
        self.make("open", container(), securityContext={"seccompProfile": {"type": "Unconfined"}})
        self.ready("silent")
        self.ready("open")
        self.assertEqual((modes("silent"), modes("open")), ("2", "0"))

    def test_parameters_of_the_kernel_that_are_allowed(self):
        sysctl = lambda name, value: {"securityContext": {"sysctls": [{"name": name, "value": value}]}}
        self.make("tuned", container(), **sysctl("net.core.somaxconn", "77"))
        self.make("refused", container(), **sysctl("kernel.msgmax", "65536"))
        self.ready("tuned")
        self.assertEqual(self.kubectl("exec", "tuned", "--", "cat", "/proc/sys/net/core/somaxconn"), "77\n")
        status = self.wait("refused", "it is refused", lambda s, p: p["status"]["phase"] == "Failed")["status"]
        self.assertEqual((status["reason"], status["message"]), ("SysctlForbidden", 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'))

    def test_registries_are_asked_so_often(self):
        for name in ("one", "two", "three"):
            self.make(name, {**container(), "image": f"127.0.0.1:1/{name}:x", "imagePullPolicy": "Always"})
        eventually("one of them came too soon", lambda: any("pull QPS exceeded" in m for name in ("one", "two", "three") for m in self.events(name)))

    def test_a_checkpoint_that_the_runtime_cannot_make(self):
        self.make("still", container())
        self.ready("still")
        api = Api(self.server)
        self.addCleanup(api.close)
        ask = lambda what: api.request("POST", "/api/v1/nodes/server/proxy/checkpoint/default/" + what)
        self.assertEqual(ask("nobody/main"), (404, "pod does not exist"))
        self.assertEqual(ask("still/other"), (404, "container other does not exist"))
        code, told = ask("still/main")
        self.assertEqual(code, 500)
        self.assertRegex(told, r"^checkpointing of default/still/main failed \(rpc error: code = \w+ desc = .+\)$")


if __name__ == "__main__":
    main()
