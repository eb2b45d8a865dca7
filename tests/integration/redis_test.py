"""Redis as the datastore of real servers: a replica that takes over, with everything or without the last writes; its memory."""

import http.client
import json
import os
import ssl
import unittest

from ha_lab import MAPS, TOKEN, Client, HaLab, Writers, stored_maps
from harness import Server, eventually, main, run

PORT = 6379


class Redis:
    """One Redis, which writes before it answers; a replica of another when that is given."""

    def __init__(self, lab, name, host, of=None, args=()):
        self.lab, self.name, self.host = lab, name, host
        folder = os.path.join(lab.folder, name)
        os.mkdir(folder)
        argv = ["redis-server", "--port", str(PORT), "--bind", host.address, "--dir", folder, "--save", "", "--appendonly", "yes",
                "--appendfsync", "no", "--protected-mode", "no", "--repl-diskless-sync-delay", "0", *args]
        if of:
            argv += ["--replicaof", of.host.address, str(PORT)]
        self.process = lab.start("redis-" + name, host.command(*argv))
        eventually(f"{name} answers", lambda: self.command("ping") == "PONG")

    def command(self, *words):
        return run(*self.host.command("redis-cli", "-h", self.host.address, *words)).strip()

    def info(self, section, name):
        lines = dict(line.split(":", 1) for line in self.command("info", section).splitlines() if ":" in line)
        return lines[name].strip()

    def follows(self):
        return self.info("replication", "master_link_status") == "up"


class Primary:
    """haproxy at a fixed address, which leads to whichever of them is the primary."""

    def __init__(self, lab, host, instances):
        self.host = host
        text = f"""
global
  maxconn 1000
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout check 20s
listen redis
  bind {host.address}:{PORT}
  option tcp-check
  tcp-check send info\\ replication\\r\\n
  tcp-check expect string role:master
  default-server check inter 200ms fall 1 rise 1 on-marked-down shutdown-sessions
"""
        text += "".join(f"  server {r.name} {r.host.address}:{PORT}\n" for r in instances)
        path = os.path.join(lab.folder, "redis-haproxy.cfg")
        with open(path, "w") as f:
            f.write(text)
        lab.start("redis-haproxy", host.command("haproxy", "-db", "-f", path))
        # It leads to all of them until it has looked at each.
        eventually("it leads to the primary alone", lambda: all(self.role() == "master" for attempt in range(10)))

    def role(self):
        return run(*self.host.command("redis-cli", "-h", self.host.address, "role"), timeout=10).split("\n")[0]


def ping(server, connection=None):
    """What a balancer's check gets, which has no credentials."""
    nobody = ssl.create_default_context()
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    c = connection or http.client.HTTPSConnection(server.address, server.port, context=nobody, timeout=10)
    c.request("GET", "/ping")
    answer = c.getresponse()
    return answer.status, answer.read().decode()


class Away(unittest.TestCase):
    def test_a_check_without_credentials_tells_whether_a_server_can_serve(self):
        lab = HaLab()
        self.addCleanup(lab.close)
        redis = Redis(lab, "only", lab.host())
        server = Server(lab, "one", host=lab.host(), args=["--disable-agent", "--token", TOKEN, "--datastore-endpoint", f"redis://{redis.host.address}:{PORT}/0"])
        server.wait_ready(60)
        self.assertEqual(ping(server), (200, "pong"))
        redis.process.kill()
        eventually("the check fails", lambda: ping(server) == (503, "not serving"))


