"""The judge: a real kube-apiserver with an etcd of its own, for as long as a recording takes.

Both are programs that whoever records has: KUBE_APISERVER and ETCD name them (README.md says how the first is built).
"""

import base64
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

TOKEN = "recorder"
SERVICE_RANGE = "10.43.0.0/16"


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def encoded(text):
    return base64.b64encode(text.encode()).decode()


class Answer:
    def __init__(self, code, headers, body):
        self.code, self.headers, self.body = code, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def warnings(self):
        """Texts of the Warning headers: `299 - "text"` with backslashes and quotes escaped."""
        said = [w.removeprefix('299 - "').removesuffix('"') for w in self.headers.get_all("Warning") or []]
        return [w.replace('\\"', '"').replace("\\\\", "\\") for w in said]


class Judge:
    def __init__(self, *more_flags):
        self.folder = tempfile.mkdtemp(prefix="kedge-judge-")
        self.etcd_port, peer_port, self.port = free_ports(3)
        self.processes, self.connection = [], None
        files = pathlib.Path(self.folder)
        (files / "tokens").write_text(f"{TOKEN},admin,admin,system:masters\n")
        for command in (["genrsa", "-out", "sa.key", "2048"], ["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"]):
            subprocess.run(["openssl", *command], cwd=self.folder, check=True, capture_output=True)
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{peer_port}"
        self.start(os.environ["ETCD"], "--data-dir", "etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
                   "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", "--unsafe-no-fsync")
        self.start(os.environ["KUBE_APISERVER"], f"--etcd-servers={etcd}", f"--secure-port={self.port}", "--bind-address=127.0.0.1",
                   "--cert-dir=serving", "--token-auth-file=tokens", "--authorization-mode=Node,RBAC", "--anonymous-auth=false",
                   "--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-account-key-file=sa.pub",
                   "--service-account-signing-key-file=sa.key", f"--service-cluster-ip-range={SERVICE_RANGE}",
                   "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", *more_flags)
        self.wait_ready()

    def start(self, *argv):
        with open(os.path.join(self.folder, os.path.basename(argv[0]) + ".log"), "ab") as log:
            self.processes.append(subprocess.Popen(argv, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def wait_ready(self):
        end = time.monotonic() + 120
        while True:
            try:
                if self.ask("GET", "/readyz").body == b"ok" and self.ask("GET", "/api/v1/namespaces/default").code == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > end or any(p.poll() is not None for p in self.processes):
                raise SystemExit(f"the judge doesn't get ready; see {self.folder}/*.log")
            time.sleep(0.1)

    def ask(self, method, path, body=None, headers=None):
        """One request of the administrator's over a connection that stays. A dict is sent as JSON."""
        sent = {"Authorization": f"Bearer {TOKEN}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
            body = body if isinstance(body, (str, bytes)) else json.dumps(body)
        sent.update(headers or {})
        for last in (False, True):
            if not self.connection:
                self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=ssl._create_unverified_context())
            try:
                self.connection.request(method, path, body, sent)
                answer = self.connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read())
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if last:
                    raise

    def plant(self, key, value):
        """Puts an object into etcd behind the server's back, as an older server could have left it there."""
        self.etcd("put", {"key": encoded(key), "value": encoded(json.dumps(value))})

    def uproot(self, key):
        self.etcd("deleterange", {"key": encoded(key)})

    def etcd(self, what, body):
        urllib.request.urlopen(f"http://127.0.0.1:{self.etcd_port}/v3/kv/{what}", data=json.dumps(body).encode()).read()

    def close(self):
        for p in reversed(self.processes):
            p.kill()
            p.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
