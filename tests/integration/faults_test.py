"""What a server survives: death at any moment, a full or broken disk, a damaged database, and clients that mean harm."""

import contextlib
import hashlib
import http.client
import os
import random
import resource
import select
import socket
import sqlite3
import ssl
import threading
import time
import unittest

from harness import Api, Failed, Lab, Server, eventually, main, run, stands_still

MAPS = "/api/v1/namespaces/default/configmaps"
ARGS = ("--disable-agent",)
BODY_MAX = 3 * 1024 * 1024   # kube-apiserver's
BLOCK = b"x" * 65536


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def names(server):
    found, more = set(), ""
    api = server.api()
    with contextlib.closing(api):
        while True:
            page = api.get(f"{MAPS}?limit=500&continue={more}")
            found.update(i["metadata"]["name"] for i in page["items"])
            more = page["metadata"].get("continue")
            if not more:
                return found


def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


class Load:
    """Clients that create config maps until they are stopped or the server goes away; remembers what was acknowledged."""

    def __init__(self, server, label, clients=8):
        self.acknowledged, self.refused, self.lock = set(), [], threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(server.api(10), f"{label}-{i}"), daemon=True) for i in range(clients)]
        for t in self.threads:
            t.start()

    def work(self, api, label):
        number = 0
        with contextlib.closing(api), contextlib.suppress(OSError, ssl.SSLError, EOFError, http.client.HTTPException):
            while not self.stopping.is_set():
                name = f"{label}-{number}"
                number += 1
                status, body = api.request("POST", MAPS, config_map(name, text="x" * random.randrange(2000)))
                with self.lock:
                    if status == 201:
                        self.acknowledged.add(name)
                    else:
                        self.refused.append((status, body))

    def end(self):
        self.stopping.set()
        for t in self.threads:
            t.join(20)
        return self.acknowledged


class Faults(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.host = self.lab.host()  # so that no other program's ports are in the way

    def started(self, name="server", args=(), **kw):
        return Server(self.lab, name, host=self.host, args=[*ARGS, *args], **kw)

    def server(self, **kw):
        """Through with its start: from here on a fault is one of a server that runs."""
        server = self.started(**kw).wait_ready()
        eventually("it is through with its start", lambda: "serves on" in server.log())
        return server

    def mount(self, folder, *what):
        os.makedirs(folder)
        run("mount", *what, folder)
        self.addCleanup(lambda: run("umount", "-l", folder, check=False))


class Death(Faults):
    def test_an_acknowledged_write_survives_kill_at_any_moment(self):
        server = self.server()
        acknowledged, counter = set(), 0
        with contextlib.closing(server.api()) as api:
            self.assertEqual(api.request("POST", MAPS, config_map("counter", n="0"))[0], 201)
        for turn in range(6):
            load = Load(server, f"turn{turn}")
            # Beside the creates, one object that is written over and over: its newest acknowledged value must be there.
            with contextlib.suppress(OSError, http.client.HTTPException):
                with contextlib.closing(server.api()) as api:
                    end = time.monotonic() + random.uniform(0.05, 1.5)
                    killer = threading.Timer(max(0, end - time.monotonic()), lambda: server.process.kill())
                    killer.start()
                    while True:
                        status, body = api.request("PATCH", MAPS + "/counter", {"data": {"n": str(counter + 1)}},
                                                   {"Content-Type": "application/merge-patch+json"})
                        self.assertEqual(status, 200, body)
                        counter += 1
            server.process.wait(60)
            acknowledged |= load.end()
            self.assertEqual(load.refused, [])
            server.start()
            server.wait_ready()
            self.assertEqual(acknowledged - names(server), set(), f"lost in turn {turn}")
            with contextlib.closing(server.api()) as api:
                found = int(api.get(MAPS + "/counter")["data"]["n"])
            self.assertIn(found, (counter, counter + 1))  # one more was perhaps written, but not answered
            counter = found
        self.assertGreater(len(acknowledged), 100)

    def test_the_database_is_whole_after_a_kill(self):
        server = self.server()
        load = Load(server, "map")
        eventually("some writes", lambda: len(load.acknowledged) > 200)
        server.process.kill()
        server.process.wait(60)
        acknowledged = load.end()
        # sqlite itself, without Kedge, finds them: K3s would, too.
        with contextlib.closing(sqlite3.connect(server.data + "/server/db/state.db")) as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchone()[0], "ok")
            rows = {r[0].rsplit("/", 1)[1] for r in db.execute("SELECT name FROM kine WHERE name LIKE '/registry/configmaps/default/%'")}
        self.assertEqual({n for n in acknowledged if n not in rows}, set())


