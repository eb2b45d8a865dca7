"""kubectl against one server: what a user does with objects."""

import json
import os
import time

from harness import ClusterTest, Failed, eventually, main, run

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: nginx, ports: [{containerPort: 80}]}
"""


class Objects(ClusterTest):
    def test_get_of_everything_that_a_fresh_cluster_has(self):
        names = self.kubectl("get", "namespaces", "-o", "name").split()
        self.assertEqual(names, ["namespace/default", "namespace/kube-node-lease", "namespace/kube-public", "namespace/kube-system"])
        self.assertIn("kubernetes   ClusterIP   10.43.0.1", self.kubectl("get", "services"))
        self.assertIn("system-node-critical", self.kubectl("get", "priorityclasses"))
        self.assertIn("cluster-admin", self.kubectl("get", "clusterroles"))
        slice = self.server.get("endpointslices", "-l", "kubernetes.io/service-name=kubernetes")["items"][0]
        self.assertEqual(slice["endpoints"][0]["addresses"], [self.host.address])

    def test_apply_get_edit_patch_label_delete(self):
        self.assertEqual(self.kubectl("apply", "-f", "-", input=DEPLOYMENT).strip(), "deployment.apps/web created")
        self.assertEqual(self.kubectl("apply", "-f", "-", input=DEPLOYMENT).strip(), "deployment.apps/web unchanged")
        self.assertIn("0/2", self.kubectl("get", "deployment", "web"))
        self.assertIn("CONTAINERS", self.kubectl("get", "deployment", "web", "-o", "wide"))
        web = self.server.get("deployment", "web")
        self.assertEqual(web["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%")
        self.assertEqual(web["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst")
        self.assertIn("replicas: 2", self.kubectl("get", "deployment", "web", "-o", "yaml"))
        self.assertIn("StrategyType:", self.kubectl("describe", "deployment", "web"))
        changed = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
        self.assertEqual(self.kubectl("apply", "-f", "-", input=changed).strip(), "deployment.apps/web configured")
        self.kubectl("label", "deployment", "web", "tier=front")
        self.kubectl("annotate", "deployment", "web", "note=hello")
        self.kubectl("scale", "deployment", "web", "--replicas=5")
        self.kubectl("set", "image", "deployment/web", "web=nginx:2")
        self.kubectl("patch", "deployment", "web", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}')
        self.kubectl("patch", "deployment", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/paused","value":true}]'.replace("replace", "add"))
        web = self.server.get("deployment", "web")
        self.assertEqual(web["spec"]["replicas"], 5)
        self.assertEqual([c["image"] for c in web["spec"]["template"]["spec"]["containers"]], ["busybox", "nginx:2"])
        self.assertEqual(web["metadata"]["labels"]["tier"], "front")
        self.assertTrue(web["spec"]["paused"])
        editor = os.path.join(self.lab.folder, "editor")
        with open(editor, "w") as f:
            f.write("#!/bin/sh\nsed -i 's/paused: true/paused: false/' $1\n")
        os.chmod(editor, 0o755)
        argv = ["env", f"KUBE_EDITOR={editor}", "kubectl", "--kubeconfig", self.server.kubeconfig, "edit", "deployment", "web"]
        self.assertIn("edited", run(*self.host.command(*argv)))
        self.assertEqual(self.kubectl("delete", "deployment", "web").strip(), 'deployment.apps "web" deleted')
        self.assertIn("not found", self.kubectl("get", "deployment", "web", check=False).stderr)

    def test_errors_are_the_real_servers(self):
        bad = DEPLOYMENT.replace("replicas: 2", "replicaz: 2")
        self.assertIn('strict decoding error: unknown field "spec.replicaz"', self.kubectl("create", "-f", "-", input=bad, check=False).stderr)
        self.assertIn("Required value", self.kubectl("create", "-f", "-", input=DEPLOYMENT.replace("image: nginx, ", ""), check=False).stderr)
        self.assertIn('namespaces "nowhere" not found', self.kubectl("create", "configmap", "a", "-n", "nowhere", check=False).stderr)
        self.kubectl("create", "configmap", "once")
        self.assertIn('configmaps "once" already exists', self.kubectl("create", "configmap", "once", check=False).stderr)
        self.assertIn("(NotFound)", self.kubectl("get", "configmap", "never", check=False).stderr)

    def test_what_helm_asks(self):
        # Its records, found by labels; a record that exists already; and patches made of three manifests (helm_test.py has helm itself).
        def record(revision, status):
            labels = {"owner": "helm", "name": "web", "status": status, "version": str(revision)}
            return {"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "stringData": {"release": "x" * 50_000},
                    "metadata": {"name": f"sh.helm.release.v1.web.v{revision}", "labels": labels}}
        api, secrets = self.server.api(), "/api/v1/namespaces/default/secrets"
        self.addCleanup(api.close)
        self.assertEqual(api.request("POST", secrets, record(1, "pending-install"))[0], 201)
        self.assertEqual(api.request("POST", secrets, record(1, "pending-install"))[1]["reason"], "AlreadyExists")
        self.assertEqual(api.request("PUT", f"{secrets}/sh.helm.release.v1.web.v1", record(1, "deployed"))[0], 200)
        self.assertEqual(api.request("POST", secrets, record(2, "failed"))[0], 201)
        def found(selector):
            return [s["metadata"]["labels"]["version"] for s in api.get(f"{secrets}?labelSelector={selector}")["items"]]
        self.assertEqual(found("name%3Dweb%2Cowner%3Dhelm"), ["1", "2"])
        self.assertEqual(found("name%3Dweb%2Cowner%3Dhelm%2Cstatus%3Ddeployed"), ["1"])
        services, strategic = "/api/v1/namespaces/default/services", {"Content-Type": "application/strategic-merge-patch+json"}
        ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "admin", "port": 81}]
        made = api.request("POST", services, {"metadata": {"name": "released"}, "spec": {"ports": ports, "selector": {"app": "web"}}})[1]
        patch = {"spec": {"type": "NodePort", "$setElementOrder/ports": [{"port": 80}], "ports": [{"port": 80, "targetPort": 8080}, {"$patch": "delete", "port": 81}]}}
        status, changed = api.request("PATCH", f"{services}/released", patch, strategic)
        self.assertEqual(status, 200, changed)
        self.assertEqual([(p["name"], p["port"], p["targetPort"]) for p in changed["spec"]["ports"]], [("http", 80, 8080)])
        self.assertEqual(changed["spec"]["clusterIP"], made["spec"]["clusterIP"])
        self.assertGreaterEqual(changed["spec"]["ports"][0]["nodePort"], 30000)
        bad = {"spec": {"$setElementOrder/ports": [{"port": "none"}], "ports": [{"port": "none"}]}}
        status, told = api.request("PATCH", f"{services}/released", bad, strategic)
        self.assertEqual(status, 422, told)
        self.assertIn("into Go struct field ServicePort.spec.ports.port of type int32", told["message"])
        self.assertEqual(api.get(f"{services}/released")["spec"], changed["spec"])
        for name in ("secrets/sh.helm.release.v1.web.v1", "secrets/sh.helm.release.v1.web.v2", "services/released"):
            self.assertEqual(api.request("DELETE", f"/api/v1/namespaces/default/{name}")[0], 200)

    def test_watch_sees_changes_in_order(self):
        argv = ["kubectl", "--kubeconfig", self.server.kubeconfig, "get", "configmaps", "-l", "watched=yes", "-w", "--output-watch-events"]
        self.kubectl("create", "configmap", "first")
        self.kubectl("label", "configmap", "first", "watched=yes")
        watch = self.lab.start("watch", self.host.command(*argv))
        try:
            def seen():
                with open(watch.log) as f:
                    return f.read().split("\n")
            eventually("the watch has begun", lambda: any("ADDED" in l and "first" in l for l in seen()))
            for i in range(3):
                self.kubectl("create", "configmap", f"w{i}")
                self.kubectl("label", "configmap", f"w{i}", "watched=yes")
            self.kubectl("label", "configmap", "w1", "watched-")
            self.kubectl("delete", "configmap", "w0")
            eventually("the watch saw all", lambda: any("DELETED" in l and "w0" in l for l in seen()))
            words = [l.split() for l in seen() if l.startswith(("ADDED", "MODIFIED", "DELETED"))]
            self.assertEqual([(w[0], w[1]) for w in words],
                             [("ADDED", "first"), ("ADDED", "w0"), ("ADDED", "w1"), ("ADDED", "w2"), ("DELETED", "w1"), ("DELETED", "w0")])
        finally:
            watch.terminate()

    def test_explain_and_discovery(self):
        self.assertIn("KIND:       Pod", self.kubectl("explain", "pod.spec.containers"))
        # Words that programs look for.
        self.assertIn("CreationTimestamp is a timestamp", self.kubectl("explain", "pod.metadata.creationTimestamp"))
        resources = self.kubectl("api-resources")
        for word in ("deployments", "deploy", "networkpolicies", "leases", "customresourcedefinitions"):
            self.assertIn(word, resources)
        self.assertIn("apps/v1", self.kubectl("api-versions"))
        self.assertIn("Server Version: v1.37", self.kubectl("version"))

    def test_namespace_is_emptied_and_goes(self):
        self.kubectl("create", "namespace", "short")
        eventually("its service account", lambda: self.server.get("serviceaccount", "default", "-n", "short"))
        self.kubectl("create", "configmap", "inside", "-n", "short")
        self.kubectl("delete", "namespace", "short", timeout=60)
        self.assertIn("not found", self.kubectl("get", "namespace", "short", check=False).stderr)
        self.kubectl("create", "namespace", "short")
        eventually("the root CA", lambda: self.server.get("configmap", "kube-root-ca.crt", "-n", "short"))
        self.assertNotIn("inside", self.kubectl("get", "configmaps", "-n", "short"))

    def test_owners_take_their_dependents_along(self):
        self.kubectl("create", "configmap", "owner")
        uid = self.server.get("configmap", "owner")["metadata"]["uid"]
        for name in ("child1", "child2"):
            self.kubectl("apply", "-f", "-", input=json.dumps({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "blockOwnerDeletion": True}]}}))
        self.kubectl("delete", "configmap", "owner", "--cascade=foreground")
        self.assertNotIn("child", self.kubectl("get", "configmaps", "-o", "name"))

    def test_who_may(self):
        self.assertEqual(self.kubectl("auth", "can-i", "delete", "pods").strip(), "yes")
        self.kubectl("create", "serviceaccount", "robot")
        self.kubectl("create", "rolebinding", "robot-views", "--clusterrole=view", "--serviceaccount=default:robot")
        self.assertEqual(self.kubectl("auth", "can-i", "list", "pods", "--as=system:serviceaccount:default:robot").strip(), "yes")
        self.assertEqual(self.kubectl("auth", "can-i", "delete", "pods", "--as=system:serviceaccount:default:robot", check=False).stdout.strip(), "no")
        token = self.kubectl("create", "token", "robot").strip()
        argv = ["kubectl", "--server", self.server.url, "--certificate-authority", os.path.join(self.server.data, "server/tls/server-ca.crt"),
                "--kubeconfig", "/dev/null", "--token", token]
        run(*self.host.command(*argv, "get", "pods"))
        refused = run(*self.host.command(*argv, "get", "secrets"), check=False).stderr
        self.assertIn('User "system:serviceaccount:default:robot" cannot list resource "secrets"', refused)
        self.assertIn("Unauthorized", run(*self.host.command(*argv[:-1], token + "x", "get", "pods"), check=False).stderr.replace("You must be logged in to the server (Unauthorized)", "Unauthorized"))

    def test_large_lists_come_in_pages(self):
        for start in range(0, 200, 100):
            self.kubectl("create", "-f", "-", input="\n".join(json.dumps(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"page-{i:04}", "labels": {"paged": "yes"}}, "data": {"k": "v" * 1000}})
                for i in range(start, start + 100)))
        self.assertEqual(len(self.kubectl("get", "configmaps", "-l", "paged=yes", "-o", "name", "--chunk-size=50").split()), 200)
        first = json.loads(self.kubectl("get", "--raw", "/api/v1/namespaces/default/configmaps?limit=10"))
        self.assertEqual(len(first["items"]), 10)
        self.assertGreaterEqual(first["metadata"]["remainingItemCount"], 190)
        self.kubectl("delete", "configmaps", "-l", "paged=yes", "--wait=false")
        self.assertEqual(self.kubectl("get", "configmaps", "-l", "paged=yes", "-o", "name"), "")


if __name__ == "__main__":
    main()
