// Terraform's kubernetes provider without Terraform: each resource is planned, applied, read, changed and destroyed by the
// provider's own code. A plan that isn't empty after an apply is a difference that users would see at each run.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/hashicorp/terraform-plugin-sdk/v2/terraform"
	"github.com/hashicorp/terraform-provider-kubernetes/kubernetes"
)

type m = map[string]interface{}
type l = []interface{}

var ctx = context.Background()
var bad = 0

func one(x m) l { return l{x} }

type step struct {
	kind, name string
	first      m
	second     m // null: not changed
}

func meta(name string, more m) l {
	out := m{"name": name, "namespace": "terraform", "labels": m{"a": "b"}}
	for k, v := range more {
		out[k] = v
	}
	return l{out}
}
func cluster(name string) l { return l{m{"name": name, "labels": m{"a": "b"}}} }

func apply(p *schema.Provider, r *schema.Resource, s *terraform.InstanceState, c m) (*terraform.InstanceState, error) {
	d, err := r.Diff(ctx, s, terraform.NewResourceConfigRaw(c), p.Meta())
	if err != nil {
		return s, fmt.Errorf("plan: %w", err)
	}
	if d == nil {
		return s, fmt.Errorf("plan: nothing to do")
	}
	if d.RequiresNew() && s != nil && s.ID != "" {
		return s, fmt.Errorf("plan: would be replaced: %v", d)
	}
	s, diags := r.Apply(ctx, s, d, p.Meta())
	for _, x := range diags {
		if x.Severity == 0 {
			return s, fmt.Errorf("apply: %s %s", x.Summary, x.Detail)
		}
		fmt.Println("     warning:", x.Summary, x.Detail)
	}
	s, diags = r.RefreshWithoutUpgrade(ctx, s, p.Meta())
	if diags.HasError() {
		return s, fmt.Errorf("read: %v", diags)
	}
	if s == nil || s.ID == "" {
		return s, fmt.Errorf("read: it isn't there")
	}
	d, err = r.Diff(ctx, s, terraform.NewResourceConfigRaw(c), p.Meta())
	if err != nil {
		return s, err
	}
	if d != nil && len(d.Attributes) > 0 {
		return s, fmt.Errorf("the plan after isn't empty: %v", d)
	}
	return s, nil
}

