"""Running it: start and end, logs, the audit log, tokens, certificates, metrics, flags that change the server, the command line."""

import base64
import contextlib
import glob
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

from harness import BINARY, Agent, Api, Failed, Lab, Server, eventually, main, run

MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


class Operation(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.host = self.lab.host()

    def started(self, *args, **kw):
        return Server(self.lab, host=self.host, args=["--disable-agent", *args], **kw)

    def server(self, *args, **kw):
        return self.started(*args, **kw).wait_ready()

    def kedge(self, *args, env=None, check=True):
        return run(*self.host.command(BINARY, *args), check=check, env={**os.environ, "HOME": self.lab.folder, **(env or {})})

    def names_in_certificate(self, server):
        """What the server shows to who connects."""
        pem = ssl.get_server_certificate((server.address, server.port), timeout=10)
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(pem)
            f.flush()
            text = run("openssl", "x509", "-in", f.name, "-noout", "-ext", "subjectAltName")
        return {part.strip().split(":", 1)[1] for part in text.splitlines()[1].split(",")}


class Life(Operation):
    def test_a_signal_lets_running_requests_finish(self):
        server = self.server()
        tls = Api.context(server)
        body = json.dumps(config_map("late")).encode()
        with contextlib.closing(tls.wrap_socket(socket.create_connection((server.address, server.port), timeout=30))) as c:
            c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
                      % (MAPS.encode(), len(body)))
            self.assertIn(b"100 Continue", c.recv(1000))  # the request runs: its handler asks for the body
            server.process.send_signal(signal.SIGTERM)
            eventually("the server drains", lambda: "draining" in server.log())
            c.sendall(body)
            answer = b""
            while b"late" not in answer:
                piece = c.recv(65536)
                self.assertNotEqual(piece, b"", answer)
                answer += piece
            self.assertIn(b"201 Created", answer)
        self.assertEqual(server.process.wait(90), 0)
        self.assertIn("shut down", server.log())
        server.start()
        server.wait_ready()
        server.kubectl("get", "configmap", "late")

    def test_a_balancers_check_fails_as_soon_as_the_server_is_about_to_leave(self):
        server = self.server()
        tls = Api.context(server, identity=False)
        kept = [http.client.HTTPSConnection(server.address, server.port, context=tls, timeout=30) for _ in range(20)]

        def ping(c):
            c.request("GET", "/ping")
            answer = c.getresponse()
            return answer.status, answer.read()

        for c in kept:
            self.assertEqual(ping(c), (200, b"pong"))
        server.process.send_signal(signal.SIGTERM)
        # One after the other, since each gets one more answer when the server leaves; or none, if this process comes too late.
        seen = set()
        for c in kept:
            try:
                while not seen:
                    seen = {ping(c)} - {(200, b"pong")}
            except (OSError, http.client.HTTPException):
                pass
        self.assertLessEqual(seen, {(503, b"not serving")})
        self.assertEqual(server.process.wait(90), 0)

    def test_a_stop_under_load_fails_no_request(self):
        server = self.server()
        tls = Api.context(server)
        answered, failed, stopping = [], [], threading.Event()

        def ask(kept):
            c = http.client.HTTPSConnection(server.address, server.port, context=tls, timeout=30)
            while True:
                before = stopping.is_set()
                try:
                    c.request("GET", "/api/v1/namespaces/default")
                    a = c.getresponse()
                    answered.append(a.status)
                    a.read()
                except ConnectionRefusedError:
                    if not before:
                        failed.append("refused before the stop")
                    return
                except (OSError, http.client.HTTPException) as e:
                    failed.append(repr(e))
                    return
                if not kept:
                    c.close()

        clients = [threading.Thread(target=ask, args=(i % 2 == 0,), daemon=True) for i in range(6)]
        for c in clients:
            c.start()
        eventually("requests are answered", lambda: len(answered) > 100, timeout=60)
        stopping.set()
        self.assertEqual(server.stop(), 0, server.log())
        for c in clients:
            c.join(60)
        self.assertEqual(failed, [])
        self.assertEqual(set(answered), {200})

    def test_watches_end_and_do_not_hold_it_up(self):
        server = self.server()
        watch = self.lab.start("watch", self.host.command("kubectl", "--kubeconfig", server.kubeconfig, "get", "configmaps", "-w"))
        eventually("the watch runs", lambda: "kube-root-ca.crt" in open(watch.log).read())
        self.assertEqual(server.stop(), 0)
        watch.wait(60)

    def test_the_service_manager_is_told(self):
        path = os.path.join(self.lab.folder, "notify")
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
            manager.bind(path)
            manager.settimeout(90)
            server = self.started(env={"NOTIFY_SOCKET": path})
            self.assertEqual(manager.recv(1000).strip(), b"READY=1")
            server.wait_ready(20)  # and not sooner
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(manager.recv(1000).strip(), b"STOPPING=1")
            self.assertEqual(server.process.wait(90), 0)

    def test_a_start_that_fails_exits_with_1_and_says_why(self):
        server = self.started("--bind-address", "192.0.2.1")
        self.assertEqual(server.process.wait(90), 1)
        self.assertRegex(server.log(), r"level=error .*192\.0\.2\.1:6443")


