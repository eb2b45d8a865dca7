"""Every built-in kind from YAML as the documentation has it, and the controllers that keep quotas and disruption budgets true."""

import json

from harness import ClusterTest, Failed, eventually, main

# kind: the YAML of one object, as kubectl's users write it.
KINDS = {
    "deployment/web": "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: 'nginx:1.14'}]}}}}",
    "replicaset/front": "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: front}, spec: {selector: {matchLabels: {tier: front}}, template: {metadata: {labels: {tier: front}}, spec: {containers: [{name: php, image: php}]}}}}",
    "replicationcontroller/rc": "{apiVersion: v1, kind: ReplicationController, metadata: {name: rc}, spec: {selector: {app: x}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: nginx}]}}}}",
    "statefulset/db": "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {serviceName: db, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: postgres, volumeMounts: [{name: data, mountPath: /data}]}]}}, volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}}",
    "daemonset/log": "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: log}, spec: {selector: {matchLabels: {app: log}}, template: {metadata: {labels: {app: log}}, spec: {tolerations: [{key: a, operator: Exists, effect: NoSchedule}], containers: [{name: log, image: fluentd, volumeMounts: [{name: v, mountPath: /var/log}]}], volumes: [{name: v, hostPath: {path: /var/log}}]}}}}",
    "job/pi": "{apiVersion: batch/v1, kind: Job, metadata: {name: pi}, spec: {backoffLimit: 4, template: {spec: {restartPolicy: Never, containers: [{name: pi, image: perl, command: [perl]}]}}}}",
    "cronjob/hello": "{apiVersion: batch/v1, kind: CronJob, metadata: {name: hello}, spec: {schedule: '*/5 * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: hello, image: busybox}]}}}}}}",
    "ingress/one": "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: one}, spec: {ingressClassName: nginx, rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: test, port: {number: 80}}}}]}}]}}",
    "ingressclass/lb": "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: lb}, spec: {controller: example.com/ingress}}",
    "networkpolicy/np": "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np}, spec: {podSelector: {matchLabels: {role: db}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}], ports: [{protocol: TCP, port: 6379}]}]}}",
    "hpa/auto": "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: auto}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 10, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}}",
    "pdb/zk": "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: zk}, spec: {minAvailable: 2, selector: {matchLabels: {app: zk}}}}",
    "pv/disk": "{apiVersion: v1, kind: PersistentVolume, metadata: {name: disk}, spec: {capacity: {storage: 10Gi}, accessModes: [ReadWriteOnce], storageClassName: manual, hostPath: {path: /mnt}}}",
    "pvc/claim": "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: claim}, spec: {accessModes: [ReadWriteOnce], storageClassName: manual, resources: {requests: {storage: 3Gi}}}}",
    "storageclass/fast": "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, provisioner: example.com/fast, parameters: {kind: ssd}}",
    "csidriver/d.example.com": "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: d.example.com}, spec: {attachRequired: true}}",
    "volumeattachment/va": "{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: va}, spec: {attacher: d, nodeName: node, source: {persistentVolumeName: disk}}}",
    "role/reader": "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: reader}, rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}",
    "rolebinding/read": "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: read}, subjects: [{kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}], roleRef: {kind: Role, name: reader, apiGroup: rbac.authorization.k8s.io}}",
    "clusterrole/all": "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{nonResourceURLs: [/healthz], verbs: [get]}]}",
    "clusterrolebinding/all": "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: all}, subjects: [{kind: Group, name: g, apiGroup: rbac.authorization.k8s.io}], roleRef: {kind: ClusterRole, name: all, apiGroup: rbac.authorization.k8s.io}}",
    "priorityclass/high": "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000}",
    "runtimeclass/gvisor": "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: gvisor}, handler: runsc}",
    "validatingadmissionpolicy/few": "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: few}, spec: {matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]}, validations: [{expression: 'object.spec.replicas <= 5'}]}}",
    "limitrange/cpu": "{apiVersion: v1, kind: LimitRange, metadata: {name: cpu, namespace: kinds}, spec: {limits: [{type: Container, default: {cpu: 500m}}]}}",
    "lease/mine": "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: mine}, spec: {holderIdentity: me}}",
    "podtemplate/pt": "{apiVersion: v1, kind: PodTemplate, metadata: {name: pt}, template: {spec: {containers: [{name: c, image: nginx}]}}}",
    "endpointslice/es": "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: es}, addressType: IPv4, endpoints: [{addresses: [10.1.2.3]}], ports: [{port: 80}]}",
    "flowschema/fs": "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: fs}, spec: {priorityLevelConfiguration: {name: exempt}}}",
    "servicecidr/more": "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: more}, spec: {cidrs: [10.96.0.0/24]}}",
}

# kubectl takes a stream that begins with a brace for JSON.
ALL = "".join(f"---\n{text}\n" for text in KINDS.values())


def pod(name, labels=None, **spec):
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}},
                       "spec": {"containers": [{"name": "c", "image": "nginx", **spec}]}})


