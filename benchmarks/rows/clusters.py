"""Large clusters: made of rows in kine's schema, put into a stopped server's SQLite file."""

import sqlite3
import threading

from .kit import *

# Whatever else runs in a server would work on what is put there.
ALONE = ("--disable-agent", "--disable-controller-manager", "--disable-scheduler")
NODES, NAMESPACES = 2000, 50


def pod(i):
    """About 3 KB, on one of the nodes."""
    name, space, node = f"pod-{i:06}", f"space-{i % NAMESPACES}", f"node-{i % NODES}"
    container = {"name": "main", "image": "registry.example.org/team/service:1.2.3", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                 "env": [{"name": f"VARIABLE_{n}", "value": "some value that is set here"} for n in range(12)], "imagePullPolicy": "IfNotPresent",
                 "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
    managed = {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-11-21T04:50:38Z", "fieldsType": "FieldsV1",
               "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}}}}
    return f"/registry/pods/{space}/{name}", {
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": space, "uid": f"00000000-0000-4000-8000-{i:012}", "creationTimestamp": "2026-11-21T04:50:38Z",
                     "labels": {"app": f"app-{i % 500}"}, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"app-{i % 500}", "controller": True,
                                                                             "uid": f"11111111-0000-4000-8000-{i % 500:012}"}], "managedFields": [managed]},
        "spec": {"containers": [container], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                 "serviceAccountName": "default", "nodeName": node, "schedulerName": "default-scheduler", "enableServiceLinks": True},
        "status": {"phase": "Running", "conditions": [{"type": t, "status": "True", "lastTransitionTime": "2026-11-21T04:50:40Z"} for t in ("Initialized", "Ready", "ContainersReady", "PodScheduled")],
                   "hostIP": "10.0.0.1", "podIP": "10.42.0.7", "startTime": "2026-11-21T04:50:38Z",
                   "containerStatuses": [{"name": "main", "ready": True, "restartCount": 0, "image": "registry.example.org/team/service:1.2.3", "imageID": "sha256:" + "0" * 64,
                                          "containerID": "containerd://" + "1" * 64, "started": True, "state": {"running": {"startedAt": "2026-11-21T04:50:39Z"}}}]}}


def config_map(i, size=900):
    name = f"item-{i:07}"
    return f"/registry/configmaps/default/{name}", {
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "uid": f"22222222-0000-4000-8000-{i:012}", "creationTimestamp": "2026-11-21T04:50:38Z"},
        "data": {"payload": "x" * size}}


def fill(kedge, objects, versions=1):
    """Puts objects (pairs of key and value) into the file of a stopped server, each in so many versions; gives the bytes of the last ones as JSON."""
    db = sqlite3.connect(os.path.join(kedge.data, "server/db/state.db"), isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    newest, = db.execute("SELECT MAX(id) FROM kine").fetchone()
    size, known = 0, []
    insert = "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value) VALUES (?, ?, ?, 0, ?, ?, 0, ?)"
    db.execute("BEGIN")
    for key, value in objects:
        newest += 1
        text = json.dumps(value, separators=(",", ":")).encode()
        size += len(text) + len(f'"resourceVersion":"{newest}",')
        db.execute(insert, (newest, key, 1, 0, 0, text))
        if versions > 1:
            known.append((key, newest, text))
    for version in range(1, versions):
        for n, (key, before, text, *first) in enumerate(known):
            newest += 1
            created = first[0] if first else before
            db.execute(insert, (newest, key, 0, created, before, text))
            known[n] = (key, newest, text, created)
    db.execute("COMMIT")
    db.close()
    return size


@contextlib.contextmanager
def cluster(objects, versions=1, args=ALONE, reactors=2):
    """A server that was started over these objects; beside it the bytes of their JSON, and how long the start took."""
    with alone(args, reactors=reactors) as first:
        first.wait_ready()
        first.stop()
        size = fill(first, objects, versions)
        again = Kedge(first.folder, args, reactors)
        first.process = again.process  # stopped with the folder
        yield again, size, again.wait_ready()


def peak_kib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1))


class Reader:
    """One connection that reads the same path again and again."""

    def __init__(self, kedge, path):
        self.connection, self.path = kedge.connect(), path
        self.read()

    def read(self):
        began = time.monotonic()
        self.connection.request("GET", self.path)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{self.path}: {answer.status} {body[:300]}")
        return time.monotonic() - began, body


