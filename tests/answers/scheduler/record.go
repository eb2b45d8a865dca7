// record.go: what kube-scheduler's own plugins say of the cases that it reads (generate.py): which nodes a pod fits on, why not on others,
// each plugin's weighted scores, and which pods would have to go. One line out for each line in; `null` where a plugin fails with an error
// of its own instead of an answer, or answers otherwise the next time (a Go map's order). README.md says how it is built.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"time"
	"unsafe"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourceapi "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"
	"k8s.io/dynamic-resource-allocation/deviceclass/extendedresourcecache"
	"k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"
)

// No pod is on its way to a node but those that the case has.
type nobody struct{}

func (nobody) AddNominatedPod(klog.Logger, fwk.PodInfo, *fwk.NominatingInfo) {}
func (nobody) DeleteNominatedPodIfExists(*v1.Pod)                            {}
func (nobody) UpdateNominatedPod(klog.Logger, *v1.Pod, fwk.PodInfo)          {}
func (nobody) NominatedPodsForNode(string) []fwk.PodInfo                     { return nil }

type asked struct {
	Nodes      []*v1.Node                   `json:"nodes"`
	Pods       []*v1.Pod                    `json:"pods"`
	Namespaces map[string]map[string]string `json:"namespaces"`
	Pod        *v1.Pod                      `json:"pod"`

	Claims        []*v1.PersistentVolumeClaim     `json:"claims"`
	Volumes       []*v1.PersistentVolume          `json:"volumes"`
	Classes       []*storagev1.StorageClass       `json:"classes"`
	CSINodes      []*storagev1.CSINode            `json:"csiNodes"`
	CSIDrivers    []*storagev1.CSIDriver          `json:"csiDrivers"`
	Capacities    []*storagev1.CSIStorageCapacity `json:"capacities"`
	Attachments   []*storagev1.VolumeAttachment   `json:"attachments"`
	Budgets       []*policyv1.PodDisruptionBudget `json:"budgets"`
	Slices        []*resourceapi.ResourceSlice    `json:"slices"`
	DeviceClasses []*resourceapi.DeviceClass      `json:"deviceClasses"`
	DeviceClaims  []*resourceapi.ResourceClaim    `json:"deviceClaims"`
	TaintRules    []*resourceapi.DeviceTaintRule  `json:"taintRules"`
	Preempts      bool                            `json:"preempts"` // asks who would have to go
	Scoring       []string                        `json:"scoring"`  // resources that count in scores, beside cpu and memory
}

type answer struct {
	Fits    []string                    `json:"fits"`
	Why     map[string][]string         `json:"why,omitempty"`     // of the others
	Never   []string                    `json:"never,omitempty"`   // of these, those on which no removal of pods helps
	By      []string                    `json:"by,omitempty"`      // the plugins that refused
	Message string                      `json:"message,omitempty"` // when it fits nowhere
	Scores  map[string]map[string]int64 `json:"scores,omitempty"`  // by node and plugin; without zeros

	Failed      []string         `json:"failed,omitempty"`      // the errors that end the attempt, on one node or another
	Allocations map[string][]any `json:"allocations,omitempty"` // by node: of the claims that have no devices yet; for extended resources the allocation, requests and mappings

	Candidates map[string]victims `json:"candidates,omitempty"` // for preemption, by node
	Chosen     []string           `json:"chosen,omitempty"`     // of these, those that are as good as any
	Preemption string             `json:"preemption,omitempty"` // the message when there is none
}

type victims struct {
	Pods       []string `json:"pods"` // the most important first
	Violations int64    `json:"violations,omitempty"`
}

// How often the best candidate is asked for: of several equals a Go map's order decides.
const lots = 40

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func objectsOf[T runtime.Object](list []T) (out []runtime.Object) {
	for _, o := range list {
		out = append(out, o)
	}
	return
}

// Who would have to go so that the pod fits (DefaultPreemption's dry run: nobody goes).
func preempt(ctx context.Context, a asked, f framework.Framework, state fwk.CycleState, failed *framework.NodeToStatus, out *answer) {
	p, err := defaultpreemption.New(ctx, &schedulerconfig.DefaultPreemptionArgs{MinCandidateNodesPercentage: 10, MinCandidateNodesAbsolute: 100}, f, feature.Features{})
	must(err)
	eligible, why := p.PodEligibleToPreemptOthers(ctx, a.Pod, failed.Get(a.Pod.Status.NominatedNodeName))
	if !eligible {
		out.Preemption = why
		return
	}
	nodes, err := failed.NodesForStatusCode(f.MutableSnapshotSharedLister().NodeInfos(), fwk.Unschedulable)
	must(err)
	var candidates []preemption.Candidate
	if len(nodes) > 0 {
		candidates, _, err = p.Evaluator.DryRunPreemption(ctx, state, a.Pod, nodes, a.Budgets, 0, int32(len(nodes)))
		must(err)
	}
	if len(candidates) == 0 {
		_, status := p.Evaluator.Preempt(ctx, state, a.Pod, failed)
		out.Preemption = status.Message()
		return
	}
	out.Candidates = map[string]victims{}
	for _, c := range candidates {
		v := victims{Violations: c.Victims().NumPDBViolations}
		for _, p := range c.Victims().Pods {
			v.Pods = append(v.Pods, p.Name)
		}
		out.Candidates[c.Name()] = v
	}
	chosen := map[string]bool{}
	for range lots {
		chosen[p.Evaluator.SelectCandidate(ctx, candidates).Name()] = true
	}
	for name := range chosen {
		out.Chosen = append(out.Chosen, name)
	}
	sort.Strings(out.Chosen)
}

