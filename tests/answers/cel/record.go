// Record runs expressions through cel-go, with the environment that kube-apiserver gives them, and writes down what each was worth: its
// value or error, and its costs before and after. tests/unit/api/expressions compares Kedge's with that, word for word.
//
//	go run . > recorded.jsonl        # by hand, when the expressions or the version of Kubernetes change
//	go test -bench . -run '^$'       # how long the rule of benchmarks/rows/cel takes
//
// A line is an object, which says what `self` is for the lines that follow, or a list:
// [expression, "value" | "error" | "issues" | "program", text, cost when it ran, estimate from, estimate to].
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemacel "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

// The sizes that a schema gives, as the validation of definitions estimates them.
type sizes struct{ root *apiservercel.DeclType }

func (s *sizes) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	if len(element.Path()) == 0 {
		return nil
	}
	at := s.root
	for _, step := range element.Path()[1:] {
		switch step {
		case "@items", "@values":
			at = at.ElemType
		case "@keys":
			at = at.KeyType
		default:
			field, ok := at.Fields[step]
			if !ok {
				return nil
			}
			at = field.Type
		}
		if at == nil {
			return nil
		}
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(at.MaxElements)}
}

func (s *sizes) EstimateCallCost(function, overload string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	return nil
}

// What expressions are compiled in: `self` is anything, or what a schema says.
type setting struct {
	env       *cel.Env
	self      any
	estimator *library.CostEstimator
}

func newSetting(schemaText, selfText string) (*setting, any, any) {
	var self any
	must(json.Unmarshal([]byte(selfText), &self))
	self = whole(self)
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	options := environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0)}
	s := &setting{self: self, estimator: &library.CostEstimator{}}
	var schemaJSON any
	if schemaText == "" {
		options.EnvOptions = []cel.EnvOption{cel.Variable("self", cel.DynType)}
	} else {
		must(json.Unmarshal([]byte(schemaText), &schemaJSON))
		var v1 apiextensionsv1.JSONSchemaProps
		must(json.Unmarshal([]byte(schemaText), &v1))
		var internal apiextensions.JSONSchemaProps
		must(apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&v1, &internal, nil))
		structural, err := schema.NewStructural(&internal)
		must(err)
		declared := model.SchemaDeclType(structural, false).MaybeAssignTypeName("selfType")
		options.EnvOptions = []cel.EnvOption{cel.Variable("self", declared.CelType())}
		options.DeclTypes = []*apiservercel.DeclType{declared}
		s.estimator.SizeEstimator = &sizes{declared}
		s.self = schemacel.UnstructuredToVal(self, structural)
	}
	extended, err := base.Extend(options)
	must(err)
	s.env = extended.NewExpressionsEnv()
	return s, schemaJSON, self
}

// JSON's numbers as Kubernetes reads them: whole ones are integers.
func whole(v any) any {
	switch x := v.(type) {
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1e15 {
			return int64(x)
		}
	case []any:
		for i := range x {
			x[i] = whole(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = whole(x[k])
		}
	}
	return v
}

func (s *setting) run(expression string) []any {
	ast, issues := s.env.Compile(expression)
	if issues != nil && issues.Err() != nil {
		return []any{expression, "issues", issues.String()}
	}
	program, err := s.env.Program(ast, cel.CostLimit(1000000), cel.CostTracking(s.estimator))
	if err != nil {
		return []any{expression, "program", err.Error()}
	}
	estimate, err := s.env.EstimateCost(ast, s.estimator)
	must(err)
	from, to := strconv.FormatUint(estimate.Min, 10), strconv.FormatUint(estimate.Max, 10)
	out, details, err := program.Eval(map[string]any{"self": s.self})
	var cost uint64
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	if err != nil {
		return []any{expression, "error", err.Error(), cost, from, to}
	}
	return []any{expression, "value", show(out), cost, from, to}
}

// A value as text that tells its kind.
func show(v ref.Val) string {
	switch x := v.(type) {
	case types.Null:
		return "null"
	case types.Bool:
		return strconv.FormatBool(bool(x))
	case types.Int:
		return strconv.FormatInt(int64(x), 10)
	case types.Uint:
		return strconv.FormatUint(uint64(x), 10) + "u"
	case types.Double:
		return fmt.Sprintf("double(%g)", float64(x))
	case types.String:
		return strconv.Quote(string(x))
	case types.Bytes:
		return fmt.Sprintf("bytes(%x)", []byte(x))
	case types.Duration:
		return fmt.Sprintf("duration(%d)", int64(x.Duration))
	case types.Timestamp:
		return "timestamp(" + x.Time.Format(time.RFC3339Nano) + ")"
	case *types.Optional:
		if !x.HasValue() {
			return "none"
		}
		return "some(" + show(x.GetValue()) + ")"
	case *types.Type:
		return "type(" + x.TypeName() + ")"
	case traits.Lister:
		parts := []string{}
		for it := x.Iterator(); it.HasNext() == types.True; {
			parts = append(parts, show(it.Next()))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case traits.Mapper:
		parts := []string{}
		for it := x.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			parts = append(parts, show(key)+": "+show(x.Get(key)))
		}
		sort.Strings(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return v.Type().TypeName()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	random := rand.New(rand.NewSource(1))
	for _, part := range parts(random) {
		s, schemaJSON, self := newSetting(part.schema, part.self)
		must(encoder.Encode(map[string]any{"schema": schemaJSON, "self": self}))
		seen := map[string]bool{}
		for _, expression := range part.expressions {
			if seen[expression] {
				continue
			}
			seen[expression] = true
			first := s.run(expression)
			// What Go's maps put in another order each time is no answer, nor is a panic.
			stable := !strings.Contains(fmt.Sprint(first), "internal error")
			mapped := strings.Contains(expression, "{") || strings.Contains(expression, "self")
			for i := 0; i < 4 && stable && mapped; i++ {
				stable = fmt.Sprint(first) == fmt.Sprint(s.run(expression))
			}
			if stable {
				must(encoder.Encode(first))
			}
		}
	}
}
