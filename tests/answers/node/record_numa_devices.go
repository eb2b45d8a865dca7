// For record_numa.go: a file of a copy of k8s.io/kubernetes/pkg/kubelet/cm/devicemanager.
package devicemanager

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/checkpointmanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
)

type judgeEndpoint struct{}

func (judgeEndpoint) getPreferredAllocation(context.Context, []string, []string, int) (*pluginapi.PreferredAllocationResponse, error) {
	return &pluginapi.PreferredAllocationResponse{}, nil
}
func (judgeEndpoint) allocate(context.Context, []string) (*pluginapi.AllocateResponse, error) {
	return &pluginapi.AllocateResponse{ContainerResponses: []*pluginapi.ContainerAllocateResponse{{}}}, nil
}
func (judgeEndpoint) preStartContainer(context.Context, []string) (*pluginapi.PreStartContainerResponse, error) {
	return nil, nil
}
func (judgeEndpoint) setStopTime(time.Time)        {}
func (judgeEndpoint) isStopped() bool              { return false }
func (judgeEndpoint) stopGracePeriodExpired() bool { return false }
func (judgeEndpoint) socketPath() string           { return "" }

// NewJudge makes a manager of these devices, whose plugins agree to everything.
func NewJudge(numa []int, store topologymanager.Store, dir string, active func() []*v1.Pod, all ResourceDeviceInstances) *ManagerImpl {
	checkpoints, err := checkpointmanager.NewCheckpointManager(dir)
	if err != nil {
		panic(err)
	}
	m := &ManagerImpl{
		checkpointdir: dir, endpoints: map[string]endpointInfo{}, allDevices: all,
		healthyDevices: map[string]sets.Set[string]{}, unhealthyDevices: map[string]sets.Set[string]{},
		allocatedDevices: map[string]sets.Set[string]{}, podDevices: newPodDevices(), checkpointManager: checkpoints,
		numaNodes: numa, topologyAffinityStore: store, devicesToReuse: PodReusableDevices{},
		activePods: active, sourcesReady: &sourcesReadyStub{},
	}
	for name, devices := range all {
		m.endpoints[name] = endpointInfo{e: judgeEndpoint{}}
		m.healthyDevices[name] = sets.New[string]()
		for id := range devices {
			m.healthyDevices[name].Insert(id)
		}
	}
	return m
}

// Judged tells which devices a container has.
func (m *ManagerImpl) Judged(uid, container, resource string) []string {
	return sets.List(m.podDevices.containerDevices(uid, container, resource))
}