// Until what the devices are counted in knows all of them.
func waitForDevices(a asked, devices fwk.SharedDRAManager) {
	for _, c := range a.DeviceClasses {
		// Of two classes for one resource, an older one that comes later isn't found by its own name either.
		named := func() bool {
			own, other := devices.DeviceClassResolver().GetDeviceClass(v1.ResourceName(resourceapi.ResourceDeviceClassPrefix+c.Name)), c.Spec.ExtendedResourceName
			return own != nil || (other != nil && devices.DeviceClassResolver().GetDeviceClass(v1.ResourceName(*other)) != nil)
		}
		for !named() {
			time.Sleep(time.Millisecond)
		}
	}
	for {
		slices, err := devices.ResourceSlices().ListWithDeviceTaintRules()
		must(err)
		claims, err := devices.ResourceClaims().List()
		must(err)
		allocated, err := devices.ResourceClaims().GatherAllocatedState()
		if err != nil {
			continue // it changed meanwhile
		}
		taints, wanted := 0, 0
		for _, s := range slices {
			for _, d := range s.Spec.Devices {
				taints += len(d.Taints)
			}
		}
		for _, s := range a.Slices {
			for _, d := range s.Spec.Devices {
				wanted += len(d.Taints)
				for _, r := range a.TaintRules {
					by := r.Spec.DeviceSelector
					if by != nil && (by.Driver == nil || *by.Driver == s.Spec.Driver) && (by.Pool == nil || *by.Pool == s.Spec.Pool.Name) && (by.Device == nil || *by.Device == d.Name) {
						wanted++
					}
				}
			}
		}
		dedicated, shared := map[string]bool{}, 0
		for _, c := range a.DeviceClaims {
			if c.Status.Allocation == nil {
				continue
			}
			for _, r := range c.Status.Allocation.Devices.Results {
				switch {
				case r.AdminAccess != nil && *r.AdminAccess:
				case r.ShareID != nil:
					shared++
				default:
					dedicated[r.Driver+"/"+r.Pool+"/"+r.Device] = true
				}
			}
		}
		if len(slices) == len(a.Slices) && len(claims) == len(a.DeviceClaims) && taints == wanted &&
			len(allocated.AllocatedDevices) == len(dedicated) && len(allocated.AllocatedSharedDeviceIDs) == shared {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A member that its package keeps to itself.
func private(of reflect.Value, name string) reflect.Value {
	f := of.FieldByName(name)
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}

// What the claims would get on each of the nodes, as the plugin keeps it between its points.
func allocate(state fwk.CycleState, nodes []fwk.NodeInfo) map[string][]any {
	out := map[string][]any{}
	data, err := state.Read("DynamicResources")
	if err != nil {
		return out
	}
	of := private(reflect.ValueOf(data).Elem(), "nodeAllocations")
	for _, n := range nodes {
		found := of.MapIndex(reflect.ValueOf(n.Node().Name))
		if !found.IsValid() {
			continue
		}
		one := reflect.New(found.Type()).Elem()
		one.Set(found)
		results := private(one, "allocationResults").Interface().([]resourceapi.AllocationResult)
		claim := private(one, "extendedResourceClaim").Interface().(*resourceapi.ResourceClaim)
		if claim != nil && len(claim.Spec.Devices.Requests) == 0 && len(results) > 0 {
			results = results[:len(results)-1]
			claim = nil
		}
		var all []any
		for i := range results {
			got := results[i].DeepCopy()
			for i := range got.Devices.Results {
				if got.Devices.Results[i].ShareID != nil {
					got.Devices.Results[i].ShareID = new(types.UID)
				}
			}
			all = append(all, got)
		}
		if claim != nil {
			all = append(all, claim.Spec.Devices.Requests, private(one, "containerResourceRequestMappings").Interface())
		}
		if len(all) > 0 {
			out[n.Node().Name] = all
		}
	}
	return out
}

// The profile, with more resources that count in NodeResourcesFit's scores. NodeResourcesBalancedAllocation 1.37.2 panics where a class with
// selectors stands for one.
func withScoring(profile *schedulerconfig.KubeSchedulerProfile, names []string) {
	if len(names) == 0 {
		return
	}
	resources := []schedulerconfig.ResourceSpec{{Name: "cpu", Weight: 1}, {Name: "memory", Weight: 1}}
	for _, n := range names {
		resources = append(resources, schedulerconfig.ResourceSpec{Name: n, Weight: 1})
	}
	for i := range profile.PluginConfig {
		if args, ok := profile.PluginConfig[i].Args.(*schedulerconfig.NodeResourcesFitArgs); ok {
			args.ScoringStrategy.Resources = resources
		}
	}
}

// Null when a plugin fails.
func answerOf(a asked) *answer {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var objects []runtime.Object
	for name, labels := range a.Namespaces {
		objects = append(objects, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	for _, n := range a.Nodes {
		objects = append(objects, n)
	}
	for _, more := range [][]runtime.Object{objectsOf(a.Claims), objectsOf(a.Volumes), objectsOf(a.Classes), objectsOf(a.CSINodes), objectsOf(a.CSIDrivers),
		objectsOf(a.Capacities), objectsOf(a.Attachments), objectsOf(a.Budgets), objectsOf(a.Slices), objectsOf(a.DeviceClasses), objectsOf(a.DeviceClaims), objectsOf(a.TaintRules), objectsOf(a.Pods), {a.Pod}} {
		objects = append(objects, more...)
	}
	client := fake.NewSimpleClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	config, err := latest.Default()
	must(err)
	profile := &config.Profiles[0]
	withScoring(profile, a.Scoring)
	deviceClaims := assumecache.NewAssumeCache(klog.FromContext(ctx), factory.Resource().V1().ResourceClaims().Informer(), "ResourceClaim", "", nil)
	slices, err := tracker.StartTracker(ctx, tracker.Options{EnableDeviceTaintRules: true, EnableConsumableCapacity: true, KubeClient: client,
		SliceInformer: factory.Resource().V1().ResourceSlices(), TaintInformer: factory.Resource().V1().DeviceTaintRules()})
	must(err)
	devices := dynamicresources.NewDRAManager(ctx, deviceClaims, slices, factory)
	_, err = factory.Resource().V1().DeviceClasses().Informer().AddEventHandler(devices.DeviceClassResolver().(*extendedresourcecache.ExtendedResourceCache))
	must(err)
	snapshot := cache.NewSnapshot(a.Pods, a.Nodes)
	f, err := frameworkruntime.NewFramework(ctx, plugins.NewInTreeRegistry(), profile,
		frameworkruntime.WithClientSet(client), frameworkruntime.WithInformerFactory(factory), frameworkruntime.WithSnapshotSharedLister(snapshot),
		frameworkruntime.WithMutableSnapshotLister(snapshot), frameworkruntime.WithEventRecorder(&events.FakeRecorder{}), frameworkruntime.WithPodNominator(nobody{}),
		frameworkruntime.WithSharedDRAManager(devices),
		frameworkruntime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(factory.Storage().V1().CSINodes().Lister())))
	must(err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	waitForDevices(a, devices)

	out := &answer{}
	state := framework.NewCycleState()
	diagnosis := framework.Diagnosis{NodeToStatus: framework.NewDefaultNodeToStatus()}
	all, err := snapshot.NodeInfos().List()
	must(err)
	pre, status, by := f.RunPreFilterPlugins(ctx, state, a.Pod)
	diagnosis.UnschedulablePlugins = by
	if !status.IsSuccess() {
		if !status.IsRejected() {
			if len(a.DeviceClasses) > 0 {
				out.Failed = []string{status.AsError().Error()}
				return out
			}
			return nil
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
			if len(a.DeviceClasses) > 0 {
				out.Failed = append(out.Failed, status.AsError().Error())
				continue
			}
			return nil
		}
		diagnosis.NodeToStatus.Set(n.Node().Name, status)
		diagnosis.AddPluginStatus(status)
		out.Why[n.Node().Name] = status.Reasons()
		if status.Code() == fwk.UnschedulableAndUnresolvable {
			out.Never = append(out.Never, n.Node().Name)
		}
	}
	if len(out.Failed) > 0 {
		return &answer{Failed: out.Failed}
	}
	sort.Strings(out.Fits)
	sort.Strings(out.Never)
	out.By = sorted(diagnosis.UnschedulablePlugins.UnsortedList())
	if len(feasible) == 0 {
		fit := framework.FitError{Pod: a.Pod, NumAllNodes: len(all), Diagnosis: diagnosis}
		out.Message = fit.Error()
		if a.Preempts {
			preempt(ctx, a, f, state, diagnosis.NodeToStatus, out)
		}
		return out
	}
	if len(a.DeviceClasses) > 0 {
		out.Allocations = allocate(state, feasible)
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
		for again := 0; again < 5 && len(a.Claims)+len(a.DeviceClasses) > 0; again++ {
			if next, _ := json.Marshal(answerOf(a)); !bytes.Equal(next, text) {
				text = []byte("null")
				break
			}
		}
		fmt.Fprintf(out, "%s\n", text)
		if number%500 == 499 {
			fmt.Fprintf(os.Stderr, "%d cases\n", number+1)
		}
		if err != nil {
			break
		}
	}
}
