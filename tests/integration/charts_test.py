"""HelmCharts end to end: the controller's Jobs run a real helm in real pods, which installs, upgrades, repairs and uninstalls a chart."""

import base64
import io
import json
import os
import pathlib
import subprocess
import tarfile
import unittest

from helm_test import get_helm
from harness import Failed, Server, eventually, main, run
from runtime import ARGS, RuntimeLab, image, ready_node

JOB_IMAGE = "docker.io/library/helm-job:test"
# What an image of these Jobs does with its arguments and environment; the contract is that of K3s's rancher/klipper-helm.
ENTRY = r"""#!/bin/sh
set -eu
export HOME=/home/klipper-helm
say() { echo "$1" | tee -a /dev/termination-log; }
[ ! -f "/chart/$NAME.tgz.base64" ] || { base64 -d "/chart/$NAME.tgz.base64" >"/tmp/$NAME.tgz"; CHART=/tmp/$NAME.tgz; }
history=$(helm history "$NAME" --namespace "$TARGET_NAMESPACE" --max 1 -o json 2>/dev/null || true)
revision=$(echo "$history" | sed -n 's/.*"revision":\([0-9]*\).*/\1/p') status=$(echo "$history" | sed -n 's/.*"status":"\([a-z-]*\)".*/\1/p')
if [ -n "$revision" ] && [ -n "${EXPECTED_RELEASE_REVISION:-}" ] && [ "$revision" != "$EXPECTED_RELEASE_REVISION" ]; then
  say "revision $revision, not $EXPECTED_RELEASE_REVISION"
  exit 0
fi
if [ "$1" = delete ]; then
  [ -z "$revision" ] || helm uninstall "$NAME" --namespace "$TARGET_NAMESPACE" --wait
  exit 0
fi
shift
if [ "$status" = failed ]; then
  case "$FAILURE_POLICY" in
    abort) say "the release has failed"; exit 1 ;;
    reinstall) helm uninstall "$NAME" --namespace "$TARGET_NAMESPACE" --wait; revision= ;;
  esac
fi
if [ -n "$revision" ]; then do=upgrade; else do=install; fi
set -- "$@" "$NAME" "$CHART" --labels "helmcharts.helm.cattle.io/configHash=$CONFIG_HASH"
[ -z "${TIMEOUT:-}" ] || set -- "$@" --timeout "$TIMEOUT"
for file in /config/*.yaml; do [ ! -f "$file" ] || set -- "$@" --values "$file"; done
say "$do"
helm $do "$@"
"""
TEMPLATE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-facts"}
data:
  size: {{ .Values.size | quote }}
  color: {{ .Values.color | quote }}
  deployments: {{ .Capabilities.APIVersions.Has "apps/v1/Deployment" | quote }}
