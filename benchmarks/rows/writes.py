"""Creates beside SQLite alone."""

import sqlite3

from .kit import *


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


CREATE_LUA = """
local n, base = 0, tostring(os.time()) .. "-" .. tostring(math.random(1000000))
local filler = string.rep("x", 950)
request = function()
  n = n + 1
  wrk.headers["Content-Type"] = "application/json"
  return wrk.format("POST", "/api/v1/namespaces/default/configmaps", nil,
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c-' .. base .. '-' .. n .. '"},"data":{"payload":"' .. filler .. '"}}')
end
init = function(args) math.randomseed(os.time() * 1000 + (os.clock() * 1e6) % 1000); base = tostring(os.time()) .. "-" .. tostring(math.random(1000000)) end
"""


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
