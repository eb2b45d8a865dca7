// flannel: a node of flannel's vxlan without a cluster: its own backend, with the leases that standard input tells.
//
//	flannel INTERFACE SUBNET SUBNET6     ("-": none of that family)
//
// Prints the annotations that flannel's kube manager would set on the Node, as one line of JSON, and then takes Nodes (JSON, one a line) as that
// manager takes them.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
)

type node struct {
	Metadata struct{ Annotations map[string]string }
	Spec     struct{ PodCIDRs []string }
}

type manager struct {
	config *subnet.Config
	own    lease.Lease
}

const prefix = "flannel.alpha.coreos.com/"

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (m *manager) GetNetworkConfig(context.Context) (*subnet.Config, error) { return m.config, nil }
func (m *manager) HandleSubnetFile(path string, c *subnet.Config, masq bool, sn ip.IP4Net, sn6 ip.IP6Net, mtu int) error {
	return subnet.WriteSubnetFile(path, c, masq, sn, sn6, mtu)
}

func (m *manager) AcquireLease(_ context.Context, a *lease.LeaseAttrs) (*lease.Lease, error) {
	m.own.Attrs = *a
	told := map[string]string{prefix + "kube-subnet-manager": "true", prefix + "backend-type": a.BackendType}
	// As kube.go has it: of a family that is not used nothing is said.
	if v4, _ := a.BackendData.MarshalJSON(); string(v4) != "null" {
		told[prefix+"backend-data"], told[prefix+"public-ip"] = string(v4), a.PublicIP.String()
	}
	if v6, _ := a.BackendV6Data.MarshalJSON(); string(v6) != "null" {
		told[prefix+"backend-v6-data"], told[prefix+"public-ipv6"] = string(v6), a.PublicIPv6.String()
	}
	fatal(json.NewEncoder(os.Stdout).Encode(told))
	return &m.own, nil
}

func (m *manager) RenewLease(context.Context, *lease.Lease) error { return nil }
func (m *manager) WatchLease(context.Context, ip.IP4Net, ip.IP6Net, chan []lease.LeaseWatchResult) error {
	return nil
}

func (m *manager) WatchLeases(_ context.Context, to chan []lease.LeaseWatchResult) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var n node
		fatal(json.Unmarshal(lines.Bytes(), &n))
		l := lease.Lease{EnableIPv4: m.config.EnableIPv4, EnableIPv6: m.config.EnableIPv6}
		a := n.Metadata.Annotations
		for _, text := range n.Spec.PodCIDRs {
			_, r, err := net.ParseCIDR(text)
			fatal(err)
			if len(r.IP) == net.IPv4len {
				l.Subnet = ip.FromIPNet(r)
			} else {
				l.IPv6Subnet = ip.FromIP6Net(r)
			}
		}
		var err error
		if l.EnableIPv4 {
			l.Attrs.PublicIP, err = ip.ParseIP4(a[prefix+"public-ip"])
			fatal(err)
			l.Attrs.BackendData = json.RawMessage(a[prefix+"backend-data"])
		}
		if l.EnableIPv6 {
			l.Attrs.PublicIPv6, err = ip.ParseIP6(a[prefix+"public-ipv6"])
			fatal(err)
			l.Attrs.BackendV6Data = json.RawMessage(a[prefix+"backend-v6-data"])
		}
		l.Attrs.BackendType = a[prefix+"backend-type"]
		to <- []lease.LeaseWatchResult{{Events: []lease.Event{{Type: lease.EventAdded, Lease: l}}}}
	}
	select {}
}

func (m *manager) CompleteLease(context.Context, *lease.Lease, *sync.WaitGroup) error { return nil }
func (m *manager) GetStoredMacAddresses(context.Context) (string, string)             { return "", "" }
func (m *manager) GetStoredPublicIP(context.Context) (string, string)                 { return "", "" }
func (m *manager) Name() string                                                       { return "stdin" }

func main() {
	i, err := net.InterfaceByName(os.Args[1])
	fatal(err)
	external := &backend.ExternalInterface{Iface: i, IfaceName: i.Name}
	m := &manager{config: &subnet.Config{BackendType: "vxlan", Backend: json.RawMessage(`{"Type":"vxlan"}`)}}
	if os.Args[2] != "-" {
		_, own, err := net.ParseCIDR(os.Args[2])
		fatal(err)
		m.config.EnableIPv4, m.own.EnableIPv4, m.own.Subnet = true, true, ip.FromIPNet(own)
		m.config.Network = ip.IP4Net{IP: ip.FromIPNet(own).IP & 0xffff0000, PrefixLen: 16}
		all, err := ip.GetInterfaceIP4Addrs(i)
		fatal(err)
		external.IfaceAddr, external.ExtAddr = all[0], all[0]
	}
	if os.Args[3] != "-" {
		_, own, err := net.ParseCIDR(os.Args[3])
		fatal(err)
		m.config.EnableIPv6, m.own.EnableIPv6, m.own.IPv6Subnet = true, true, ip.FromIP6Net(own)
		all, err := ip.GetInterfaceIP6Addrs(i)
		fatal(err)
		external.IfaceV6Addr, external.ExtV6Addr = all[0], all[0]
	}
	var wg sync.WaitGroup
	be, err := backend.NewManager(context.Background(), m, external).GetBackend("vxlan")
	fatal(err)
	n, err := be.RegisterNetwork(context.Background(), &wg, m.config)
	fatal(err)
	if len(os.Args) > 4 {
		fatal(m.HandleSubnetFile(os.Args[4], m.config, true, m.own.Subnet, m.own.IPv6Subnet, n.MTU()))
	}
	n.Run(context.Background())
}
