"""What the cluster's own etcd has may come from elsewhere: from a snapshot, or from a K3s server; and servers use it that have no member."""

import base64
import json
import os
import shutil
import signal
import subprocess
import zipfile

from etcd_lab import TOKEN, OwnEtcd
from ha_lab import MAPS, stored_maps
from harness import BINARY, Server, eventually, main, run


class Data(OwnEtcd):
    def test_restored_and_used_from_a_server_without_a_member(self):
        first = self.server("one", "--cluster-init")
        first.wait_ready(120)
        self.write(first, "early")
        # The only member's Node may be deleted, and nothing of etcd goes with it.
        alone, node = self.client(first), "/api/v1/nodes/one"
        self.assertEqual(alone.request("POST", "/api/v1/nodes", {"metadata": {"name": "one"}})[0], 201)
        eventually("its Node is marked", lambda: "wrangler.cattle.io/managed-etcd-controller" in alone.get(node)["metadata"].get("finalizers", []), timeout=60)
        self.assertEqual(alone.request("DELETE", node)[0], 200)
        eventually("the Node has gone", lambda: alone.request("GET", node)[0] == 404, timeout=60)
        self.assertEqual(len(self.members(first)), 1)
        name = run(*first.host.command(BINARY, "snapshot", "save", "--data-dir", first.data), timeout=60).split()[1]
        before = int(self.client(first).get(f"{MAPS}/early")["metadata"]["resourceVersion"])
        file = os.path.join(first.data, "server/db/snapshots", name)
        self.write(first, "late")
        restore = ["snapshot", "restore", file, "--data-dir", first.data, "--token", TOKEN]
        self.assertEqual(first.stop(), 0, first.log()[-2000:])
        refused = subprocess.run(first.host.command(BINARY, *restore), capture_output=True, text=True, timeout=60)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("holds a cluster", refused.stderr)
        # What a restore that was cut off has left: data that it had put aside stays, its own goes.
        db = os.path.join(first.data, "server/db")
        os.makedirs(os.path.join(db, "etcd-restored/member"))
        code, said = self.once(first, "--cluster-reset", "--cluster-reset-restore-path", file)
        self.assertEqual(code, 0, said)
        self.assertEqual(len([n for n in os.listdir(db) if n.startswith("etcd-old-")]), 2)
        self.assertFalse(os.path.exists(os.path.join(db, "etcd-restored")) or os.path.exists(os.path.join(db, "etcd/restoring")))
        first.start()
        first.wait_ready(120)
        self.assertEqual({n for n in stored_maps(self.client(first)) if n in ("early", "late")}, {"early"})
        self.assertGreater(int(self.client(first).get(f"{MAPS}/early")["metadata"]["resourceVersion"]), before + 10_000)
        # Control plane alone.
        second = self.server("two", "--disable-etcd", "--server", first.url)
        second.wait_ready(120)
        self.write(second, "from-two")
        self.assertIn("from-two", stored_maps(self.client(first)))
        self.assertEqual(len(self.members(second)), 1)
        known = os.path.join(second.data, "server/etc/k3s-etcd-server-load-balancer.json")
        eventually("it remembers the members", lambda: json.load(open(known))["ServerAddresses"] == [f"{first.address}:2379"])
        self.assertFalse(os.path.exists(os.path.join(second.data, "server/db/etcd")))

    def test_a_directory_of_k3s(self):
        server = self.server("one", "--cluster-init")
        server.wait_ready(120)
        prefix, end = base64.b64encode(b"/bootstrap/").decode(), base64.b64encode(b"/bootstrap0").decode()
        record = self.etcd(server, "kv/range", {"key": prefix, "range_end": end})["kvs"][0]
        self.assertEqual(server.stop(), 0, server.log()[-2000:])
        # etcd as K3s runs it, by the file that it writes, with what kube-apiserver and K3s keep in it.
        folder = os.path.join(server.data, "server/db/etcd")
        shutil.rmtree(folder)
        os.mkdir(folder, 0o700)
        with open(folder + "/name", "w") as f:
            f.write("one-0badcafe")
        tls, url = os.path.join(server.data, "server/tls/etcd"), f"https://{server.address}"
        with open(folder + "/config", "w") as f:
            f.write(f"""advertise-client-urls: {url}:2379
client-transport-security:
  cert-file: {tls}/server-client.crt
  client-cert-auth: true
  key-file: {tls}/server-client.key
  trusted-ca-file: {tls}/server-ca.crt
data-dir: {folder}
enable-grpc-gateway: true
election-timeout: 5000
experimental-initial-corrupt-check: true
heartbeat-interval: 500
initial-advertise-peer-urls: {url}:2380
initial-cluster: one-0badcafe={url}:2380
initial-cluster-state: new
listen-client-urls: https://127.0.0.1:2379,{url}:2379
listen-metrics-urls: http://127.0.0.1:2381
listen-peer-urls: https://127.0.0.1:2380,{url}:2380
log-outputs:
- stderr
logger: zap
name: one-0badcafe
peer-transport-security:
  cert-file: {tls}/peer-server-client.crt
  client-cert-auth: true
  key-file: {tls}/peer-server-client.key
  trusted-ca-file: {tls}/peer-ca.crt
snapshot-count: 10000
""")
        etcd = self.lab.start("k3s-etcd", server.host.command("etcd", "--config-file", folder + "/config"))
        eventually("etcd answers", lambda: "header" in self.etcd(server, "maintenance/status", {}), timeout=60)
        def put(key, value):
            return int(self.etcd(server, "kv/put", {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value).decode()})["header"]["revision"])
        put(base64.b64decode(record["key"]).decode(), base64.b64decode(record["value"]))
        put("compact_rev_key", b"0")
        put("k3s/apiaddresses", f'["{server.address}:6443"]'.encode())
        put("k3s/etcd/learnerProgress", b"{}")
        def field(number, content):
            return bytes([number << 3 | 2, len(content)]) + content
        metadata = field(1, b"from-k3s") + field(3, b"default") + field(5, b"0d9c1a2c-8b1f-4d3e-9f0a-1b2c3d4e5f60")
        text = field(1, metadata) + field(2, field(1, b"n") + field(2, b"7"))
        revision = put("/registry/configmaps/default/from-k3s",
                       b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"ConfigMap")) + field(2, text) + field(3, b"") + field(4, b""))
        put("/registry/namespaces/default", json.dumps({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default", "uid": "1b2c3d4e-8b1f-4d3e-9f0a-0d9c1a2c5f60",
            "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}).encode())
        # A snapshot, as K3s saves it: etcd's stream into a file, and that in an archive.
        tls = os.path.join(server.data, "server/tls/etcd")
        stream = run(*server.host.command("curl", "-sS", "-m", "60", "--cacert", tls + "/server-ca.crt", "--cert", tls + "/client.crt", "--key", tls + "/client.key",
                                          "-d", "{}", "https://127.0.0.1:2379/v3/maintenance/snapshot"), timeout=90)
        saved = os.path.join(self.lab.folder, "on-demand-one-1780000000")
        with open(saved, "wb") as f:
            for line in stream.splitlines():
                f.write(base64.b64decode(json.loads(line)["result"].get("blob", "")))
        with zipfile.ZipFile(saved + ".zip", "w", zipfile.ZIP_DEFLATED) as z:
            z.write(saved, "on-demand-one-1780000000")
        etcd.send_signal(signal.SIGTERM)
        etcd.wait(30)
        # Nobody says that this is etcd: its data does.
        server.args.remove("--cluster-init")
        os.remove(os.path.join(server.data, "server/db/seen.json"))
        server.start()
        server.wait_ready(120)
        self.assertEqual(list(self.members(server)), ["one-0badcafe"])
        found = self.client(server).get(f"{MAPS}/from-k3s")
        self.assertEqual((found["data"], found["metadata"]["resourceVersion"]), ({"n": "7"}, str(revision)))
        self.write(server, "by-kedge")
        key = base64.b64encode(b"/registry/configmaps/default/by-kedge").decode()
        self.assertEqual(json.loads(base64.b64decode(self.etcd(server, "kv/range", {"key": key})["kvs"][0]["value"]))["kind"], "ConfigMap")
        # The snapshot becomes the cluster: here again, and in SQLite.
        self.assertEqual(server.stop(), 0, server.log()[-2000:])
        code, said = self.once(server, "--cluster-reset", "--cluster-reset-restore-path", saved)
        self.assertEqual(code, 0, said)
        other = os.path.join(self.lab.folder, "other")
        said = run(*server.host.command(BINARY, "snapshot", "restore", saved + ".zip", "--data-dir", other, "--token", TOKEN))
        self.assertRegex(said, r"restored [1-9]\d* objects of the cluster as it was at 2026-05-28")
        self.assertNotIn("on-demand-one-1780000000.part", os.listdir(other + "/server/db"))
        server.args.append("--disable-controller-manager")
        server.start()
        server.wait_ready(120)
        maps = stored_maps(self.client(server))
        self.assertIn("from-k3s", maps)
        self.assertNotIn("by-kedge", maps)
        # Where no controllers run, a deleted Node goes all the same.
        alone, node = self.client(server), "/api/v1/nodes/one"
        self.assertEqual(alone.request("POST", "/api/v1/nodes", {"metadata": {"name": "one"}})[0], 201)
        eventually("its Node is marked", lambda: "wrangler.cattle.io/managed-etcd-controller" in alone.get(node)["metadata"].get("finalizers", []), timeout=60)
        self.assertEqual(alone.request("DELETE", node)[0], 200)
        eventually("the Node has gone", lambda: alone.request("GET", node)[0] == 404, timeout=60)
        self.assertEqual(server.stop(), 0, server.log()[-2000:])
        moved = Server(self.lab, "moved", host=self.lab.host(), data=other, args=["--disable-agent", "--token", TOKEN]).wait_ready(120)
        self.assertEqual(self.client(moved).get(f"{MAPS}/from-k3s")["data"], {"n": "7"})


if __name__ == "__main__":
    main()