class Logs(Operation):
    def test_json_lines_with_levels_and_no_secrets(self):
        secrets = {"--token": "server-token-4711", "--agent-token": "agent-token-4712"}
        server = self.server("--debug", "--log-format", "json", *[w for pair in secrets.items() for w in pair])
        worker = Agent(self.lab, "worker", self.lab.host(), server.url, secrets["--agent-token"], args=["--debug", "--log-format", "json"])
        wrong = Agent(self.lab, "wrong", self.lab.host(), server.url, "K10" + "::node:wrong-token-4713", args=["--debug"])
        server.kubectl("create", "secret", "generic", "kept", "--from-literal=password=stored-secret-4714")
        joining = self.kedge("token", "create", "--data-dir", server.data).strip().split("::")[1]
        account = server.kubectl("create", "token", "default").strip()
        self.assertEqual(server.api().request("GET", MAPS, headers={"Authorization": "Bearer " + account})[0] // 100, 2)
        bad = run("curl", "-sk", "-H", "Authorization: Bearer bearer-4715", "-u", "node:basic-4716", server.url + "/api")
        self.assertIn("Unauthorized", bad)
        eventually("the node is there", lambda: server.get("node", "worker"), timeout=120)
        eventually("the wrong token is refused", lambda: "not authorized" in wrong.log() or "Unauthorized" in wrong.log())
        self.assertEqual(server.stop(), 0)

        hidden = {**{v: k for k, v in secrets.items()}, "wrong-token-4713": "a wrong token", "stored-secret-4714": "a Secret's value",
                  "c3RvcmVkLXNlY3JldC00NzE0": "a Secret's value", "bearer-4715": "a bearer token", "basic-4716": "a password",
                  joining.split(".")[1]: "a bootstrap token", account.split(".")[2]: "a service account token"}
        for path in glob.glob(self.lab.folder + "/**/*.key", recursive=True):
            for line in open(path).read().splitlines()[1:-1]:
                hidden[line] = path
        for path in glob.glob(self.lab.folder + "/*-node/password"):
            hidden[open(path).read().strip()] = path
        self.assertGreater(len(hidden), 20)
        logs = {"server": server.log(), "worker": worker.log(), "wrong": wrong.log()}
        for name, text in logs.items():
            for secret, what in hidden.items():
                self.assertNotIn(secret, text, f"{what} in the log of {name}")
        levels = set()
        for line in (logs["server"] + logs["worker"]).splitlines():
            entry = json.loads(line)
            self.assertRegex(entry["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$")
            self.assertTrue(entry["msg"])
            levels.add(entry["level"])
        self.assertLessEqual({"debug", "info"}, levels)
        self.assertLessEqual(levels, {"debug", "info", "warning", "error"})

    def test_no_debug_unless_asked_and_a_file_of_its_own(self):
        path = os.path.join(self.lab.folder, "own.log")
        server = self.server("--log", path)
        text = eventually("it tells that it serves", lambda: (lambda t: "serves on" in t and t)(open(path).read()))
        self.assertRegex(text, r'(?m)^time="\S+" level=info msg="')
        self.assertNotIn("level=debug", text)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(server.log(), "")

    def test_the_audit_log_is_off_until_it_is_asked_for(self):
        path = os.path.join(self.lab.folder, "audit.log")
        server = self.server()
        server.kubectl("create", "configmap", "before")
        self.assertEqual(server.stop(), 0)
        self.assertEqual(glob.glob(server.data + "/**/*audit*", recursive=True), [])
        policy = os.path.join(self.lab.folder, "policy.yaml")
        with open(policy, "w") as f:
            f.write("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n")
        server.args += [f"--kube-apiserver-arg=audit-log-path={path}", f"--kube-apiserver-arg=audit-policy-file={policy}"]
        server.start()
        server.wait_ready()
        server.kubectl("create", "secret", "generic", "kept", "--from-literal=password=stored-secret-4714")
        server.kubectl("get", "configmap", "nowhere", check=False)
        self.assertEqual(server.stop(), 0)
        events = [json.loads(line) for line in open(path)]
        for e in events:
            self.assertEqual((e["kind"], e["apiVersion"], e["level"]), ("Event", "audit.k8s.io/v1", "Metadata"))
        made = next(e for e in events if e["verb"] == "create" and e.get("objectRef", {}).get("resource") == "secrets")
        self.assertEqual(made["user"]["username"], "system:admin")
        self.assertEqual((made["objectRef"]["namespace"], made["responseStatus"]["code"]), ("default", 201))
        self.assertTrue(made["sourceIPs"] and made["userAgent"].startswith("kubectl") and made["auditID"])
        self.assertEqual(next(e for e in events if e["requestURI"].endswith("/configmaps/nowhere"))["responseStatus"]["code"], 404)
        text = open(path).read()
        self.assertNotIn("stored-secret-4714", text)
        self.assertNotIn("c3RvcmVkLXNlY3JldC00NzE0", text)
        self.assertEqual(os.stat(path).st_mode & 0o077, 0)


class Commands(Operation):
    def test_kubectl_of_this_server(self):
        server = self.server()
        self.assertIn("kube-system", self.kedge("kubectl", "--data-dir", server.data, "get", "namespaces"))
        self.assertIn("kube-system", self.kedge("kubectl", "get", "namespaces", env={"K3S_KUBECONFIG_OUTPUT": server.kubeconfig}))
        link = os.path.join(self.lab.folder, "kubectl")
        os.symlink(BINARY, link)
        named = run(*self.host.command(link, "get", "namespaces"), env={**os.environ, "KUBECONFIG": server.kubeconfig, "HOME": self.lab.folder})
        self.assertIn("kube-system", named)
        empty = os.path.join(self.lab.folder, "empty")
        os.mkdir(empty)
        missing = run(BINARY, "kubectl", "get", "nodes", check=False, env={"PATH": empty, "HOME": self.lab.folder})
        self.assertEqual(missing.returncode, 1)
        self.assertIn("kubectl is not installed: Debian 13 and later have it in package kubernetes-client", missing.stderr)

    def test_tokens_and_joining_with_one(self):
        server = self.server()
        here = ("--data-dir", server.data)
        generated = self.kedge("token", "generate").strip()
        self.assertRegex(generated, r"^[a-z0-9]{6}\.[a-z0-9]{16}$")
        self.assertNotEqual(self.kedge("token", "generate").strip(), generated)
        made = self.kedge("token", "create", *here, "--ttl", "2h", "--description", "attic nodes", generated).strip()
        self.assertEqual(made, server.token().split("::")[0] + "::" + generated)
        self.assertIn("already", self.kedge("token", "create", *here, generated, check=False).stderr)
        table = self.kedge("token", "list", *here)
        self.assertIn("attic nodes", table)
        self.assertIn(generated[:6], table)
        self.assertNotIn(generated[7:], table)
        listed = json.loads(self.kedge("token", "list", *here, "-o", "json"))
        self.assertIn(generated[:6], json.dumps(listed))

        Agent(self.lab, "worker", self.lab.host(), server.url, made)
        node = eventually("the node joined", lambda: server.get("node", "worker"), timeout=120)
        self.assertEqual(node["metadata"]["labels"]["kubernetes.io/hostname"], "worker")

        self.assertIn("deleted", self.kedge("token", "delete", *here, generated))
        self.assertNotIn(generated[:6], self.kedge("token", "list", *here))
        late = Agent(self.lab, "late", self.lab.host(), server.url, made)
        eventually("a deleted token is refused", lambda: "not authorized" in late.log() or "Unauthorized" in late.log())
        gone = self.kedge("token", "delete", *here, generated, check=False)
        self.assertEqual((gone.returncode, "there is no token" in gone.stderr), (1, True))

    def test_certificates_are_checked_and_rotated(self):
        server = self.server()
        here = ("--data-dir", server.data)
        states = json.loads(self.kedge("certificate", "check", *here, "--output", "json"))
        admin = next(s for s in states if s["subject"] == "CN=system:admin,O=system:masters")  # and the CA behind it
        self.assertEqual((os.path.basename(admin["file"]), admin["service"], admin["status"]), ("client-admin.crt", "admin", "OK"))
        self.assertRegex(self.kedge("certificate", "check", *here, "--output", "table"), r"FILENAME\s+SUBJECT\s+USAGES\s+EXPIRES")
        before = open(server.data + "/server/tls/client-admin.crt").read()
        shown = ssl.get_server_certificate((server.address, server.port))
        self.assertEqual(server.stop(), 0)
        self.kedge("certificate", "rotate", *here)
        server.start()
        server.wait_ready()
        self.assertNotEqual(open(server.data + "/server/tls/client-admin.crt").read(), before)
        self.assertNotEqual(ssl.get_server_certificate((server.address, server.port)), shown)

    def test_every_command_explains_itself(self):
        run(BINARY, "--version")
        listed = re.findall(r"^   ([a-z-]+) +(.*)$", run(BINARY, "--help").split("COMMANDS:")[1].split("\n\n")[0], re.M)
        self.assertGreaterEqual({name for name, _ in listed},
                                {"server", "agent", "kubectl", "crictl", "ctr", "check-config", "token", "certificate", "completion"})
        for name, summary in listed:
            below = re.search(r"\((.*)\)$", summary) if name in ("token", "certificate") else None
            for words in [[name]] + [[name, s] for s in (below.group(1).split(", ") if below else [])]:
                if words[0] in ("kubectl", "crictl", "ctr"):
                    continue  # those are other programs' words
                with self.subTest(words):
                    self.assertIn("USAGE:\n   kedge " + " ".join(words), run(BINARY, *words, "--help"))

    def test_mistakes_are_named(self):
        config = os.path.join(self.lab.folder, "config.yaml")
        with open(config, "w") as f:
            f.write("# mine\ntls-san: [a.example]\nhttps-listen-port: many\n")
        for words, wanted in [
            (["server", "--no-such-flag"], "--no-such-flag"), (["server", "--tls-sna=x"], "--tls-san"),
            (["agent", "--write-kubeconfig", "x"], "--write-kubeconfig"), (["serve"], "did you mean server?"),
            (["token", "make"], "make"), (["server", "--https-listen-port", "70000"], "70000"),
            (["server", "--docker"], "--docker"), (["server", "--config", config], config + ":3"),
            (["server", "stray"], "stray"), (["agent"], "server"),
            (["agent", "--server", "https://127.0.0.1:9", "--token", "x", "--node-label", "node-role.kubernetes.io/mine=x"],
             "labels specified with --node-labels: [node-role.kubernetes.io/mine]"),
        ]:
            with self.subTest(words):
                p = run(BINARY, *words, check=False, env={"PATH": os.environ["PATH"], "HOME": self.lab.folder})
                self.assertEqual(p.returncode, 1)
                self.assertIn(wanted, p.stderr)

    def test_a_dry_start_says_all_that_is_wrong_at_once(self):
        server = self.server()
        folder = os.path.join(self.lab.folder, "dry")
        os.makedirs(folder)
        start = lambda *words, env=None: run(*server.host.command(BINARY, *words, "--check"), check=False, env={**os.environ, **(env or {})})
        wrong = start("server", "--data-dir", folder, "--token", "K10abc::x", "--frob", "--node-label", "kubernetes.io/mine=x", "--cluster-cidr", "10.42.0.0/33",
                      "--kube-apiserver-arg=audit-policy-file=/none", "--datastore-endpoint", "postgres://u:sesame@127.0.0.1:9/x", "--datastore-cafile", "/none",
                      "--cluster-init", "--vip", "127.0.0.1")
        self.assertEqual((wrong.returncode, wrong.stdout), (1, ""))
        for text in ("unknown flag --frob", "--token: invalid token CA hash length", "specified with --node-labels: [kubernetes.io/mine]", "10.42.0.0/33",
                     "audit-policy-file", "--datastore-cafile: open /none", "name two datastores", "Connection refused", "--vip: 127.0.0.1 can't be the address",
                     ":6443: ", "ddress already in use"):
            self.assertIn(text, wrong.stderr)
        self.assertNotIn("sesame", wrong.stderr)
        # The datastore of a cluster, with another token.
        data = os.path.join(self.lab.folder, "stopped")
        stopped = Server(self.lab, "stopped", host=self.lab.host(), args=["--disable-agent", "--token", "right"]).wait_ready()
        self.assertEqual(stopped.stop(), 0)
        before = {f: os.stat(os.path.join(data, "server/db", f)).st_mtime_ns for f in os.listdir(data + "/server/db")}
        words = ["server", "--data-dir", data, "--https-listen-port", "7443", "--disable-agent"]
        self.assertIn("another token", start(*words, "--token", "wrong").stderr)
        for good in (["--token", "right"], []):
            said = start(*words, *good)
            self.assertEqual((said.returncode, said.stdout, said.stderr), (0, "a start would take this configuration\n", ""))
        self.assertEqual(before, {f: os.stat(os.path.join(data, "server/db", f)).st_mtime_ns for f in os.listdir(data + "/server/db")})
        # An agent asks the server that it would join.
        agent = lambda *words, **env: start("agent", "--data-dir", folder, *words, env=env)
        joined = agent("--server", server.url, "--token", server.token())
        self.assertEqual((joined.returncode, joined.stderr), (0, ""))
        prefix = server.token().partition("::")[0]
        for words, text in ((["--server", server.url, "--token", prefix + "::node:wrong"], "does not accept the token"),
                            (["--server", server.url, "--token", "K10" + "0" * 64 + "::node:x"], "take the token from the node-token file"),
                            (["--server", "https://127.0.0.1:9", "--token", server.token()], "--server: "),
                            (["--server", server.url], "--token (or K3S_TOKEN"), ([], "--server (or K3S_URL")):
            said = agent(*words)
            self.assertEqual(said.returncode, 1)
            self.assertIn(text, said.stderr)
        refused = agent("--server", server.url, "--token", server.token(), K3S_AGENT_HTTP_PROXY_ALLOWED="true", HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="")
        self.assertIn("--server: ", refused.stderr)
        self.assertFalse(os.listdir(folder))

    def test_completion_of_both_shells(self):
        for shell, probe in (("bash", "compgen"), ("zsh", "compdef")):
            script = run(BINARY, "completion", shell)
            self.assertIn(probe, script)
            self.assertIn("--write-kubeconfig-mode", script)
        path = os.path.join(self.lab.folder, "completion")
        with open(path, "w") as f:
            f.write(run(BINARY, "completion", "bash"))
        words = run("bash", "-c", f'source {path}; COMP_WORDS=(kedge token cr); COMP_CWORD=2; _kedge; echo "${{COMPREPLY[@]}}"')
        self.assertEqual(words.strip(), "create")


class Flags(Operation):
    def test_names_in_the_certificate(self):
        server = self.server("--tls-san", "kube.example,192.0.2.7", "--node-external-ip", "192.0.2.8")
        names = self.names_in_certificate(server)
        self.assertLessEqual({"kube.example", "192.0.2.7", "localhost", "127.0.0.1", "10.43.0.1", "kubernetes.default.svc.cluster.local",
                              "server", self.host.address}, names)
        self.assertEqual(server.stop(), 0)
        server.args += ["--tls-san", "second.example"]  # names are added, none is lost
        server.start()
        server.wait_ready()
        self.assertEqual(self.names_in_certificate(server), names | {"second.example"})

    def reach(self, server, name, host):
        """A request that names the server in TLS and in its Host header."""
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        with contextlib.closing(tls.wrap_socket(socket.create_connection((server.address, server.port), timeout=10), server_hostname=name)) as c:
            c.sendall(f"GET /ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            self.assertIn(b"pong", c.recv(10000))

    def test_the_certificate_grows_with_the_servers(self):
        server = self.server()
        secret = eventually("the certificate is in a Secret", lambda: server.get("secret", "k3s-serving", "-n", "kube-system"))
        self.assertEqual(secret["type"], "kubernetes.io/tls")
        self.assertEqual(secret["metadata"]["annotations"]["listener.cattle.io/cn-localhost"], "localhost")
        self.assertRegex(secret["metadata"]["annotations"]["listener.cattle.io/fingerprint"], r"^SHA1=[0-9A-F]{40}$")
        shown = ssl.get_server_certificate((server.address, server.port))
        self.assertIn(shown.strip(), base64.b64decode(secret["data"]["tls.crt"]).decode())

        with contextlib.closing(server.api()) as api:
            for name, label, address in (("other", {"node-role.kubernetes.io/control-plane": "true"}, "192.0.2.20"), ("worker", {}, "192.0.2.21")):
                node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": label}}
                self.assertEqual(api.request("POST", "/api/v1/nodes", node)[0], 201)
                status, body = api.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": {"addresses": [{"type": "InternalIP", "address": address}]}},
                                           {"Content-Type": "application/merge-patch+json"})
                self.assertEqual(status, 200, body)
        eventually("the other server's address is in it", lambda: "192.0.2.20" in self.names_in_certificate(server))
        self.reach(server, "asked.example", "192.0.2.22")
        names = self.names_in_certificate(server)
        for absent in ("192.0.2.21", "asked.example", "192.0.2.22"):  # a worker's, and what anybody may ask for
            self.assertNotIn(absent, names)
        self.assertIn("listener.cattle.io/cn-192.0.2.20", server.get("secret", "k3s-serving", "-n", "kube-system")["metadata"]["annotations"])

        self.assertEqual(server.stop(), 0)
        server.args += ["--tls-san-security=false"]
        server.start()
        server.wait_ready()
        self.assertIn("192.0.2.20", self.names_in_certificate(server))

        def asked_for():
            self.reach(server, "asked.example", "192.0.2.22")
            return {"asked.example", "192.0.2.22"} <= self.names_in_certificate(server)
        eventually("what was asked for is in it", asked_for)

    def test_the_kubeconfig_goes_where_it_is_wanted(self):
        server = self.server("--write-kubeconfig-mode", "640", "--write-kubeconfig-name", "attic", "--write-kubeconfig-group", "nogroup")
        status = os.stat(server.kubeconfig)
        self.assertEqual(status.st_mode & 0o777, 0o640)
        self.assertEqual(server.kubectl("config", "current-context").strip(), "attic")
        # The usual place leads there.
        self.assertEqual(os.readlink(server.usual_kubeconfig), server.kubeconfig)

    def test_parts_that_are_switched_off(self):
        server = self.server("--disable-controller-manager", "--disable-scheduler", "--disable-cloud-controller", "--disable-kube-proxy",
                             "--disable=traefik,servicelb", "--kube-apiserver-arg=disable-admission-plugins=ServiceAccount,NamespaceLifecycle")
        server.kubectl("create", "namespace", "kept")
        with contextlib.closing(server.api()) as api:
            # No controller empties a namespace and makes its default service account …
            self.assertEqual(api.request("DELETE", "/api/v1/namespaces/kept")[0], 200)
            self.assertEqual(api.get("/api/v1/namespaces/kept")["status"]["phase"], "Terminating")
            self.assertEqual(api.get("/api/v1/namespaces/kept/serviceaccounts")["items"], [])
            # … and no plugin wants one, or minds that the namespace goes.
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
            status, made = api.request("POST", "/api/v1/namespaces/kept/pods", pod)
            self.assertEqual(status, 201, made)
            self.assertNotIn("volumes", made["spec"])
        self.assertEqual(server.stop(), 0)
        server.args = [a for a in server.args if not a.startswith(("--disable-controller", "--kube-apiserver-arg"))]
        server.start()
        server.wait_ready()
        eventually("the controllers do their work now", lambda: server.kubectl("get", "namespace", "kept", check=False).returncode != 0)
        with contextlib.closing(server.api()) as api:
            eventually("the default service account", lambda: api.get("/api/v1/namespaces/default/serviceaccounts")["items"])
            status, made = api.request("POST", "/api/v1/namespaces/default/pods", pod)
            self.assertEqual(status, 201, made)
            self.assertEqual(made["spec"]["serviceAccountName"], "default")
            self.assertTrue(made["spec"]["volumes"][0]["name"].startswith("kube-api-access-"))

    def test_metrics_have_kube_apiservers_names(self):
        server = self.server()
        server.kubectl("create", "configmap", "one")
        text = server.kubectl("get", "--raw", "/metrics")
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        for name, kind in [("apiserver_request_total", "counter"), ("apiserver_request_duration_seconds", "histogram"),
                           ("apiserver_current_inflight_requests", "gauge"), ("process_resident_memory_bytes", "gauge"),
                           ("process_cpu_seconds_total", "counter"), ("process_open_fds", "gauge"), ("process_start_time_seconds", "gauge")]:
            self.assertEqual(kinds.get(name), kind, name)
        self.assertRegex(text, r'apiserver_request_total\{[^}]*code="201"[^}]*resource="configmaps"[^}]*verb="POST"[^}]*\} [1-9]')
        for line in text.splitlines():
            self.assertRegex(line, r'^(#.*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_]\w*="([^"\\]|\\.)*",?)*\})? \S+)$')
        self.assertEqual(server.kubectl("get", "--raw", "/metrics", "--as=nobody", check=False).returncode, 1)


if __name__ == "__main__":
    main()
