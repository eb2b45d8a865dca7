// Records how the kubelet's topology manager, with its devices, CPUs and memory, admits pods on random machines of
// several NUMA nodes: numa.jsonl.
//
//	go run . SEED COUNT >> numa.jsonl
//
// in a module "numa" that requires k8s.io/kubernetes, beside a copy of pkg/kubelet/cm/devicemanager with
// record_numa_devices.go in it, which makes a device manager without plugins, and whose manager.go takes devices by name
// instead of in a map's random order (`range sets.List(devices.Difference(allocated))`).
//
// A line is a machine with its settings, and what became of pods one after the other. A pod is "uid" and its containers
// "kind:name:CPUs:MiB:MiB of huge pages:resource=devices"; kind is i, s (a sidecar) or c; a pod of half CPUs has
// "1.5". What came of it: reason and message, or of each container CPUs, memory and devices; and the memory manager's
// state in the end.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"

	cadvisorapi "github.com/google/cadvisor/lib/model"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	cpustate "k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	memorystate "k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/utils/cpuset"
	"numa/devicemanager"
)

const MiB = 1 << 20

type node struct {
	ID        int      `json:"id"`
	Memory    uint64   `json:"memory"` // MiB
	Huge      uint64   `json:"huge"`   // MiB of pages of 2 MiB
	Distances []uint64 `json:"distances,omitempty"`
	Reserved  uint64   `json:"reserved"` // MiB
}

type admitted struct {
	CPUs    string   `json:"cpus,omitempty"`
	Memory  []string `json:"memory,omitempty"`
	Devices []string `json:"devices,omitempty"`
}

type step struct {
	Remove  string              `json:"remove,omitempty"`
	Pod     string              `json:"pod,omitempty"`
	Of      []string            `json:"of,omitempty"`
	Reason  string              `json:"reason,omitempty"`
	Message string              `json:"message,omitempty"`
	Given   map[string]admitted `json:"given,omitempty"`
}

type machine struct {
	Nodes   []node            `json:"nodes"`
	CPUs    string            `json:"cpus"` // socket.numa.core.cache of each
	Devices map[string]string `json:"devices"`
	Policy  string            `json:"policy"`
	Scope   string            `json:"scope"`
	Closest bool              `json:"closest,omitempty"`
	Options []string          `json:"options,omitempty"` // the CPU manager's
	Kept    int               `json:"kept"`
	Steps   []step            `json:"steps"`
	State   []string          `json:"state"` // of each node, in the end: "assignments;cells;free memory;free huge pages"
}

// The policies as hint providers.
type cpus struct {
	p cpumanager.Policy
	s cpustate.State
}

func (c cpus) GetTopologyHints(l klog.Logger, pod *v1.Pod, ctr *v1.Container, op lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return c.p.GetTopologyHints(l, c.s, pod, ctr, op)
}
func (c cpus) GetPodTopologyHints(l klog.Logger, pod *v1.Pod, op lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return c.p.GetPodTopologyHints(l, c.s, pod, op)
}
func (c cpus) AllocatePod(klog.Logger, *v1.Pod, lifecycle.Operation) error { return nil }
func (c cpus) Allocate(ctx context.Context, pod *v1.Pod, ctr *v1.Container, op lifecycle.Operation) error {
	return c.p.Allocate(klog.FromContext(ctx), c.s, pod, ctr, op)
}

type memory struct {
	p memorymanager.Policy
	s memorystate.State
}

func (m memory) GetTopologyHints(l klog.Logger, pod *v1.Pod, ctr *v1.Container, op lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return m.p.GetTopologyHints(l, m.s, pod, ctr, op)
}
func (m memory) GetPodTopologyHints(l klog.Logger, pod *v1.Pod, op lifecycle.Operation) map[string][]topologymanager.TopologyHint {
	return m.p.GetPodTopologyHints(l, m.s, pod, op)
}
func (m memory) AllocatePod(klog.Logger, *v1.Pod, lifecycle.Operation) error { return nil }
func (m memory) Allocate(ctx context.Context, pod *v1.Pod, ctr *v1.Container, op lifecycle.Operation) error {
	return m.p.Allocate(ctx, m.s, pod, ctr, op)
}

func container(text string) (kind string, c v1.Container) {
	p := strings.Split(text, ":")
	c.Name = p[1]
	all := v1.ResourceList{"cpu": resource.MustParse(p[2]), "memory": resource.MustParse(p[3] + "Mi")}
	if p[4] != "0" {
		all["hugepages-2Mi"] = resource.MustParse(p[4] + "Mi")
	}
	if p[5] != "" {
		d := strings.Split(p[5], "=")
		all[v1.ResourceName(d[0])] = resource.MustParse(d[1])
	}
	c.Resources = v1.ResourceRequirements{Requests: all, Limits: all}
	if p[0] == "s" {
		always := v1.ContainerRestartPolicyAlways
		c.RestartPolicy = &always
	}
	return p[0], c
}