def at_once(readers, others):
    """How long until all readers have an answer, and how long the longest of the others' many GETs took meanwhile."""
    go, waits, over = threading.Event(), [], threading.Event()

    def read(reader):
        go.wait()
        reader.read()

    def look(reader):
        go.wait()
        while not over.is_set():
            waits.append(reader.read()[0])

    looking = [threading.Thread(target=look, args=(r,)) for r in others]
    reading = [threading.Thread(target=read, args=(r,)) for r in readers]
    for t in reading + looking:
        t.start()
    began = time.monotonic()
    go.set()
    for t in reading:
        t.join()
    took = time.monotonic() - began
    over.set()
    for t in looking:
        t.join()
    return took, max(waits, default=0.0)


def node_lists():
    count = 100_000
    with cluster(pod(i) for i in range(count)) as (kedge, size, _):
        path = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-7"
        one = Reader(kedge, path)
        hits = len(json.loads(one.read()[1])["items"])
        took = min(one.read()[0] for _ in range(50))
        row(f"LIST of the {hits} pods of a node, of {count:,}", f"{took * 1e3:.2f} ms", "", "", "≤ 2 ms")
        others = [Reader(kedge, "/api/v1/namespaces/default") for _ in range(2)]
        readers = [Reader(kedge, f"/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-{n}") for n in range(40)]
        took, waited = min(at_once(readers, others) for _ in range(5))
        row("40 of them at once; what another GET waits meanwhile", f"{took * 1e3:.0f} ms; {waited * 1e3:.1f} ms", "", "", "≤ 50 ms; ≤ 10 ms")
        readers = [Reader(kedge, "/api/v1/pods?fieldSelector=status.phase%3DFailed") for n in range(8)]
        took, waited = min(at_once(readers, others) for _ in range(3))
        row("8 LISTs at once by a field without an index; what another GET waits meanwhile", f"{took * 1e3:.0f} ms; {waited * 1e3:.1f} ms", "", "", "≤ 10 ms")
        readers = [Reader(kedge, "/api/v1/pods?labelSelector=app%3Dapp-7") for n in range(8)]
        took, waited = min(at_once(readers, others) for _ in range(3))
        row("8 LISTs at once by label; what another GET waits meanwhile", f"{took * 1e3:.0f} ms; {waited * 1e3:.1f} ms", "", "", "≤ 10 ms")


