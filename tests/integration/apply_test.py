"""kubectl's server-side apply: conflicts, forcing, diff, taking over from client-side apply, and who owns what."""

import json
import os

from harness import ClusterTest, main, run

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
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


def config_map(name, **data):
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


class Apply(ClusterTest):
    # What is applied is nobody else's: no controller writes its status between two looks.
    server_args = ("--disable-agent", "--kube-controller-manager-arg=controllers=*,-deployment-controller")

    def apply(self, manifest, *args, check=True):
        out = self.kubectl("apply", "--server-side", *args, "-f", "-", input=manifest, check=check)
        return out.strip() if check else out

    def owners(self, *what):
        """{(manager, operation, subresource): fields}"""
        found = json.loads(self.kubectl("get", *what, "-o", "json", "--show-managed-fields"))["metadata"].get("managedFields", [])
        return {(e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"] for e in found}

    def test_apply_again_change_and_remove(self):
        web = DEPLOYMENT.replace("NAME", "web")
        self.assertEqual(self.apply(web), "deployment.apps/web serverside-applied")
        first = self.server.get("deployment", "web")
        self.assertEqual(self.apply(web), "deployment.apps/web serverside-applied")
        self.assertEqual(self.server.get("deployment", "web"), first)
        self.assertEqual(list(self.owners("deployment", "web")), [("kubectl", "Apply", "")])
        self.assertNotIn("last-applied-configuration", json.dumps(first))
        # Hidden unless asked for.
        self.assertNotIn("managedFields", json.dumps(first))
        self.apply(web.replace("labels: {app: web}\nspec", "labels: {app: web, tier: front}\nspec"))
        self.assertEqual(self.server.get("deployment", "web")["metadata"]["labels"], {"app": "web", "tier": "front"})
        self.apply(web.replace("  replicas: 2\n", ""))
        web = self.server.get("deployment", "web")
        self.assertEqual(web["metadata"]["labels"], {"app": "web"})
        self.assertEqual(web["spec"]["replicas"], 1)  # nobody's, so the default
        self.kubectl("scale", "deployment", "web", "--replicas=4")
        self.assertEqual(self.owners("deployment", "web")[("kubectl", "Update", "scale")], {"f:spec": {"f:replicas": {}}})

    def test_conflicts_and_force(self):
        self.apply(config_map("shared", a="1", b="1"), "--field-manager=one")
        refused = self.apply(config_map("shared", a="2"), "--field-manager=two", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn('Apply failed with 1 conflict: conflict with "one": .data.a', refused.stderr)
        self.assertIn("--force-conflicts", refused.stderr)
        self.apply(config_map("shared", a="2"), "--field-manager=two", "--force-conflicts")
        self.assertEqual(self.server.get("configmap", "shared")["data"], {"a": "2", "b": "1"})
        self.assertEqual(self.owners("configmap", "shared"),
                         {("one", "Apply", ""): {"f:data": {"f:b": {}}}, ("two", "Apply", ""): {"f:data": {"f:a": {}}}})
        self.apply(config_map("shared"), "--field-manager=one")
        self.assertEqual(self.server.get("configmap", "shared")["data"], {"a": "2"})

    def test_dry_run_and_diff(self):
        self.apply(config_map("dry", a="1"))
        self.apply(config_map("dry", a="2"), "--dry-run=server")
        self.assertEqual(self.server.get("configmap", "dry")["data"], {"a": "1"})
        same = self.kubectl("diff", "--server-side", "-f", "-", input=config_map("dry", a="1"), check=False)
        self.assertEqual((same.returncode, same.stdout), (0, ""))
        other = self.kubectl("diff", "--server-side", "-f", "-", input=config_map("dry", a="2"), check=False)
        self.assertEqual(other.returncode, 1, other.stderr)
        self.assertIn('-  a: "1"', other.stdout)
        self.assertIn('+  a: "2"', other.stdout)

    def test_from_the_clients_side_to_the_servers_and_back(self):
        """kubectl moves what its client-side apply owned to its server-side apply; the annotation follows while it is there."""
        both = DEPLOYMENT.replace("NAME", "both")
        self.kubectl("apply", "-f", "-", input=both)
        self.assertEqual(list(self.owners("deployment", "both")), [("kubectl-client-side-apply", "Update", "")])
        self.assertIn('"replicas":2', self.kubectl("apply", "view-last-applied", "deployment", "both", "-o", "json").replace(" ", ""))
        # Its own fields are no conflict, though they change.
        self.assertEqual(self.apply(both.replace("replicas: 2", "replicas: 3")), "deployment.apps/both serverside-applied")
        owners = self.owners("deployment", "both")
        self.assertEqual(set(owners), {("kubectl", "Apply", ""), ("kubectl-last-applied", "Apply", "")})
        self.assertIn("f:replicas", owners[("kubectl", "Apply", "")]["f:spec"])
        self.assertIn('"replicas":3', self.kubectl("apply", "view-last-applied", "deployment", "both", "-o", "json").replace(" ", ""))
        # What the client-side apply had, the server-side one removes.
        self.apply(both.replace("  replicas: 2\n", ""))
        self.assertEqual(self.server.get("deployment", "both")["spec"]["replicas"], 1)
        self.assertEqual(self.kubectl("apply", "-f", "-", input=both).strip(), "deployment.apps/both configured")
        self.assertEqual(self.server.get("deployment", "both")["spec"]["replicas"], 2)

    def test_edit_and_set_keep_owners(self):
        self.apply(DEPLOYMENT.replace("NAME", "edited"))
        editor = os.path.join(self.lab.folder, "editor")
        with open(editor, "w") as f:
            f.write("#!/bin/sh\nsed -i 's/replicas: 2/replicas: 6/' $1\n")
        os.chmod(editor, 0o755)
        self.kubectl("set", "image", "deployment/edited", "web=nginx:2")
        owners = self.owners("deployment", "edited")
        container = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {"f:image": {}}}}}}}
        self.assertEqual(owners[("kubectl-set", "Update", "")], container)
        self.assertNotIn("f:image", owners[("kubectl", "Apply", "")]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}'])
        refused = self.apply(DEPLOYMENT.replace("NAME", "edited"), check=False)
        self.assertIn('conflict with "kubectl-set" using apps/v1: .spec.template.spec.containers[name="web"].image', refused.stderr)

    def test_a_set_of_objects_is_pruned(self):
        def apply_set(manifest):
            return run(*self.host.command("env", "KUBECTL_APPLYSET=true", "kubectl", "--kubeconfig", self.server.kubeconfig, "apply", "--server-side", "-f", "-",
                                          "--prune", "--applyset=secrets/the-set", "-n", "default"), input=manifest)
        apply_set(config_map("kept", a="1") + "\n" + config_map("pruned", a="1"))
        self.assertIn("configmap/pruned pruned", apply_set(config_map("kept", a="1")))
        self.assertIn("not found", self.kubectl("get", "configmap", "pruned", check=False).stderr)
        self.assertEqual(self.server.get("configmap", "kept")["data"], {"a": "1"})

    def test_custom_resources(self):
        """Definitions and their resources, as operators' manifests are applied."""
        schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"type": "integer"},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                      "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}, "name": {"type": "string"}}}}}}}}
        definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.example.com"},
                      "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
                               "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}}
        self.apply(json.dumps(definition))
        self.kubectl("wait", "crd/boats.example.com", "--for=condition=Established", "--timeout=60s")
        before = self.server.get("crd", "boats.example.com")
        self.apply(json.dumps(definition))
        self.assertEqual(self.server.get("crd", "boats.example.com"), before)

        def boat(**spec):
            return json.dumps({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": spec})
        self.apply(boat(size=1, ports=[{"port": 1}]), "--field-manager=one")
        self.apply(boat(ports=[{"port": 2, "name": "two"}]), "--field-manager=two")
        self.assertEqual(self.server.get("boats", "b")["spec"], {"size": 1, "ports": [{"port": 1}, {"port": 2, "name": "two"}]})
        refused = self.apply(boat(size=2), "--field-manager=two", check=False)
        self.assertIn('conflict with "one": .spec.size', refused.stderr)
        self.apply(boat(ports=[{"port": 1}]), "--field-manager=one")
        self.assertEqual(self.server.get("boats", "b")["spec"], {"ports": [{"port": 1}, {"port": 2, "name": "two"}]})

    def test_errors(self):
        unknown = self.apply(config_map("x", a="1").replace('"data"', '"dada"'), check=False)
        self.assertIn("field not declared in schema", unknown.stderr)
        self.assertIn("Required value", self.apply(DEPLOYMENT.replace("NAME", "x").replace("image: nginx, ", ""), check=False).stderr)


if __name__ == "__main__":
    main()