class Failover(unittest.TestCase):
    def setUp(self):
        self.lab = HaLab()
        self.addCleanup(self.lab.close)
        self.first = Redis(self.lab, "first", self.lab.host())
        self.second = Redis(self.lab, "second", self.lab.host(), of=self.first)
        eventually("the replica follows", self.second.follows)
        front = self.lab.host()
        Primary(self.lab, front, [self.first, self.second])
        self.endpoint = f"redis://{front.address}:{PORT}/0"

    def servers(self, options=""):
        args = ["--disable-agent", "--token", TOKEN, "--datastore-endpoint", self.endpoint + options]
        all = [Server(self.lab, name, host=self.lab.host(), args=args) for name in ("one", "two")]
        for s in all:
            s.wait_ready(60)
        return all

    def client(self, server):
        c = Client(server.kubeconfig, server.address)
        self.addCleanup(c.close)
        return c

    def test_a_replica_that_has_everything_takes_over(self):
        servers = self.servers("?replicas=1&replica_timeout=10000")
        writers = Writers(servers[0].kubeconfig, [s.address for s in servers], "kept")
        self.addCleanup(writers.end)
        writers.progress()
        self.first.process.kill()
        self.first.process.wait(10)
        self.second.command("config", "set", "min-replicas-to-write", "0")
        self.second.command("replicaof", "no", "one")
        # Nobody waits for a second replica that doesn't exist any more: a write is done, but said to be unsafe. A third one helps.
        third = Redis(self.lab, "third", self.lab.host(), of=self.second)
        eventually("the third follows", third.follows)
        writers.progress()
        acknowledged = writers.end()
        for s in servers:
            self.assertIsNone(s.process.poll(), s.log()[-2000:])
            stored = stored_maps(self.client(s))
            self.assertEqual({n: v for n, v in acknowledged.items() if stored.get(n) != v}, {})

    def test_a_replica_that_lacks_writes_stops_the_servers(self):
        servers = self.servers()
        c = self.client(servers[0])
        for i in range(5):
            self.assertEqual(c.request("POST", MAPS, {"metadata": {"name": f"early-{i}"}, "data": {"n": str(i)}})[0], 201)
        self.first.command("wait", "1", "10000")
        run("ip", "-n", self.second.host.name, "link", "set", "eth0", "down")
        for i in range(20):
            self.assertEqual(c.request("POST", MAPS, {"metadata": {"name": f"late-{i}"}, "data": {"n": str(i)}})[0], 201)
        self.first.process.kill()
        self.first.process.wait(10)
        # For good: what the kernel still has of its stream would reach the replica after all.
        run("ip", "-n", self.first.host.name, "link", "set", "eth0", "down")
        run("ip", "-n", self.second.host.name, "link", "set", "eth0", "up")
        self.second.command("replicaof", "no", "one")
        for s in servers:
            eventually(f"{s.name} ends", lambda: s.process.poll() is not None, timeout=60)
            self.assertEqual(s.process.returncode, 1)
            self.assertIn("has lost", s.log())
        # Nor does a new process take what is there for what it had seen, as often as it is started.
        revision = self.second.command("hget", "{kedge}:meta", "rev")
        for s in [*servers, servers[0]]:
            s.start()
            self.assertEqual(s.process.wait(60), 1)
            self.assertIn("--accept-data-loss", s.log())
        self.assertEqual(self.second.command("hget", "{kedge}:meta", "rev"), revision)
        # A person decides, once.
        servers[1].args.append("--accept-data-loss")
        servers[1].start()
        servers[1].wait_ready(60)
        servers[0].start()
        servers[0].wait_ready(60)
        self.assertGreater(int(self.second.command("hget", "{kedge}:meta", "rev")), 1_000_000)
        stored = stored_maps(self.client(servers[1]))
        self.assertEqual({n for n, value in stored.items() if value}, {f"early-{i}" for i in range(5)})
        self.assertEqual(self.client(servers[0]).request("POST", MAPS, {"metadata": {"name": "after"}})[0], 201)


class Memory(unittest.TestCase):
    def test_it_is_bounded_while_large_objects_change(self):
        lab = HaLab()
        self.addCleanup(lab.close)
        redis = Redis(lab, "redis", lab.host())
        args = ["--disable-agent", "--datastore-endpoint", f"redis://{redis.host.address}:{PORT}/0"]
        server = Server(lab, "server", host=lab.host(), args=args).wait_ready(60)
        c = Client(server.kubeconfig, server.address, timeout=60)
        self.addCleanup(c.close)
        self.assertEqual(c.request("POST", MAPS, {"metadata": {"name": "large"}})[0], 201)
        peak = 0
        for i in range(340):  # 170 MB, of which half a megabyte is not history
            self.assertEqual(c.request("PATCH", f"{MAPS}/large", {"data": {"x": f"{i:05} " * 83_000}}, "application/merge-patch+json")[0], 200)
            if i % 10 == 0:
                peak = max(peak, int(redis.info("memory", "used_memory")))
        # 64 MB may be written before it is compacted, half as much is kept, and some more comes while it runs.
        self.assertLess(peak, 140_000_000)
        self.assertGreater(peak, 40_000_000)
        self.assertEqual(json.loads(c.request("GET", f"{MAPS}/large")[1])["data"]["x"][:5], "00339")


if __name__ == "__main__":
    main()