func main() {
	klog.InitFlags(nil)
	_ = flag.Set("logtostderr", "false")
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	seed, _ := strconv.ParseInt(os.Args[1], 10, 64)
	count, _ := strconv.Atoi(os.Args[2])
	r := rand.New(rand.NewSource(seed))
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for i := 0; i < count; i++ {
		m := play(r)
		if m == nil {
			i--
			continue
		}
		text, _ := json.Marshal(m)
		fmt.Fprintln(out, string(text))
	}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.Intn(len(of))] }

func play(r *rand.Rand) *machine {
	ctx := context.Background()
	logger := klog.FromContext(ctx)
	m := &machine{Policy: pick(r, "none", "best-effort", "restricted", "single-numa-node", "restricted", "single-numa-node"), Scope: pick(r, "container", "pod"), Devices: map[string]string{}}
	nodes := pick(r, 1, 2, 2, 2, 3, 4, 4)
	sockets := 1
	if nodes%2 == 0 {
		sockets = pick(r, 1, 2)
	}
	m.Closest = r.Intn(3) == 0
	threads := 1 + r.Intn(2)
	perNode := 1 + r.Intn(4)
	m.Kept = 1 + r.Intn(2)
	cpuOptions := map[string]string{}
	for _, name := range []string{"full-pcpus-only", "distribute-cpus-across-numa", "align-by-socket"} {
		if r.Intn(5) == 0 && m.Policy != "none" {
			if name == "align-by-socket" && m.Policy == "single-numa-node" {
				continue
			}
			cpuOptions[name] = "true"
			m.Options = append(m.Options, name)
		}
	}
	info := &cadvisorapi.MachineInfo{}
	reserved := map[int]map[v1.ResourceName]uint64{}
	var ids []int
	for id := 0; id < nodes; id++ {
		n := node{ID: id, Memory: uint64(512 + 128*r.Intn(8)), Huge: pick(r, uint64(0), 64, 128), Reserved: pick(r, uint64(0), 64, 128)}
		if id == 0 {
			n.Reserved = 128
		}
		for other := 0; other < nodes; other++ {
			d := uint64(10)
			if other != id {
				d = pick(r, uint64(20), 20, 21, 30)
			}
			n.Distances = append(n.Distances, d)
		}
		told := n
		if !m.Closest {
			told.Distances = nil
		}
		m.Nodes = append(m.Nodes, told)
		ids = append(ids, id)
		info.Topology = append(info.Topology, cadvisorapi.Node{Id: id, Memory: n.Memory * MiB, Distances: n.Distances, HugePages: []cadvisorapi.HugePagesInfo{{PageSize: 2048, NumPages: n.Huge / 2}}})
		reserved[id] = map[v1.ResourceName]uint64{"memory": n.Reserved * MiB}
	}
	details := topology.CPUDetails{}
	var places []string
	cores := nodes * perNode
	for cpu := 0; cpu < cores*threads; cpu++ {
		core := cpu % cores
		numa := core / perNode
		socket := numa * sockets / nodes
		details[cpu] = topology.CPUInfo{NUMANodeID: numa, SocketID: socket, CoreID: core, UncoreCacheID: numa}
		places = append(places, fmt.Sprintf("%d.%d.%d.%d", socket, numa, core, numa))
	}
	m.CPUs = strings.Join(places, " ")
	topo := &topology.CPUTopology{NumCPUs: cores * threads, NumCores: cores, NumUncoreCache: nodes, NumSockets: sockets, NumNUMANodes: nodes, CPUDetails: details}
	all := devicemanager.NewResourceDeviceInstances()
	for _, name := range []string{"example.com/a", "example.com/b"} {
		all[name] = map[string]*pluginapi.Device{}
		var told []string
		placed := r.Intn(4) > 0
		for d, n := 0, 1+r.Intn(6); d < n; d++ {
			id := fmt.Sprintf("d%d", d)
			one := &pluginapi.Device{ID: id, Health: pluginapi.Healthy}
			where := "-"
			if placed && r.Intn(8) > 0 {
				first := r.Intn(nodes)
				where = strconv.Itoa(first)
				one.Topology = &pluginapi.TopologyInfo{Nodes: []*pluginapi.NUMANode{{ID: int64(first)}}}
				if second := r.Intn(nodes); second > first && r.Intn(6) == 0 {
					where += "," + strconv.Itoa(second)
					one.Topology.Nodes = append(one.Topology.Nodes, &pluginapi.NUMANode{ID: int64(second)})
				}
			}
			all[name][id] = one
			told = append(told, where)
		}
		m.Devices[name] = strings.Join(told, " ")
	}
	options := map[string]string{}
	if m.Closest {
		options["prefer-closest-numa-nodes"] = "true"
	}
	top, err := topologymanager.NewManager(logger, info.Topology, m.Policy, m.Scope, options)
	if err != nil {
		panic(err)
	}
	cpuPolicy, err := cpumanager.NewStaticPolicy(logger, topo, m.Kept, cpuset.New(), top, cpuOptions)
	if err != nil {
		return nil
	}
	c := cpus{cpuPolicy, cpustate.NewMemoryState(logger)}
	if cpuPolicy.Start(logger, c.s) != nil {
		return nil
	}
	memoryPolicy, err := memorymanager.NewPolicyStatic(logger, info, reserved, top)
	if err != nil {
		panic(err)
	}
	mem := memory{memoryPolicy, memorystate.NewMemoryState(logger)}
	if err := memoryPolicy.Start(logger, mem.s); err != nil {
		panic(err)
	}
	var active []*v1.Pod
	dir, _ := os.MkdirTemp("", "devices")
	defer os.RemoveAll(dir)
	devices := devicemanager.NewJudge(ids, top, dir, func() []*v1.Pod { return active }, all)
	top.AddHintProvider(logger, devices)
	top.AddHintProvider(logger, c)
	top.AddHintProvider(logger, mem)
	state := func() (told []string) {
		now := mem.s.GetMachineState()
		for _, id := range ids {
			n := now[id]
			cells := append([]int{}, n.Cells...)
			sort.Ints(cells)
			told = append(told, fmt.Sprintf("%d;%v;%d;%d", n.NumberOfAssignments, cells, n.MemoryMap["memory"].Free/MiB, n.MemoryMap["hugepages-2Mi"].Free/MiB))
		}
		return told
	}
	free := func(pod *v1.Pod) {
		for i, p := range active {
			if p == pod {
				active = append(active[:i:i], active[i+1:]...)
				break
			}
		}
		for _, ctr := range append(append([]v1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
			_ = cpuPolicy.RemoveContainer(logger, c.s, string(pod.UID), ctr.Name)
			memoryPolicy.RemoveContainer(logger, mem.s, string(pod.UID), ctr.Name)
		}
	}
	for s, n := 0, 3+r.Intn(6); s < n; s++ {
		if len(active) > 1 && r.Intn(4) == 0 {
			pod := active[r.Intn(len(active))]
			free(pod)
			m.Steps = append(m.Steps, step{Remove: string(pod.UID)})
			continue
		}
		var texts []string
		add := func(kind, name string) {
			cpu := strconv.Itoa(1 + r.Intn(perNode*threads))
			if r.Intn(8) == 0 {
				cpu = "1500m"
			}
			device := ""
			if r.Intn(2) == 0 {
				device = fmt.Sprintf("%s=%d", pick(r, "example.com/a", "example.com/b"), 1+r.Intn(2))
			}
			texts = append(texts, fmt.Sprintf("%s:%s:%s:%d:%d:%s", kind, name, cpu, 64*(1+r.Intn(pick(r, 2, 4, 16))), pick(r, 0, 0, 0, 32, 64), device))
		}
		if r.Intn(3) == 0 {
			add(pick(r, "i", "i", "s"), "init1")
			if r.Intn(3) == 0 {
				add(pick(r, "i", "s"), "init2")
			}
		}
		add("c", "main1")
		if r.Intn(3) == 0 {
			add("c", "main2")
		}
		pod := &v1.Pod{}
		pod.UID = types.UID(fmt.Sprintf("u%d", s))
		for _, text := range texts {
			kind, ctr := container(text)
			if kind == "c" {
				pod.Spec.Containers = append(pod.Spec.Containers, ctr)
			} else {
				pod.Spec.InitContainers = append(pod.Spec.InitContainers, ctr)
			}
		}
		active = append(active, pod)
		answer := top.Admit(ctx, &lifecycle.PodAdmitAttributes{Pod: pod, Operation: lifecycle.AddOperation})
		told := step{Pod: string(pod.UID), Of: texts, Reason: answer.Reason, Message: answer.Message}
		if answer.Admit {
			told.Given = map[string]admitted{}
			for _, ctr := range append(append([]v1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
				one := admitted{}
				if set, ok := c.s.GetCPUSet(string(pod.UID), ctr.Name); ok {
					one.CPUs = set.String()
				}
				for _, b := range mem.s.GetMemoryBlocks(string(pod.UID), ctr.Name) {
					one.Memory = append(one.Memory, fmt.Sprintf("%s:%d:%v", b.Type, b.Size/MiB, b.NUMAAffinity))
				}
				sort.Strings(one.Memory)
				for _, name := range []string{"example.com/a", "example.com/b"} {
					one.Devices = append(one.Devices, devices.Judged(string(pod.UID), ctr.Name, name)...)
				}
				told.Given[ctr.Name] = one
			}
		} else {
			free(pod)
		}
		m.Steps = append(m.Steps, told)
	}
	m.State = state()
	return m
}
