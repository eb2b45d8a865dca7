"""Custom resources with kubectl: define, validate, apply, explain, watch, scale, and remove them."""

import json

from harness import ClusterTest, eventually, main

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        description: CronTab runs something now and then.
        type: object
        required: [spec]
        properties:
          spec:
            description: What to run, and when.
            type: object
            required: [cronSpec]
            properties:
              cronSpec: {type: string, pattern: '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$', description: When to run.}
              image: {type: string, default: busybox}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
              suspend: {type: boolean}
              limit: {x-kubernetes-int-or-string: true}
              steps:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, seconds: {type: integer}}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    selectableFields: [{jsonPath: .spec.image}]
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
"""


def crontab(name="mine", spec=None, **more):
    return json.dumps({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name, **more},
                       "spec": {"cronSpec": "* * * * */5", **(spec or {})}})


class Crds(ClusterTest):
    def setUp(self):
        self.assertIn("created", self.kubectl("create", "-f", "-", input=CRD))
        # kubectl refuses to wait for one that has no conditions yet.
        eventually("it is established", lambda: self.kubectl("wait", "--for=condition=Established", "crd/crontabs.stable.example.com", "--timeout=30s"))
        eventually("discovery lists it", lambda: "crontabs" in self.kubectl("api-resources", "--api-group", "stable.example.com"))

    def tearDown(self):
        self.kubectl("delete", "crd", "crontabs.stable.example.com", "--ignore-not-found", timeout=120)

    def refused(self, *args, **kw):
        done = self.kubectl(*args, check=False, **kw)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def test_objects_live_as_those_of_built_in_kinds(self):
        k = self.kubectl
        self.assertEqual(k("apply", "-f", "-", input=crontab()).strip(), "crontab.stable.example.com/mine created")
        self.assertEqual(k("apply", "-f", "-", input=crontab()).strip(), "crontab.stable.example.com/mine unchanged")
        self.assertEqual(k("apply", "-f", "-", input=crontab(spec={"replicas": 2})).strip(), "crontab.stable.example.com/mine configured")
        rows = k("get", "ct").splitlines()
        self.assertEqual(rows[0].split(), ["NAME", "SPEC", "REPLICAS", "AGE"])
        self.assertEqual(rows[1].split()[:7], ["mine", "*", "*", "*", "*", "*/5", "2"])
        self.assertEqual(self.server.get("crontab", "mine")["spec"], {"cronSpec": "* * * * */5", "image": "busybox", "replicas": 2})
        self.assertIn("crontab.stable.example.com/mine", k("get", "all", "-o", "name"))
        self.assertIn("Cron Spec:", k("describe", "crontab", "mine"))
        k("label", "crontab", "mine", "a=b")
        k("annotate", "crontab", "mine", "note=x")
        self.assertIn("mine", k("get", "ct", "-l", "a=b", "-o", "name"))
        self.assertIn("mine", k("get", "ct", "--field-selector", "spec.image=busybox", "-o", "name"))
        self.assertEqual(k("get", "ct", "--field-selector", "spec.image=other", "-o", "name"), "")
        k("patch", "crontab", "mine", "--type=merge", "-p", '{"spec":{"suspend":true}}')
        k("patch", "crontab", "mine", "--type=json", "-p", '[{"op":"remove","path":"/spec/suspend"}]')
        self.assertIn("application/merge-patch+json", self.refused("patch", "crontab", "mine", "--type=strategic", "-p", '{"spec":{"suspend":true}}'))
        self.assertEqual(k("apply", "--dry-run=server", "-f", "-", input=crontab("dry")).strip(), "crontab.stable.example.com/dry created (server dry run)")
        self.assertIn("NotFound", self.refused("get", "ct", "dry"))
        k("scale", "crontab", "mine", "--replicas=4")
        self.assertEqual(self.server.get("crontab", "mine")["spec"]["replicas"], 4)
        k("patch", "crontab", "mine", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":3},"spec":{"replicas":9}}')
        mine = self.server.get("crontab", "mine")
        self.assertEqual((mine["status"], mine["spec"]["replicas"]), ({"replicas": 3}, 4))
        self.assertIn("diff", k("diff", "-f", "-", input=crontab(spec={"replicas": 7}), check=False).stdout)
        self.assertEqual(k("delete", "ct", "mine").strip(), 'crontab.stable.example.com "mine" deleted')
        self.assertEqual(self.server.get("ct")["items"], [])

    def test_what_the_schema_refuses(self):
        self.assertIn('strict decoding error: unknown field "spec.foo"', self.refused("create", "-f", "-", input=crontab(spec={"foo": 1})))
        self.assertIn("created", self.kubectl("create", "--validate=warn", "-f", "-", input=crontab("warned", {"foo": 1})))
        self.assertNotIn("foo", self.server.get("ct", "warned")["spec"])
        for spec, message in (
                ({"replicas": 11}, "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10"),
                ({"replicas": "many"}, 'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"'),
                ({"cronSpec": "never"}, 'spec.cronSpec: Invalid value: "never": spec.cronSpec in body should match'),
                ({"steps": [{"name": "a"}, {"name": "a"}]}, 'spec.steps[1]: Duplicate value: {"name":"a"}'),
                ({"limit": True}, "spec.limit: Invalid value")):
            with self.subTest(spec=spec):
                self.assertIn(message, self.refused("create", "-f", "-", input=crontab("bad", spec)))
        missing = json.dumps({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "bad"}})
        self.assertIn("spec: Required value", self.refused("create", "-f", "-", input=missing))
        self.kubectl("create", "-f", "-", input=crontab("good", {"limit": "25%", "free": {"any": {"thing": [1, 2]}}}))
        self.assertEqual(self.server.get("ct", "good")["spec"]["free"], {"any": {"thing": [1, 2]}})

    def test_kubectl_explains_it(self):
        def explained():
            text = self.kubectl("explain", "crontab.spec")
            return text if "cronSpec" in text else None
        text = eventually("kubectl explain knows it", explained)
        for part in ("GROUP:      stable.example.com", "KIND:       CronTab", "VERSION:    v1", "FIELD: spec <Object>", "What to run, and when.", "cronSpec\t<string> -required-"):
            self.assertIn(part, text)
        self.assertIn("seconds\t<integer>", self.kubectl("explain", "crontab.spec.steps"))
        self.assertIn("cronSpec", self.kubectl("explain", "crontab", "--recursive"))
        v2 = json.loads(self.kubectl("get", "--raw", "/openapi/v2"))
        self.assertIn("com.example.stable.v1.CronTab", v2["definitions"])
        self.assertIn("/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}/scale", v2["paths"])
        index = json.loads(self.kubectl("get", "--raw", "/openapi/v3"))
        url = index["paths"]["apis/stable.example.com/v1"]["serverRelativeURL"]
        self.assertIn("com.example.stable.v1.CronTab", json.loads(self.kubectl("get", "--raw", url))["components"]["schemas"])

    def test_watch_and_versions(self):
        def raw(path):
            return json.loads(self.kubectl("get", "--raw", path))
        self.kubectl("create", "-f", "-", input=crontab("old"))
        crd = self.server.get("crd", "crontabs.stable.example.com")
        v2 = json.loads(json.dumps(crd["spec"]["versions"][0]))
        v2.update(name="v2", storage=True)
        v2["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] = {"type": "string", "default": "new"}
        crd["spec"]["versions"][0]["storage"] = False
        crd["spec"]["versions"].append(v2)
        self.kubectl("replace", "-f", "-", input=json.dumps(crd))
        path = "/apis/stable.example.com/{}/namespaces/default/crontabs"
        eventually("v2 is served", lambda: raw(path.format("v2")))
        self.kubectl("create", "-f", "-", input=crontab("new").replace("/v1", "/v2"))
        for version in ("v1", "v2"):
            items = raw(path.format(version))["items"]
            self.assertEqual([(i["metadata"]["name"], i["apiVersion"]) for i in items],
                             [("new", f"stable.example.com/{version}"), ("old", f"stable.example.com/{version}")])
        self.assertEqual(raw(path.format("v2") + "/old")["spec"]["extra"], "new")
        self.assertEqual(self.server.get("crd", "crontabs.stable.example.com")["status"]["storedVersions"], ["v1", "v2"])
        self.assertIn("stable.example.com/v2", self.kubectl("api-resources", "--api-group", "stable.example.com"))

    def test_a_migration_cleans_the_stored_versions(self):
        name = "lamps.migrating.example.com"
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}

        def define(storage, *served):
            return json.dumps({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name}, "spec": {
                "group": "migrating.example.com", "scope": "Namespaced", "names": {"plural": "lamps", "kind": "Lamp"},
                "versions": [{"name": v, "served": True, "storage": v == storage, "schema": schema} for v in served]}})

        def conditions(kind, which):
            return {c["type"]: (c["status"], c["reason"], c["message"]) for c in self.server.get(kind, which).get("status", {}).get("conditions", [])}

        self.kubectl("apply", "-f", "-", input=define("v1", "v1", "v2"))
        eventually("it is served", lambda: "lamps" in self.kubectl("api-resources", "--api-group=migrating.example.com"))
        for number in range(5):
            self.kubectl("create", "-f", "-", input=json.dumps(
                {"apiVersion": "migrating.example.com/v1", "kind": "Lamp", "metadata": {"name": f"lamp-{number}"}, "spec": {"n": number}}))
        before = {o["metadata"]["name"]: o["metadata"] for o in self.server.get("lamps")["items"]}
        self.kubectl("apply", "-f", "-", input=define("v2", "v1", "v2"))
        self.assertEqual(self.server.get("crd", name)["status"]["storedVersions"], ["v1", "v2"])
        self.assertIn("must remain in spec.versions", self.refused("apply", "-f", "-", input=define("v2", "v2")))
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "storagemigration.k8s.io/v1", "kind": "StorageVersionMigration", "metadata": {"name": "lamps"},
            "spec": {"resource": {"group": "migrating.example.com", "resource": "lamps"}}}))
        eventually("it is over", lambda: conditions("storageversionmigration", "lamps").get("Running", ("",))[0] == "False")
        self.assertEqual(conditions("storageversionmigration", "lamps"), {
            "Running": ("False", "MigrationCompleted", "Migration completed"),
            "Succeeded": ("True", "StorageVersionMigrationSucceeded", "Migration completed")})
        self.assertEqual(self.server.get("crd", name)["status"]["storedVersions"], ["v2"])
        self.assertEqual(conditions("crd", name)["StorageMigrating"], (
            "False", "MigrationSucceeded", "The migration has succeeded and the stored versions have been updated"))
        after = {o["metadata"]["name"]: o["metadata"] for o in self.server.get("lamps")["items"]}
        for each in before:
            self.assertNotEqual(after[each]["resourceVersion"], before[each]["resourceVersion"])
            self.assertEqual((after[each]["uid"], after[each]["generation"]), (before[each]["uid"], before[each]["generation"]))
        self.kubectl("apply", "-f", "-", input=define("v2", "v2"))
        self.assertEqual(len(self.server.get("lamps")["items"]), 5)

    def test_names_that_another_has_are_not_accepted(self):
        other = CRD.replace("crontabs.stable", "tabs.stable").replace("plural: crontabs, singular: crontab, kind: CronTab", "plural: tabs, singular: tab, kind: CronTab")
        self.kubectl("create", "-f", "-", input=other)
        try:
            def told():
                by_type = {c["type"]: c for c in self.server.get("crd", "tabs.stable.example.com")["status"].get("conditions") or []}
                return by_type if "NamesAccepted" in by_type else None
            conditions = eventually("the conflict is told", told)
            self.assertEqual(conditions["NamesAccepted"]["status"], "False")
            self.assertIn("is already in use", conditions["NamesAccepted"]["message"])
            self.assertEqual(conditions["Established"]["status"], "False")
        finally:
            self.kubectl("delete", "crd", "tabs.stable.example.com")

    def test_namespaces_owners_and_the_definition_take_objects_along(self):
        k = self.kubectl
        k("create", "namespace", "shop")
        k("create", "-n", "shop", "-f", "-", input=crontab("inside"))
        k("delete", "namespace", "shop", timeout=120)
        self.assertEqual(self.server.get("ct", "-A")["items"], [])

        k("create", "-f", "-", input=crontab("owner"))
        uid = self.server.get("ct", "owner")["metadata"]["uid"]
        owned = {"ownerReferences": [{"apiVersion": "stable.example.com/v1", "kind": "CronTab", "name": "owner", "uid": uid}]}
        k("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", **owned}}))
        k("create", "-f", "-", input=crontab("owned", **owned))
        k("delete", "ct", "owner")
        eventually("both dependents are gone", lambda: k("get", "ct,configmap", "-o", "name").find("owned") < 0)

        k("create", "configmap", "boss")
        uid = self.server.get("configmap", "boss")["metadata"]["uid"]
        k("create", "-f", "-", input=crontab("servant", ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "boss", "uid": uid}]))
        k("delete", "configmap", "boss")
        eventually("the custom dependent is gone", lambda: k("get", "ct", "-o", "name") == "")

        k("create", "-f", "-", input=crontab("held", finalizers=["example.com/hold"]))
        k("create", "-f", "-", input=crontab("free"))
        k("delete", "crd", "crontabs.stable.example.com", "--wait=false")
        eventually("the free one is gone", lambda: [i["metadata"]["name"] for i in self.server.get("ct")["items"]] == ["held"])
        conditions = {c["type"]: c for c in self.server.get("crd", "crontabs.stable.example.com")["status"]["conditions"]}
        self.assertEqual(conditions["Terminating"]["reason"], "InstanceDeletionInProgress")
        k("patch", "ct", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        eventually("the definition is gone", lambda: "NotFound" in k("get", "crd", "crontabs.stable.example.com", check=False).stderr)


if __name__ == "__main__":
    main()
