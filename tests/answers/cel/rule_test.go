package main

import (
	"testing"

	"github.com/google/cel-go/cel"
)

const ruleSchema = `{"type":"object","properties":{"replicas":{"type":"integer"},"min":{"type":"integer"},"max":{"type":"integer"},
 "name":{"type":"string","maxLength":63},"ratio":{"type":"number"},
 "ports":{"type":"array","maxItems":10,"items":{"type":"integer"}}}}`
const ruleDocument = `{"replicas":3,"min":1,"max":5,"name":"app","ratio":1.5,"ports":[80,443,8080,8443,9090,9091,9092,9093,9094,9095]}`
const rule = "self.replicas >= self.min && self.replicas <= self.max && self.min > 0 && self.name != 'x' && self.ratio < 3.0 && " +
	"self.ports.all(p, p > 0)"

func BenchmarkRule(b *testing.B) {
	s, _, _ := newSetting(ruleSchema, ruleDocument)
	ast, issues := s.env.Compile(rule)
	must(issues.Err())
	program, err := s.env.Program(ast, cel.CostLimit(1000000), cel.CostTracking(s.estimator))
	must(err)
	b.ReportAllocs()
	for b.Loop() {
		_, _, err := program.Eval(map[string]any{"self": s.self})
		must(err)
	}
}