class Disk(Faults):
    def test_a_full_disk_stops_writes_only(self):
        data = os.path.join(self.lab.folder, "server")
        self.mount(data, "-t", "tmpfs", "-o", "size=24m", "tmpfs")
        server = self.server()
        load = Load(server, "before", clients=2)
        eventually("some writes", lambda: len(load.acknowledged) > 50)
        before = load.end()
        with contextlib.closing(server.api()) as api:
            filler = data + "/filler"
            with open(filler, "wb", buffering=0) as f, contextlib.suppress(OSError):
                while f.write(BLOCK):
                    pass
            # SQLite's log has perhaps room in what it holds already, and has it again when it was moved into the database:
            # a write between two that were refused may succeed, and then it counts.
            refused = set()
            for i in range(4000):
                name = f"full-{i}"
                status, body = api.request("POST", MAPS, config_map(name, text="x" * 4000))
                if status == 201:
                    before.add(name)
                    continue
                self.assertGreaterEqual(status, 500, body)
                self.assertIn("disk is full", body["message"])
                refused.add(name)
                if len(refused) == 20:
                    break
            self.assertEqual(len(refused), 20, "the disk never was full")
            # Reads go on, watches too, and the checks tell what is wrong.
            self.assertEqual(before - names(server), set())
            self.assertEqual(refused & names(server), set())
            self.assertEqual(api.request("GET", "/livez")[0] // 100, api.request("GET", "/readyz/etcd")[0] // 100)
            self.assertIn("disk is full", server.log())
            self.assertIsNone(server.process.poll())

            os.unlink(filler)
            eventually("writes work again", lambda: api.request("POST", MAPS, config_map("again"))[0] == 201)
            eventually("ready again", lambda: api.request("GET", "/readyz")[0] == 200)
        before.add("again")
        server.process.kill()
        server.process.wait(60)
        server.start()
        server.wait_ready()
        self.assertEqual(before - names(server), set())

    def test_start_on_a_full_disk_says_so(self):
        data = os.path.join(self.lab.folder, "server")
        self.mount(data, "-t", "tmpfs", "-o", "size=4m", "tmpfs")
        with open(data + "/filler", "wb", buffering=0) as f, contextlib.suppress(OSError):
            while f.write(BLOCK):
                pass
        server = self.started()
        self.assertEqual(server.process.wait(60), 1)
        self.assertRegex(server.log(), "No space left on device|disk is full")

    def test_a_read_only_disk_stops_writes_only(self):
        image, data = os.path.join(self.lab.folder, "disk"), os.path.join(self.lab.folder, "server")
        with open(image, "wb") as f:
            f.truncate(64 << 20)
        run("mkfs.ext4", "-q", "-F", image)
        os.makedirs(data)
        if run("mount", "-o", "loop,errors=remount-ro", image, data, check=False).returncode != 0:
            self.skipTest("this kernel has no loop devices")
        self.addCleanup(lambda: run("umount", "-l", data, check=False))
        # With SQLite as K3s runs it, the last second may be in the kernel's memory only, as after a power cut.
        server = self.server(args=["--sqlite-synchronous", "full"])
        load = Load(server, "before", clients=2)
        eventually("some writes", lambda: len(load.acknowledged) > 50)
        before = load.end()
        device = next(l.split()[0] for l in open("/proc/self/mounts") if l.split()[1] == data)
        # What a broken disk does: the file system turns read-only under the running server.
        with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w") as f:
            f.write("1")
        with contextlib.closing(server.api()) as api:
            def refused():
                status, body = api.request("POST", MAPS, config_map("late", text="x" * 4000))
                if status not in (201, 409):
                    return status, body
                before.add("late")
            status, body = eventually("a write is refused", refused)
            status, body = api.request("POST", MAPS, config_map("refused", text="x" * 4000))
            self.assertGreaterEqual(status, 500, body)
            self.assertRegex(body["message"], "read-only|disk I/O error")
            self.assertEqual(before - names(server), set())
            self.assertNotIn("refused", names(server))
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.stop(), 0)

        # Started there, it says what is wrong.
        server.start()
        self.assertEqual(server.process.wait(60), 1)
        self.assertRegex(server.log().splitlines()[-2] + server.log().splitlines()[-1], "(?i)read-only")

        # A copy: the file system that failed lives on while any mount namespace of the machine still holds it.
        run("umount", data)
        run("cp", "--sparse=always", image, image + "-repaired")
        run("e2fsck", "-fy", image + "-repaired", check=False)
        run("mount", "-o", "loop", image + "-repaired", data)
        server.start()
        server.wait_ready()
        self.assertEqual(before - names(server), set())
        self.assertNotIn("refused", names(server))


