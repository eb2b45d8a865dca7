"""Backups: saved by a server that is written to, restored into its own kind of datastore and into others, at other addresses."""

import glob
import json
import os
import shutil
import signal
import sys
import unittest

from ha_lab import MAPS, HaLab, Postgres, Writers, name_hosts
from harness import BINARY, Server, eventually, main, run
from machine_test import PROXY
from redis_test import Redis


def get_moto():
    """moto and boto3, as they are installed or else by pip, kept in the build folder: (program, boto3)."""
    kept = os.path.join(BINARY.removesuffix("src/cli/kedge"), "moto")
    try:
        import boto3, moto
    except ImportError:
        if not os.path.isdir(kept):
            run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--target", kept + ".new",
                "moto[server]>=5", timeout=600)
            os.rename(kept + ".new", kept)
        sys.path.append(kept)
        import boto3, moto
    folder = os.path.dirname(os.path.dirname(moto.__file__))
    return ("env", f"PYTHONPATH={folder}", "INITIAL_NO_AUTH_ACTION_COUNT=4", sys.executable, "-m", "moto.server"), boto3


def names(server):
    return {m["metadata"]["name"]: m["metadata"]["uid"] for m in server.api().get(MAPS)["items"]}


class Backup(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = HaLab()
        cls.addClassCleanup(cls.lab.close)
        cls.host = cls.lab.host()
        cls.data = os.path.join(cls.lab.folder, "one")
        cls.folder = os.path.join(cls.data, "server/db/snapshots")
        cls.server = Server(cls.lab, "one", host=cls.host, args=["--disable-agent", "--secrets-encryption", "--etcd-snapshot-schedule-cron",
                                                                 "@every 2s", "--etcd-snapshot-retention", "2"]).wait_ready()
        cls.server.kubectl("create", "secret", "generic", "mine", "--from-literal=word=sesame")
        cls.token = cls.server.token()
        cls.file = cls.save("base")

    @classmethod
    def kedge(cls, *args, check=True, host=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("K3S_")}
        return run(*(host or cls.host).command(BINARY, *args), check=check, env=env)

    @classmethod
    def save(cls, name):
        said = cls.kedge("snapshot", "save", "--data-dir", cls.data, "--name", name)
        return os.path.join(cls.folder, said.split()[1])

    def refused(self, *args, **kw):
        p = self.kedge(*args, check=False, **kw)
        self.assertEqual(p.returncode, 1, p.stdout + p.stderr)
        return p.stderr

    def restored(self, name, *args, file=None):
        """A server of another name, at another address, from the snapshot."""
        host = self.lab.host()
        data = os.path.join(self.lab.folder, name)
        self.kedge("snapshot", "restore", file or self.file, "--data-dir", data, "--token", self.token, *args, host=host)
        return Server(self.lab, name, host=host, args=["--disable-agent", "--secrets-encryption", *args]).wait_ready()

    def has_it(self, server):
        secret = server.get("secret", "mine")
        self.assertEqual(secret["data"]["word"], "c2VzYW1l")
        # The same cluster: its CA, and what was signed by its keys.
        self.assertEqual(server.token(), self.token)
        self.assertEqual(server.api().get("/api/v1/namespaces/kube-system")["metadata"]["uid"],
                         self.server.api().get("/api/v1/namespaces/kube-system")["metadata"]["uid"])
        endpoints = eventually("the endpoints are the new server's", lambda: server.get("endpoints", "kubernetes")["subsets"])
        self.assertEqual([a["ip"] for a in endpoints[0]["addresses"]], [server.address])

    def test_1_a_snapshot_is_of_one_moment(self):
        writers = Writers(self.server.kubeconfig, [self.server.address], "w", clients=2, pause=0.001)
        writers.progress(200)
        before = writers.count()
        file = self.save("busy")
        writers.progress(50)
        acknowledged = writers.end()
        self.assertEqual(writers.failures, [])
        two = self.restored("two", file=file)
        kept = names(two)
        # Each client writes one after the other: what is there has no gap.
        for client in ("w-0-", "w-1-"):
            numbers = sorted(int(n.removeprefix(client)) for n in kept if n.startswith(client))
            self.assertEqual(numbers, list(range(len(numbers))))
        ours = {n for n in kept if n.startswith("w-")}
        self.assertGreaterEqual(len(ours), before)
        self.assertLess(len(ours), len(acknowledged))
        was = names(self.server)
        self.assertEqual({n: was[n] for n in ours}, {n: kept[n] for n in ours})
        self.has_it(two)
        # It is sealed again in the new datastore.
        with open(os.path.join(self.lab.folder, "two/server/db/state.db"), "rb") as f:
            text = f.read()
        self.assertNotIn(b"c2VzYW1l", text)
        self.assertEqual(two.stop(), 0)

    def test_2_names_of_k3s_and_the_schedule(self):
        def scheduled():
            listed = json.loads(self.kedge("etcd-snapshot", "ls", "--data-dir", self.data, "-o", "json"))
            return [i["spec"]["snapshotName"] for i in listed["items"] if i["spec"]["snapshotName"].startswith("etcd-snapshot-one-")]
        first = eventually("two are kept", lambda: (s := scheduled()) and len(s) == 2 and s)
        eventually("a newer one takes the place of the oldest", lambda: (s := scheduled()) != first and len(s) == 2 and first[1] not in s)
        table = self.kedge("etcd-snapshot", "ls", "--data-dir", self.data).splitlines()
        self.assertEqual(table[0].split(), ["Name", "Location", "Size", "Created"])
        row = next(l for l in table if l.startswith("base-one-")).split()
        self.assertEqual((row[1], int(row[2])), ("file://" + self.file, os.path.getsize(self.file)))
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o600)
        extra = os.path.basename(self.save("extra"))
        self.assertIn(extra, self.kedge("etcd-snapshot", "delete", extra, "--data-dir", self.data))
        self.assertIn("not there", self.refused("etcd-snapshot", "delete", extra, "--data-dir", self.data))
        self.assertIn("kind: ETCDSnapshotFileList", self.kedge("etcd-snapshot", "ls", "--data-dir", self.data, "-o", "yaml"))
        # Each is an object, as with K3s, and goes with its file.
        shown = lambda: {i["spec"]["snapshotName"]: i for i in self.server.get("etcdsnapshotfiles")["items"]}
        self.server.kubectl("-n", "kube-system", "create", "configmap", "k3s-etcd-snapshot-extra-metadata", "--from-literal=why=test")
        told = os.path.basename(self.save("told"))
        eventually("what is said of it is shown", lambda: shown().get(told, {}).get("spec", {}).get("metadata") == {"why": "test"})
        line = lambda: json.loads(self.server.get("-n", "kube-system", "configmap", "k3s-etcd-snapshots").get("data", {}).get("local-" + told, "null"))
        self.assertEqual(("one", "successful"), (lambda l: (l["nodeName"], l["status"]))(eventually("and listed", line)))
        self.kedge("etcd-snapshot", "delete", told, "--data-dir", self.data)
        eventually("it goes with it", lambda: line() is None)
        self.server.kubectl("-n", "kube-system", "delete", "configmap", "k3s-etcd-snapshot-extra-metadata")
        own = eventually("it is shown", lambda: shown().get(os.path.basename(self.file)))
        self.assertEqual(("one", "file://" + self.file, str(os.path.getsize(self.file)), True, "one"),
                         (own["spec"]["nodeName"], own["spec"]["location"], own["status"]["size"], own["status"]["readyToUse"],
                          own["metadata"]["labels"]["etcd.k3s.cattle.io/snapshot-storage-node"]))
        self.assertRegex(own["metadata"]["name"], r"^local-base-one-\d+-[0-9a-f]{6}$")
        eventually("what was deleted isn't shown", lambda: extra not in shown())
        eventually("events tell of it", lambda: {"ETCDSnapshotCreated", "ETCDSnapshotDeleted"} <= {e["reason"] for e in self.server.get("events")["items"]})
        self.assertRegex(self.server.kubectl("get", "--raw", "/metrics"), r'k3s_etcd_snapshot_save_local_duration_seconds_count\{status="success"\} [1-9]')
        # Nothing in it can be read without the token.
        with open(self.file, "rb") as f:
            text = f.read()
        self.assertNotIn(b"c2VzYW1l", text)
        self.assertNotIn(self.token.rpartition(":")[2].encode(), text)

    def test_3_into_postgresql_cut_off_and_done_again(self):
        self.kedge("snapshot", "save", "--data-dir", self.data, "--name", "big")
        big = glob.glob(os.path.join(self.folder, "big-*"))[0]
        postgres = Postgres(self.lab, self.lab.host())
        data = os.path.join(self.lab.folder, "three")
        args = ["--data-dir", data, "--token", self.token, "--datastore-endpoint", postgres.url]
        # Killed while it writes: the row that says so stands, and nobody starts over it.
        postgres.sql("create database kubernetes")
        p = self.lab.start("cut-off", self.host.command(BINARY, "snapshot", "restore", big, *args))
        eventually("it writes", lambda: "restore" in postgres.sql("select name from kine where name = '/kedge/restore'", "kubernetes"), every=0.01)
        os.kill(p.pid, signal.SIGKILL)
        p.wait(10)
        half = self.lab.start("half", self.host.command(BINARY, "server", "--disable-agent", "--https-listen-port", "7443", "--node-name", "three", *args))
        self.assertEqual(half.wait(30), 1)
        self.assertIn("run `kedge snapshot restore` again", open(half.log).read())
        three = self.restored("three", "--datastore-endpoint", postgres.url, file=big)
        self.has_it(three)
        # A server that lives is not written under; a cluster that stands is not replaced unasked.
        again = ["snapshot", "restore", big, "--data-dir", data + "-b", "--token", self.token, "--datastore-endpoint", postgres.url]
        self.assertIn("holds a cluster", self.refused(*again))
        self.assertIn("stop all servers", self.refused(*again, "--overwrite"))
        self.assertEqual(three.get("secret", "mine")["data"]["word"], "c2VzYW1l")
        # It is saved from there, too; of those of one name the newest are kept.
        save = lambda: self.kedge("snapshot", "save", "--data-dir", data, "--name", "again", host=three.host).split()[1]
        saved = [save(), eventually("another second, whose name it has", save)]
        self.kedge("snapshot", "prune", "--data-dir", data, "--name", "again", "--snapshot-retention", "1", host=three.host)
        listed = self.kedge("snapshot", "list", "--data-dir", data, host=three.host)
        self.assertEqual([name in listed for name in saved], [False, True])
        self.has_it(self.restored("saved", file=os.path.join(data, "server/db/snapshots", saved[1])))
        # A node may join by any other server at once, by a token that was made here a moment ago.
        other = Server(self.lab, "another", host=self.lab.host(), args=["--disable-agent", "--secrets-encryption", "--token", self.token,
                                                                      "--datastore-endpoint", postgres.url]).wait_ready()
        for _ in range(5):
            made = self.kedge("token", "create", "--data-dir", data, "--print-join-command", host=three.host).split()
            self.assertEqual(made[:4], ["kedge", "agent", "--server", three.url])
            self.assertEqual(run("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Authorization: Bearer " + made[5].rpartition("::")[2],
                                 other.url + "/v1-k3s/config"), "200")
        self.assertEqual(other.stop(), 0)
        self.assertEqual(three.stop(), 0)

    def test_4_into_redis(self):
        host = self.lab.host()
        Redis(self.lab, "r", host)
        four = self.restored("four", "--datastore-endpoint", f"redis://{host.address}:6379")
        self.has_it(four)
        # And from there back into a file.
        back = self.kedge("snapshot", "save", "--data-dir", four.data, host=four.host).split()[1]
        self.assertEqual(four.stop(), 0)
        five = self.restored("five", file=os.path.join(four.data, "server/db/snapshots", back))
        self.has_it(five)
        self.assertEqual(five.stop(), 0)

    def test_5_files_that_are_no_good(self):
        data = ["--data-dir", os.path.join(self.lab.folder, "six"), "--token", self.token]
        bad = os.path.join(self.lab.folder, "bad")
        with open(self.file, "rb") as f:
            text = f.read()
        for content, said in ((text[:-100], "cut off"), (text[:len(text) // 2] + b"?" + text[len(text) // 2 + 1:], "can be read"), (b"", "no snapshot"),
                              (b"PK\x03\x04", "no whole archive"), (text.replace(b'"version":1', b'"version":7', 1), "")):
            with open(bad, "wb") as f:
                f.write(content)
            self.assertIn(said, self.refused("snapshot", "restore", bad, *data))
        self.assertIn("another token", self.refused("snapshot", "restore", self.file, *data[:3], "K10::server:wrong"))
        self.assertFalse(os.path.exists(data[1] + "/server/db/state.db"))

    def test_6_in_place_as_k3s_does_it(self):
        self.server.kubectl("delete", "secret", "mine")
        running = ["server", "--data-dir", self.data, "--cluster-reset", "--cluster-reset-restore-path", self.file]
        self.assertIn("another process uses", self.refused(*running))
        self.assertEqual(self.server.stop(), 0)
        self.assertIn("start the server without --cluster-reset", self.kedge(*running, check=False).stderr)
        self.server.start()
        self.server.wait_ready()
        self.assertEqual(self.server.get("secret", "mine")["data"]["word"], "c2VzYW1l")
        self.assertEqual(len(glob.glob(self.data + "/server/db/state.db.before-restore-*")), 1)

    def test_7_a_bucket_of_s3(self):
        """moto's S3, which checks who asks and every signature."""
        program, boto3 = get_moto()
        host = self.lab.host()
        # Until a user with keys is there, anybody may do anything.
        moto = self.lab.start("moto", host.command(*program, "-H", "0.0.0.0", "-p", "9000"))
        url = f"http://{host.address}:9000"
        eventually("moto answers", lambda: moto.poll() is None and run(*self.host.command("curl", "-sf", url + "/moto-api/"), timeout=5), every=0.2)
        clients = {name: boto3.client(name, endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x") for name in ("iam", "s3")}
        clients["iam"].create_user(UserName="kedge")
        clients["iam"].put_user_policy(UserName="kedge", PolicyName="all", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
        keys = clients["iam"].create_access_key(UserName="kedge")["AccessKey"]
        clients["s3"].create_bucket(Bucket="backups")
        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"])

        def there():
            return [o["Key"] for o in s3.list_objects_v2(Bucket="backups").get("Contents", [])]
        bucket = ["--etcd-s3", "--etcd-s3-insecure", "--etcd-s3-endpoint", f"{host.address}:9000", "--etcd-s3-bucket", "backups",
                  "--etcd-s3-timeout", "10s", "--etcd-s3-access-key", keys["AccessKeyId"]]
        good = [*bucket, "--etcd-s3-secret-key", keys["SecretAccessKey"]]
        args = ["--disable-agent", "--etcd-snapshot-schedule-cron", "@every 1s", "--etcd-s3-retention", "2"]
        seven = Server(self.lab, "seven", host=host, args=[*args, *good]).wait_ready()
        seven.kubectl("create", "configmap", "mine")
        name = self.kedge("snapshot", "save", "--data-dir", seven.data, host=host).split()[1]
        self.assertIn(name, there())
        # Those of the schedule come, and the oldest go.
        first = eventually("two of the schedule are there", lambda: (t := [k for k in there() if "etcd-snapshot" in k]) and len(t) == 2 and t)
        eventually("the oldest went", lambda: (t := [k for k in there() if "etcd-snapshot" in k]) and len(t) == 2 and not set(t) & set(first))
        listed = json.loads(self.kedge("snapshot", "list", "--data-dir", seven.data, "-o", "json", host=host))["items"]
        self.assertIn(f"s3://backups/{name}", [i["spec"]["location"] for i in listed])
        token = seven.token()
        self.assertEqual(seven.stop(), 0)
        # From there alone, by its name.
        data = os.path.join(self.lab.folder, "eight")
        self.kedge("snapshot", "restore", name, "--data-dir", data, "--token", token, *good, host=host)
        # The bucket as a host of its own, as AWS has it: nothing else has an address here.
        name_hosts(self.lab, host, "backups.s3.test", [host.address])
        by_name = [*good, "--etcd-s3-endpoint", "s3.test:9000", "--etcd-s3-bucket-lookup-type", "dns"]
        self.kedge("snapshot", "restore", name, "--data-dir", data + "-by-name", "--token", token, *by_name, host=host)
        eight = Server(self.lab, "eight", host=host, args=["--disable-agent", *by_name, "--etcd-s3-folder", "/edge one/"]).wait_ready()
        eight.kubectl("get", "configmap", "mine")
        # Into a folder. (moto's own check of signatures doesn't take a prefix with a slash, boto3's neither: no lists here.)
        name = self.kedge("snapshot", "save", "--data-dir", data, host=host).split()[1]
        self.assertIn("edge one/" + name, there())
        self.assertEqual(eight.stop(), 0)
        eight.args[-1:] = ["elsewhere", "--etcd-s3-secret-key", "wrong"]
        eight.start()
        eight.wait_ready()
        # Through a proxy that looks names up: with its password, or told what is wanting.
        proxy = self.lab.start("proxy", host.command("python3", "-c", PROXY, "9001"))
        eventually("the proxy listens", lambda: proxy.poll() is None and run(*host.command("curl", "-s", "-o", "/dev/null", f"http://{host.address}:9001/"), check=False).returncode != 7, every=0.2)
        kept = next(k for k in there() if "/" not in k)
        for word, code in (("secret", 0), ("wrong", 1)):
            p = self.kedge("snapshot", "restore", kept, "--data-dir", os.path.join(self.lab.folder, "through-" + word), "--token", token, *good,
                           "--etcd-s3-endpoint", "localhost:9000", "--etcd-s3-proxy", f"http://me:{word}@{host.address}:9001", host=host, check=False)
            self.assertEqual(p.returncode, code, p.stderr)
            if code == 0:
                self.assertRegex(p.stderr, r"reading the snapshot: \d+ objects\n(.*\n)*restoring: \d+ objects")
        self.assertIn("does not accept the password: give it in --etcd-s3-proxy", p.stderr)
        self.assertNotIn("me:wrong", p.stderr)
        # Denied: the reason is S3's, and the file stays.
        p = self.kedge("snapshot", "save", "--data-dir", data, "--name", "denied", host=host, check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("not in S3: ", p.stderr)
        self.assertIn("SignatureDoesNotMatch", p.stderr)
        self.assertEqual(len(glob.glob(data + "/server/db/snapshots/denied-eight-*")), 1)
        # Away: within the timeout.
        moto.terminate()
        moto.wait(20)
        self.assertIn("not in S3: ", self.kedge("snapshot", "save", "--data-dir", data, "--name", "away", host=host, check=False).stderr)
        self.assertEqual(eight.stop(), 0)


if __name__ == "__main__":
    main()