"""


def chart():
    """A packed chart, as chartContent has it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in (("Chart.yaml", "apiVersion: v2\nname: facts\nversion: 0.1.0\n"), ("values.yaml", "size: 1\ncolor: none\n"), ("templates/facts.yaml", TEMPLATE)):
            info = tarfile.TarInfo("facts/" + name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return base64.b64encode(packed.getvalue()).decode()


def program(file):
    """The program with the libraries that it needs, as files of an image."""
    needed = {w for line in subprocess.run(["ldd", file], text=True, capture_output=True).stdout.splitlines() for w in line.split() if w.startswith("/")}
    return [("/bin/helm", pathlib.Path(file).read_bytes())] + [(path, pathlib.Path(path).read_bytes()) for path in sorted(needed)]


class Charts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = get_helm()
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.lab.archives.append(image(cls.lab.folder, JOB_IMAGE, ["/bin/entry"], user="1000", files=[("/bin/entry", ENTRY.encode()), *program(cls.program)]))
        cls.host = cls.lab.host()
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.host, args=[*ARGS, "--helm-controller-arg=default-job-image=" + JOB_IMAGE]).wait_ready())
        ready_node(cls.server, "server")

    def kubectl(self, *args, **more):
        return self.server.kubectl("-n", "kube-system", *args, **more)

    def apply(self, kind, name, **spec):
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "helm.cattle.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}))

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def facts(self, name, namespace):
        return json.loads(self.server.kubectl("-n", namespace, "get", "configmap", name + "-facts", "-o", "json"))["data"]

    def releases(self, name, namespace):
        """Of each revision: what became of it."""
        items = json.loads(self.server.kubectl("-n", namespace, "get", "secrets", "-l", f"owner=helm,name={name}", "-o", "json"))["items"]
        return {int(i["metadata"]["labels"]["version"]): i["metadata"]["labels"]["status"] for i in items}

    def becomes(self, what, condition, timeout=120):
        try:
            return eventually(what, condition, timeout, every=0.2)
        except Failed as e:
            jobs = self.kubectl("get", "helmcharts,jobs,pods,events", "-o", "wide", check=False).stdout
            logs = self.kubectl("logs", "-l", "helmcharts.helm.cattle.io/chart", "--tail=30", check=False).stdout
            raise Failed(f"{e}\n{jobs[-4000:]}\n{logs}\n{self.server.log()[-1500:]}") from None

    def condition(self, name, kind):
        return next((c for c in self.get("helmchart", name).get("status", {}).get("conditions", []) if c["type"] == kind), {})

    def settled(self, name, namespace, revision, **facts):
        self.becomes(f"revision {revision} of {name}", lambda: self.releases(name, namespace).get(revision) == "deployed")
        self.assertEqual({"deployments": "true", **facts}, self.facts(name, namespace))
        self.becomes("its Job is done", lambda: self.get("job", "helm-install-" + name)["status"].get("succeeded") == 1)

    def test_1_installed_upgraded_and_uninstalled(self):
        content = chart()
        self.apply("HelmChart", "web", chartContent=content, targetNamespace="shop", createNamespace=True, valuesContent="size: 2\n", set={"color": "red"})
        self.settled("web", "shop", 1, size="2", color="red")
        self.assertEqual("True", self.condition("web", "JobCreated")["status"])
        # Other values of the chart's, and those of its HelmChartConfig, which is stronger than all but `set`.
        self.apply("HelmChart", "web", chartContent=content, targetNamespace="shop", createNamespace=True, valuesContent="size: 3\n")
        self.settled("web", "shop", 2, size="3", color="none")
        self.apply("HelmChartConfig", "web", valuesContent="size: 4\ncolor: green\n")
        self.settled("web", "shop", 3, size="4", color="green")
        # What somebody else rolls back is not what the chart says, which shows when the chart is next looked at.
        env = {**os.environ, "KUBECONFIG": self.server.kubeconfig, "HOME": self.lab.folder}
        run(*self.host.command(self.program, "rollback", "web", "1", "-n", "shop"), env=env)
        self.assertEqual("2", self.facts("web", "shop")["size"])
        self.kubectl("annotate", "helmchart", "web", "looked=at")
        self.settled("web", "shop", 5, size="4", color="green")
        self.kubectl("delete", "helmchart", "web", timeout=120)
        self.assertEqual({}, self.releases("web", "shop"))
        self.assertIn("NotFound", self.server.kubectl("-n", "shop", "get", "configmap", "web-facts", check=False).stderr)
        self.becomes("nothing stays of it", lambda: self.kubectl("get", "jobs,serviceaccounts,secrets,configmaps", "-o", "name", "-l", "!kubernetes.io/bootstrapping").count("web") == 0)

    def test_2_a_chart_that_fails_is_told_of_and_repaired(self):
        self.apply("HelmChart", "bad", chartContent=base64.b64encode(b"no archive").decode(), backOffLimit=0)
        self.becomes("told", lambda: self.condition("bad", "Failed").get("status") == "True")
        self.assertEqual({}, self.releases("bad", "kube-system"))
        self.apply("HelmChart", "bad", chartContent=chart(), backOffLimit=0)
        self.settled("bad", "kube-system", 1, size="1", color="none")
        self.becomes("no longer so", lambda: self.condition("bad", "Failed").get("status") != "True")
        self.kubectl("delete", "helmchart", "bad", timeout=120)
        self.assertEqual({}, self.releases("bad", "kube-system"))


if __name__ == "__main__":
    main()
