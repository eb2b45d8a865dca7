package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	autoscalingapply "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "i", Ports: []corev1.ContainerPort{{ContainerPort: 80}},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("64Mi")}}}}}},
	}}
}

// The same objects through JSON and protobuf, read by each of what the other wrote.
func encodings(w *world) {
	as := func(contentType string) *world {
		c := rest.CopyConfig(w.config)
		c.ContentType = contentType
		c.AcceptContentTypes = contentType
		return newWorld(c, w.ns)
	}
	ends := map[string]*world{"json": as(runtime.ContentTypeJSON), "protobuf": as(runtime.ContentTypeProtobuf)}
	for name, one := range ends {
		made := get(one.apps.Deployments(w.ns).Create(w.ctx, deployment(name), metav1.CreateOptions{}))
		for other, reader := range ends {
			read := get(reader.apps.Deployments(w.ns).Get(w.ctx, name, metav1.GetOptions{}))
			if !equality.Semantic.DeepEqual(made, read) {
				a, _ := json.Marshal(made)
				b, _ := json.Marshal(read)
				fail("written as %s, read as %s:\n%s\n%s", name, other, a, b)
			}
			list := get(reader.apps.Deployments(w.ns).List(w.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name}))
			want("items of "+name+" as "+other, len(list.Items), 1)
			if !equality.Semantic.DeepEqual(made.Spec, list.Items[0].Spec) {
				fail("listed as %s it is another", other)
			}
		}
		want("defaulted replicas", *made.Spec.Replicas, 1)
		made.Labels = map[string]string{"a": "b"}
		changed := get(one.apps.Deployments(w.ns).Update(w.ctx, made, metav1.UpdateOptions{}))
		want("label after update", changed.Labels["a"], "b")
		want("manager", changed.ManagedFields[0].Manager, "clientgo")
		patched := get(one.apps.Deployments(w.ns).Patch(w.ctx, name, types.StrategicMergePatchType,
			[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}}`), metav1.PatchOptions{}))
		want("containers after patch", len(patched.Spec.Template.Spec.Containers), 1)
		want("generation", patched.Generation, 2)
		must(one.apps.Deployments(w.ns).Delete(w.ctx, name, metav1.DeleteOptions{}))
		must(one.core.ConfigMaps(w.ns).DeleteCollection(w.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	}
	data := []byte{0, 1, 2, 255}
	get(ends["protobuf"].core.Secrets(w.ns).Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"k": data}}, metav1.CreateOptions{}))
	want("secret bytes", get(ends["json"].core.Secrets(w.ns).Get(w.ctx, "s", metav1.GetOptions{})).Data["k"], data)
}

func errorsByReason(w *world) {
	w.create(w.configMap("a", "1"))
	maps := w.core.ConfigMaps(w.ns)
	_, err := maps.Create(w.ctx, w.configMap("a", "1"), metav1.CreateOptions{})
	want("already exists", errors.IsAlreadyExists(err), true)
	_, err = maps.Get(w.ctx, "b", metav1.GetOptions{})
	want("not found", errors.IsNotFound(err), true)
	_, err = maps.Create(w.ctx, w.configMap("Not A Name", "1"), metav1.CreateOptions{})
	want("invalid", errors.IsInvalid(err), true)
	stale := get(maps.Get(w.ctx, "a", metav1.GetOptions{}))
	stale.Data["k"] = "2"
	get(maps.Update(w.ctx, stale, metav1.UpdateOptions{}))
	stale.Data["k"] = "3"
	_, err = maps.Update(w.ctx, stale, metav1.UpdateOptions{})
	want("conflict", errors.IsConflict(err), true)
	uid := types.UID("00000000-0000-0000-0000-000000000000")
	err = maps.Delete(w.ctx, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	want("precondition", errors.IsConflict(err), true)
	_, err = maps.Watch(w.ctx, metav1.ListOptions{ResourceVersion: "x"})
	want("bad resource version", errors.IsBadRequest(err), true)
	_, err = maps.Patch(w.ctx, "a", types.JSONPatchType, []byte(`[{"op":"test","path":"/data/k","value":"9"}]`), metav1.PatchOptions{})
	want("failed test of a JSON patch", errors.IsInvalid(err), true)
}

func pages(w *world) {
	const all = 137
	secrets := w.core.Secrets(w.ns) // unlike ConfigMaps, a new namespace has none
	create := func(name string) {
		get(secrets.Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
	}
	for i := range all {
		create(fmt.Sprintf("m-%03d", i))
	}
	asked := 0
	p := pager.New(pager.SimplePageFunc(func(o metav1.ListOptions) (runtime.Object, error) {
		asked++
		return secrets.List(w.ctx, o)
	}))
	p.PageSize = 10
	seen := map[string]bool{}
	must(p.EachListItem(w.ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		seen[o.(*corev1.Secret).Name] = true
		return nil
	}))
	want("objects", len(seen), all)
	want("pages", asked, (all+9)/10)
	first := get(secrets.List(w.ctx, metav1.ListOptions{Limit: 100}))
	want("remaining", *first.RemainingItemCount, all-100)
	// A page is of the first page's revision.
	create("z-late")
	second := get(secrets.List(w.ctx, metav1.ListOptions{Limit: 100, Continue: first.Continue}))
	want("items of the second page", len(second.Items), all-100)
	want("its resource version", second.ResourceVersion, first.ResourceVersion)
}

func discoveryAndMapper(w *world) {
	client := get(discovery.NewDiscoveryClientForConfig(w.config))
	want("major version", get(client.ServerVersion()).Major, "1")
	_, lists, err := client.ServerGroupsAndResources()
	must(err)
	if len(lists) < 20 {
		fail("only %d group versions", len(lists))
	}
	if len(get(client.OpenAPISchema()).Definitions.AdditionalProperties) < 500 {
		fail("OpenAPI v2 has few definitions")
	}
	if _, known := get(client.OpenAPIV3().Paths())["apis/apps/v1"]; !known {
		fail("OpenAPI v3 has no apps/v1")
	}
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client)), memory.NewMemCacheClient(client), nil)
	for short, wanted := range map[string]string{"po": "pods", "deploy": "deployments", "cm": "configmaps", "ns": "namespaces", "svc": "services", "netpol": "networkpolicies"} {
		want(short, get(mapper.ResourceFor(schema.GroupVersionResource{Resource: short})).Resource, wanted)
	}
	for kind, scope := range map[string]string{"Deployment.v1.apps": "namespace", "ClusterRole.v1.rbac.authorization.k8s.io": "root"} {
		gvk, _ := schema.ParseKindArg(kind)
		want(kind, get(mapper.RESTMapping(gvk.GroupKind(), gvk.Version)).Scope.Name(), scope)
	}
	preferred := get(discovery.ServerPreferredResources(client))
	if len(preferred) == 0 {
		fail("no preferred resources")
	}
}

func dynamicObjects(w *world) {
	client := get(dynamic.NewForConfig(w.config)).Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace(w.ns)
	raw := get(runtime.DefaultUnstructuredConverter.ToUnstructured(deployment("d")))
	o := &unstructured.Unstructured{Object: raw}
	o.SetAPIVersion("apps/v1")
	o.SetKind("Deployment")
	made := get(client.Create(w.ctx, o, metav1.CreateOptions{FieldManager: "creator"}))
	want("manager", made.GetManagedFields()[0].Manager, "creator")
	must(unstructured.SetNestedField(made.Object, int64(3), "spec", "replicas"))
	get(client.Update(w.ctx, made, metav1.UpdateOptions{}))
	applied := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "d"}, "spec": map[string]any{"replicas": int64(5)}}}
	_, err := client.Apply(w.ctx, "d", applied, metav1.ApplyOptions{FieldManager: "applier"})
	want("conflict", errors.IsConflict(err), true)
	forced := get(client.Apply(w.ctx, "d", applied, metav1.ApplyOptions{FieldManager: "applier", Force: true}))
	replicas, _, _ := unstructured.NestedInt64(forced.Object, "spec", "replicas")
	want("replicas", replicas, 5)
	list := get(client.List(w.ctx, metav1.ListOptions{}))
	want("kind of an item", list.Items[0].GetKind(), "Deployment")
	must(client.Delete(w.ctx, "d", metav1.DeleteOptions{}))
}

func metadataOnly(w *world) {
	made := w.create(w.configMap("a", "1"))
	client := get(metadata.NewForConfig(w.config)).Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(w.ns)
	one := get(client.Get(w.ctx, "a", metav1.GetOptions{}))
	want("uid", one.UID, made.UID)
	want("labels", one.Labels, made.Labels)
	want("items", len(get(client.List(w.ctx, metav1.ListOptions{LabelSelector: "of=" + w.ns})).Items), 1)
	patched := get(client.Patch(w.ctx, "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{}))
	want("label", patched.Labels["x"], "y")
	must(client.Delete(w.ctx, "a", metav1.DeleteOptions{}))
}

// Many at once count up in one object.
func retriedConflicts(w *world) {
	const writers, rounds = 8, 5
	w.create(w.configMap("counter", ""))
	var all sync.WaitGroup
	for range writers {
		all.Add(1)
		go func() {
			defer all.Done()
			for range rounds {
				often := retry.DefaultRetry
				often.Steps = 200
				must(retry.RetryOnConflict(often, func() error {
					o := get(w.core.ConfigMaps(w.ns).Get(w.ctx, "counter", metav1.GetOptions{}))
					o.Data["k"] += "|"
					_, err := w.core.ConfigMaps(w.ns).Update(w.ctx, o, metav1.UpdateOptions{})
					return err
				}))
			}
		}()
	}
	all.Wait()
	want("count", strings.Count(get(w.core.ConfigMaps(w.ns).Get(w.ctx, "counter", metav1.GetOptions{})).Data["k"], "|"), writers*rounds)
}

func typedApply(w *world) {
	maps := w.core.ConfigMaps(w.ns)
	by := func(manager string, force bool, data map[string]string) (*corev1.ConfigMap, error) {
		return maps.Apply(w.ctx, coreapply.ConfigMap("a", w.ns).WithData(data), metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	made := get(by("m1", false, map[string]string{"a": "1", "b": "1"}))
	want("entries", len(made.ManagedFields), 1)
	_, err := by("m2", false, map[string]string{"a": "2"})
	want("conflict", errors.IsConflict(err), true)
	want("cause", errors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict), true)
	want("text", err, `Apply failed with 1 conflict: conflict with "m1": .data.a`)
	forced := get(by("m2", true, map[string]string{"a": "2"}))
	// What was extracted for a manager is what it applied.
	extracted := get(coreapply.ExtractConfigMap(forced, "m1"))
	want("m1's", extracted.Data, map[string]string{"b": "1"})
	want("m2's", get(coreapply.ExtractConfigMap(forced, "m2")).Data, map[string]string{"a": "2"})
	less := get(by("m1", false, map[string]string{}))
	want("after an apply of less", less.Data, map[string]string{"a": "2"})

	nodes := w.core.Nodes()
	condition := func(t string) *coreapply.NodeConditionApplyConfiguration {
		return coreapply.NodeCondition().WithType(corev1.NodeConditionType(t)).WithStatus("True")
	}
	name := w.ns + "-node"
	get(nodes.Create(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
	get(nodes.ApplyStatus(w.ctx, coreapply.Node(name).WithStatus(coreapply.NodeStatus().WithConditions(condition("A"))), metav1.ApplyOptions{FieldManager: "a"}))
	both := get(nodes.ApplyStatus(w.ctx, coreapply.Node(name).WithStatus(coreapply.NodeStatus().WithConditions(condition("B"))), metav1.ApplyOptions{FieldManager: "b"}))
	types := []string{}
	for _, c := range both.Status.Conditions {
		types = append(types, string(c.Type))
	}
	sort.Strings(types)
	want("conditions of two appliers", types, []string{"A", "B"})
	must(nodes.Delete(w.ctx, name, metav1.DeleteOptions{}))
}

func scale(w *world) {
	deployments := w.apps.Deployments(w.ns)
	get(deployments.Create(w.ctx, deployment("d"), metav1.CreateOptions{}))
	s := get(deployments.GetScale(w.ctx, "d", metav1.GetOptions{}))
	want("replicas", s.Spec.Replicas, 1)
	want("selector", s.Status.Selector, "app=d")
	s.Spec.Replicas = 7
	want("replicas", get(deployments.UpdateScale(w.ctx, "d", s, metav1.UpdateOptions{})).Spec.Replicas, 7)
	want("replicas", *get(deployments.Get(w.ctx, "d", metav1.GetOptions{})).Spec.Replicas, 7)
	nine := autoscalingapply.Scale().WithName("d").WithNamespace(w.ns).WithSpec(autoscalingapply.ScaleSpec().WithReplicas(9))
	_, err := deployments.ApplyScale(w.ctx, "d", nine, metav1.ApplyOptions{FieldManager: "other"})
	want("conflict", errors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict), true)
	want("replicas", get(deployments.ApplyScale(w.ctx, "d", nine, metav1.ApplyOptions{FieldManager: "other", Force: true})).Spec.Replicas, 9)
}
