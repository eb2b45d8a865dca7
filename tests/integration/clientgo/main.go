// What programs are built from: client-go's clients, informers, leader election, events, against a running server.
//
//	clientgo KUBECONFIG CHECK
//
// Each check works in a namespace of its own and ends with 0 when all is as with kube-apiserver; it says what is not. The clients are
// the typed ones of single groups: the whole clientset takes minutes to compile.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const patience = 60 * time.Second

// What a check works with. Failing ends the program: one check, one process.
type world struct {
	ctx    context.Context
	config *rest.Config
	core   coreclient.CoreV1Interface
	apps   appsclient.AppsV1Interface
	leases coordinationclient.CoordinationV1Interface
	ns     string
}

var checks = map[string]func(*world){
	"encodings":       encodings,
	"errors":          errorsByReason,
	"pages":           pages,
	"discovery":       discoveryAndMapper,
	"dynamic":         dynamicObjects,
	"metadata":        metadataOnly,
	"informer":        informer,
	"watch-list":      watchList,
	"resumed-watch":   resumedWatch,
	"leader-election": leaderElection,
	"events":          events,
	"conflicts":       retriedConflicts,
	"apply":           typedApply,
	"scale":           scale,
}

func fail(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("%T: %v", err, err))
	}
}

func get[T any](v T, err error) T {
	must(err)
	return v
}

func want(what string, got, wanted any) {
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		fail("%s: %v, wanted %v", what, got, wanted)
	}
}

func eventually(ctx context.Context, what string, condition func() bool) {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		fail("not within %v: %s", patience, what)
	}
}

func newWorld(config *rest.Config, ns string) *world {
	return &world{ctx: context.Background(), config: config, core: get(coreclient.NewForConfig(config)), apps: get(appsclient.NewForConfig(config)),
		leases: get(coordinationclient.NewForConfig(config)), ns: ns}
}

func (w *world) configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": w.ns}}, Data: map[string]string{"k": value}}
}

func (w *world) create(o *corev1.ConfigMap) *corev1.ConfigMap {
	return get(w.core.ConfigMaps(w.ns).Create(w.ctx, o, metav1.CreateOptions{}))
}

func main() {
	check, known := checks[os.Args[2]]
	if !known {
		fail("no check %q", os.Args[2])
	}
	// Newer versions stream their first list; both ways are checked.
	must(os.Setenv("KUBE_FEATURE_WatchListClient", fmt.Sprint(os.Args[2] == "watch-list")))
	config := get(clientcmd.BuildConfigFromFlags("", os.Args[1]))
	config.QPS, config.Burst = -1, -1
	config.UserAgent = "clientgo/1"
	w := newWorld(config, "clientgo-"+os.Args[2])
	get(w.core.Namespaces().Create(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}, metav1.CreateOptions{}))
	check(w)
}
