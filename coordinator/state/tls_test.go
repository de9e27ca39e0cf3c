package state_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/coordinator/state"
	"easel/coordinator/state/statetest"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/identity"
	"easel/pkg/identity/identitytest"
)

func put(t *testing.T, c *statetest.Coordinator, key string) {
	t.Helper()
	err := c.Update(t.Context(), func(tx state.Tx) error {
		tx.Put("b", key, []byte(key))
		return nil
	})
	if err != nil {
		t.Fatalf("on %s: %v", c.Name, err)
	}
}

func has(t *testing.T, c *statetest.Coordinator, key string) bool {
	t.Helper()
	if err := c.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := false
	_ = c.View(func(tx state.Tx) error {
		found = tx.Get("b", key) != nil
		return nil
	})
	return found
}

func TestCoordinatorsOverMutualTLS(t *testing.T) {
	all := statetest.Start(t, 3)
	for _, c := range all {
		put(t, c, c.Name)
	}
	for _, c := range all {
		c.End()
		for _, other := range all {
			if other != c {
				put(t, other, "without "+c.Name)
			}
		}
		if err := c.Restart(); err != nil {
			t.Fatal(err)
		}
		if !has(t, c, "without "+c.Name) {
			t.Errorf("%s lacks what was written without it", c.Name)
		}
	}
}

// Neither a node, nor a coordinator of another cluster, nor a stranger gets at the state.
func TestOnlyCoordinatorsGetAtTheState(t *testing.T) {
	all := statetest.Start(t, 3)
	addr := all[0].Members()[0].Address
	foreign := identitytest.New(t).Member(identity.RoleCoordinator, "coordinator-1")
	node := all[0].Cluster.Member(identity.RoleNode, "node-a")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for name, m := range map[string]*identity.Member{"a node": node, "another cluster's coordinator": foreign} {
		client := easelv1connect.NewStateServiceClient(m.HTTP(identity.RoleCoordinator, ""), "https://"+addr)
		_, err := client.ReadIndex(ctx, connect.NewRequest(&easelv1.StateReadIndexRequest{}))
		if err == nil {
			t.Errorf("%s may ask", name)
		}
		conn, err := m.Dial(ctx, addr, identity.RoleCoordinator, "", state.Protocol)
		if err != nil {
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%s speaks raft: %v", name, err)
		}
		_ = conn.Close()
	}
	peer := all[1].Member.HTTP(identity.RoleCoordinator, "")
	defer peer.CloseIdleConnections()
	_, err := easelv1connect.NewStateServiceClient(peer, "https://"+addr).Attend(ctx, connect.NewRequest(&easelv1.StateAttendRequest{Id: all[2].Name + "#x", Address: "127.0.0.1:1"}))
	if connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("one attends for another: %v", err)
	}
	resp, err := http.Post("http://"+addr+"/easel.v1.StateService/ReadIndex", "application/json", strings.NewReader("{}"))
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("a stranger may ask")
		}
	}
}
