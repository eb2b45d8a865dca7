"""MariaDB as the datastore of real servers: two servers and two nodes over it while it dies, a backup put back, and snapshots into it and out of it."""

import json
import os
import signal
import unittest

from ha_lab import MAPS, TOKEN, Client, HaLab, Writers, stored_maps
from harness import BINARY, Server, eventually, main, run
from mariadb import DATABASE, MariaDb

SERVER_ONLY = ["--disable-agent"]


class MySql(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = HaLab()
        cls.addClassCleanup(cls.lab.close)
        cls.db = MariaDb(cls.lab, cls.lab.host())
        cls.servers = [cls.lab.server(name, cls.db, args=SERVER_ONLY) for name in ("a", "b")]
        for s in cls.servers:
            s.wait_ready(90)

    def client(self, server):
        c = Client(server.kubeconfig, server.address, server.port)
        self.addCleanup(c.close)
        return c

    def create(self, client, *names):
        for name in names:
            status, text = client.request("POST", MAPS, {"metadata": {"name": name}})
            self.assertEqual(status, 201, text)
        return int(json.loads(text)["metadata"]["resourceVersion"])

    def test_1_two_servers_and_two_nodes_while_the_database_and_a_server_die(self):
        a, b = self.servers
        agents = [self.lab.agent(f"node-{i}", s.url) for i, s in enumerate(self.servers)]
        for agent in agents:
            ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
            eventually(f"{agent.name} is ready", lambda: b.kubectl("get", "node", agent.name, "-o", ready) == "True", timeout=60)
        writers = Writers(a.kubeconfig, [a.address, b.address], "while")
        self.addCleanup(writers.end)
        writers.progress()
        for number in (signal.SIGKILL, signal.SIGTERM):
            self.db.restart(number)
            writers.progress()
        self.db.cut()
        writers.progress()
        self.assertEqual(a.stop(signal.SIGKILL), -signal.SIGKILL)
        writers.progress()
        a.start()
        a.wait_ready(60)
        acknowledged = writers.end()
        # A linearizable read at either.
        for s in self.servers:
            lost = acknowledged.keys() - stored_maps(self.client(s)).keys()
            self.assertEqual(lost, set(), s.name)
        # What is written at one is seen at the other, with the same number.
        at = self.create(self.client(a), "seen-by-both")
        self.assertEqual(b.get("configmap", "seen-by-both")["metadata"]["resourceVersion"], str(at))

    def test_2_a_backup_put_back_while_all_stand_still(self):
        a, b = self.servers
        self.create(self.client(a), "early")
        dump = self.db.client("mariadb-dump", "--hex-blob", "--single-transaction", DATABASE)
        seen = self.create(self.client(b), *[f"late-{i}" for i in range(20)])
        for s in self.servers:
            self.assertEqual(s.stop(), 0, s.log()[-2000:])
        self.db.sql(f"drop database {DATABASE}; create database {DATABASE}")
        self.db.client("mariadb", "-D", DATABASE, input=dump)
        newest = self.db.sql("select max(id) from kine", DATABASE)
        for s in (a, b, a):  # however often the service manager starts them
            s.start()
            self.assertEqual(s.process.wait(90), 1, s.log()[-2000:])
            self.assertIn(f"its newest revision is {newest}, this server has seen", s.log())
            self.assertIn("--accept-data-loss", s.log())
        self.assertEqual(self.db.sql("select max(id) from kine", DATABASE), newest)
        a.args.append("--accept-data-loss")
        for s in self.servers:
            s.start()
            s.wait_ready(90)
        a.args.pop()
        status, text = self.client(b).request("GET", f"{MAPS}?watch=true&resourceVersion={seen}&timeoutSeconds=5")
        self.assertIn('"code":410', text.decode())
        self.assertGreater(self.create(self.client(b), "after"), seen + 1_000_000)
        self.assertGreater(self.create(self.client(a), "after-that"), seen + 1_000_001)
        self.assertEqual({n for n in stored_maps(self.client(a)) if n.startswith(("early", "late"))}, {"early"})

    def test_3_a_snapshot_into_sqlite_and_back(self):
        a, b = self.servers
        self.create(self.client(a), "kept")
        run(*a.host.command(BINARY, "snapshot", "save", "--data-dir", a.data, "--name", "out"))
        folder = os.path.join(a.data, "server/db/snapshots")
        file = os.path.join(folder, next(f for f in os.listdir(folder) if f.startswith("out-")))
        for s in self.servers:
            self.assertEqual(s.stop(), 0, s.log()[-2000:])
        self.db.sql(f"drop database {DATABASE}")
        for name, endpoint in (("file", []), ("back", ["--datastore-endpoint", self.db.url])):
            host, data = self.lab.host(), os.path.join(self.lab.folder, name)
            run(*host.command(BINARY, "snapshot", "restore", file, "--data-dir", data, "--token", TOKEN, *endpoint), timeout=60)
            s = Server(self.lab, name, host=host, args=[*SERVER_ONLY, "--token", TOKEN, *endpoint]).wait_ready(90)
            self.assertIn("kept", stored_maps(self.client(s)))
            self.assertEqual(s.stop(), 0, s.log()[-2000:])


if __name__ == "__main__":
    main()
