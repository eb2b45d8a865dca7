"""Three servers over one database, while servers are killed and frozen, connections cut and the database restarted: what clients
were told must have one order that explains all of it (linearizable.py), and every server must end with the same objects."""

import http.client
import json
import os
import random
import signal
import threading
import time
import unittest

from ha_lab import MAPS, Client, Etcd, Failed, HaLab, Postgres, eventually, run
from linearizable import ABSENT, FOREVER, Op, _examples, explain, linearizable
from mariadb import MariaDb

OBJECTS, CLIENTS = 6, 6
SEED = int(os.environ.get("KEDGE_SEED", random.SystemRandom().randrange(1 << 32)))


class Redis:
    """`appendfsync no` writes before it answers, so that killing loses nothing; a power cut isn't played here."""

    def __init__(self, lab, host):
        self.lab, self.host, self.process = lab, host, None
        self.folder = os.path.join(lab.folder, "redis")
        os.mkdir(self.folder)
        self.start()

    @property
    def url(self):
        return f"redis://{self.host.address}:6379/0"

    def cli(self, *words):
        return run(*self.host.command("redis-cli", *words)).strip()

    def start(self):
        self.process = self.lab.start("redis", self.host.command(
            "redis-server", "--dir", self.folder, "--save", "", "--appendonly", "yes", "--appendfsync", "no", "--protected-mode", "no",
            "--bind", "0.0.0.0"))
        eventually("Redis answers", lambda: self.cli("PING") == "PONG", timeout=120)

    def cut(self):
        self.cli("CLIENT", "KILL", "TYPE", "normal")
        self.cli("CLIENT", "KILL", "TYPE", "pubsub")

    def restart(self):
        self.process.kill()
        self.process.wait(60)
        self.start()


class CuttingEtcd(Etcd):
    """Three members, of which one is killed, or cut off from all others, at a time."""

    def __init__(self, lab, host):
        self.turn = 0
        super().__init__(lab, host, lab.host(), lab.host())

    def cut(self):
        host = self.hosts[self.turn % 3]
        self.turn += 1
        run("ip", "-n", host.name, "link", "set", "eth0", "down")
        time.sleep(3)  # longer than an election
        run("ip", "-n", host.name, "link", "set", "eth0", "up")

    def restart(self):
        self.kill(self.turn % 3)
        self.start(self.turn % 3)
        self.turn += 1


class CuttingPostgres(Postgres):
    def cut(self):
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kedge'")


class History:
    """What clients did to the objects and were told, one list for each object."""

    def __init__(self):
        self.lock, self.ops, self.acknowledged = threading.Lock(), {f"object-{i}": [] for i in range(OBJECTS)}, 0

    def add(self, name, op):
        with self.lock:
            self.ops[name].append(op)
            self.acknowledged += op.kind != "get" and op.outcome == "ok"


def state_of(text):
    o = json.loads(text)
    return (o["data"]["v"], int(o["metadata"]["resourceVersion"]))


def perform(client, history, name, kind, value="", expected=0):
    """One request; gives the object's state where the answer tells it. Raises when the server can't be asked."""
    body = {"metadata": {"name": name}, "data": {"v": value}}
    method, path = {"get": ("GET", f"{MAPS}/{name}"), "create": ("POST", MAPS), "update": ("PUT", f"{MAPS}/{name}"),
                    "delete": ("DELETE", f"{MAPS}/{name}")}[kind]
    if kind == "update":
        body["metadata"]["resourceVersion"] = str(expected)
    if kind == "delete":
        body = {"preconditions": {"resourceVersion": str(expected)}}
    call = time.monotonic()
    try:
        status, text = client.request(method, path, None if kind == "get" else body)
    except ConnectionRefusedError:
        raise  # nothing was sent
    except (OSError, http.client.HTTPException):
        if kind != "get":
            history.add(name, Op(call, FOREVER, kind, value, expected))
        raise
    answer = time.monotonic()
    if status in (200, 201):
        if kind == "delete":
            history.add(name, Op(call, answer, kind, value, expected, "ok"))
            return ABSENT
        state = state_of(text)
        history.add(name, Op(call, answer, kind, value, expected, "ok", state))
        return state
    if kind == "get" and status == 404:
        history.add(name, Op(call, answer, kind, outcome="ok", seen=ABSENT))
        return ABSENT
    reason = json.loads(text).get("reason") if status in (404, 409) else None
    outcome = {"AlreadyExists": "exists", "Conflict": "conflict", "NotFound": "absent"}.get(reason)
    if outcome:
        history.add(name, Op(call, answer, kind, value, expected, outcome))
    elif kind != "get" and status != 503:  # 503 says that nothing was written
        history.add(name, Op(call, FOREVER, kind, value, expected))
    if not outcome:
        raise Failed(f"{kind} {name}: {status} {text[:200]!r}")
    return None


