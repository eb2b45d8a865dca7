package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/rancher/wrangler/v3/pkg/apply"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

type step struct {
	Objects []map[string]interface{} `json:"objects"`
	Others  map[string]interface{}   `json:"others,omitempty"`
	After   []map[string]interface{} `json:"after"`
}

func main() {
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(err)
	a, err := apply.NewForConfig(cfg)
	must(err)
	a = a.WithDynamicLookup().WithContext(context.Background())
	dyn, err := dynamic.NewForConfig(cfg)
	must(err)
	in, err := os.ReadFile(os.Args[1])
	must(err)
	var steps []step
	must(yaml.Unmarshal(in, &steps))
	owner := &unstructured.Unstructured{Object: map[string]interface{}{"apiVersion": "k3s.cattle.io/v1", "kind": "Addon", "metadata": map[string]interface{}{"name": "recorded", "namespace": "kube-system"}}}
	gvrs := map[string]schema.GroupVersionResource{"ConfigMap": {Version: "v1", Resource: "configmaps"}, "Service": {Version: "v1", Resource: "services"}, "Deployment": {Group: "apps", Version: "v1", Resource: "deployments"}, "ClusterRole": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}}
	gvks := []schema.GroupVersionKind{{Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "Service"}, {Group: "apps", Version: "v1", Kind: "Deployment"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}}
	for i := range steps {
		var objs []runtime.Object
		for _, o := range steps[i].Objects {
			objs = append(objs, &unstructured.Unstructured{Object: runtime.DeepCopyJSON(o)})
		}
		must(a.WithOwner(owner).WithGVK(gvks...).ApplyObjects(objs...))
		for _, kind := range []string{"ConfigMap", "Service", "Deployment", "ClusterRole"} {
			l, err := dyn.Resource(gvrs[kind]).List(context.Background(), metav1.ListOptions{LabelSelector: "objectset.rio.cattle.io/hash"})
			must(err)
			for _, o := range l.Items {
				o.SetManagedFields(nil)
				steps[i].After = append(steps[i].After, o.Object)
			}
		}
	}
	out, _ := json.MarshalIndent(steps, "", " ")
	must(os.WriteFile(os.Args[2], append(out, '\n'), 0644))
	fmt.Println("done")
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
