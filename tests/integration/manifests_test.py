"""What lies in a server's folder of manifests: applied within a second, pruned, skipped, disabled, and told of as K3s does."""

import base64
import gzip
import hashlib
import json
import os
import time
import unittest

from harness import Lab, Server, eventually, main

CRD_AND_ITS_OBJECT = """
apiVersion: shop.example.com/v1
kind: Basket
metadata: {name: first}
spec: {size: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: baskets.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {plural: baskets, singular: basket, kind: Basket}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: inside, namespace: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
"""


def config_map(name, value="1", more=""):
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}{more}}}\ndata: {{value: '{value}'}}\n"


def owner_hash(addon):
    return hashlib.sha1(f"k3s.cattle.io/v1, Kind=Addon{addon}kube-system".encode()).hexdigest()


def as_k3s_applied(addon, o):
    """The object as K3s's deploy controller leaves it in the database."""
    meta = o["metadata"]
    meta.setdefault("labels", {})["objectset.rio.cattle.io/hash"] = owner_hash(addon)
    notes = meta.setdefault("annotations", {})
    notes.update({"objectset.rio.cattle.io/id": "", "objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
                  "objectset.rio.cattle.io/owner-name": addon, "objectset.rio.cattle.io/owner-namespace": "kube-system"})
    text = gzip.compress(json.dumps(o).encode())
    notes["objectset.rio.cattle.io/applied"] = base64.b64encode(text).decode().rstrip("=")
    return o