func main() {
	p := kubernetes.Provider()
	if d := p.Configure(ctx, terraform.NewResourceConfigRaw(m{"config_path": os.Getenv("KUBECONFIG")})); d.HasError() {
		fmt.Println("FAIL configure", d)
		os.Exit(1)
	}
	pod := func(image string) l {
		return one(m{"container": one(m{"name": "c", "image": image,
			"resources":       one(m{"requests": m{"cpu": "100m", "memory": "64Mi"}, "limits": m{"cpu": "1", "memory": "1Gi"}}),
			"env":             l{m{"name": "A", "value": "b"}},
			"volume_mount":    one(m{"name": "v", "mount_path": "/v"}),
			"readiness_probe": one(m{"http_get": one(m{"path": "/", "port": "80"}), "period_seconds": 5}),
			"port":            one(m{"container_port": 80})}),
			"volume": one(m{"name": "v", "empty_dir": one(m{"size_limit": "1Gi"})})})
	}
	template := func(image string) l { return one(m{"metadata": l{m{"labels": m{"app": "x"}}}, "spec": pod(image)}) }
	selector := one(m{"match_labels": m{"app": "x"}})
	deployment := func(image string, n string) m {
		return m{"metadata": meta("web", nil), "wait_for_rollout": false, "spec": one(m{"replicas": n, "selector": selector, "template": template(image)})}
	}
	steps := []step{
		{"kubernetes_namespace_v1", "terraform", m{"metadata": cluster("terraform")}, m{"metadata": l{m{"name": "terraform", "labels": m{"a": "c"}}}}},
		{"kubernetes_config_map_v1", "cm", m{"metadata": meta("cm", nil), "data": m{"a": "b"}}, m{"metadata": meta("cm", nil), "data": m{"a": "c", "d": "e"}}},
		{"kubernetes_secret_v1", "s", m{"metadata": meta("s", nil), "data": m{"a": "b"}, "type": "Opaque"}, m{"metadata": meta("s", nil), "data": m{"a": "c"}, "type": "Opaque"}},
		{"kubernetes_service_account_v1", "sa", m{"metadata": meta("sa", nil)}, m{"metadata": meta("sa", nil), "image_pull_secret": l{m{"name": "s"}}}},
		{"kubernetes_deployment_v1", "web", deployment("i:1", "1"), deployment("i:2", "2")},
		{"kubernetes_stateful_set_v1", "set", m{"metadata": meta("set", nil), "wait_for_rollout": false, "spec": one(m{"replicas": "1", "service_name": "x", "selector": selector, "template": template("i:1"),
			"volume_claim_template": one(m{"metadata": l{m{"name": "d"}}, "spec": one(m{"access_modes": l{"ReadWriteOnce"}, "resources": one(m{"requests": m{"storage": "1Gi"}})})})})}, nil},
		{"kubernetes_daemon_set_v1", "ds", m{"metadata": meta("ds", nil), "wait_for_rollout": false, "spec": one(m{"selector": selector, "template": template("i:1")})}, nil},
		{"kubernetes_cron_job_v1", "cj", m{"metadata": meta("cj", nil), "spec": one(m{"schedule": "*/5 * * * *", "concurrency_policy": "Forbid", "job_template": one(m{"metadata": l{m{}}, "spec": one(m{"template": one(m{"metadata": l{m{}}, "spec": one(m{"restart_policy": "OnFailure", "container": one(m{"name": "c", "image": "i"})})})})})})}, nil},
		{"kubernetes_job_v1", "j", m{"metadata": meta("j", nil), "wait_for_completion": false, "spec": one(m{"template": one(m{"metadata": l{m{}}, "spec": one(m{"restart_policy": "Never", "container": one(m{"name": "c", "image": "i"})})})})}, nil},
		{"kubernetes_service_v1", "svc", m{"metadata": meta("svc", nil), "spec": one(m{"selector": m{"app": "x"}, "port": one(m{"port": 80, "target_port": "80"})})}, m{"metadata": meta("svc", nil), "spec": one(m{"selector": m{"app": "y"}, "port": one(m{"port": 81, "target_port": "http"}), "type": "NodePort"})}},
		{"kubernetes_ingress_v1", "ing", m{"metadata": meta("ing", nil), "spec": one(m{"rule": one(m{"host": "h.example", "http": one(m{"path": one(m{"path": "/", "path_type": "Prefix", "backend": one(m{"service": one(m{"name": "svc", "port": one(m{"number": 80})})})})})})})}, nil},
		{"kubernetes_network_policy_v1", "np", m{"metadata": meta("np", nil), "spec": one(m{"pod_selector": one(m{"match_labels": m{"app": "x"}}), "policy_types": l{"Ingress"}, "ingress": one(m{"from": one(m{"ip_block": one(m{"cidr": "10.0.0.0/8"})}), "ports": one(m{"port": "80", "protocol": "TCP"})})})}, nil},
		{"kubernetes_horizontal_pod_autoscaler_v2", "hpa", m{"metadata": meta("hpa", nil), "spec": one(m{"min_replicas": 1, "max_replicas": 3, "scale_target_ref": one(m{"kind": "Deployment", "name": "web", "api_version": "apps/v1"}), "metric": one(m{"type": "Resource", "resource": one(m{"name": "cpu", "target": one(m{"type": "Utilization", "average_utilization": 50})})})})}, nil},
		{"kubernetes_pod_disruption_budget_v1", "pdb", m{"metadata": meta("pdb", nil), "spec": one(m{"max_unavailable": "20%", "selector": selector})}, nil},
		{"kubernetes_resource_quota_v1", "rq", m{"metadata": meta("rq", nil), "spec": one(m{"hard": m{"pods": "50", "requests.cpu": "10"}})}, m{"metadata": meta("rq", nil), "spec": one(m{"hard": m{"pods": "60"}})}},
		{"kubernetes_limit_range_v1", "lr", m{"metadata": meta("lr", nil), "spec": one(m{"limit": one(m{"type": "Container", "default": m{"cpu": "2", "memory": "2Gi"}, "max": m{"cpu": "4"}})})}, nil},
		{"kubernetes_role_v1", "role", m{"metadata": meta("role", nil), "rule": one(m{"api_groups": l{""}, "resources": l{"pods"}, "verbs": l{"get"}})}, nil},
		{"kubernetes_role_binding_v1", "rb", m{"metadata": meta("rb", nil), "role_ref": one(m{"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": "role"}), "subject": l{m{"kind": "ServiceAccount", "name": "sa", "namespace": "terraform"}}}, nil},
		{"kubernetes_cluster_role_v1", "tf-cr", m{"metadata": cluster("tf-cr"), "rule": one(m{"api_groups": l{"apps"}, "resources": l{"deployments"}, "verbs": l{"*"}})}, nil},
		{"kubernetes_cluster_role_binding_v1", "tf-crb", m{"metadata": cluster("tf-crb"), "role_ref": one(m{"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tf-cr"}), "subject": l{m{"kind": "User", "name": "u", "api_group": "rbac.authorization.k8s.io"}}}, nil},
		{"kubernetes_storage_class_v1", "tf-sc", m{"metadata": cluster("tf-sc"), "storage_provisioner": "example.com/p", "reclaim_policy": "Retain"}, nil},
		{"kubernetes_persistent_volume_v1", "tf-pv", m{"metadata": cluster("tf-pv"), "spec": one(m{"capacity": m{"storage": "1Gi"}, "access_modes": l{"ReadWriteOnce"}, "storage_class_name": "tf-sc", "persistent_volume_source": one(m{"host_path": one(m{"path": "/tmp/x"})})})}, nil},
		{"kubernetes_persistent_volume_claim_v1", "pvc", m{"metadata": meta("pvc", nil), "wait_until_bound": true, "spec": one(m{"access_modes": l{"ReadWriteOnce"}, "storage_class_name": "tf-sc", "volume_name": "tf-pv", "resources": one(m{"requests": m{"storage": "1Gi"}})})}, nil},
		{"kubernetes_priority_class_v1", "tf-pc", m{"metadata": cluster("tf-pc"), "value": 100}, nil},
		{"kubernetes_validating_webhook_configuration_v1", "tf-vwc", m{"metadata": cluster("tf-vwc"), "webhook": one(m{"name": "w.example.com", "admission_review_versions": l{"v1"}, "failure_policy": "Ignore", "side_effects": "None", "client_config": one(m{"url": "https://w.example.com/"}), "rule": one(m{"api_groups": l{"x.example"}, "api_versions": l{"v1"}, "operations": l{"CREATE"}, "resources": l{"things"}, "scope": "Namespaced"})})}, nil},
		{"kubernetes_endpoints_v1", "ep", m{"metadata": meta("ep", nil), "subset": one(m{"address": one(m{"ip": "10.0.0.4"}), "port": one(m{"name": "http", "port": 80})})}, nil},
		{"kubernetes_endpoint_slice_v1", "eps", m{"metadata": meta("eps", nil), "address_type": "IPv4", "endpoint": one(m{"addresses": l{"10.0.0.5"}, "condition": one(m{"ready": true})}), "port": one(m{"name": "http", "port": "80", "app_protocol": "http"})}, nil},
		{"kubernetes_token_request_v1", "sa", m{"metadata": l{m{"name": "sa", "namespace": "terraform"}}, "spec": one(m{"audiences": l{"api"}})}, nil},
	}
	type made struct {
		r *schema.Resource
		s *terraform.InstanceState
		n string
	}
	var all []made
	for _, x := range steps {
		r := p.ResourcesMap[x.kind]
		if r == nil {
			fmt.Println("none", x.kind)
			continue
		}
		s, err := apply(p, r, nil, x.first)
		if err == nil && x.second != nil {
			s, err = apply(p, r, s, x.second)
		}
		if s != nil && s.ID != "" {
			all = append(all, made{r, s, x.kind})
		}
		if err != nil {
			bad++
			fmt.Println("FAIL", x.kind, err)
			continue
		}
		fmt.Println("ok  ", x.kind, s.ID)
	}
	for i := len(all) - 1; i >= 0; i-- {
		x := all[i]
		s, d := x.r.Apply(ctx, x.s, &terraform.InstanceDiff{Destroy: true}, p.Meta())
		if d.HasError() || (s != nil && s.ID != "") {
			bad++
			fmt.Println("FAIL destroy", x.n, d, s)
		}
	}
	if bad > 0 {
		fmt.Println(bad, "steps failed")
		os.Exit(1)
	}
	fmt.Println("all well")
}
