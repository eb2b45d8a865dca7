"""What servers and their clients see of a database that was set back, emptied, cut off or slowed down: PostgreSQL and SQLite (Redis: redis_test)."""

import http.client
import json
import os
import re
import shutil
import signal
import threading
import time
import unittest

from ha_lab import MAPS, Client, HaLab, Postgres, Wire, Writers, stored_maps
from harness import Server, eventually, main, run

SERVER_ONLY = ["--disable-agent"]
DATABASE = "kubernetes"


class Lost(unittest.TestCase):
    def setUp(self):
        self.lab = HaLab()
        self.addCleanup(self.lab.close)

    def client(self, server):
        c = Client(server.kubeconfig, server.address, server.port)
        self.addCleanup(c.close)
        return c

    def create(self, client, *names):
        for name in names:
            status, text = client.request("POST", MAPS, {"metadata": {"name": name}})
            self.assertEqual(status, 201, text)
        return int(json.loads(text)["metadata"]["resourceVersion"])

    def refuse(self, servers, *words):
        """However often the service manager starts them."""
        for s in [*servers, servers[0]]:
            s.start()
            self.assertEqual(s.process.wait(90), 1, s.log()[-2000:])
            for w in ("--accept-data-loss", *words):
                self.assertIn(w, s.log())

    def accept(self, servers, seen):
        servers[0].args.append("--accept-data-loss")
        for s in servers:
            s.start()
            s.wait_ready(90)
        servers[0].args.pop()
        c = self.client(servers[-1])
        # Who holds a revision of before is told to list again.
        status, text = c.request("GET", f"{MAPS}?watch=true&resourceVersion={seen}&timeoutSeconds=5")
        self.assertIn('"code":410', text.decode())
        self.assertEqual(c.request("GET", f"{MAPS}?resourceVersion={seen}&resourceVersionMatch=Exact")[0], 410)
        self.assertGreater(self.create(c, "after"), seen + 1_000_000)
        self.assertGreater(self.create(self.client(servers[0]), "after-that"), seen + 1_000_001)

    def two_servers(self, db):
        servers = [self.lab.server(name, db, args=SERVER_ONLY) for name in ("a", "b")]
        for s in servers:
            s.wait_ready(90)
        return servers

    def test_a_backup_restored_while_all_stand_still(self):
        db = Postgres(self.lab, self.lab.host())
        servers = self.two_servers(db)
        self.create(self.client(servers[0]), "early")
        backup = os.path.join(db.folder, "backup")
        db.command("pg_dump", "-h", db.folder, "-U", "postgres", "-Fc", "-f", backup, DATABASE)
        seen = self.create(self.client(servers[1]), *[f"late-{i}" for i in range(20)])
        for s in servers:
            self.assertEqual(s.stop(), 0, s.log()[-2000:])
        db.sql(f"drop database {DATABASE}")
        db.command("pg_restore", "-h", db.folder, "-U", "postgres", "-C", "-d", "postgres", backup)
        newest = db.sql("select max(id) from kine", DATABASE)
        self.refuse(servers, f"its newest revision is {newest}, this server has seen")
        self.assertEqual(db.sql("select max(id) from kine", DATABASE), newest)
        self.accept(servers, seen)
        self.assertEqual({n for n in stored_maps(self.client(servers[0])) if n.startswith(("early", "late"))}, {"early"})

    def test_an_empty_database(self):
        db = Postgres(self.lab, self.lab.host())
        servers = self.two_servers(db)
        self.create(self.client(servers[0]), "early")
        for s in servers:
            s.stop(signal.SIGKILL)  # a note of a minute ago is enough here
        time_noted = os.path.join(servers[0].data, "server/db/seen.json")
        # Nothing was noted yet: a clean stop does it.
        for s in servers:
            s.start()
            s.wait_ready(90)
            self.assertEqual(s.stop(), 0, s.log()[-2000:])
        self.assertTrue(os.path.exists(time_noted))
        db.sql(f"drop database {DATABASE}")
        db.sql(f"create database {DATABASE} template template0")
        self.refuse(servers, "it is empty")
        self.assertEqual(db.sql("select count(*) from pg_class where relname = 'kine'", DATABASE), "0")

    def test_an_asynchronous_standby_takes_over(self):
        first = Postgres(self.lab, self.lab.host(), replicated=True)
        second = Postgres(self.lab, self.lab.host(), of=first)
        class Both:
            url = f"postgres://postgres@{first.host.address}:5432,{second.host.address}:5432/{DATABASE}"
        servers = self.two_servers(Both)
        self.create(self.client(servers[0]), "early")
        eventually("the standby has it", lambda: second.sql("select count(*) from kine where name like '%/early'", DATABASE) == "1")
        run("ip", "-n", second.host.name, "link", "set", "eth0", "down")
        seen = self.create(self.client(servers[1]), *[f"late-{i}" for i in range(20)])
        first.stop(signal.SIGQUIT)
        run("ip", "-n", first.host.name, "link", "set", "eth0", "down")
        run("ip", "-n", second.host.name, "link", "set", "eth0", "up")
        second.command("pg_ctl", "-D", second.data, "-w", "promote")
        for s in servers:
            eventually(f"{s.name} ends", lambda: s.process.poll() is not None, timeout=60)
            self.assertEqual(s.process.returncode, 1, s.log()[-2000:])
            self.assertIn("has lost", s.log())
        newest = second.sql("select max(id) from kine", DATABASE)
        self.refuse(servers, "seen")  # by itself, or by the other, who said so in the database
        self.assertEqual(second.sql("select max(id) from kine", DATABASE), newest)
        self.accept(servers, seen)

    def test_a_server_that_accepts_losses_begins_anew_by_itself(self):
        db = Postgres(self.lab, self.lab.host())
        s = self.lab.server("a", db, args=[*SERVER_ONLY, "--accept-data-loss"]).wait_ready(90)
        began = time.monotonic()
        self.create(self.client(s), "early")
        backup = os.path.join(db.folder, "backup")
        db.command("pg_dump", "-h", db.folder, "-U", "postgres", "-Fc", "-f", backup, DATABASE)
        seen = self.create(self.client(s), *[f"late-{i}" for i in range(20)])
        eventually("it has run for ten seconds, or it would leave that to the service manager", lambda: time.monotonic() - began > 11, every=0.5)
        db.sql(f"drop database {DATABASE} with (force)")
        db.command("pg_restore", "-h", db.folder, "-U", "postgres", "-C", "-d", "postgres", backup)
        anew = eventually("it begins anew", lambda: re.search(r"beginning anew, as process (\d+) still", s.log()), timeout=90, every=0.2)
        s.wait_ready(90)
        self.assertIsNone(s.process.poll())
        with open(f"/proc/{anew[1]}/cmdline") as f:
            self.assertIn("--accept-data-loss", f.read().split("\0"))
        self.assertIn("begins anew with what the database has", s.log())
        c = self.client(s)
        self.assertEqual({n for n in stored_maps(c) if n.startswith(("early", "late"))}, {"early"})
        self.assertIn('"code":410', c.request("GET", f"{MAPS}?watch=true&resourceVersion={seen}&timeoutSeconds=5")[1].decode())
        self.assertGreater(self.create(c, "after"), seen + 1_000_000)
        self.assertEqual(s.stop(), 0, s.log()[-2000:])

    def test_a_restored_sqlite_file(self):
        s = Server(self.lab, "one", host=self.lab.host(), args=SERVER_ONLY).wait_ready(60)
        self.create(self.client(s), "early")
        self.assertEqual(s.stop(), 0)
        folder = os.path.join(s.data, "server/db")
        shutil.copy(os.path.join(folder, "state.db"), os.path.join(self.lab.folder, "backup"))
        s.start()
        s.wait_ready(60)
        seen = self.create(self.client(s), *[f"late-{i}" for i in range(20)])
        self.assertEqual(s.stop(), 0)
        shutil.copy(os.path.join(self.lab.folder, "backup"), os.path.join(folder, "state.db"))
        self.refuse([s], "its newest revision is")
        self.accept([s], seen)


