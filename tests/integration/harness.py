"""What integration tests use: real servers and agents of the built binary, real kubectl, hosts as network namespaces.

Everything lives in a temporary folder and in namespaces with the test's own prefix, and is gone after the test: processes
by their ids, mounts, links, folders. Conditions are waited for (`eventually`), never slept for.
"""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.request

BINARY = os.environ["KEDGE_BINARY"]


class Failed(AssertionError):
    pass


class Ended(AssertionError):
    """What is waited for can't come any more. No SystemExit: unittest lets that through, and cleans nothing up."""


def run(*argv, check=True, input=None, env=None, timeout=60):
    """Runs a command and gives its standard output; raises with both outputs when it fails."""
    p = subprocess.run(argv, input=input, env=env, timeout=timeout, text=True, capture_output=True)
    if check and p.returncode != 0:
        raise Failed(f"{' '.join(argv)}\nexit code {p.returncode}\n{p.stdout}{p.stderr}")
    return p if not check else p.stdout


# How much longer than usual anything may take, on a slow machine with other work: waiting for what comes costs nothing.
PATIENCE = 3


def eventually(what, condition, timeout=60, every=0.05):
    """Waits until condition() gives something true and gives that; the last exception or value is told on timeout: seconds of a machine that has time."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (Failed, OSError, KeyError, ValueError, subprocess.TimeoutExpired) as e:
            last = e
        if time.monotonic() > end:
            raise Failed(f"not within {timeout} s: {what}; last: {last}")
        time.sleep(every)


def stands_still(what, measure, still=1.0, timeout=60):
    """Waits until measure() gives the same for so long, and gives that. What is to come to a halt must have begun."""
    end = time.monotonic() + timeout
    last, since = measure(), time.monotonic()
    while time.monotonic() < since + still:
        if time.monotonic() > end:
            raise Failed(f"not within {timeout} s: {what} stands still; last: {last}")
        time.sleep(0.05)
        now = measure()
        if now != last:
            last, since = now, time.monotonic()
    return last


class Host:
    """A network namespace of its own on the test's bridge, or this machine (name None)."""

    def __init__(self, lab, number):
        self.lab, self.name, self.address = lab, f"{lab.prefix}{number}", f"10.97.{lab.subnet}.{number + 10}"
        link = f"{lab.prefix}v{number}"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", link, "master", lab.bridge, "up")
        for command in (["addr", "add", f"{self.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                        ["link", "set", "lo", "up"], ["route", "add", "default", "via", lab.gateway]):
            run("ip", "-n", self.name, *command)

    def command(self, *argv):
        return ["ip", "netns", "exec", self.name, *argv]


class Lab:
    """A temporary folder, a bridge, and everything that a test starts."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="kedge-it-")
        self.prefix = f"kt{os.getpid() % 10000}-"
        # Another test of this machine may run beside this one.
        self.subnet = next(n for n in (((os.getpid() + i) % 250) + 1 for i in range(250))
                           if not run("ip", "-4", "route", "show", f"10.97.{n}.0/24").strip())
        self.bridge = f"{self.prefix}br"
        self.gateway = f"10.97.{self.subnet}.1"
        self.hosts, self.processes = [], []
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def host(self):
        self.hosts.append(Host(self, len(self.hosts) + 1))
        return self.hosts[-1]

    def start(self, name, argv, env=None):
        log = open(os.path.join(self.folder, name + ".log"), "ab")
        p = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        p.log = log.name
        self.processes.append(p)
        return p

    def close(self):
        for p in reversed(self.processes):
            if p.poll() is None:
                p.terminate()
        for p in reversed(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.wait(20)
            if p.poll() is None:
                p.kill()
                p.wait()
        for number, h in enumerate(self.hosts, 1):
            # With its namespace alone it would go later, and the next test's link has the same name.
            run("ip", "link", "del", f"{self.prefix}v{number}", check=False)
            run("ip", "netns", "del", h.name, check=False)
        run("ip", "link", "del", self.bridge, check=False)
        for line in open("/proc/self/mounts").read().splitlines():
            if self.folder in line.split()[1]:
                run("umount", "-l", line.split()[1], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Server:
    def __init__(self, lab, name="server", host=None, port=6443, args=(), env=None, binary=BINARY, prefix=(), data=None):
        self.lab, self.name, self.host, self.port = lab, name, host, port
        self.data = data or os.path.join(lab.folder, name)
        self.kubeconfig = os.path.join(lab.folder, name + ".yaml")
        self.usual_kubeconfig = os.path.join(lab.folder, name + "-k3s.yaml")  # for /etc/rancher/k3s/k3s.yaml, the machine's
        self.args = ["server", "--data-dir", self.data, "--write-kubeconfig", self.kubeconfig,
                     "--https-listen-port", str(port), "--node-name", name, *args]
        self.binary, self.env = binary, env
        self.prefix = prefix  # a program that runs the server, such as prlimit
        self.process = None
        self.start()

    @property
    def address(self):
        return self.host.address if self.host else "127.0.0.1"

    @property
    def url(self):
        return f"https://{self.address}:{self.port}"

    def start(self):
        argv = [*self.prefix, self.binary, *self.args]
        env = {**os.environ, **(self.env or {})}
        env.setdefault("KEDGE_NODE_PASSWORD_FOLDER", os.path.join(self.lab.folder, self.name + "-node"))
        env.setdefault("KEDGE_KUBECONFIG_LINK", self.usual_kubeconfig)
        self.process = self.lab.start(self.name, self.host.command(*argv) if self.host else argv, env=env)

    def log(self):
        return open(self.process.log).read()

    def token(self):
        return open(os.path.join(self.data, "server/token")).read().strip()

    def kubectl(self, *args, check=True, input=None, timeout=60):
        argv = ["kubectl", "--kubeconfig", self.kubeconfig, "--cache-dir", os.path.join(self.lab.folder, "kubectl-cache"), *args]
        env = {**os.environ, "HOME": self.lab.folder}  # kubectl keeps caches there, too
        return run(*(self.host.command(*argv) if self.host else argv), check=check, input=input, timeout=timeout, env=env)

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def api(self, timeout=30):
        return Api(self, timeout)

    def wait_ready(self, timeout=90):
        def ready():
            if self.process.poll() is not None:
                raise Ended(f"the server ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            return os.path.exists(self.kubeconfig) and self.kubectl("get", "--raw", "/readyz", timeout=20) == "ok"
        try:
            eventually("the server is ready", ready, timeout)
        except Failed as e:
            raise Failed(f"{e}\n{self.log()[-4000:]}") from None
        return self

    def stop(self, number=signal.SIGTERM, timeout=90):
        """Ends the server and gives its exit code."""
        pid = self.process.pid
        if self.host:  # ip netns exec replaces itself by the command
            pid = self.process.pid
        os.kill(pid, number)
        return self.process.wait(timeout)


class Api:
    """The administrator's connection to a server: HTTP/1.1 over TLS, for what kubectl is too slow or too polite for."""

    def __init__(self, server, timeout=30):
        self.address, self.port, self.timeout = server.address, server.port, timeout
        self.tls = self.context(server)
        self.connection = None

    @staticmethod
    def context(server, identity=True):
        def part(name):
            line = next(l for l in open(server.kubeconfig) if l.strip().startswith(name + ":"))
            return base64.b64decode(line.split(":", 1)[1])
        tls = ssl.create_default_context(cadata=part("certificate-authority-data").decode())
        tls.check_hostname = False  # a host of the test has no name
        if identity:
            with tempfile.NamedTemporaryFile() as pair:
                pair.write(part("client-certificate-data") + part("client-key-data"))
                pair.flush()
                tls.load_cert_chain(pair.name)
        return tls

    def request(self, method, path, body=None, headers=()):
        """Gives the status and the answer (decoded when it is JSON). The connection is kept."""
        if not self.connection:
            self.connection = http.client.HTTPSConnection(self.address, self.port, context=self.tls, timeout=self.timeout)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        try:
            self.connection.request(method, path, body=body, headers={"Content-Type": "application/json", **dict(headers)})
            answer = self.connection.getresponse()
            text = answer.read()
        except BaseException:
            self.close()
            raise
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        return answer.status, json.loads(text) if is_json else text.decode(errors="replace")

    def get(self, path):
        status, body = self.request("GET", path)
        if status != 200:
            raise Failed(f"GET {path}: {status} {body}")
        return body

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Agent:
    def __init__(self, lab, name, host, server_url, token, args=(), env=None, token_in_environment=False, prefix=()):
        self.lab, self.name, self.host = lab, name, host
        self.data = os.path.join(lab.folder, name)
        argv = [*prefix, BINARY, "agent", "--data-dir", self.data, "--node-name", name, *args]
        environment = {**os.environ, **(env or {})}
        environment.setdefault("KEDGE_NODE_PASSWORD_FOLDER", os.path.join(lab.folder, name + "-node"))
        if token_in_environment:
            environment.update(K3S_URL=server_url, K3S_TOKEN=token)
        else:
            argv += ["--server", server_url, "--token", token]
        self.process = lab.start(name, host.command(*argv), env=environment)

    def log(self):
        return open(self.process.log).read()


def is_ready(node):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))


class ClusterTest(unittest.TestCase):
    """One server (with or without its own node) for all tests of a class."""

    server_args = ("--disable-agent",)

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.host = cls.lab.host()
        cls.server = Server(cls.lab, host=cls.host, args=cls.server_args).wait_ready()

    def kubectl(self, *args, **kw):
        return self.server.kubectl(*args, **kw)


def main():
    """Runs the module's tests and ends with the line that CI counts."""
    result = unittest.main(module="__main__", exit=False, verbosity=2, warnings="ignore").result
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)  # which is not passed
    passed = max(result.testsRun - failed - skipped, 0)  # a class that could not be set up fails without a test run
    print(f"{passed} passed, {failed} failed")
    raise SystemExit(1 if failed or not result.testsRun else 0)
