"""What tests of several servers use beside harness.py: a PostgreSQL, and the ways to a fixed registration address.

Each has a host (network namespace) of its own, so that it can be killed, restarted and cut off like a machine.
"""

import base64
import contextlib
import ctypes
import glob
import http.client
import json
import os
import pwd
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time

from harness import Agent, Failed, Lab, Server, eventually, run

TOKEN = "cluster-secret"


class Postgres:
    """One database server. Without fsync: killing a process is not a power cut, and a busy disk would take minutes.

    `replicated`: others may follow it; `of`: it follows that one, and hasn't all that it has (asynchronous)."""

    def __init__(self, lab, host, replicated=False, of=None):
        self.lab, self.host, self.process, self.replicated = lab, host, None, replicated or of is not None
        self.folder = tempfile.mkdtemp(prefix="kedge-pg-")
        lab.at_end(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        lab.at_end(lambda: self.stop(signal.SIGQUIT))
        user = pwd.getpwnam("postgres")  # PostgreSQL refuses to run as root
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.programs = os.path.dirname(sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))[-1])
        self.data = os.path.join(self.folder, "data")
        if of:
            self.command("pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast", "-d", f"host={of.host.address} port=5432 user=postgres",
                         host=host)
        else:
            self.command("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
            with open(os.path.join(self.data, "pg_hba.conf"), "a") as f:
                f.write("host all all 0.0.0.0/0 trust\nhost replication all 0.0.0.0/0 trust\n")
        self.start()

    def command(self, name, *args, host=None):
        argv = ["runuser", "-u", "postgres", "--", os.path.join(self.programs, name), *args]
        return run(*(host.command(*argv) if host else argv), timeout=120)

    @property
    def url(self):
        return f"postgres://postgres@{self.host.address}:5432/kubernetes"

    def start(self):
        settings = {"listen_addresses": "*", "port": 5432, "unix_socket_directories": self.folder, "max_connections": 100,
                    "shared_buffers": "32MB", "fsync": "off", "wal_level": "replica" if self.replicated else "minimal",
                    "max_wal_senders": 5 if self.replicated else 0}
        argv = [os.path.join(self.programs, "postgres"), "-D", self.data]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        self.process = self.lab.start("postgres", self.host.command("runuser", "-u", "postgres", "--", *argv))
        eventually("PostgreSQL answers", lambda: self.answers(), timeout=120)

    def answers(self):
        return self.sql("select 1") == "1"

    def sql(self, text, database="postgres"):
        return self.command("psql", "-h", self.folder, "-U", "postgres", "-d", database, "-Atc", text).strip()

    def pid(self):
        with open(os.path.join(self.data, "postmaster.pid")) as f:
            return int(f.readline())

    def stop(self, number=signal.SIGINT):
        """SIGINT ends all sessions and stops; SIGQUIT doesn't even write what is left: recovery at the next start."""
        if not self.process or self.process.poll() is not None:
            return
        os.kill(self.pid(), number)
        self.process.wait(60)

    def restart(self, number=signal.SIGINT):
        self.stop(number)
        self.start()


class Etcd:
    """A cluster of etcd, each member a machine of its own."""

    def __init__(self, lab, *hosts):
        self.lab, self.hosts, self.processes = lab, hosts, [None] * len(hosts)
        for i in range(len(hosts)):
            self.start(i)

    @property
    def url(self):
        return ",".join(f"http://{h.address}:2379" for h in self.hosts)

    def data(self, i):
        return os.path.join(self.lab.folder, f"etcd{i}")

    def start(self, i):
        peers = ",".join(f"m{n}=http://{h.address}:2380" for n, h in enumerate(self.hosts))
        client, peer = (f"http://{self.hosts[i].address}:{port}" for port in (2379, 2380))
        self.processes[i] = self.lab.start(f"etcd{i}", self.hosts[i].command(
            "etcd", "--name", f"m{i}", "--data-dir", self.data(i), "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", peers, "--logger", "zap", "--log-level", "error"))

    def kill(self, i, number=signal.SIGKILL):
        self.processes[i].send_signal(number)
        self.processes[i].wait(30)

    def ask(self, i, path, body):
        """etcd's own JSON gateway, from the member's machine."""
        return json.loads(run(*self.hosts[i].command("curl", "-sS", "-m", "10", "-d", json.dumps(body), f"http://{self.hosts[i].address}:2379/v3/{path}")))

    def is_leader(self, i):
        status = self.ask(i, "maintenance/status", {})
        return status["leader"] == status["header"]["member_id"]


class Wire:
    """What comes to a host from an address, or goes there: swallowed, or slowed down. By the host's own packet filter."""

    def __init__(self, lab, host):
        self.host = host
        self.heal()
        lab.at_end(self.heal)

    def nft(self, text):
        run(*self.host.command("nft", "-f", "-"), input=text)

    def heal(self):
        self.nft("table inet wire {\n}\ndelete table inet wire\ntable inet wire {\n chain in { type filter hook input priority 0; }\n"
                 " chain out { type filter hook output priority 0; }\n}\n")

    def cut(self, address):
        self.nft(f"add rule inet wire in ip saddr {address} drop\nadd rule inet wire out ip daddr {address} drop\n")

    def slow_down(self, address, kbytes):
        self.nft(f"add rule inet wire in ip saddr {address} limit rate over {kbytes} kbytes/second burst 16 kbytes drop\n")


class Haproxy:
    """A fixed registration address: TCP to whichever server answers."""

    def __init__(self, lab, host, servers, port=6443, name="haproxy"):
        self.lab, self.host, self.port, self.name = lab, host, port, name
        self.file = os.path.join(lab.folder, name + ".cfg")
        lines = ["global", "  maxconn 1000", "defaults", "  mode tcp", "  timeout connect 2s", "  timeout client 1h", "  timeout server 1h",
                 "  retries 2", "  option redispatch", f"listen kedge", f"  bind {host.address}:{port}", "  balance roundrobin",
                 "  default-server check inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions"]
        lines += [f"  server {s.name} {s.address}:{s.port}" for s in servers]
        with open(self.file, "w") as f:
            f.write("\n".join(lines) + "\n")
        self.process = None
        self.start()

    @property
    def url(self):
        return f"https://{self.host.address}:{self.port}"

    def start(self):
        self.process = self.lab.start(self.name, self.host.command("haproxy", "-db", "-f", self.file))

    def kill(self):
        self.process.kill()
        self.process.wait(10)


class Nginx:
    """The same with nginx's stream module."""

    module = "/usr/lib/nginx/modules/ngx_stream_module.so"

    def __init__(self, lab, host, servers, port=6443):
        self.host, self.port = host, port
        folder = os.path.join(lab.folder, "nginx")
        os.mkdir(folder)
        upstream = "\n".join(f"    server {s.address}:{s.port} max_fails=1 fail_timeout=2s;" for s in servers)
        with open(os.path.join(folder, "nginx.conf"), "w") as f:
            f.write(f"""load_module {self.module};
daemon off; master_process off; pid {folder}/pid; error_log stderr info;
events {{ worker_connections 512; }}
stream {{
  upstream kedge {{
{upstream}
  }}
  server {{ listen {host.address}:{port}; proxy_connect_timeout 1s; proxy_timeout 1h; proxy_pass kedge; }}
}}
""")
        self.process = lab.start("nginx", host.command("nginx", "-p", folder, "-e", "stderr", "-c", os.path.join(folder, "nginx.conf")))

    @property
    def url(self):
        return f"https://{self.host.address}:{self.port}"


def name_hosts(lab, host, name, addresses):
    """In that namespace `name` has all these addresses, as round-robin DNS gives them."""
    folder = f"/etc/netns/{host.name}"
    os.makedirs(folder, exist_ok=True)
    lab.at_end(lambda: shutil.rmtree(folder, ignore_errors=True))
    with open(os.path.join(folder, "hosts"), "w") as f:
        f.write("127.0.0.1 localhost\n" + "".join(f"{a} {name}\n" for a in addresses))


class VirtualAddress:
    """An address that one of the hosts has at a time."""

    def __init__(self, lab, number):
        self.lab, self.address, self.at = lab, f"10.97.{lab.subnet}.{number}", None

    def move(self, host):
        if self.at:
            run("ip", "-n", self.at.name, "addr", "del", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", host.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.at = host
        # What the gratuitous ARP of a real one does.
        for h in self.lab.hosts:
            run("ip", "-n", h.name, "neigh", "flush", "to", self.address, check=False)
        run("ip", "neigh", "flush", "to", self.address, check=False)


class HaLab(Lab):
    """A lab that also undoes what its parts ask for."""

    def __init__(self):
        self.endings = []
        super().__init__()

    def at_end(self, what):
        self.endings.append(what)

    def close(self):
        try:
            # Servers first, so that they can still say goodbye to their database.
            others = [p for p in reversed(self.processes) if not any(d in os.path.basename(p.log) for d in ("postgres", "mariadb"))]
            for p in others:
                if p.poll() is None:
                    p.terminate()
            for p in others:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    p.wait(20)
            for what in reversed(self.endings):
                what()
        finally:
            super().close()

    def server(self, name, postgres, args=(), token=TOKEN, **kw):
        extra = ["--token", token] if token else []
        return Server(self, name, host=kw.pop("host", None) or self.host(), args=["--datastore-endpoint", postgres.url, *extra, *args], **kw)

    def agent(self, name, url, token=TOKEN, args=(), host=None):
        a = Agent(self, name, host or self.host(), url, token, args=args)
        a.args, a.url, a.token = args, url, token
        return a


class Client:
    """The administrator at any address: one connection, made again when it broke. `tried` counts failures."""

    def __init__(self, kubeconfig, address, port=6443, timeout=10):
        def part(name):
            line = next(l for l in open(kubeconfig) if l.strip().startswith(name + ":"))
            return base64.b64decode(line.split(":", 1)[1])
        self.tls = ssl.create_default_context(cadata=part("certificate-authority-data").decode())
        self.tls.check_hostname = True  # the serving certificate has to name every address that leads to a server
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(part("client-certificate-data") + part("client-key-data"))
            pair.flush()
            self.tls.load_cert_chain(pair.name)
        self.address, self.port, self.timeout, self.connection = address, port, timeout, None

    def request(self, method, path, body=None, type="application/json"):
        if not self.connection:
            self.connection = http.client.HTTPSConnection(self.address, self.port, context=self.tls, timeout=self.timeout)
        try:
            self.connection.request(method, path, body=json.dumps(body) if body is not None else None, headers={"Content-Type": type})
            answer = self.connection.getresponse()
            text = answer.read()
        except BaseException:
            self.close()
            raise
        return answer.status, text

    def get(self, path):
        status, text = self.request("GET", path)
        if status != 200:
            raise Failed(f"GET {path}: {status} {text[:300]}")
        return json.loads(text)

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


MAPS = "/api/v1/namespaces/default/configmaps"


def enter(host):
    """The calling thread opens its sockets in that host from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/var/run/netns/{host.name}") as f:
        if libc.setns(f.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")


class Writers:
    """Clients that create config maps through the given addresses, and remember what was acknowledged, and what failed when.

    Each is on the hosts given, in turn, or here."""

    def __init__(self, kubeconfig, addresses, label, clients=4, pause=0.02, port=6443, hosts=(), timeout=5):
        self.acknowledged, self.failures, self.lock = {}, [], threading.Lock()
        self.last, self.pause_seen = time.monotonic(), 0.0  # when one was acknowledged; the longest time between two
        self.stopping, self.pause = threading.Event(), pause
        self.threads = [threading.Thread(target=self.work, daemon=True,
                                         args=(Client(kubeconfig, addresses[i % len(addresses)], port, timeout=timeout), f"{label}-{i}",
                                               hosts[i % len(hosts)] if hosts else None))
                        for i in range(clients)]
        for t in self.threads:
            t.start()

    def work(self, client, label, host):
        if host:
            enter(host)
        number = 0
        while not self.stopping.is_set():
            name, number = f"{label}-{number}", number + 1
            try:
                status, text = client.request("POST", MAPS, {"metadata": {"name": name}, "data": {"n": str(number)}})
                error = None if status == 201 else f"{status} {text[:200]!r}"
            except (OSError, http.client.HTTPException) as e:
                error = f"{type(e).__name__}: {e}"
            with self.lock:
                if error:
                    self.failures.append((time.monotonic(), error))
                else:
                    now = time.monotonic()
                    self.pause_seen, self.last = max(self.pause_seen, now - self.last), now
                    self.acknowledged[name] = str(number)
            self.stopping.wait(self.pause if not error else 0.1)
        client.close()

    def count(self):
        with self.lock:
            return len(self.acknowledged)

    def progress(self, more=20, timeout=60):
        """Waits until that many more have been acknowledged."""
        goal = self.count() + more
        eventually(f"{more} more writes are acknowledged (failures: {self.failures[-3:]})", lambda: self.count() >= goal, timeout=timeout)

    def end(self):
        self.stopping.set()
        for t in self.threads:
            t.join(20)
        return self.acknowledged


def stored_maps(client):
    found, more = {}, ""
    while True:
        page = client.get(f"{MAPS}?limit=500&continue={more}")
        for item in page["items"]:
            found[item["metadata"]["name"]] = item.get("data", {}).get("n")
        more = page["metadata"].get("continue")
        if not more:
            return found


def endpoint_addresses(client):
    """What the kubernetes Service says, by both lists; None while they differ."""
    object = client.get("/api/v1/namespaces/default/endpoints/kubernetes")
    a = sorted(x["ip"] for s in object["subsets"] for x in s["addresses"])
    slice = client.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    b = sorted(x for e in slice["endpoints"] for x in e["addresses"])
    return a if a == b else None


def leader(client):
    return client.get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager")["spec"]["holderIdentity"]
