// A collector of traces, made of OpenTelemetry's own protocol: what is told to it stands in a file, a span a line.
//
//	otlp ADDRESS FILE
//
// ADDRESS is host:port, or unix:/path. While FILE.refuse is there it refuses what it is told.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"net"
	"os"
	"strings"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

type receiver struct {
	collector.UnimplementedTraceServiceServer
	file string
	lock sync.Mutex
}

func attributes(all []*common.KeyValue) map[string]any {
	out := map[string]any{}
	for _, a := range all {
		switch v := a.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[a.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[a.Key] = v.IntValue
		case *common.AnyValue_BoolValue:
			out[a.Key] = v.BoolValue
		default:
			out[a.Key] = a.Value.String()
		}
	}
	return out
}

func plain(s *trace.Span, scope string, resource map[string]any) map[string]any {
	events := []map[string]any{}
	for _, e := range s.Events {
		events = append(events, map[string]any{"name": e.Name, "attributes": attributes(e.Attributes)})
	}
	links := []string{}
	for _, l := range s.Links {
		links = append(links, hex.EncodeToString(l.TraceId)+"-"+hex.EncodeToString(l.SpanId))
	}
	return map[string]any{"trace": hex.EncodeToString(s.TraceId), "span": hex.EncodeToString(s.SpanId), "parent": hex.EncodeToString(s.ParentSpanId),
		"name": s.Name, "kind": s.Kind.String(), "nanoseconds": int64(s.EndTimeUnixNano) - int64(s.StartTimeUnixNano),
		"attributes": attributes(s.Attributes), "events": events, "links": links, "status": s.Status.GetCode().String(),
		"state": s.TraceState, "scope": scope, "resource": resource}
}

func (r *receiver) Export(_ context.Context, told *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	if _, err := os.Stat(r.file + ".refuse"); err == nil {
		return nil, errors.New("refused")
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	to, err := os.OpenFile(r.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	lines := json.NewEncoder(to)
	for _, resource := range told.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				if err := lines.Encode(plain(s, scope.Scope.GetName(), attributes(resource.Resource.GetAttributes()))); err != nil {
					return nil, err
				}
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func main() {
	network, address := "tcp", os.Args[1]
	if path, is := strings.CutPrefix(address, "unix:"); is {
		network, address = "unix", path
	}
	at, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, &receiver{file: os.Args[2]})
	log.Fatal(server.Serve(at))
}