class Links(unittest.TestCase):
    """Three servers; the way of one of them to the database is the test's."""

    @classmethod
    def setUpClass(cls):
        cls.lab = HaLab()
        cls.addClassCleanup(cls.lab.close)
        cls.db = Postgres(cls.lab, cls.lab.host())
        cls.servers = [cls.lab.server(f"s{i}", cls.db, args=SERVER_ONLY) for i in (1, 2, 3)]
        for s in cls.servers:
            s.wait_ready(90)
        cls.wire = Wire(cls.lab, cls.servers[1].host)

    def setUp(self):
        self.addCleanup(self.wire.heal)

    def client(self, server, timeout=60):
        c = Client(server.kubeconfig, server.address, timeout=timeout)
        self.addCleanup(c.close)
        return c

    def test_a_slow_link_slows_nobody_else(self):
        # 1.3 MB/s of writes at one, while another can read 200 KB/s.
        c, stop, took = self.client(self.servers[0]), threading.Event(), []
        def write():
            size, n = 200_000, 0
            while not stop.wait(0.14):
                began = time.monotonic()
                status, text = c.request("POST", MAPS, {"metadata": {"name": f"slow-{threading.get_ident()}-{n}"}, "data": {"k": "x" * size}})
                took.append((began, time.monotonic() - began, status))
                n += 1
        writer = threading.Thread(target=write, daemon=True)
        small = Writers(self.servers[0].kubeconfig, [self.servers[0].address], "small", clients=2, pause=0.05, timeout=20)
        self.addCleanup(small.end)
        writer.start()
        time.sleep(4)  # a stream to compare with
        slowed = time.monotonic()
        self.wire.slow_down(self.db.host.address, 200)
        time.sleep(20)  # the length of the measurement
        stop.set()
        writer.join(30)
        small.end()
        usual = max(t for began, t, _ in took if began < slowed)
        slowest = max(t for began, t, _ in took if began >= slowed)
        print(f"slowest write beside a slow link: {slowest * 1000:.0f} ms of {sum(b >= slowed for b, _, _ in took)}, before {usual * 1000:.0f} ms", flush=True)
        self.assertEqual({status for _, _, status in took}, {201})
        self.assertEqual(small.failures, [])
        self.assertLess(slowest, 6)  # a busy machine; the lock of before was held for ten seconds
        self.wire.heal()
        late = self.client(self.servers[1])
        eventually("it catches up", lambda: late.get(f"{MAPS}?limit=1"), timeout=60)

    def test_a_database_that_vanishes_for_one(self):
        server = self.servers[1]
        path = f"{MAPS}?resourceVersion=0"
        watching = self.client(server, timeout=90)
        watching.request("GET", "/version")
        watching.connection.request("GET", f"{MAPS}?watch=true&resourceVersion=0&timeoutSeconds=60")
        events = watching.connection.getresponse()
        self.assertEqual(events.status, 200)
        writers = Writers(server.kubeconfig, [server.address], "busy", clients=2)
        self.addCleanup(writers.end)
        writers.progress()
        cut = time.monotonic()
        self.wire.cut(self.db.host.address)
        ready = self.client(server)
        eventually("it says that it isn't ready", lambda: ready.request("GET", "/readyz")[0] == 500, timeout=10, every=0.02)
        unready = time.monotonic() - cut
        answers = []
        def ask(method, what, body=None, wait=0.0):
            time.sleep(wait)
            began = time.monotonic()
            status, text = self.client(server, timeout=60).request(method, what, body)
            answers.append((method, what, time.monotonic() - began, status, text[:300]))
        asked = [threading.Thread(target=ask, args=a, daemon=True) for a in
                 [("POST", MAPS, {"metadata": {"name": f"cut-{i}"}}, i * 0.5) for i in range(8)] + [("GET", MAPS, None, i * 0.5) for i in range(8)]
                 + [("GET", path, None, i * 0.5) for i in range(8)]]
        for t in asked:
            t.start()
        for t in asked:
            t.join(60)
        print(f"unready after {unready:.2f} s; slowest refusal {max(t for m, w, t, s, _ in answers if s == 503):.2f} s", flush=True)
        self.assertLess(unready, 8)  # two seconds, on a machine that has time
        for method, what, took, status, text in answers:
            if what == path:
                self.assertEqual((status, took < 10), (200, True), (what, took, text))
            else:
                self.assertEqual((status, took < 10), (503, True), (method, what, took, text))  # a second; a link is given up after 13
                for word in (b"SQL", b"10.97.", b"5432"):
                    self.assertNotIn(word, text)
        self.wire.heal()
        eventually("it is ready again", lambda: ready.request("GET", "/readyz")[0] == 200, timeout=60)
        # What was in doubt is looked up first.
        eventually("writes go on", lambda: self.client(server).request("POST", MAPS, {"metadata": {"name": "healed"}})[0] == 201)
        # The watch has gone on all the time.
        for line in iter(events.readline, b""):
            if json.loads(line)["object"]["metadata"]["name"] == "healed":
                break
        else:
            self.fail("the watch ended")

    def test_a_stop_ends_within_its_time_without_the_database(self):
        lone = self.lab.server("lone", self.db, args=SERVER_ONLY)
        lone.wait_ready(90)
        wire = Wire(self.lab, lone.host)
        writers = Writers(lone.kubeconfig, [lone.address], "lone", clients=4)
        self.addCleanup(writers.end)
        writers.progress()
        wire.cut(self.db.host.address)
        began = time.monotonic()
        self.assertEqual(lone.stop(timeout=60), 0, lone.log()[-3000:])
        took = time.monotonic() - began
        print(f"stopped after {took:.1f} s", flush=True)
        self.assertLess(took, 20)
        # And while it starts, before it has an answer.
        before = lone.log()
        lone.start()
        eventually("it waits for the database", lambda: "; waiting for it" in lone.log()[len(before):], timeout=60)
        began = time.monotonic()
        self.assertEqual(lone.stop(timeout=60), 0, lone.log()[-3000:])
        self.assertLess(time.monotonic() - began, 15)
        wire.heal()


if __name__ == "__main__":
    main()
