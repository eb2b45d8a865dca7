// The other end of peer.cc: remotedialer itself, with the same commands.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"
)

func server(tunnelAddress, controlAddress string) error {
	handler := remotedialer.New(func(*http.Request) (string, bool, error) { return "edge-1", true, nil },
		remotedialer.DefaultErrorWriter)
	go http.ListenAndServe(tunnelAddress, handler)
	listener, err := net.Listen("tcp", controlAddress)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			reader := bufio.NewReader(conn)
			line, err := reader.ReadString('\n')
			if err != nil {
				return
			}
			target, err := handler.Dialer("edge-1")(context.Background(), "tcp", strings.TrimSpace(line))
			if err != nil {
				return
			}
			defer target.Close()
			done := make(chan struct{}, 2)
			go func() { io.Copy(target, reader); done <- struct{}{} }()
			go func() { io.Copy(conn, target); done <- struct{}{} }()
			<-done
		}()
	}
}

func client(address string) error {
	for {
		remotedialer.ConnectToProxy(context.Background(), "ws://"+address+"/v1-k3s/connect", nil,
			func(proto, address string) bool { return !strings.HasSuffix(address, ":1") },
			&websocket.Dialer{}, nil)
		time.Sleep(200 * time.Millisecond)
	}
}

func main() {
	var err error
	if len(os.Args) == 4 && os.Args[1] == "server" {
		err = server(os.Args[2], os.Args[3])
	} else if len(os.Args) == 3 && os.Args[1] == "client" {
		err = client(os.Args[2])
	} else {
		err = fmt.Errorf("peer server <tunnel address> <control address> | peer client <server address>")
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
