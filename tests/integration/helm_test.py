"""Helm 3 against one server: install, upgrade, failing upgrades, rollback, hooks, CRDs, history, uninstall.

With the helm in the PATH, or one that its Go module builds once (some minutes), kept in the build folder.
"""

import json
import os
import shutil

from harness import BINARY, ClusterTest, eventually, main, run

HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"


def get_helm():
    """helm in the PATH: no Debian has it."""
    kept = os.path.join(BINARY.removesuffix("src/cli/kedge"), "helm")
    os.environ["PATH"] += os.pathsep + kept
    if not shutil.which("helm"):
        run("go", "install", "-ldflags=-s -w", HELM, env={**os.environ, "GOBIN": kept, "CGO_ENABLED": "0"}, timeout=1800)
    return shutil.which("helm")


CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.io}
spec:
  group: example.io
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer, minimum: 1}}}}
"""
TEMPLATE = """
apiVersion: example.io/v1
kind: Widget
metadata: {name: "{{ .Release.Name }}"}
spec: {size: {{ .Values.size }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-facts"}
data:
  version: {{ .Capabilities.KubeVersion.Version | quote }}
  deployments: {{ .Capabilities.APIVersions.Has "apps/v1/Deployment" | quote }}
  address: {{ (lookup "v1" "Service" "default" "kubernetes").spec.clusterIP | quote }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: "{{ .Release.Name }}-hook"
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
"""


class Helm(ClusterTest):
    def setUp(self):
        self.folder = os.path.join(self.lab.folder, self.id().rsplit(".", 1)[-1])
        os.mkdir(self.folder)

    def helm(self, *args, check=True):
        env = {**os.environ, "HOME": self.lab.folder, "KUBECONFIG": self.server.kubeconfig}
        return run(*self.host.command("helm", *args), check=check, env=env, timeout=120)

    def refused(self, text, *args):
        p = self.helm(*args, check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn(text, p.stderr)

    def history(self, name):
        return [(r["revision"], r["status"]) for r in json.loads(self.helm("history", name, "-o", "json"))]

    def test_a_chart_as_helm_makes_it(self):
        chart = os.path.join(self.folder, "web")
        self.helm("create", chart)
        self.helm("install", "web", chart)
        self.refused("cannot re-use a name", "install", "web", chart)
        self.assertEqual([r["name"] for r in json.loads(self.helm("list", "-o", "json"))], ["web"])
        self.assertIn("kind: Deployment", self.helm("get", "manifest", "web"))
        address = self.server.get("service", "web")["spec"]["clusterIP"]
        self.helm("upgrade", "web", chart, "--set", "replicaCount=3,ingress.enabled=true,autoscaling.enabled=true,service.type=NodePort")
        service = self.server.get("service", "web")
        self.assertEqual((service["spec"]["type"], service["spec"]["clusterIP"]), ("NodePort", address))
        self.server.get("horizontalpodautoscaler", "web")
        self.refused("cannot unmarshal string", "upgrade", "web", chart, "--set", "service.port=none")
        self.refused('Unsupported value: "Wrong"', "upgrade", "web", chart, "--set", "service.type=Wrong")
        self.helm("upgrade", "web", chart, "--set", "replicaCount=9", "--dry-run=server")
        self.helm("rollback", "web", "1")
        self.assertEqual(self.history("web"), [(1, "superseded"), (2, "superseded"), (3, "failed"), (4, "failed"), (5, "deployed")])
        deployment = self.server.get("deployment", "web")
        self.assertEqual((deployment["spec"]["replicas"], self.server.get("service", "web")["spec"]["type"]), (1, "ClusterIP"))
        # The same by kubectl, in both ways: nothing is left to change.
        text = self.helm("template", "other", chart)
        self.kubectl("apply", "-f", "-", input=text)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)
        self.assertEqual(self.kubectl("diff", "-f", "-", input=text), "")
        self.kubectl("delete", "-f", "-", "--wait=false", input=text)
        self.helm("uninstall", "web", "--keep-history")
        self.helm("rollback", "web", "1")
        self.helm("uninstall", "web")
        self.assertEqual(json.loads(self.helm("list", "-a", "-o", "json")), [])
        self.assertEqual(self.server.get("secrets", "-l", "owner=helm")["items"], [])

    def test_definitions_hooks_and_what_charts_ask(self):
        chart = os.path.join(self.folder, "widgets")
        for name, text in (("Chart.yaml", "apiVersion: v2\nname: widgets\nversion: 0.1.0\n"), ("values.yaml", "size: 1\n"),
                           ("crds/widgets.yaml", CRD), ("templates/all.yaml", TEMPLATE)):
            os.makedirs(os.path.dirname(os.path.join(chart, name)), exist_ok=True)
            with open(os.path.join(chart, name), "w") as f:
                f.write(text)
        self.helm("install", "one", chart, "--wait", "--timeout", "60s")
        facts = self.server.get("configmap", "one-facts")["data"]
        self.assertEqual((facts["deployments"], facts["address"]), ("true", "10.43.0.1"))
        eventually("the hook is gone", lambda: self.kubectl("get", "configmap", "one-hook", check=False).returncode != 0)
        self.helm("upgrade", "one", chart, "--set", "size=5", "--wait", "--timeout", "60s")
        self.refused("should be greater than or equal to 1", "upgrade", "one", chart, "--set", "size=0")
        self.helm("upgrade", "one", chart, "--set", "size=7", "--force")
        self.assertEqual(self.server.get("widget", "one")["spec"]["size"], 7)
        self.helm("rollback", "one", "1", "--wait", "--timeout", "60s")
        self.assertEqual(self.server.get("widget", "one")["spec"]["size"], 1)
        self.helm("install", "two", chart, "--create-namespace", "-n", "fresh")
        self.assertEqual(sorted(r["name"] for r in json.loads(self.helm("list", "-A", "-o", "json"))), ["one", "two"])
        self.helm("uninstall", "one", "--wait", "--timeout", "60s")
        self.helm("uninstall", "two", "-n", "fresh", "--cascade", "foreground", "--wait", "--timeout", "60s")
        self.assertEqual(self.server.get("widgets", "-A")["items"], [])


if __name__ == "__main__":
    get_helm()
    main()
