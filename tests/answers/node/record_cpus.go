// Records which CPUs the kubelet's static CPU manager chooses, over random machines: cpus.table.
//
//	go run . SEED >> cpus.table        beside a copy of k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/cpu_assignment.go
//	                                   with "package main", in a module that requires k8s.io/kubernetes
//
// A line "T socket.numa.core.cache …" is a machine, by CPU; what follows are questions about it: which CPUs are free, how
// many are asked for, how, and what was chosen ("!" and the error else). Some questions the kubelet never answers: end
// the run by a timeout, and go on with the next seed.
package main

import (
	"bufio"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	"k8s.io/utils/cpuset"
)

func main() {
	seed, _ := strconv.ParseInt(os.Args[1], 10, 64)
	r := rand.New(rand.NewSource(seed))
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	logger := klog.Background()
	for t := 0; t < 12; t++ {
		sockets := 1 + r.Intn(3)
		perSocket := []int{1, 1, 2, 3, 4}[r.Intn(5)]
		numas := sockets * perSocket
		socketsPerNUMA := 1
		if sockets > 1 && perSocket == 1 && r.Intn(4) == 0 {
			socketsPerNUMA = sockets
			numas = 1
		}
		coresPerNUMA := 1 + r.Intn(6)
		if socketsPerNUMA > 1 {
			coresPerNUMA = sockets * (1 + r.Intn(3))
		}
		threads := 1 + r.Intn(2)
		uncoresPerNUMA := 1
		if coresPerNUMA%2 == 0 && r.Intn(2) == 0 {
			uncoresPerNUMA = 2
		}
		if coresPerNUMA%3 == 0 && r.Intn(3) == 0 {
			uncoresPerNUMA = 3
		}
		cores := numas * coresPerNUMA
		n := cores * threads
		details := topology.CPUDetails{}
		interleaved := r.Intn(2)
		for cpu := 0; cpu < n; cpu++ {
			var core int
			if interleaved == 1 {
				core = cpu % cores
			} else {
				core = cpu / threads
			}
			numa := core / coresPerNUMA
			socket := numa / perSocket
			if socketsPerNUMA > 1 {
				socket = (core % coresPerNUMA) * sockets / coresPerNUMA
			}
			uncore := numa*uncoresPerNUMA + (core%coresPerNUMA)*uncoresPerNUMA/coresPerNUMA
			details[cpu] = topology.CPUInfo{NUMANodeID: numa, SocketID: socket, CoreID: core, UncoreCacheID: uncore}
		}
		topo := &topology.CPUTopology{NumCPUs: n, NumCores: cores, NumUncoreCache: numas * uncoresPerNUMA, NumSockets: sockets, NumNUMANodes: numas, CPUDetails: details}
		fmt.Fprint(out, "T")
		for cpu := 0; cpu < n; cpu++ {
			d := details[cpu]
			fmt.Fprintf(out, " %d.%d.%d.%d", d.SocketID, d.NUMANodeID, d.CoreID, d.UncoreCacheID)
		}
		fmt.Fprintln(out)
		for q := 0; q < 24; q++ {
			var free []int
			density := 0.3 + 0.7*r.Float64()
			for cpu := 0; cpu < n; cpu++ {
				if r.Float64() < density {
					free = append(free, cpu)
				}
			}
			if r.Intn(4) == 0 { // whole cores
				free = nil
				for core := 0; core < cores; core++ {
					if r.Float64() < density {
						free = append(free, details.CPUsInCores(core).List()...)
					}
				}
			}
			available := cpuset.New(free...)
			want := 1 + r.Intn(n)
			if r.Intn(3) > 0 && available.Size() > 0 {
				want = 1 + r.Intn(available.Size())
			}
			strategy := CPUSortingStrategyPacked
			mode := "packed"
			if r.Intn(4) == 0 {
				strategy = CPUSortingStrategySpread
				mode = "spread"
			}
			var got cpuset.CPUSet
			var err error
			switch r.Intn(3) {
			case 0:
				got, err = takeByTopologyNUMAPacked(logger, topo, available, want, strategy, false)
			case 1:
				mode += "+uncore"
				got, err = takeByTopologyNUMAPacked(logger, topo, available, want, strategy, true)
			case 2:
				group := []int{1, threads}[r.Intn(2)]
				align := r.Intn(2) == 0
				mode += fmt.Sprintf("+numa%d", group)
				if align {
					mode += "+socket"
				}
				if r.Intn(2) == 0 && want%group != 0 && want > group {
					want -= want % group
				}
				if group > 1 { // torn cores would keep the kubelet's loop going for ever
					free = nil
					for core := 0; core < cores; core++ {
						if r.Float64() < density {
							free = append(free, details.CPUsInCores(core).List()...)
						}
					}
					available = cpuset.New(free...)
				}
				got, err = takeByTopologyNUMADistributed(logger, topo, available, want, group, strategy, align)
			}
			answer := got.String()
			if err != nil {
				answer = "!" + strings.ReplaceAll(err.Error(), "\n", " ")
			}
			if available.Size() == 0 {
				continue
			}
			fmt.Fprintf(out, "%s;%d;%s;%s\n", available.String(), want, mode, answer)
			out.Flush()
		}
	}
}