def work(label, servers, history, stopping, seed):
    choose, client, number = random.Random(seed), None, 0
    while not stopping.is_set():
        if client is None:
            server = choose.choice(servers)
            client = Client(servers[0].kubeconfig, server.address, timeout=10)  # a slow machine is no lost answer
        name, number = f"object-{choose.randrange(OBJECTS)}", number + 1
        try:
            state = perform(client, history, name, "get")
            what = choose.random()
            if state is ABSENT:
                perform(client, history, name, "create", f"{label}-{number}")
            elif what < 0.6:
                perform(client, history, name, "update", f"{label}-{number}", state[1])
            elif what < 0.75:
                perform(client, history, name, "delete", "", state[1])
            elif what < 0.8:
                perform(client, history, name, "create", f"{label}-{number}")
        except (OSError, http.client.HTTPException, Failed):
            client.close()
            client = None
            stopping.wait(0.05)


class Linearizability(unittest.TestCase):
    def test_the_checker_knows_good_from_bad(self):
        for name, wanted, history in _examples():
            with self.subTest(name):
                self.assertEqual(wanted, linearizable(history) is not None)

    def under_faults(self, make_database):
        lab = HaLab()
        self.addCleanup(lab.close)
        database = make_database(lab, lab.host())
        servers = [lab.server("one", database, args=["--disable-agent"]).wait_ready(timeout=120)]
        servers += [lab.server(name, database, args=["--disable-agent"]) for name in ("two", "three")]
        for s in servers:
            s.wait_ready(timeout=120)
        print(f"seed {SEED}", flush=True)
        history, stopping = History(), threading.Event()
        threads = [threading.Thread(target=work, args=(f"c{i}", servers, history, stopping, SEED + i)) for i in range(CLIENTS)]
        for t in threads:
            t.start()
        try:
            def more(n=40):
                goal = history.acknowledged + n
                eventually("writes go on", lambda: history.acknowledged >= goal, timeout=180)
            more()
            os.kill(servers[1].process.pid, signal.SIGKILL)
            servers[1].process.wait()
            more(20)
            servers[1].start()
            more()
            os.kill(servers[2].process.pid, signal.SIGSTOP)
            more(20)
            stopping.wait(1.5)
            os.kill(servers[2].process.pid, signal.SIGCONT)
            more()
            for _ in range(3):
                database.cut()
                more(10)
            database.restart()
            more()
            database.restart()
            os.kill(servers[0].process.pid, signal.SIGKILL)
            servers[0].process.wait()
            servers[0].start()
            more()
        finally:
            stopping.set()
            for t in threads:
                t.join()
            os.kill(servers[2].process.pid, signal.SIGCONT)
        for s in servers:
            s.wait_ready(timeout=120)
            client = Client(servers[0].kubeconfig, s.address, timeout=30)
            for name in history.ops:
                perform(client, history, name, "get")
            client.close()
        total = 0
        for name, ops in history.ops.items():
            total += len(ops)
            if linearizable(ops) is None:
                self.fail(f"seed {SEED}: what clients were told of {name} has no order:\n{explain(ops)}")
        unknown = sum(o.answer == FOREVER for ops in history.ops.values() for o in ops)
        print(f"{total} operations, {history.acknowledged} writes acknowledged, {unknown} unknown: linearizable", flush=True)

    def test_postgres(self):
        self.under_faults(CuttingPostgres)

    def test_mysql(self):
        self.under_faults(MariaDb)

    def test_redis(self):
        self.under_faults(Redis)

    def test_etcd(self):
        self.under_faults(CuttingEtcd)


if __name__ == "__main__":
    unittest.main()