class Database(Faults):
    def stopped(self):
        server = self.server()
        with contextlib.closing(server.api()) as api:
            for i in range(50):
                api.request("POST", MAPS, config_map(f"map-{i}", text="x" * 2000))
        self.assertEqual(server.stop(), 0)
        return server, server.data + "/server/db/state.db"

    def refuses_to_start(self, server, says):
        told = len(server.log())
        server.start()
        self.assertEqual(server.process.wait(60), 1)  # a locked file is waited for, as K3s does
        self.assertRegex(server.log()[told:], says)
        self.assertIn("state.db", server.log()[told:])

    def test_a_damaged_file_is_left_as_it_is(self):
        server, path = self.stopped()
        good = open(path, "rb").read()
        for damage in ("head", "garbage", "middle", "short"):
            with self.subTest(damage):
                bad = bytearray(good)
                if damage == "head":
                    bad[:100] = os.urandom(100)
                elif damage == "garbage":
                    bad = bytearray(os.urandom(len(good)))
                elif damage == "middle":
                    bad[4096:] = os.urandom(len(good) - 4096)
                else:
                    del bad[300:]
                with open(path, "wb") as f:
                    f.write(bad)
                for beside in ("-wal", "-shm", "-journal"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path + beside)
                before = digest(path)
                self.refuses_to_start(server, "damaged|not a SQLite database|malformed")
                self.assertEqual(digest(path), before)
        with open(path, "wb") as f:
            f.write(good)
        server.start()
        server.wait_ready()
        self.assertIn("map-7", names(server))

    def test_a_locked_file_is_left_as_it_is(self):
        server, path = self.stopped()
        before = digest(path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            self.refuses_to_start(server, "another process uses this file")
        self.assertEqual(digest(path), before)

    def test_a_second_server_waits_for_the_file(self):
        server = self.server()
        with contextlib.closing(server.api()) as api:
            self.assertEqual(api.request("POST", MAPS, config_map("first"))[0], 201)
            second = self.started("second", port=6444, data=server.data)
            eventually("it says what it waits for", lambda: "state.db: another process uses it" in second.log())
            self.assertEqual(api.request("POST", MAPS, config_map("more"))[0], 201)
        self.assertEqual(server.stop(), 0)
        second.wait_ready()
        self.assertEqual(names(second), {"first", "more", "kube-root-ca.crt"})


class Raw:
    """A TLS connection for bytes that no client would send."""

    def __init__(self, server, alpn=("http/1.1",), identity=False, timeout=60):
        tls = Api.context(server, identity)
        tls.set_alpn_protocols(list(alpn))
        self.socket = tls.wrap_socket(socket.create_connection((server.address, server.port), timeout=timeout))

    def send(self, data):
        """False when the server has ended the connection."""
        try:
            self.socket.sendall(data)
            return True
        except (OSError, ssl.SSLError):
            return False

    def rest(self):
        """All that the server says until it ends the connection."""
        said = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while True:
                piece = self.socket.recv(65536)
                if not piece:
                    break
                said += piece
        return said

    def waiting(self):
        """Whether something of the server's is there to be read."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self):
        self.socket.close()


def memory(server):
    with open(f"/proc/{server.process.pid}/status") as f:
        return int(next(l for l in f if l.startswith("VmRSS:")).split()[1]) * 1024


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


class Hostile(Faults):
    """All in one server, which must be as ready, and about as small, after each attack as before."""

    def setUp(self):
        super().setUp()
        self.attacked = self.server()

    def tearDown(self):
        with contextlib.closing(self.attacked.api()) as api:
            self.assertEqual(api.request("GET", "/readyz"), (200, "ok"))
        self.assertIsNone(self.attacked.process.poll())
        self.assertNotIn("assertion", self.attacked.log())

    def answer_to(self, data, **kw):
        with contextlib.closing(Raw(self.attacked, **kw)) as c:
            c.send(data)
            return c.rest()

    def status_of(self, data, **kw):
        said = self.answer_to(data, **kw)
        return int(said.split()[1]) if said.startswith(b"HTTP/1.") else said

    def test_messages_that_no_client_sends(self):
        get = b"GET /version HTTP/1.1\r\nHost: x\r\n"
        post = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        table = [
            ("header of 70 kB", get + b"A: " + b"x" * 70_000 + b"\r\n\r\n", 431),
            ("300 headers", get + b"".join(b"A%d: x\r\n" % i for i in range(300)) + b"\r\n", 431),
            ("target of 70 kB", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414, 431)),
            ("no HTTP", b"\x16\x03\x01\x00\xff" + bytes(300), (400, 501)),
            ("no method", b"x" * 1000 + b"\r\n\r\n", (400, 501)),
            ("no host", b"GET /version HTTP/1.1\r\n\r\n", 400),
            ("two hosts", get + b"Host: y\r\n\r\n", 400),
            ("other version", b"GET /version HTTP/3.0\r\nHost: x\r\n\r\n", (400, 505)),
            ("space before the colon", get + b"Content-Length : 3\r\n\r\nabc", 400),
            ("folded header", get + b"A: b\r\n c\r\n\r\n", 400),
            ("NUL in a header", get + b"A: b\0c\r\n\r\n", 400),
            ("bare CR", get + b"A: b\rC: d\r\n\r\n", 400),
            # Request smuggling: two lengths, a length beside chunked, chunked hidden or not last, odd chunk sizes.
            ("length and chunked", post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
            ("chunked and length", post + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nG", 400),
            ("two lengths", post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
            ("length list", post + b"Content-Length: 5, 6\r\n\r\nabcdef", 400),
            ("negative length", post + b"Content-Length: -1\r\n\r\n", 400),
            ("signed length", post + b"Content-Length: +5\r\n\r\nabcde", 400),
            ("length beyond 64 bits", post + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
            ("chunked twice", post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("chunked not last", post + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", (400, 501)),
            ("xchunked", post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", (400, 501)),
            ("vertical tab before chunked", post + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", (400, 501)),
        ]
        for name, data, wanted in table:
            with self.subTest(name):
                status = self.status_of(data)
                self.assertIn(status, wanted if isinstance(wanted, tuple) else (wanted,))
                # Exactly one answer: what came behind the refused request is never taken for another.
                self.assertEqual(self.answer_to(data + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n").count(b"HTTP/1.1 "), 1)

    def test_bad_chunks_are_refused_and_nothing_is_written(self):
        post = (b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n")
        for chunk in (b"zz\r\n{}\r\n", b"-1\r\n\r\n", b"fffffffffffffffff\r\n{}", b"2\r\n{}x\r\n0\r\n\r\n", b"2;" + b"e" * 70_000 + b"\r\n{}\r\n0\r\n\r\n"):
            with self.subTest(chunk[:20]):
                self.assertIn(self.status_of(post + chunk, identity=True), (400, 413, 431))

    def test_bodies_at_the_limit(self):
        with contextlib.closing(self.attacked.api()) as api:
            for size, wanted in ((BODY_MAX + 1, 413), (BODY_MAX * 20, 413)):
                with contextlib.suppress(ConnectionError, ssl.SSLError):  # the server need not read it all
                    self.assertEqual(api.request("POST", MAPS, b"{" + b" " * (size - 1))[0], wanted)
            # Exactly the limit is read (and is then too much for one object, as etcd would say, or fine).
            head, tail = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"large"}', b"}"
            status, body = api.request("POST", MAPS, head + b" " * (BODY_MAX - len(head) - len(tail)) + tail)
            self.assertEqual(status, 201, body)
        chunked = (b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 49)
        self.assertEqual(self.status_of(chunked, identity=True), 413)

    def test_documents_that_no_client_sends(self):
        deep = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
        with contextlib.closing(self.attacked.api()) as api:
            for name, body, kind in [
                ("deep JSON", deep, "application/json"), ("deep lists", b"[" * 100_000, "application/json"),
                ("cut JSON", b'{"apiVersion":"v1","kind":"Conf', "application/json"), ("empty", b"", "application/json"),
                ("not UTF-8", b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"\xff\xfe"}}', "application/json"),
                ("deep YAML", b"[" * 50_000, "application/yaml"), ("YAML aliases",
                 b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 110)),
                 "application/yaml"),
                ("protobuf head alone", b"k8s\0", "application/vnd.kubernetes.protobuf"),
                ("protobuf garbage", b"k8s\0" + os.urandom(5000), "application/vnd.kubernetes.protobuf"),
                ("protobuf lengths", b"k8s\0" + b"\x0a\xff\xff\xff\xff\x0f" * 100, "application/vnd.kubernetes.protobuf"),
                ("unknown type", b"{}", "text/html"),
            ]:
                with self.subTest(name):
                    status, answer = api.request("POST", MAPS, body, {"Content-Type": kind})
                    self.assertIn(status, (400, 413, 415, 422), answer)

    def test_h2_garbage(self):
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

        def frame(kind, flags, stream, payload=b""):
            return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

        settings = frame(4, 0, 0)
        for name, data in [
            ("garbage", os.urandom(4096)), ("HTTP/1 in h2", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3),
            ("garbage behind the preface", preface + os.urandom(4096)), ("huge frame", preface + settings + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"),
            ("data on no stream", preface + settings + frame(0, 1, 0, b"x")), ("headers on an even stream", preface + settings + frame(1, 5, 2, b"\x82")),
            ("bad HPACK", preface + settings + frame(1, 5, 1, b"\xff" * 50)), ("push promise", preface + settings + frame(5, 4, 1, bytes(4))),
            ("window overflow", preface + settings + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2), ("window of zero", preface + settings + frame(8, 0, 0, bytes(4))),
            ("headers never continued", preface + settings + frame(1, 0, 1, b"\x82") + frame(4, 0, 0)),
            ("continuation flood", preface + settings + frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\x00\x01a\x01b" * 20) * 5000),
            ("settings flood", preface + settings * 100_000), ("ping flood", preface + settings + frame(6, 0, 0, bytes(8)) * 100_000),
            ("rapid reset", preface + settings + b"".join(frame(1, 5, 2 * i + 1, b"\x82\x87\x84\x41\x01x") + frame(3, 0, 2 * i + 1, bytes(4)) for i in range(5000))),
        ]:
            with self.subTest(name), contextlib.closing(Raw(self.attacked, alpn=("h2",), timeout=90)) as c:
                self.assertEqual(c.socket.selected_alpn_protocol(), "h2")
                c.send(data)
                c.rest()  # the server ends it, before the timeout

    def test_slowloris_is_cut_off(self):
        slow = [Raw(self.attacked) for _ in range(50)]
        for c in slow:
            self.assertTrue(c.send(b"GET /version HTTP/1.1\r\nHost: x\r\n"))
        began, open_ones = time.monotonic(), list(slow)
        while open_ones and time.monotonic() < began + 90:
            with contextlib.closing(self.attacked.api(30)) as api:
                self.assertEqual(api.request("GET", "/readyz")[0], 200)  # nobody else waits for them
            time.sleep(0.5)
            for c in list(open_ones):
                ended = not c.send(b"A: b\r\n")
                c.socket.setblocking(False)
                with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
                    try:
                        ended = ended or c.socket.recv(1000) == b""
                    except OSError as e:
                        if isinstance(e, (ssl.SSLWantReadError, BlockingIOError)):
                            raise
                        ended = True
                c.socket.setblocking(True)
                if ended:
                    open_ones.remove(c)
        for c in slow:
            c.close()
        self.assertEqual(len(open_ones), 0)

    def test_handshakes_that_never_end_are_cut_off(self):
        server = self.attacked
        for _ in range(20):  # what the first connections load stays
            Raw(server).close()
        eventually("connections are gone", lambda: descriptors(server) < 100)
        small, few = memory(server), descriptors(server)
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)  # a hello that is never finished
        # On a busy machine the first are cut off before the last is accepted: most of them at once is enough.
        count, most = 400, 200
        held = [socket.create_connection((server.address, server.port)) for _ in range(count)]
        for i, s in enumerate(held):
            if i % 2:
                s.sendall(hello)
        eventually("most are held", lambda: descriptors(server) >= few + most)
        with contextlib.closing(server.api(30)) as api:
            self.assertEqual(api.request("GET", "/readyz")[0], 200)
        first_wave = memory(server) - small
        print(f"{count} unfinished handshakes: {first_wave / count / 1024:.1f} kB each")
        eventually("they are cut off", lambda: descriptors(server) <= few + 10, timeout=90)
        for s in held:
            s.close()
        # Freed to the allocator at least: a second wave takes no more than the first did.
        held = [socket.create_connection((server.address, server.port)) for _ in range(count)]
        eventually("most are held", lambda: descriptors(server) >= few + most)
        for s in held:
            s.close()
        eventually("they are gone", lambda: descriptors(server) <= few + 10, timeout=90)
        self.assertLess(memory(server) - small, first_wave + (16 << 20))
        self.assertLess(first_wave, 64 << 20)

    def test_half_open_connections_end_without_a_trace(self):
        server = self.attacked
        few = descriptors(server)
        for i in range(200):
            c = Raw(server, identity=True)
            c.send([b"", b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"][i % 3])
            if i % 2:  # a reset; the others close without TLS's goodbye
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            c.close()
        eventually("they are gone", lambda: descriptors(server) <= few + 10, timeout=60)

    def test_a_client_that_never_reads_is_bounded(self):
        server = self.attacked
        with contextlib.closing(server.api()) as api:
            for i in range(20):
                self.assertEqual(api.request("POST", MAPS, config_map(f"large-{i}", text="x" * 200_000))[0], 201)
        small = memory(server)
        lazy = [Raw(server, identity=True) for _ in range(20)]
        for c in lazy:
            for _ in range(20):  # pipelined; 4 MB of answers each
                c.send(b"GET /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\n\r\n")
        # Each has begun to be answered, and no more is made.
        eventually("all are answered", lambda: all(c.waiting() for c in lazy))
        stands_still("the server's memory", lambda: memory(server) >> 20)
        grown = memory(server) - small
        for c in lazy:
            c.close()
        self.assertLess(grown, 100 << 20)  # and not 20 × 20 × 4 MB


class Limits(Faults):
    def test_connections_beyond_the_limit_are_refused(self):
        files, clients = 700, 600
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        self.addCleanup(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
        server = self.server(prefix=["prlimit", f"--nofile={files}:{files}"])
        tls = Api.context(server)
        held, refused = [], 0
        for _ in range(clients):
            try:
                s = socket.create_connection((server.address, server.port), timeout=30)
                c = tls.wrap_socket(s)
                c.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")  # who says nothing is cut off before long
                self.assertIn(b"200 OK", c.recv(65536))
                held.append(c)
            except (OSError, ssl.SSLError):
                refused += 1
                s.close()
        print(f"{files} files: {len(held)} connections, {refused} refused")
        self.assertGreater(len(held), 300)
        self.assertGreater(refused, 50)
        self.assertLess(descriptors(server), files)
        # Who is in is served, reads and writes; whose connections were quiet for longest made room, and was told so by their end.
        for number, c in enumerate(held[-2:]):
            body = b'{"metadata":{"name":"within-%d"}}' % number
            c.sendall(b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            self.assertIn(b"201 Created", c.recv(65536))
        for c in held:
            c.close()
        def ready():
            with contextlib.closing(server.api(30)) as api:
                return api.request("GET", "/readyz")[0] == 200
        eventually("there is room again", ready)
        self.assertEqual(server.stop(), 0)

    def test_without_descriptors_it_waits_for_some(self):
        # So few that files run out before the connection limit is met: accept fails, and works later.
        server = self.server(args=["--reactors", "1"])
        few = descriptors(server)
        run("prlimit", f"--pid={server.process.pid}", f"--nofile={few + 20}")
        held = []
        for _ in range(60):
            held.append(socket.create_connection((server.address, server.port)))
        eventually("it has no descriptor left", lambda: descriptors(server) >= few + 19)
        self.assertIsNone(server.process.poll())
        for s in held:
            s.close()
        def ready():
            with contextlib.closing(server.api(30)) as api:
                return api.request("GET", "/readyz")[0] == 200
        eventually("it serves again", ready)
        self.assertLess(server.log().count("\n"), 1000)  # and hasn't filled the log meanwhile


if __name__ == "__main__":
    main()
