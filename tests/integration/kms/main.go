// A KMS plugin of version 2, made of the module that such plugins are made of. Its "encryption" hides nothing: what it is
// told lies open in what it answers, so that a test can see it.
//
//	kms SOCKET FOLDER
//
// FOLDER/key-id names the key that it writes with, FOLDER/healthz is what it says of itself (absent: ok), and
// FOLDER/refuse, when there, what it answers to each Decrypt. FOLDER/calls gets a line for each call.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/kms/pkg/service"
)

const mask = 0x5a

type plugin struct{ folder string }

func (p *plugin) text(name, otherwise string) string {
	content, err := os.ReadFile(filepath.Join(p.folder, name))
	if err != nil {
		return otherwise
	}
	return strings.TrimSpace(string(content))
}

func (p *plugin) note(format string, arguments ...any) {
	log, err := os.OpenFile(filepath.Join(p.folder, "calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer log.Close()
	fmt.Fprintf(log, format+"\n", arguments...)
}

func masked(text []byte) []byte {
	out := make([]byte, len(text))
	for i, b := range text {
		out[i] = b ^ mask
	}
	return out
}

func (p *plugin) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: p.text("healthz", "ok"), KeyID: p.text("key-id", "1")}, nil
}

func (p *plugin) Encrypt(_ context.Context, uid string, plain []byte) (*service.EncryptResponse, error) {
	key := p.text("key-id", "1")
	p.note("encrypt %s", key)
	return &service.EncryptResponse{Ciphertext: masked(plain), KeyID: key,
		Annotations: map[string][]byte{"key.plugin.example.com": []byte(key)}}, nil
}

func (p *plugin) Decrypt(_ context.Context, uid string, r *service.DecryptRequest) ([]byte, error) {
	p.note("decrypt %s", r.KeyID)
	if why := p.text("refuse", ""); why != "" {
		return nil, status.Error(codes.FailedPrecondition, why)
	}
	if string(r.Annotations["key.plugin.example.com"]) != r.KeyID {
		return nil, status.Error(codes.InvalidArgument, "the annotation is another key's")
	}
	return masked(r.Ciphertext), nil
}

func main() {
	os.Remove(os.Args[1])
	if err := service.NewGRPCService(os.Args[1], 5*time.Second, &plugin{os.Args[2]}).ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
