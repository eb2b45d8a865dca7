"""API priority and fairness of a running server: what belongs where, that nobody drowns out others, what is refused, what can be seen of it."""

import concurrent.futures
import contextlib
import http.client
import json
import re
import socket
import time

from harness import Api, ClusterTest, Failed, eventually, main

FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
# A read that waits in vain for three seconds, in its seat: its version is far in the future.
SLOW = "/api/v1/namespaces/default/configmaps/none?resourceVersion=999999999"
QUICK = "/api/v1/namespaces/default/configmaps/none"


def level(name, response, shares=1):
    return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": response}}}


def queues(queues=64, hand=6, length=50):
    return {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}


def schema(name, of_level, users, precedence=1000):
    everything = {"resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}],
                  "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}
    return {"metadata": {"name": name}, "spec": {
        "matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": of_level}, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": u}} for u in users], **everything}]}}


class Fairness(ClusterTest):
    # A level of one share gets two seats of these.
    server_args = ("--disable-agent", "--kube-apiserver-arg=max-requests-inflight=200", "--kube-apiserver-arg=max-mutating-requests-inflight=100")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.kubectl("create", "clusterrolebinding", "readers", "--clusterrole=view", "--group=readers")

    def setUp(self):
        self.api = self.server.api()
        self.addCleanup(self.api.close)

    def connected(self):
        own = self.server.api()
        c = http.client.HTTPSConnection(own.address, own.port, context=own.tls, timeout=120)
        c.connect()
        self.addCleanup(c.close)
        return c

    def ask(self, path, user=None, groups=("system:authenticated", "readers"), over=None):
        """Asks as somebody else; gives the status, the headers and the time that it took."""
        c = over or self.connected()
        began = time.monotonic()
        c.putrequest("GET", path)
        for name, value in [("Impersonate-User", user)] + [("Impersonate-Group", g) for g in groups] if user else []:
            c.putheader(name, value)
        c.endheaders()
        answer = c.getresponse()
        answer.read()
        return answer.status, answer.headers, time.monotonic() - began

    def made(self, path, thing):
        status, made = self.api.request("POST", path, thing)
        self.assertEqual(status, 201, made)
        self.addCleanup(lambda: self.api.request("DELETE", f"{path}/{thing['metadata']['name']}"))
        return made["metadata"]["uid"]

    def metric(self, name, **labels):
        """The sum of the series that have these labels; None when there is none."""
        found = None
        for line in self.api.get("/metrics").splitlines():
            m = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
            if m and all(f'{k}="{v}"' in (m[1] or "") for k, v in labels.items()):
                found = (found or 0) + float(m[2])
        return found

    def flow(self, name, of_level, users, **kw):
        """A level and its schema, in force."""
        of_schema = self.made(FLOWS, schema(name, name, users, **kw)), self.made(LEVELS, level(name, of_level))
        eventually("the level is in force", lambda: self.metric("apiserver_flowcontrol_nominal_limit_seats", priority_level=name))
        eventually("requests are its", lambda: self.uids(self.ask("/version", users[0])) == of_schema)
        return of_schema

    @staticmethod
    def uids(answer):
        return answer[1]["X-Kubernetes-PF-FlowSchema-UID"], answer[1]["X-Kubernetes-PF-PriorityLevel-UID"]

    def names_of(self, answer):
        names = {}
        for path in (FLOWS, LEVELS):
            for o in self.api.get(path)["items"]:
                names[o["metadata"]["uid"]] = o["metadata"]["name"]
        return tuple(names.get(uid) for uid in self.uids(answer))

    def test_requests_belong_to_the_schemas_that_kubernetes_brings(self):
        nodes, everyone = ("system:nodes", "system:authenticated"), ("system:authenticated",)
        accounts = ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
        kube_system = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
        lease = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}"
        for path, user, groups, expected in (
                ("/version", None, (), ("exempt", "exempt")),
                ("/readyz", "u", everyone, ("probes", "exempt")),
                ("/api/v1/nodes/n", "system:node:n", nodes, ("system-node-high", "node-high")),
                (lease.format("kube-node-lease", "n"), "system:node:n", nodes, ("system-node-high", "node-high")),
                ("/api/v1/namespaces/default/pods/p", "system:node:n", nodes, ("system-nodes", "system")),
                (lease.format("kube-system", "x"), "system:kube-scheduler", everyone, ("system-leader-election", "leader-election")),
                ("/api/v1/pods", "system:kube-scheduler", everyone, ("kube-scheduler", "workload-high")),
                ("/api/v1/pods", "system:kube-controller-manager", everyone, ("kube-controller-manager", "workload-high")),
                ("/api/v1/pods", "system:serviceaccount:kube-system:a", kube_system, ("kube-system-service-accounts", "workload-high")),
                (lease.format("default", "x"), "system:serviceaccount:kube-system:a", kube_system, ("system-leader-election", "leader-election")),
                ("/api/v1/pods", "system:serviceaccount:default:a", accounts, ("service-accounts", "workload-low")),
                ("/api/v1/pods", "u", everyone, ("global-default", "global-default"))):
            with self.subTest(path=path, user=user):
                self.assertEqual(self.names_of(self.ask(path, user, groups)), expected)

    def test_schemas_and_levels_are_obeyed_as_soon_as_they_are_there(self):
        of_schema = self.flow("testing", {"type": "Reject"}, ["noxu"])
        self.assertEqual(self.uids(self.ask("/version", "noxu")), of_schema)
        others = self.uids(self.ask("/version", "foo"))
        self.assertNotIn("", others)
        self.assertNotEqual(others, of_schema)
        dangling = eventually("the schema's condition", lambda: self.api.get(f"{FLOWS}/testing")["status"].get("conditions"))
        self.assertEqual([(c["type"], c["status"]) for c in dangling], [("Dangling", "False")])
        # One that matches before.
        self.made(FLOWS, schema("before", "testing", ["noxu"], precedence=999))
        eventually("the lower precedence matches", lambda: self.names_of(self.ask("/version", "noxu")) == ("before", "testing"))

    def at_once(self, n, path, user):
        """So many requests, each on a connection of its own, which is there already; the futures."""
        pool = concurrent.futures.ThreadPoolExecutor(n)
        self.addCleanup(pool.shutdown)
        return [pool.submit(self.ask, path, user, over=c) for c in [self.connected() for _ in range(n)]]

    def test_who_finds_no_seat_is_refused_where_nobody_may_wait(self):
        self.flow("reject", {"type": "Reject"}, ["alice"])
        seats = int(self.metric("apiserver_flowcontrol_nominal_limit_seats", priority_level="reject"))
        answers = [f.result() for f in self.at_once(seats + 5, SLOW, "alice")]
        refused = [headers for status, headers, took in answers if status == 429]
        self.assertIn(len(refused), range(1, 6))  # 5, unless the first had ended when the last came
        for headers in refused:
            self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            self.assertIn("X-Kubernetes-PF-FlowSchema-UID", headers)
        self.assertEqual(self.metric("apiserver_flowcontrol_rejected_requests_total", priority_level="reject", reason="concurrency-limit"), len(refused))
        # All seats are back, as soon as the server has seen its answers go.
        eventually("no request runs", lambda: not self.metric("apiserver_flowcontrol_current_executing_requests", priority_level="reject"))
        self.assertEqual({f.result()[0] for f in self.at_once(seats, QUICK, "alice")}, {404})

    def test_a_full_queue_refuses(self):
        self.flow("short", queues(queues=1, hand=1, length=3), ["bob"])
        seats = int(self.metric("apiserver_flowcontrol_nominal_limit_seats", priority_level="short"))
        answers = [f.result() for f in self.at_once(seats + 3 + 4, SLOW, "bob")]
        refused = sum(status == 429 for status, *_ in answers)
        self.assertIn(refused, range(1, 5))  # 4, unless the first had ended when the last came
        self.assertEqual(self.metric("apiserver_flowcontrol_rejected_requests_total", priority_level="short", reason="queue-full"), refused)

    def test_a_user_cannot_drown_out_another_of_the_same_level(self):
        # Each has one queue.
        self.flow("shared", queues(queues=512, hand=1), ["greedy", "modest"])
        seats = int(self.metric("apiserver_flowcontrol_nominal_limit_seats", priority_level="shared"))
        many = self.at_once(seats * 8, SLOW, "greedy")
        eventually("requests wait", lambda: self.metric("apiserver_flowcontrol_current_inqueue_requests", priority_level="shared"))
        for _ in range(3):
            self.assertEqual(self.ask(QUICK, "modest")[0], 404)
        self.assertTrue(any(not f.done() for f in many), "the greedy user's requests still wait")

    def test_a_level_cannot_drown_out_another(self):
        self.flow("busy", queues(), ["busy-user"], precedence=999)
        self.flow("calm", queues(), ["calm-user"])
        seats = int(self.metric("apiserver_flowcontrol_nominal_limit_seats", priority_level="busy"))
        many = self.at_once(seats * 6, SLOW, "busy-user")
        eventually("requests wait", lambda: self.metric("apiserver_flowcontrol_current_inqueue_requests", priority_level="busy"))
        times = [self.ask(QUICK, "calm-user")[2] for _ in range(20)]
        self.assertTrue(any(not f.done() for f in many))
        self.assertLess(sorted(times)[len(times) // 2], 1)

    def test_what_waits_and_runs_can_be_seen(self):
        self.flow("seen", queues(queues=4, hand=1), ["watched-user"])
        seats = int(self.metric("apiserver_flowcontrol_nominal_limit_seats", priority_level="seen"))
        dumps = "/debug/api_priority_and_fairness/"

        def rows(what):
            lines = [[cell.strip() for cell in line.split(",")] for line in self.api.get(dumps + what).splitlines()]
            return [r for r in (dict(zip(lines[0], line)) for line in lines[1:]) if r["PriorityLevelName"] == "seen"]

        def seen():
            level, = rows("dump_priority_levels")
            pending = sum(int(r["PendingRequests"]) for r in rows("dump_queues"))
            requests = rows("dump_requests?includeRequestDetails=1")
            return (level["WaitingRequests"], level["ExecutingRequests"], pending, len(requests)) == ("2", str(seats), 2, seats + 2) and (level, requests)

        found = None
        for _ in range(8):  # a busy machine may not come to look before they have ended
            many = self.at_once(seats + 2, SLOW, "watched-user")
            with contextlib.suppress(Failed):
                found = eventually("requests run and wait", seen, timeout=3)
            for f in many:
                f.result()
            if found:
                break
        level, requests = found
        self.assertEqual(level["IsQuiescing"], "false")
        self.assertEqual({(r["FlowSchemaName"], r["FlowDistingsher"], r["UserName"], r["Verb"]) for r in requests}, {("seen", "watched-user", "watched-user", "get")})

    def test_a_standing_watch_takes_no_seat(self):
        self.flow("watching", queues(), ["watcher"])
        seats = int(self.metric("apiserver_flowcontrol_nominal_limit_seats", priority_level="watching"))
        streams = []
        for c in [self.connected() for _ in range(seats + 4)]:
            c.request("GET", "/api/v1/namespaces/default/configmaps?watch=1", headers={"Impersonate-User": "watcher", "Impersonate-Group": "readers"})
            streams.append(c.getresponse())
        self.assertEqual({s.status for s in streams}, {200})
        for s in streams:
            s.readline()  # the initial event: its start is over
        eventually("their seats are back", lambda: self.metric("apiserver_flowcontrol_current_executing_requests", priority_level="watching") == 0)
        self.assertEqual(self.ask(QUICK, "watcher")[0], 404)

    def test_who_takes_nothing_of_an_answer_keeps_nobody_waiting(self):
        folder = "/api/v1/namespaces/default/configmaps"
        for i in range(12):
            self.made(folder, {"metadata": {"name": f"large-{i}"}, "data": {"k": "x" * 900_000}})
        self.flow("unread", queues(queues=1, hand=1), ["idle"])
        seats = int(self.metric("apiserver_flowcontrol_nominal_limit_seats", priority_level="unread"))
        silent = []
        for _ in range(seats + 2):
            c = self.connected()
            c.sock = None
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.settimeout(120)
            raw.connect((c.host, c.port))
            c.sock = c._context.wrap_socket(raw, server_hostname=c.host)
            c.request("GET", folder, headers={"Impersonate-User": "idle", "Impersonate-Group": "readers"})
            silent.append(c)
        eventually("all seats are taken", lambda: self.metric("apiserver_flowcontrol_current_inqueue_requests", priority_level="unread"))
        # It stands behind all of them, and each may wait for a quarter of a minute.
        status, _, took = self.ask(QUICK, "idle")
        self.assertEqual(status, 404)
        # Nobody's answer is cut short for it.
        for c in silent:
            answer = c.getresponse()
            self.assertEqual((answer.status, len(json.loads(answer.read())["items"])), (200, 13))
        eventually("all seats are back", lambda: self.metric("apiserver_flowcontrol_current_executing_seats", priority_level="unread") == 0)

    def test_objects_that_the_server_brings_come_back(self):
        before = self.api.get(f"{FLOWS}/catch-all")
        self.assertEqual(self.api.request("DELETE", f"{FLOWS}/service-accounts")[0], 200)
        self.assertEqual(self.api.request("DELETE", f"{FLOWS}/catch-all")[0], 200)
        # Of the mandatory ones nobody else's spec is taken at all.
        broken = {**before, "spec": {**before["spec"], "matchingPrecedence": 5000}}
        self.assertEqual(self.api.request("PUT", f"{LEVELS}/catch-all", {**self.api.get(f"{LEVELS}/catch-all"), "spec": {"type": "Exempt"}})[0], 422)
        eventually("the deleted one is back", lambda: self.api.request("GET", f"{FLOWS}/service-accounts")[0] == 200, timeout=100)
        eventually("the mandatory one, too", lambda: self.api.get(f"{FLOWS}/catch-all")["spec"] == before["spec"], timeout=100)
        broken["metadata"] = self.api.get(f"{FLOWS}/catch-all")["metadata"]
        self.assertEqual(self.api.request("PUT", f"{FLOWS}/catch-all", broken)[0], 422)


if __name__ == "__main__":
    main()
