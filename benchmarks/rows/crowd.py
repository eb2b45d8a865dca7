"""A user without rights who does what anybody can: idle connections and bodies that hardly come. What a node notices of it."""

import ssl
import threading

from .kit import *

QUIET, SLOW, SECONDS_OF_IT = int(os.environ.get("KEDGE_BENCH_QUIET", "20000")), 450, 30
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/bench-node"


def node_context(kedge):
    """As a kubelet that joined: a certificate of the cluster's CA."""
    tls, own = os.path.join(kedge.data, "server/tls"), os.path.join(kedge.folder, "node-client")
    run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", own + ".key", "-out", own + ".csr", "-subj",
        "/O=system:nodes/CN=system:node:bench-node")
    run("openssl", "x509", "-req", "-in", own + ".csr", "-CA", f"{tls}/client-ca.crt", "-CAkey", f"{tls}/client-ca.key", "-days", "1", "-out", own + ".crt")
    context = ssl.create_default_context(cafile=kedge.ca)
    context.load_cert_chain(own + ".crt", own + ".key")
    return context


class Renewals:
    """A node's lease, renewed twenty times a second: how long each renewal took, and what was not answered with 200."""

    def __init__(self, kedge, context):
        self.kedge, self.context, self.over, self.took, self.failed = kedge, context, threading.Event(), [], []
        self.connection = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def once(self):
        self.connection = self.connection or http.client.HTTPSConnection("127.0.0.1", self.kedge.port, context=self.context, timeout=20)
        body = json.dumps({"spec": {"renewTime": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{random.randrange(10**6):06}Z"}})
        self.connection.request("PATCH", LEASE, body, {"Content-Type": "application/merge-patch+json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise OSError(f"{answer.status} {text[:200]}")

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            try:
                self.once()
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
                self.connection = None
            self.took.append(time.monotonic() - began)
            self.over.wait(0.05)

    def end(self):
        self.over.set()
        self.thread.join(30)
        times = sorted(self.took)
        return times[len(times) * 99 // 100] * 1000, times[-1] * 1000, self.failed


def crowd():
    with alone(reactors=2) as kedge:
        kedge.wait_ready()
        for path, thing in (("/api/v1/nodes", {"metadata": {"name": "bench-node"}}),
                            ("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", {"metadata": {"name": "bench-node"}, "spec": {"holderIdentity": "bench-node"}})):
            connection = kedge.connect()
            connection.request("POST", path, json.dumps(thing), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 201:
                raise SystemExit(answer.read().decode())
        kedge.kubectl("create", "serviceaccount", "stranger")
        token = kedge.kubectl("create", "token", "stranger", "--duration=1h").strip()
        context = node_context(kedge)
        before = Renewals(kedge, context)
        time.sleep(5)
        usual = before.end()
        client = subprocess.Popen([LOAD, "crowd", "127.0.0.1", str(kedge.port), kedge.ca, token, str(QUIET), str(SLOW)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        coming = Renewals(kedge, context)
        if client.stdout.readline().strip() != "connected":
            raise SystemExit("the crowd did not come")
        arrival = coming.end()
        meanwhile = Renewals(kedge, context)
        time.sleep(SECONDS_OF_IT)
        p99, longest, failed = meanwhile.end()
        client.stdin.close()
        stood = json.loads(client.stdout.readline())
        client.wait(60)
        what = f"{len(failed) + len(arrival[2])} of {len(meanwhile.took) + len(coming.took)} renewals failed; p99 {p99:.1f} ms, longest {longest:.1f} ms"
        row(f"a node's lease beside {SLOW} slow bodies and {QUIET:,} idle connections of a user without rights", what,
            f"without them p99 {usual[0]:.1f} ms; while they came p99 {arrival[0]:.1f} ms; {stood['standing']:,} stood, {stood['came_again']:,} came again", "", "none; p99 ≤ 20 ms")
        for why in (failed + arrival[2])[:3]:
            print("  ", why)
