"""Creates: beside SQLite alone, through webhooks, rules and policies."""

import sqlite3
import sys

from .kit import *

JUDGES = os.environ.get("KEDGE_JUDGES", "")


def raw_sqlite(folder, seconds, group=32):
    """Group inserts of rows as the server writes them (kine's table, two indexes, WAL, synchronous NORMAL)."""
    path = os.path.join(folder, "raw.db")
    db = sqlite3.connect(path, isolation_level=None)
    for s in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", "PRAGMA locking_mode=EXCLUSIVE",
              "CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER, create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB)",
              "CREATE INDEX i1 ON kine (name, id)", "CREATE UNIQUE INDEX i2 ON kine (name, prev_revision)"):
        db.execute(s)
    value, n, end = b"x" * 1200, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES (?, 1, 0, 0, 0, 0, ?)",
                       [(f"/registry/configmaps/default/c-{n + i}", value) for i in range(group)])
        db.execute("COMMIT")
        n += group
    db.close()
    return n / seconds


def create_lua(path, before, after):
    """A script that posts objects which differ by their names alone: what stands before the name, and what behind it."""
    return f"""
local n, base = 0, tostring(os.time()) .. "-" .. tostring(math.random(1000000))
local before, after = [[{before}]], [[{after}]]
request = function()
  n = n + 1
  wrk.headers["Content-Type"] = "application/json"
  return wrk.format("POST", "{path}", nil, before .. 'c-' .. base .. '-' .. n .. after)
end
init = function(args) math.randomseed(os.time() * 1000 + (os.clock() * 1e6) % 1000); base = tostring(os.time()) .. "-" .. tostring(math.random(1000000)) end
"""


CREATE_LUA = create_lua("/api/v1/namespaces/default/configmaps", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"', '"},"data":{"payload":"' + "x" * 950 + '"}}')


def create():
    with pair() as (kedge, nginx, token, folder):
        script = os.path.join(folder, "create.lua")
        with open(script, "w") as f:
            f.write(CREATE_LUA)
        a, b = in_turn(lambda: wrk(kedge.url, token, 32, script)[0], lambda: raw_sqlite(tempfile.mkdtemp(dir=folder), SECONDS))
        row("create of 1.2 KB ConfigMaps over TLS, 32 clients, SQLite", f"{a:,.0f}/s", f"raw SQLite in groups of 32 {b:,.0f}/s", f"{a / b:.2f} ×", "≥ 10,000/s; ≥ 0.5 ×")


def hooked():
    """Creates that a validating webhook is asked about, beside what its server answers to a client that posts as much."""
    with pair() as (kedge, nginx, token, folder):
        ca = base64.b64encode(open(kedge.ca, "rb").read()).decode()
        kedge.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "bench"}, "webhooks": [{
                "name": "admit.bench.io", "admissionReviewVersions": ["v1beta1"], "sideEffects": "None", "clientConfig": {"url": f"{nginx.url}/hook", "caBundle": ca},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]}]}))
        script, plain = os.path.join(folder, "create.lua"), os.path.join(folder, "post.lua")
        for path, text in ((script, CREATE_LUA), (plain, CREATE_LUA.replace("/api/v1/namespaces/default/configmaps", "/hook"))):
            with open(path, "w") as f:
                f.write(text)
        a, b = in_turn(lambda: wrk(kedge.url, token, 32, script)[0], lambda: wrk(nginx.url, None, 32, plain)[0])
        asked = re.search(r'webhook_request_total\{.*name="admit.bench.io".*\} (\d+)', kedge.get("/metrics"))
        if not asked or int(asked.group(1)) < a:
            raise SystemExit("the webhook wasn't asked")
        row("create through a validating webhook, 32 clients", f"{a:,.0f}/s", f"nginx as that webhook, asked directly {b:,.0f}/s", f"{a / b:.2f} ×", "≥ 0.8 ×")


RULES, POLICIES = 20, 100


def gadgets():
    """A kind of object with rules, each of five comparisons and an `all` over ten."""
    rules = [{"rule": f"self.replicas >= self.min && self.replicas <= self.max && self.min > 0 && self.name != 'x{i}' && self.ratio < {i + 2}.0 && "
                      f"self.ports.all(p, p > {i})"} for i in range(RULES)]
    whole, text = {"type": "integer"}, {"type": "string", "maxLength": 63}
    spec = {"type": "object", "required": ["replicas", "min", "max", "name", "ratio", "ports"], "x-kubernetes-validations": rules, "properties": {
        "replicas": whole, "min": whole, "max": whole, "name": text, "ratio": {"type": "number"},
        "ports": {"type": "array", "maxItems": 10, "items": whole}}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.bench.io"}, "spec": {
        "group": "bench.io", "scope": "Namespaced", "names": {"kind": "Gadget", "plural": "gadgets", "singular": "gadget", "listKind": "GadgetList"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]}}


