"""What every row needs: a server, nginx beside it, wrk, objects; and the list of the rows that were measured."""

import base64
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("KEDGE_BUILD", "build"))
KEDGE = os.path.join(BUILD, "src/cli/kedge")
LOAD = os.path.join(BUILD, "benchmarks/load")
SECONDS = int(os.environ.get("KEDGE_BENCH_SECONDS", "5"))
ROUNDS = int(os.environ.get("KEDGE_BENCH_ROUNDS", "3"))
rows = []


def row(what, figure, against, ratio, target):
    rows.append((what, figure, against, ratio, target))
    print(f"{what}: {'; '.join(filter(None, (figure, against, ratio)))} (to beat: {target})", flush=True)


def run(*argv, input=None, check=True):
    p = subprocess.run(argv, input=input, text=True, capture_output=True, timeout=300)
    if check and p.returncode:
        raise SystemExit(f"{' '.join(argv)}: {p.stdout}{p.stderr}")
    return p.stdout


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1))


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port():
    """One that nobody listens on now, below those that outgoing connections take."""
    while True:
        port = random.randrange(12000, 30000)
        with socket.socket(socket.AF_INET6) as s:
            with contextlib.suppress(OSError):
                s.bind(("::", port))
                return port


class Kedge:
    def __init__(self, folder, args=("--disable-agent",), reactors=1):
        self.folder = folder
        self.data, self.kubeconfig, self.port = os.path.join(folder, "kedge"), os.path.join(folder, "kedge.yaml"), free_port()
        self.log = open(os.path.join(folder, "kedge.log"), "ab")
        env = {**os.environ, "KEDGE_NODE_PASSWORD_FOLDER": os.path.join(folder, "node"), "KEDGE_KUBECONFIG_LINK": os.path.join(folder, "link.yaml")}
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [KEDGE, "server", "--data-dir", self.data, "--https-listen-port", str(self.port), "--write-kubeconfig", self.kubeconfig,
             "--node-name", "bench", "--reactors", str(reactors), *args], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, env=env)
        self.ca = os.path.join(self.data, "server/tls/server-ca.crt")

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def connect(self):
        """As the cluster's administrator, by client certificate."""
        tls = os.path.join(self.data, "server/tls")
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(f"{tls}/client-admin.crt", f"{tls}/client-admin.key")
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)

    def get(self, path):
        """The answer's body, as a program gets it: curl and browsers get it indented."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def wait_ready(self):
        while True:
            try:
                if self.get("/readyz") == "ok":
                    return time.monotonic() - self.began
            except (OSError, http.client.HTTPException):  # no certificates yet, or nobody listens
                pass
            if self.process.poll() is not None or time.monotonic() - self.began > 60:
                raise SystemExit("the server did not become ready; see its log:\n" + open(self.log.name).read()[-3000:])
            time.sleep(0.002)

    def kubectl(self, *args, input=None):
        return run("kubectl", "--kubeconfig", self.kubeconfig, *args, input=input)

    def token(self):
        self.kubectl("create", "serviceaccount", "bench")
        self.kubectl("create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin", "--serviceaccount=default:bench")
        return self.kubectl("create", "token", "bench", "--duration=24h").strip()

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


# What a webhook of v1beta1 may answer to anything.
HOOK = '{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","response":{"allowed":true}}'


class Nginx:
    """One worker, the server's own certificate and key, static files, and a webhook that admits everything."""

    def __init__(self, folder, kedge):
        self.folder, self.port = os.path.join(folder, "nginx"), free_port()
        os.makedirs(os.path.join(self.folder, "files"))
        secret = json.load(open(os.path.join(kedge.data, "server/tls/dynamic-cert.json")))
        for key, name in (("tls.crt", "cert.pem"), ("tls.key", "key.pem")):
            with open(os.path.join(self.folder, name), "wb") as f:
                f.write(base64.b64decode(secret["data"][key]))
        with open(os.path.join(self.folder, "nginx.conf"), "w") as f:
            f.write(f"""
worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log; daemon off; user root;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 100000000; client_body_temp_path {self.folder}/b; open_file_cache max=100;
  default_type application/json;
  server {{ listen 127.0.0.1:{self.port} ssl; ssl_certificate {self.folder}/cert.pem; ssl_certificate_key {self.folder}/key.pem;
    ssl_protocols TLSv1.3; root {self.folder}/files;
    location = /hook {{ return 200 '{HOOK}'; }} }} }}
""")
        self.process = subprocess.Popen(["nginx", "-p", self.folder, "-c", os.path.join(self.folder, "nginx.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def put(self, name, content):
        with open(os.path.join(self.folder, "files", name), "w") as f:
            f.write(content)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def wrk(url, token=None, connections=32, script=None, seconds=None):
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds or SECONDS}s", url]
    if token:
        argv += ["-H", f"Authorization: Bearer {token}"]
    if script:
        argv += ["-s", script]
    out = run(*argv)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        raise SystemExit(f"{url}: {bad.group(0)}")
    unit = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "B": 1}
    size = re.search(r"Transfer/sec:\s+([\d.]+)(KB|MB|GB|B)", out)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), float(size.group(1)) * unit[size.group(2)]


def in_turn(ours, theirs, rounds=ROUNDS):
    """The best of alternating rounds of both sides: noise only ever slows down."""
    a, b = [], []
    for _ in range(rounds):
        a.append(ours())
        b.append(theirs())
    return max(a), max(b)


def config_maps(kedge, count, size=950, prefix="item"):
    """Made over the API itself: a client with a schema of its own would measure something else, and take longer."""
    connection = kedge.connect()
    for i in range(count):
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{prefix}-{i:05}", "labels": {"app": "bench"}}, "data": {"payload": "x" * size}}
        connection.request("POST", "/api/v1/namespaces/default/configmaps", json.dumps(item), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 201:
            raise SystemExit(f"create of {prefix}-{i:05}: {answer.status} {text.decode()}")
    connection.close()


@contextlib.contextmanager
def alone(*args, **kw):
    """A server in a folder of its own; nothing is left of either."""
    folder = tempfile.mkdtemp(prefix="kedge-bench-")
    kedge = Kedge(folder, *args, **kw)
    try:
        yield kedge
    finally:
        kedge.stop()
        for line in open("/proc/self/mounts").read().splitlines():
            if line.split()[1].startswith(folder):
                run("umount", "-l", line.split()[1], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def pair(*args, **kw):
    """A server, nginx with its certificate, and a token that may do all."""
    with alone(*args, **kw) as kedge:
        kedge.wait_ready()
        nginx = Nginx(kedge.folder, kedge)
        try:
            yield kedge, nginx, kedge.token(), kedge.folder
        finally:
            nginx.stop()