def node_watches():
    """What 5,000 kubelets that are not meant cost a change of one pod."""
    watchers, changes = 5000, 500
    with cluster((pod(i) for i in range(10_000)), reactors=1) as (kedge, _, __):
        token = kedge.token()
        connection = kedge.connect()

        def change(n):
            body = json.dumps({"status": {"message": f"round {n}"}})
            connection.request("PATCH", "/api/v1/namespaces/space-0/pods/pod-000000/status", body, {"Content-Type": "application/merge-patch+json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise SystemExit(text.decode())

        def cost(base):
            for n in range(50):
                change(base + n)
            before = cpu_seconds(kedge.process.pid)
            for n in range(changes):
                change(base + 50 + n)
            return (cpu_seconds(kedge.process.pid) - before) / changes

        without = cost(0)
        client = subprocess.Popen([LOAD, "idle", "127.0.0.1", str(kedge.port), kedge.ca, token, str(watchers), "/api/v1/pods?fieldSelector=spec.nodeName%3Dother-#"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if client.stdout.readline().strip() != "connected":
            raise SystemExit("the watches could not be opened")
        time.sleep(1)
        with_them = cost(10_000)
        client.stdin.close()
        client.wait(60)
        row(f"a pod's status changes beside {watchers:,} watches of other nodes: processor time", f"{with_them * 1e6:.0f} us", f"without them {without * 1e6:.0f} us", f"{(with_them - without) * 1e3:+.3f} ms", "≤ + 0.1 ms")


UPDATE_LUA = """
local n = 0
local filler = string.rep("x", 900)
request = function()
  n = (n + 7919) % 1000
  wrk.headers["Content-Type"] = "application/merge-patch+json"
  return wrk.format("PATCH", string.format("/api/v1/namespaces/default/configmaps/item-%05d", n), nil, '{"data":{"payload":"' .. math.random(1e9) .. filler .. '"}}')
end
delay = function() return DELAY end
"""


def past():
    """How far back a watch and a `continue` token reach, under updates that go on meanwhile."""
    seconds, rate, connections = int(os.environ.get("KEDGE_BENCH_PAST_SECONDS", "330")), 5000, 64
    with alone(ALONE, reactors=2) as kedge:
        kedge.wait_ready()
        token = kedge.token()
        config_maps(kedge, 1000)
        script = os.path.join(kedge.folder, "update.lua")
        with open(script, "w") as f:
            f.write(UPDATE_LUA.replace("DELAY", str(max(1, int(connections / rate * 1000) - 2))))
        load = subprocess.Popen(["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", kedge.url, "-H", f"Authorization: Bearer {token}", "-s", script], stdout=subprocess.PIPE, text=True)
        reader = Reader(kedge, "/api/v1/namespaces/default/configmaps?limit=10")
        marks, began = [], time.monotonic()
        while time.monotonic() - began < seconds - 8:
            page = json.loads(reader.read()[1])["metadata"]
            marks.append((time.monotonic(), page["resourceVersion"], page["continue"]))
            time.sleep(5)
        peak = peak_kib(kedge.process.pid)

        def watch_works(mark):
            connection = kedge.connect()
            connection.request("GET", f"/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=5&resourceVersion={mark[1]}")
            answer = connection.getresponse()
            line = answer.readline()
            connection.close()
            return answer.status == 200 and b'"MODIFIED"' in line

        def page_works(mark):
            connection = kedge.connect()
            connection.request("GET", f"/api/v1/namespaces/default/configmaps?limit=500&continue={mark[2]}")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status == 200

        def oldest(works):
            return next((time.monotonic() - m[0] for m in marks if works(m)), 0)

        ages = oldest(watch_works), oldest(page_works)
        done = float(re.search(r"Requests/sec:\s+([\d.]+)", load.communicate()[0]).group(1))
        row(f"updates of 1.1 KB at {done:,.0f}/s: oldest watch start, oldest continue token that work", f"{ages[0]:.0f} s; {ages[1]:.0f} s", f"peak {peak / 1024:,.0f} MiB", "", "≥ 75 s; ≥ 300 s")


def versions():
    """A start over a log of which most is superseded."""
    with cluster((config_map(i) for i in range(100_000)), 9) as (kedge, size, ready):
        time.sleep(5)
        stays, peak = resident_kib(kedge.process.pid) * 1024, peak_kib(kedge.process.pid) * 1024
        row("start with 100,000 objects and 8 uncompacted versions of each: readyz; peak memory", f"{ready:.2f} s; {peak / 1e6:,.0f} MB", f"what stays {stays / 1e6:,.0f} MB, JSON {size / 1e6:,.0f} MB",
            f"{peak / stays:.2f} × of what stays", "≤ 1.5 s; ≤ 1.3 ×")


def million():
    """1,000,000 objects of about 1 KB, of all sizes."""
    from .writes import CREATE_LUA
    random.seed(1)
    count = 1_000_000
    with cluster((config_map(i, random.randrange(400, 1200)) for i in range(count))) as (kedge, size, ready):
        time.sleep(5)
        stays, peak = resident_kib(kedge.process.pid) * 1024, peak_kib(kedge.process.pid) * 1024
        row(f"{count:,} objects of {size / count:,.0f} bytes: memory, start", f"{stays / 1e6:,.0f} MB (peak {peak / 1e6:,.0f} MB); {ready:.1f} s", f"JSON {size / 1e6:,.0f} MB", f"{stays / size:.2f} ×", "≤ 1.3 ×; ≤ 5 s")
        with alone(ALONE, reactors=2) as empty:
            empty.wait_ready()
            script = os.path.join(kedge.folder, "create.lua")
            with open(script, "w") as f:
                f.write(CREATE_LUA)
            tokens = kedge.token(), empty.token()
            a, b = in_turn(lambda: wrk(kedge.url, tokens[0], 32, script)[0], lambda: wrk(empty.url, tokens[1], 32, script)[0])
            row("create of 1.2 KB ConfigMaps among them", f"{a:,.0f}/s", f"an empty server {b:,.0f}/s", f"{a / b:.2f} ×", "≥ 0.95 ×")