CHARTS = ("traefik-crd-40.1.4+up40.1.0.tgz", "traefik-40.1.4+up40.1.0.tgz")  # as K3s leaves them in static/charts


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.host = cls.lab.host()
        cls.folder = os.path.join(cls.lab.folder, "server/server/manifests")
        os.makedirs(cls.folder)
        charts = os.path.join(cls.lab.folder, "server/server/static/charts")
        os.makedirs(charts)
        for name in CHARTS:
            with open(os.path.join(charts, name), "w") as f:
                f.write(name)
        cls.write("unwanted.yaml", config_map("unwanted"))
        cls.write("early.yaml", config_map("early"))
        cls.write("rolebindings.yaml.skip", "")
        cls.write("coredns.yaml", "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: coredns, namespace: kube-system}\n")
        cls.server = Server(cls.lab, host=cls.host, args=cls.arguments()).wait_ready()
        cls.api = cls.server.api()
        cls.addClassCleanup(cls.api.close)

    @staticmethod
    def arguments(*more):
        return ("--disable-agent", "--disable", "unwanted", "--disable", "metrics-server", "--with", "traefik", *more)

    @classmethod
    def write(cls, name, text):
        """As an editor does it: beside, then renamed."""
        path = os.path.join(cls.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + "~", "w") as f:
            f.write(text)
        os.rename(path + "~", path)

    def there(self, name, ns="default", plural="configmaps", group="api/v1"):
        status, body = self.api.request("GET", f"/{group}/namespaces/{ns}/{plural}/{name}")
        return body if status == 200 else None

    def addon(self, name):
        return self.there(name, "kube-system", "addons", "apis/k3s.cattle.io/v1")

    def events(self, addon):
        all_events = self.api.get(f"/api/v1/namespaces/kube-system/events?fieldSelector=involvedObject.name={addon},involvedObject.kind=Addon")
        return [(e["reason"], e["message"]) for e in all_events["items"]]

    def reasons(self, addon):
        return {reason for reason, message in self.events(addon)}

    def applied(self, name):
        return eventually(f"{name} is applied", lambda: (self.addon(name) or {}).get("spec", {}).get("checksum"), 60)

    def test_what_is_there_at_the_start_and_what_is_disabled(self):
        self.applied("early")
        self.assertEqual("1", self.there("early")["data"]["value"])
        addon = self.addon("early")
        path = os.path.join(self.folder, "early.yaml")
        self.assertEqual({"source": path, "checksum": hashlib.sha256(config_map("early").encode()).hexdigest()}, addon["spec"])
        self.assertEqual("/v1, Kind=ConfigMap", addon["metadata"]["annotations"]["addon.k3s.cattle.io/gvks"])
        meta = self.there("early")["metadata"]
        self.assertEqual(owner_hash("early"), meta["labels"]["objectset.rio.cattle.io/hash"])
        self.assertEqual("k3s.cattle.io/v1, Kind=Addon", meta["annotations"]["objectset.rio.cattle.io/owner-gvk"])
        self.assertEqual("deploy@server", meta["managedFields"][0]["manager"])
        eventually("both events", lambda: {("ApplyingManifest", f'Applying manifest at "{path}"'),
                                           ("AppliedManifest", f'Applied manifest at "{path}"')} <= set(self.events("early")))
        eventually("the disabled file goes", lambda: not os.path.exists(os.path.join(self.folder, "unwanted.yaml")))
        self.assertIsNone(self.there("unwanted"))
        self.assertIsNone(self.addon("unwanted"))

    def test_packaged_components_are_brought_and_not_deployed(self):
        for name in ("coredns", "local-storage", "runtimes"):
            self.applied(name)
        self.assertIsNone(self.addon("rolebindings"))
        self.assertIsNone(self.there("coredns", "kube-system", "deployments", "apis/apps/v1"))
        eventually("it says so", lambda: "SkippedManifest" in self.reasons("coredns"))
        got = self.api.get("/apis/storage.k8s.io/v1/storageclasses/local-path")
        self.assertEqual(("rancher.io/local-path", "WaitForFirstConsumer", "Delete"),
                         (got["provisioner"], got["volumeBindingMode"], got["reclaimPolicy"]))
        self.assertEqual("local", got["metadata"]["annotations"]["defaultVolumeType"])
        self.assertEqual("nvidia", self.api.get("/apis/node.k8s.io/v1/runtimeclasses/nvidia")["handler"])
        self.assertEqual(404, self.api.request("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:aggregated-metrics-reader")[0])

    def test_traefik_is_brought_where_it_is_asked_for(self):
        self.applied("traefik")
        for name, file in zip(("traefik-crd", "traefik"), CHARTS):
            spec = self.there(name, "kube-system", "helmcharts", "apis/helm.cattle.io/v1")["spec"]
            self.assertEqual(("https://%{KUBERNETES_API}%/static/charts/" + file, "retry"), (spec["chart"], spec["failurePolicy"]))
            self.assertEqual((200, file), self.api.request("GET", "/static/charts/" + file))

    def test_a_file_is_there_within_a_second_and_what_leaves_it_goes(self):
        began = time.monotonic()
        self.write("pair.yaml", config_map("one") + "---\n" + config_map("two"))
        eventually("both exist", lambda: self.there("one") and self.there("two"), 15, every=0.01)
        took = time.monotonic() - began
        print(f"a manifest file written until its objects exist: {took * 1000:.0f} ms", flush=True)
        self.assertLess(took, 15)  # a busy machine; the figure is what counts
        self.applied("pair")
        # Another's field stays, ours follows the file, and what the file has no more goes.
        self.api.request("PATCH", "/api/v1/namespaces/default/configmaps/one", {"data": {"theirs": "x"}},
                         {"Content-Type": "application/merge-patch+json"})
        self.write("pair.yaml", config_map("one", "2"))
        eventually("the other goes", lambda: not self.there("two"))
        self.assertEqual({"value": "2", "theirs": "x"}, self.there("one")["data"])
        # The file's end changes nothing.
        os.remove(os.path.join(self.folder, "pair.yaml"))
        self.write("later.yaml", config_map("later"))
        self.applied("later")
        self.assertIsNotNone(self.there("one"))
        self.assertIsNotNone(self.addon("pair"))

    def test_definitions_and_namespaces_come_first(self):
        self.write("shop.yaml", CRD_AND_ITS_OBJECT)
        self.applied("shop")
        self.assertIsNotNone(self.there("first", "default", "baskets", "apis/shop.example.com/v1"))
        self.assertIsNotNone(self.there("inside", "shop"))
        self.assertNotIn("ApplyManifestFailed", self.reasons("shop"))

    def test_a_bad_document_holds_no_other(self):
        self.write("bad.yaml", config_map("good-one") + "---\nkind: [\n---\n" + config_map("good-two"))
        eventually("the others are there", lambda: self.there("good-one") and self.there("good-two"))
        eventually("it is told", lambda: "ParseManifestFailed" in self.reasons("bad"))
        self.assertIn("document 2", dict(self.events("bad"))["ParseManifestFailed"])
        # While it can't be read, nothing is taken for missing.
        self.write("bad.yaml", config_map("good-one") + "---\nkind: [\n")
        self.write("refused.yaml", config_map("UPPER") + "---\n" + config_map("fine"))
        eventually("fine", lambda: self.there("fine") and "ApplyManifestFailed" in self.reasons("refused"))
        self.assertIsNotNone(self.there("good-two"))
        self.write("bad.yaml", config_map("good-one"))
        self.applied("bad")
        eventually("then it goes", lambda: not self.there("good-two"))
        # An object whose definition comes later, in another file, with another name than the files' order has.
        self.write("a-lamp.yaml", "apiVersion: light.example.com/v1\nkind: Lamp\nmetadata: {name: first}\n")
        eventually("it waits", lambda: "ApplyManifestFailed" in self.reasons("a-lamp"))
        crd = CRD_AND_ITS_OBJECT.split("---")[1]
        self.write("z-lamp.yaml", crd.replace("shop.example", "light.example").replace("Basket", "Lamp").replace("basket", "lamp"))
        self.applied("a-lamp")

    def test_skips_links_folders_and_odd_files(self):
        self.write("sub/deep/inner.yaml", config_map("inner"))
        self.write("held.yaml.skip", "")
        self.write("held.yaml", config_map("held"))
        self.write(".hidden.yaml", config_map("hidden"))
        self.write("note.txt", config_map("text"))
        self.write("one.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-json"}}]}))
        outside = os.path.join(self.lab.folder, "outside")
        os.makedirs(outside, exist_ok=True)
        with open(os.path.join(outside, "linked.yaml"), "w") as f:
            f.write(config_map("linked"))
        os.symlink(outside, os.path.join(self.folder, "more"))
        os.symlink(self.folder, os.path.join(outside, "round"))
        os.symlink("/nowhere", os.path.join(self.folder, "broken.yaml"))
        os.mkfifo(os.path.join(self.folder, "pipe.yaml"))
        for addon in ("inner", "one", "linked"):
            self.applied(addon)
        self.assertIsNotNone(self.there("of-json"))
        eventually("the pipe is told of", lambda: "ReadManifestFailed" in self.reasons("pipe"))
        for name in ("held", "hidden", "text"):
            self.assertIsNone(self.there(name))
        os.remove(os.path.join(self.folder, "held.yaml.skip"))
        self.applied("held")

    def test_two_files_of_one_name_do_not_fight(self):
        self.write("twin.yaml", config_map("twin-one"))
        self.applied("twin")
        self.write("twin.more.yaml", config_map("twin-two"))
        eventually("told", lambda: "its AddOn twin is that of" in self.server.log())
        self.assertIsNotNone(self.there("twin-one"))
        self.assertIsNone(self.there("twin-two"))

    def finish_job(self, name, revision):
        """As the node and Helm would: the Job's pod ends well, and the release says of which configuration it is."""
        def job():
            found = self.there(name, "kube-system", "jobs", "apis/batch/v1")
            return found if found and not found["spec"]["suspend"] else None
        job = eventually(f"{name} runs", job)
        env = {e["name"]: e.get("value") for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        self.assertEqual(str(revision - 1) if revision else "2", env["EXPECTED_RELEASE_REVISION"])
        if revision:
            self.server.kubectl("apply", "-f", "-", input=json.dumps({
                "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "metadata": {
                    "name": f"sh.helm.release.v1.web.v{revision}", "namespace": "kube-system", "labels": {
                        "owner": "helm", "name": "web", "version": str(revision), "status": "deployed",
                        "helmcharts.helm.cattle.io/configHash": env["CONFIG_HASH"]}}}))
        def pod():
            items = self.api.get(f"/api/v1/namespaces/kube-system/pods?labelSelector=batch.kubernetes.io/job-name={name}")["items"]
            return items[0]["metadata"]["name"] if items else None
        self.server.kubectl("patch", "pod", "-n", "kube-system", eventually("its pod", pod), "--subresource=status", "--type=merge",
                            "-p", json.dumps({"status": {"phase": "Succeeded"}}))
        return job["metadata"]["uid"]

    def chart_reasons(self):
        events = self.api.get("/api/v1/namespaces/kube-system/events?fieldSelector=involvedObject.name=web,involvedObject.kind=HelmChart")
        return {e["reason"] for e in events["items"]}

    def test_a_chart_in_a_file_is_installed_and_uninstalled(self):
        self.write("chart.yaml", "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: web, namespace: kube-system}\n"
                                 "spec: {chart: web, repo: 'https://charts.example.org', valuesContent: 'a: 1'}\n")
        first = self.finish_job("helm-install-web", 1)
        chart = self.there("web", "kube-system", "helmcharts", "apis/helm.cattle.io/v1")
        self.assertEqual("helm-controller", chart["metadata"]["annotations"]["helmcharts.cattle.io/managed-by"])
        self.assertEqual("helm-install-web", chart["status"]["jobName"])
        self.assertIn("helm-install-web", self.server.kubectl("get", "helmcharts", "-A", "-o", "wide"))
        eventually("events", lambda: {"ApplyJob", "ResumeJob"} <= self.chart_reasons())
        # A HelmChartConfig of its name changes what it is installed with.
        self.write("config.yaml", "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {name: web, namespace: kube-system}\n"
                                  "spec: {valuesContent: 'b: 2'}\n")
        eventually("another Job", lambda: (self.there("helm-install-web", "kube-system", "jobs", "apis/batch/v1") or
                                           {"metadata": {"uid": first}})["metadata"]["uid"] != first)
        self.finish_job("helm-install-web", 2)
        values = self.there("chart-values-web", "kube-system", "secrets")["data"]
        self.assertEqual({"HelmChartValuesContent", "HelmChartConfigValuesContent"}, set(values))
        # What left the file is uninstalled before it goes.
        self.write("chart.yaml", "")
        self.finish_job("helm-delete-web", 0)
        eventually("the chart goes", lambda: not self.there("web", "kube-system", "helmcharts", "apis/helm.cattle.io/v1"))
        eventually("all of it", lambda: not self.there("helm-web", "kube-system", "serviceaccounts") and
                   not self.there("helm-install-web", "kube-system", "jobs", "apis/batch/v1"))

    def test_what_k3s_brought_goes_on(self):
        """A K3s cluster's AddOns, as the database has them: another server takes over, with Kedge's own in their place."""
        self.server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "k3s.cattle.io/v1", "kind": "Addon", "metadata": {"name": "local-storage", "namespace": "kube-system", "annotations": {
                "addon.k3s.cattle.io/gvks": "/v1, Kind=ServiceAccount;apps/v1, Kind=Deployment;storage.k8s.io/v1, Kind=StorageClass"}},
             "spec": {"source": "/k3s/local-storage.yaml", "checksum": "0"}},
            as_k3s_applied("local-storage", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
                "name": "local-path-provisioner-service-account", "namespace": "kube-system"}}),
            as_k3s_applied("local-storage", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
                "name": "local-path-provisioner", "namespace": "kube-system"}, "spec": {
                    "selector": {"matchLabels": {"app": "p"}}, "template": {"metadata": {"labels": {"app": "p"}}, "spec": {
                        "containers": [{"name": "p", "image": "p"}]}}}}),
            {"apiVersion": "k3s.cattle.io/v1", "kind": "Addon", "metadata": {"name": "rolebindings", "namespace": "kube-system", "annotations": {
                "addon.k3s.cattle.io/gvks": "rbac.authorization.k8s.io/v1, Kind=ClusterRole;rbac.authorization.k8s.io/v1, Kind=ClusterRoleBinding"}},
             "spec": {"source": "/k3s/rolebindings.yaml", "checksum": "0"}},
            *(as_k3s_applied("rolebindings", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}]}) for name in ("system:k3s-controller", "clustercidrs-node")),
            as_k3s_applied("mine", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine-kept", "namespace": "default"},
                                    "data": {"gone": "1", "kept": "1"}}),
            as_k3s_applied("mine", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine-gone", "namespace": "default"}})]}))
        self.write("mine.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine-kept}\ndata: {kept: '2'}\n")
        self.applied("mine")
        self.assertEqual({"kept": "2"}, self.there("mine-kept")["data"])
        self.assertIsNone(self.there("mine-gone"))
        self.api.close()
        self.assertEqual(0, self.server.stop())
        os.remove(os.path.join(self.folder, "rolebindings.yaml.skip"))
        self.server.start()
        self.server.wait_ready()
        eventually("K3s's provisioner goes", lambda: not self.there("local-path-provisioner", "kube-system", "deployments", "apis/apps/v1"))
        eventually("and its account", lambda: not self.there("local-path-provisioner-service-account", "kube-system", "serviceaccounts"))
        self.assertEqual(200, self.api.request("GET", "/apis/storage.k8s.io/v1/storageclasses/local-path")[0])
        role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/"
        eventually("a role that nobody needs goes", lambda: self.api.request("GET", role + "clustercidrs-node")[0] == 404)
        status, ours = self.api.request("GET", role + "system:k3s-controller")
        self.assertEqual(200, status, "what nodes may read went with K3s's")
        self.assertIn("endpointslices", [resource for rule in ours["rules"] for resource in rule["resources"]])
        # With the flag, what a file brought goes with it; only while the server runs.
        self.api.close()
        self.assertEqual(0, self.server.stop())
        self.server.args.append("--prune-manifests")
        self.server.start()
        self.server.wait_ready()
        self.write("passing.yaml", config_map("passing"))
        self.applied("passing")
        os.remove(os.path.join(self.folder, "passing.yaml"))
        eventually("it goes", lambda: not self.there("passing") and not self.addon("passing"))
        self.assertIsNotNone(self.there("mine-kept"))

    def test_ten_thousand_objects(self):
        self.write("many.yaml", "---\n".join(config_map(f"many-{i}", more=", namespace: many") for i in range(10_000)) +
                   "---\nkind: Namespace\napiVersion: v1\nmetadata: {name: many}\n")
        began = time.monotonic()
        eventually("all are there", lambda: (self.addon("many") or {}).get("spec", {}).get("checksum"), 120)
        print(f"10,000 objects in one file: {time.monotonic() - began:.1f} s", flush=True)
        self.assertIsNotNone(self.there("many-9999", "many"))
        os.remove(os.path.join(self.folder, "many.yaml"))  # a start applies everything once


if __name__ == "__main__":
    main()