GADGET_LUA = create_lua("/apis/bench.io/v1/namespaces/default/gadgets", '{"apiVersion":"bench.io/v1","kind":"Gadget","metadata":{"name":"',
                        '"},"spec":{"replicas":3,"min":1,"max":5,"name":"app","ratio":1.5,"ports":[80,443,8080,8443,9090,9091,9092,9093,9094,9095]}}')


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def wait_established(get):
    """Until what get(path) gives says that gadgets are served."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        conditions = json.loads(get(f"{DEFINITIONS}/gadgets.bench.io")).get("status", {}).get("conditions") or []
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            return
        time.sleep(0.05)
    raise SystemExit("gadgets are not served")


@contextlib.contextmanager
def judge():
    """kube-apiserver of $KEDGE_JUDGES on an etcd of its own, which waits for no disk."""
    os.environ.update(KUBE_APISERVER=os.path.join(JUDGES, "kube-apiserver"), ETCD=shutil.which("etcd") or "etcd")
    sys.path.insert(0, os.path.join(ROOT, "tests/answers"))
    from judge import Judge
    with Judge() as j:
        yield j


def ruled():
    """Creates of a custom resource that twenty rules judge, beside kube-apiserver where there is one."""
    with contextlib.ExitStack() as ends:
        kedge = ends.enter_context(alone())
        kedge.wait_ready()
        script = os.path.join(kedge.folder, "create.lua")
        with open(script, "w") as f:
            f.write(GADGET_LUA)
        kedge.kubectl("create", "-f", "-", input=json.dumps(gadgets()))
        wait_established(kedge.get)
        ours = lambda token=kedge.token(): wrk(kedge.url, token, 32, script)[0]  # noqa: E731
        what, target = f"create of a custom resource with {RULES} rules, 32 clients", "≥ 10,000/s; ≥ 15 ×"
        if not JUDGES:
            return row(what, f"{max(ours() for _ in range(ROUNDS)):,.0f}/s", "", "", target)
        real = ends.enter_context(judge())
        real.ask("POST", DEFINITIONS, gadgets())
        wait_established(lambda path: real.ask("GET", path).body)
        a, b = in_turn(ours, lambda: wrk(f"https://127.0.0.1:{real.port}", "recorder", 32, script)[0])
        row(what, f"{a:,.0f}/s", f"kube-apiserver {b:,.0f}/s", f"{a / b:.1f} ×", target)


def police(kedge):
    """Policies that each look at every new pod's containers, in force when this ends."""
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        items = []
        for i in range(POLICIES):
            spec = {"policyName": f"bench-{i}", "validationActions": ["Deny"]} if kind.endswith("Binding") else {
                "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]},
                "validations": [{"expression": f"object.spec.containers.all(c, c.image != 'refused-{i}')"}]}
            items.append({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": f"bench-{i}"}, "spec": spec})
        kedge.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    connection, end = kedge.connect(), time.monotonic() + 30
    for i in range(POLICIES):
        pod = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "refused"}, "spec": {"containers": [{"name": "main", "image": f"refused-{i}"}]}})
        refused = False
        while not refused:
            connection.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", pod, {"Content-Type": "application/json"})
            refused = b"denied request" in connection.getresponse().read()
            if not refused and time.monotonic() > end:
                raise SystemExit(f"policy bench-{i} refuses nothing")
    connection.close()


# Nobody looks where it may run.
POD_LUA = create_lua("/api/v1/namespaces/default/pods", '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"',
                     '"},"spec":{"schedulingGates":[{"name":"bench.io/held"}],"containers":[{"name":"main","image":"bench:1"}]}}')


def policed():
    """Pods with a hundred admission policies that are about them and without any: what the server's processes take for one."""
    with alone() as free, alone() as strict:
        def maker(kedge):
            kedge.wait_ready()
            kedge.kubectl("wait", "--for=create", "--timeout=30s", "serviceaccount/default")
            script, token = os.path.join(kedge.folder, "create.lua"), kedge.token()
            with open(script, "w") as f:
                f.write(POD_LUA)

            def seconds_each():
                before = cpu_seconds(kedge.process.pid)
                rate = wrk(kedge.url, token, 32, script)[0]
                return (cpu_seconds(kedge.process.pid) - before) / (rate * SECONDS)
            return seconds_each

        ours, others = maker(strict), maker(free)
        police(strict)
        a, b = zip(*((ours(), others()) for _ in range(ROUNDS)))
        a, b = min(a) * 1e6, min(b) * 1e6
        row(f"processor time for a pod's create that {POLICIES} admission policies judge", f"{a:,.0f} µs", f"without policies {b:,.0f} µs", f"{a - b:,.0f} µs more", "≤ 100 µs more")
