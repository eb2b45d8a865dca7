package chart

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	v1 "github.com/k3s-io/helm-controller/pkg/apis/helm.cattle.io/v1"
	helmcontroller "github.com/k3s-io/helm-controller/pkg/generated/controllers/helm.cattle.io/v1"
	batchcontroller "github.com/rancher/wrangler/v3/pkg/generated/controllers/batch/v1"
	corecontroller "github.com/rancher/wrangler/v3/pkg/generated/controllers/core/v1"
	"github.com/rancher/wrangler/v3/pkg/generic"
	batch "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"
)

type fConf struct {
	helmcontroller.HelmChartConfigCache
	c *v1.HelmChartConfig
}

func nf() error { return apierrors.NewNotFound(schema.GroupResource{}, "x") }
func (f fConf) Get(ns, name string) (*v1.HelmChartConfig, error) {
	if f.c == nil {
		return nil, nf()
	}
	return f.c, nil
}

type fSec struct {
	corecontroller.SecretCache
	all []corev1.Secret
}

func (f fSec) Get(ns, name string) (*corev1.Secret, error) {
	for i := range f.all {
		if f.all[i].Name == name {
			return &f.all[i], nil
		}
	}
	return nil, nf()
}

type fJobC struct{ batchcontroller.JobCache }

func (f fJobC) Get(ns, name string) (*batch.Job, error) { return nil, nf() }

type fJob struct{ batchcontroller.JobController }

func (f fJob) Cache() generic.CacheInterface[*batch.Job] { return fJobC{} }

type caze struct {
	Name    string              `json:"name"`
	Chart   *v1.HelmChart       `json:"chart"`
	Config  *v1.HelmChartConfig `json:"config,omitempty"`
	Secrets []corev1.Secret     `json:"secrets,omitempty"`
	Objects []runtime.Object    `json:"objects,omitempty"`
	Job     *batch.Job          `json:"job,omitempty"`
}

func TestRecord(t *testing.T) {
	in, err := os.ReadFile(os.Getenv("RECORD_IN"))
	if err != nil {
		t.Skip()
	}
	var cases []caze
	if err := yaml.Unmarshal(in, &cases); err != nil {
		t.Fatal(err)
	}
	DefaultJobImage = "rancher/klipper-helm:v0.13.3-build20260727"
	JobResources = &corev1.ResourceRequirements{}
	json.Unmarshal([]byte(`{"requests": {"cpu": "0.1", "memory": "10M"}, "limits": {"cpu": "32", "memory": "32G"}}`), JobResources)
	for i := range cases {
		c := &cases[i]
		if c.Name == "tolerations" {
			JobTolerations = []corev1.Toleration{{Key: "a", Operator: "Exists"}}
		} else {
			JobTolerations = nil
		}
		ctl := &Controller{apiServerPort: "6443", jobClusterRole: "cluster-admin", managedBy: "helm-controller", logger: klog.Background(),
			confCache: fConf{c: c.Config}, secretCache: fSec{all: c.Secrets}, jobs: fJob{}, jobCache: fJobC{},
			secrets: nSec{}, configMaps: nCM{}}
		job, objs, err := ctl.getJobAndRelatedResources(c.Chart)
		if err != nil {
			t.Fatal(c.Name, err)
		}
		c.Job, c.Objects = job, objs
		u, _ := runtime.DefaultUnstructuredConverter.ToUnstructured(&job.Spec.Template)
		b, _ := json.Marshal(u)
		t.Logf("%s template %s", c.Name, b)
	}
	out, _ := json.MarshalIndent(cases, "", " ")
	os.WriteFile(os.Getenv("RECORD_OUT"), append(out, '\n'), 0644)
	_ = time.Now
	_ = metav1.Now
}

type nSec struct{}

func (nSec) List(string, metav1.ListOptions) (*corev1.SecretList, error) {
	return &corev1.SecretList{}, nil
}

type nCM struct{}

func (nCM) List(string, metav1.ListOptions) (*corev1.ConfigMapList, error) {
	return &corev1.ConfigMapList{}, nil
}
