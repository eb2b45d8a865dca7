// record.go: what kube-scheduler's own plugins say of the cases that it reads (generate.py): which nodes a pod fits on, why not on others,
// and each plugin's weighted scores. One line out for each line in. README.md says how it is built.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

// No pod is on its way to a node but those that the case has.
type nobody struct{}

func (nobody) AddNominatedPod(klog.Logger, fwk.PodInfo, *fwk.NominatingInfo) {}
func (nobody) DeleteNominatedPodIfExists(*v1.Pod)                            {}
func (nobody) UpdateNominatedPod(klog.Logger, *v1.Pod, fwk.PodInfo)          {}
func (nobody) NominatedPodsForNode(string) []fwk.PodInfo                     { return nil }

// Needs managers of its own, and has nothing to say of these cases.
const without = "DynamicResources"

type asked struct {
	Nodes      []*v1.Node                   `json:"nodes"`
	Pods       []*v1.Pod                    `json:"pods"`
	Namespaces map[string]map[string]string `json:"namespaces"`
	Pod        *v1.Pod                      `json:"pod"`
}

type answer struct {
	Fits    []string                    `json:"fits"`
	Why     map[string][]string         `json:"why,omitempty"`     // of the others
	Never   []string                    `json:"never,omitempty"`   // of these, those on which no removal of pods helps
	By      []string                    `json:"by,omitempty"`      // the plugins that refused
	Message string                      `json:"message,omitempty"` // when it fits nowhere
	Scores  map[string]map[string]int64 `json:"scores,omitempty"`  // by node and plugin; without zeros
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func answerOf(a asked) answer {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var objects []runtime.Object
	for name, labels := range a.Namespaces {
		objects = append(objects, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	for _, n := range a.Nodes {
		objects = append(objects, n)
	}
	client := fake.NewSimpleClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	config, err := latest.Default()
	must(err)
	profile := &config.Profiles[0]
	enabled := profile.Plugins.MultiPoint.Enabled[:0]
	for _, p := range profile.Plugins.MultiPoint.Enabled {
		if p.Name != without {
			enabled = append(enabled, p)
		}
	}
	profile.Plugins.MultiPoint.Enabled = enabled
	snapshot := cache.NewSnapshot(a.Pods, a.Nodes)
	f, err := frameworkruntime.NewFramework(ctx, plugins.NewInTreeRegistry(), profile,
		frameworkruntime.WithClientSet(client), frameworkruntime.WithInformerFactory(factory), frameworkruntime.WithSnapshotSharedLister(snapshot),
		frameworkruntime.WithEventRecorder(&events.FakeRecorder{}), frameworkruntime.WithPodNominator(nobody{}))
	must(err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	var out answer
	state := framework.NewCycleState()
	diagnosis := framework.Diagnosis{NodeToStatus: framework.NewDefaultNodeToStatus()}
	all, err := snapshot.NodeInfos().List()
	must(err)
	pre, status, by := f.RunPreFilterPlugins(ctx, state, a.Pod)
	diagnosis.UnschedulablePlugins = by
	if !status.IsSuccess() {
		if !status.IsRejected() {
			panic(status.AsError())
		}
		diagnosis.NodeToStatus.SetAbsentNodesStatus(status)
		diagnosis.PreFilterMsg = status.Message()
		diagnosis.AddPluginStatus(status)
		fit := framework.FitError{Pod: a.Pod, NumAllNodes: len(all), Diagnosis: diagnosis}
		out.Message = fit.Error()
		out.By = diagnosis.UnschedulablePlugins.UnsortedList()
		sort.Strings(out.By)
		return out
	}
	nodes := all
	if !pre.AllNodes() {
		nodes = nil
		for _, n := range all {
			if pre.NodeNames.Has(n.Node().Name) {
				nodes = append(nodes, n)
			}
		}
		diagnosis.NodeToStatus.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", sorted(by.UnsortedList()))))
	}
	var feasible []fwk.NodeInfo
	out.Why = map[string][]string{}
	for _, n := range nodes {
		status := f.RunFilterPluginsWithNominatedPods(ctx, state, a.Pod, n)
		if status.IsSuccess() {
			feasible = append(feasible, n)
			out.Fits = append(out.Fits, n.Node().Name)
			continue
		}
		if !status.IsRejected() {
			panic(status.AsError())
		}
		diagnosis.NodeToStatus.Set(n.Node().Name, status)
		diagnosis.AddPluginStatus(status)
		out.Why[n.Node().Name] = status.Reasons()
		if status.Code() == fwk.UnschedulableAndUnresolvable {
			out.Never = append(out.Never, n.Node().Name)
		}
	}
	sort.Strings(out.Fits)
	sort.Strings(out.Never)
	out.By = sorted(diagnosis.UnschedulablePlugins.UnsortedList())
	if len(feasible) == 0 {
		fit := framework.FitError{Pod: a.Pod, NumAllNodes: len(all), Diagnosis: diagnosis}
		out.Message = fit.Error()
		return out
	}
	if status := f.RunPreScorePlugins(ctx, state, a.Pod, feasible); !status.IsSuccess() {
		panic(status.AsError())
	}
	scores, status := f.RunScorePlugins(ctx, state, a.Pod, feasible)
	if !status.IsSuccess() {
		panic(status.AsError())
	}
	out.Scores = map[string]map[string]int64{}
	for _, n := range scores {
		out.Scores[n.Name] = map[string]int64{}
		for _, s := range n.Scores {
			if s.Score != 0 {
				out.Scores[n.Name][s.Name] = s.Score
			}
		}
	}
	return out
}

func sorted(of []string) []string {
	sort.Strings(of)
	return of
}

func main() {
	metrics.Register()
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for number := 0; ; number++ {
		line, err := in.ReadBytes('\n')
		if len(line) == 0 {
			break
		}
		var a asked
		must(json.Unmarshal(line, &a))
		text, merr := json.Marshal(answerOf(a))
		must(merr)
		fmt.Fprintf(out, "%s\n", text)
		if number%500 == 499 {
			fmt.Fprintf(os.Stderr, "%d cases\n", number+1)
		}
		if err != nil {
			break
		}
	}
}
