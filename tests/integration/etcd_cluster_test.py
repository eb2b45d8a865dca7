"""Servers that keep the cluster in an etcd of their own: begun, joined, moved into from SQLite, and a machine of it lost."""

import os
import signal
import time

from etcd_lab import OwnEtcd
from ha_lab import MAPS, Writers, stored_maps
from harness import BINARY, eventually, main, run


class Own(OwnEtcd):
    def test_a_move_out_of_sqlite_that_was_cut_short(self):
        server = self.server("one")
        server.wait_ready(90)
        self.assertEqual(self.client(server).request("POST", MAPS, {"metadata": {"name": "from-sqlite"}})[0], 201)
        self.assertEqual(server.stop(), 0, server.log()[-2000:])
        # When etcd has come up a part of what shall be moved can't be read.
        folder = os.path.join(server.data, "server/db")
        database = os.path.join(folder, "state.db")
        with open(database, "r+b") as f:
            kept = f.read()
            f.seek(len(kept) // 2)
            f.write(bytes(16 * 4096))
        server.args.append("--cluster-init")
        server.start()
        self.assertEqual(server.process.wait(120), 1)
        self.assertIn("etcd 3.", server.log())
        with open(database, "r+b") as f:
            f.write(kept)
        server.start()
        server.wait_ready(120)
        self.assertIn("from-sqlite", stored_maps(self.client(server)))

    def test_three_servers_of_which_one_goes(self):
        first = self.server("one")  # SQLite
        first.wait_ready(90)
        self.assertEqual(self.client(first).request("POST", MAPS, {"metadata": {"name": "from-sqlite"}})[0], 201)
        self.assertEqual(first.stop(), 0, first.log()[-2000:])
        first.args.append("--cluster-init")
        first.start()
        first.wait_ready(120)
        self.assertIn("from-sqlite", stored_maps(self.client(first)))
        self.assertTrue(os.path.exists(os.path.join(first.data, "server/db/state.db.migrated")))
        others = [self.server(name, "--server", first.url) for name in ("two", "three")]
        servers = [first, *others]
        for s in others:
            s.wait_ready(120)
        eventually("all vote", lambda: list(self.members(first).values()) == [False] * 3, timeout=60)
        writers = Writers(first.kubeconfig, [s.address for s in others], "kept")
        self.addCleanup(writers.end)
        writers.progress()
        # The certificates of etcd are made anew like all others, and shown, while it runs.
        files = [os.path.join(s.data, "server/tls/etcd", name + ".crt") for s in servers for name in ("client", "server-client", "peer-server-client")]
        content = lambda: [open(f).read() for f in files if os.path.exists(f)]
        before = content()
        for s in servers:
            run(BINARY, "certificate", "rotate", "--data-dir", s.data)
        eventually("all are new", lambda: len(now := content()) == len(before) and not set(now) & set(before), timeout=60)
        for s, leaf in zip(servers, content()[1::3]):
            shown = lambda: run(*s.host.command("openssl", "s_client", "-connect", "127.0.0.1:2379"), input="", check=False).stdout
            eventually(f"etcd of {s.name} shows it", lambda: leaf.split("-----")[2] in shown(), timeout=60, every=0.5)
        writers.progress()
        self.assertEqual(writers.failures, [])
        # The first machine goes as if its power had: server, and etcd with it.
        began, counted = time.monotonic(), writers.count()
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        eventually("writes go on", lambda: writers.count() > counted + 8, timeout=60, every=0.01)
        print(f"writes went on {time.monotonic() - began:.2f} s after the first machine was lost", flush=True)
        writers.progress()
        first.start()
        first.wait_ready(120)
        acknowledged = writers.end()
        for s in servers:
            stored = stored_maps(self.client(s))
            self.assertEqual({n: v for n, v in acknowledged.items() if stored.get(n) != v}, {})
        # It knows the others again: its own member may freeze.
        with open(f"/proc/{first.process.pid}/task/{first.process.pid}/children") as f:
            member = next(int(p) for p in f.read().split() if os.readlink(f"/proc/{p}/exe").endswith("/etcd"))
        os.kill(member, signal.SIGSTOP)
        try:
            eventually("it writes over another member", lambda: self.client(first).request("POST", MAPS, {"metadata": {"name": "elsewhere"}})[0] in (201, 409), timeout=60)
        finally:
            os.kill(member, signal.SIGCONT)
        # Its Node tells the member.
        c = self.client(others[0])
        self.assertEqual(c.request("POST", "/api/v1/nodes", {"metadata": {"name": "one"}})[0], 201)
        def marks():
            metadata = c.get("/api/v1/nodes/one")["metadata"]
            return metadata.get("annotations", {}).get("etcd.k3s.cattle.io/node-name"), metadata.get("labels", {}).get("node-role.kubernetes.io/etcd")
        eventually("its Node tells the member", lambda: marks() == (next(n for n in self.members(others[0]) if n.startswith("one-")), "true"))


if __name__ == "__main__":
    main()