class Kinds(ClusterTest):
    def apply(self, ns, text):
        return self.kubectl("create", "-n", ns, "-f", "-", input=text)

    def test_each_kind_is_created_shown_described_and_deleted(self):
        self.kubectl("create", "namespace", "kinds")
        self.kubectl("create", "-n", "kinds", "-f", "-", input=ALL)
        for what in KINDS:
            with self.subTest(what=what):
                kind, name = what.split("/")
                shown = self.kubectl("get", kind, name, "-n", "kinds").splitlines()
                self.assertEqual((shown[0].split()[0], shown[1].split()[0]), ("NAME", name))
                if kind != "servicecidr":  # kubectl 1.32 describes its v1beta1 only
                    self.assertIn(name, self.kubectl("describe", kind, name, "-n", "kinds"))
        self.kubectl("delete", "-n", "kinds", "-f", "-", input=ALL, timeout=120)
        self.kubectl("delete", "namespace", "kinds", timeout=120)

    def test_quotas_are_charged_and_given_back(self):
        self.kubectl("create", "namespace", "quota")
        self.kubectl("create", "quota", "q", "-n", "quota", "--hard=configmaps=3,pods=1,requests.cpu=1,count/deployments.apps=1")

        def used():
            return self.server.get("quota", "q", "-n", "quota").get("status", {}).get("used")
        # kube-root-ca.crt counts as well.
        eventually("the controller has counted", lambda: used() == {"configmaps": "1", "count/deployments.apps": "0", "pods": "0", "requests.cpu": "0"})
        self.kubectl("create", "configmap", "a", "-n", "quota")
        self.kubectl("create", "configmap", "b", "-n", "quota")
        with self.assertRaisesRegex(Failed, "exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3"):
            self.kubectl("create", "configmap", "c", "-n", "quota")
        self.kubectl("delete", "configmap", "a", "-n", "quota")
        eventually("it was given back", lambda: used()["configmaps"] == "2")
        with self.assertRaisesRegex(Failed, "must specify requests.cpu for: c"):
            self.apply("quota", pod("greedy"))
        self.apply("quota", pod("one", resources={"requests": {"cpu": "300m"}}))
        eventually("the pod counts", lambda: (used()["pods"], used()["requests.cpu"]) == ("1", "300m"))
        self.kubectl("patch", "pod", "one", "-n", "quota", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Succeeded"}}')
        eventually("a finished pod doesn't", lambda: (used()["pods"], used()["requests.cpu"]) == ("0", "0"))
        self.kubectl("patch", "quota", "q", "-n", "quota", "--type=merge", "-p", '{"spec":{"hard":{"secrets":"7"}}}')
        eventually("a new limit is counted", lambda: used().get("secrets") == "0")
        self.kubectl("delete", "namespace", "quota", timeout=120)

    def test_disruption_budgets_count_healthy_pods(self):
        self.kubectl("create", "namespace", "pdb")
        self.kubectl("create", "pdb", "b", "-n", "pdb", "--selector=app=x", "--min-available=1")
        for name in ("p1", "p2"):
            self.apply("pdb", pod(name, {"app": "x"}))

        def status():
            return self.server.get("pdb", "b", "-n", "pdb").get("status", {})
        eventually("both pods are expected", lambda: status().get("expectedPods") == 2)
        self.assertEqual((status()["currentHealthy"], status()["desiredHealthy"], status()["disruptionsAllowed"]), (0, 1, 0))
        ready = '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}'
        for name in ("p1", "p2"):
            self.kubectl("patch", "pod", name, "-n", "pdb", "--subresource=status", "--type=merge", "-p", ready)
        eventually("one may go", lambda: status()["disruptionsAllowed"] == 1)
        self.assertEqual(status()["conditions"][0]["reason"], "SufficientPods")

        def evict(name):
            body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "pdb"}})
            return self.kubectl("create", "--raw", f"/api/v1/namespaces/pdb/pods/{name}/eviction", "-f", "-", input=body, check=False)
        self.assertIn("Success", evict("p1").stdout)
        eventually("the evicted one no longer counts", lambda: (status()["expectedPods"], status()["currentHealthy"], status()["disruptionsAllowed"]) == (1, 1, 0))
        self.assertIn("Cannot evict pod as it would violate the pod's disruption budget", evict("p2").stderr)
        self.kubectl("delete", "namespace", "pdb", timeout=120)

    def test_messages_are_the_real_servers(self):
        with self.assertRaisesRegex(Failed, r'spec.schedule: Invalid value: "bad": expected exactly 5 fields, found 1: \[bad\]'):
            self.kubectl("create", "cronjob", "bad", "--image=busybox", "--schedule=bad")
        checks = self.kubectl("get", "--raw", "/readyz?verbose").splitlines()
        for name in ("ping", "log", "etcd", "etcd-readiness", "poststarthook/rbac/bootstrap-roles", "poststarthook/crd-informer-synced"):
            self.assertIn(f"[+]{name} ok", checks)
        self.assertEqual(checks[-1], "readyz check passed")
        told = self.kubectl("get", "namespaces", "-v=8", check=False).stderr
        uid = self.server.get("flowschema", "exempt")["metadata"]["uid"]  # an administrator's
        self.assertIn(f"X-Kubernetes-Pf-Flowschema-Uid: {uid}", told)


if __name__ == "__main__":
    main()
