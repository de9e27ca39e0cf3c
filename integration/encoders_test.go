package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/integration/browser"
	easelv1 "easel/pkg/api/easel/v1"
)

// encodersAre waits until the node has tried all encoders, of which those with a reason in failed must have failed for it.
func (w *world) encodersAre(t *testing.T, failed map[string]string) *easelv1.StatusResponse {
	t.Helper()
	var status *easelv1.StatusResponse
	eventually(t, 2*time.Minute, "every encoder is tried", func() error {
		resp, err := w.node.Status(t.Context(), connect.NewRequest(&easelv1.StatusRequest{}))
		if err != nil {
			return err
		}
		status = resp.Msg
		if n := len(status.GetEncoders()); n != 6 {
			return fmt.Errorf("%d of 6 were", n)
		}
		return nil
	})
	for _, e := range status.GetEncoders() {
		why, bad := failed[e.GetFormat()]
		if e.GetProven() == bad || e.GetWhy() != why {
			t.Errorf("an encoder is told as %v, want it to fail for %q", e, why)
		}
		if !bad && (e.GetDecoder() == "" || e.GetDecibels() < 30 || e.GetLevels() > 8) {
			t.Errorf("a proof is told as %v", e)
		}
	}
	return status
}

// The node proves all encoders when it starts, remembers it, and says so.
func TestNodeProvesItsEncoders(t *testing.T) {
	w := get(t)
	for _, d := range w.encodersAre(t, nil).GetDegraded() {
		if strings.Contains(d, "encoder") {
			t.Errorf("the node is degraded: %s", d)
		}
	}
	if out, err := w.stack.NodedCLI(t.Context(), "status"); err != nil || !strings.Contains(out, "encoder h264-444: proven, x264 (software) decoded by libavcodec") {
		t.Errorf("noded status: %v: %s", err, out)
	}
	metrics := w.metrics(t)
	for _, format := range []string{"h264", "h264-444", "vp9", "vp9-444", "av1", "av1-444"} {
		if line := fmt.Sprintf("easel_encoder_proven{card=\"\",format=%q,kind=\"x264\"} 1\n", format); !strings.Contains(metrics, line) {
			t.Errorf("the node's metrics have no %s", line)
		}
	}
	if err := w.stack.Noded.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.stack.Noded.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.encodersAre(t, nil)
	if log := w.stack.Noded.LogTail(200); strings.Count(log, "before=true") < 6 {
		t.Errorf("after a restart they were proven again:\n%s", log)
	}
}

// A node whose H.264 comes out wrong offers none: browsers get VP9, and the artist, the operator and the metrics are told why.
func TestEncoderThatFailsItsProofIsNotOffered(t *testing.T) {
	w := get(t)
	path := w.stack.NodedConfigPath()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(w.stack.BinDir, "streamer")
	dir, err := os.MkdirTemp("", "easel-false-streamer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	script := filepath.Join(dir, "streamer")
	// It is a streamer but for its proof: what it says of H.264 is what a codec says that makes everything green.
	text := `#!/bin/sh
case "$*" in
*"--format h264"*)
	for format; do :; done
	echo '{"kind":"x264","ok":false,"libraries":[],"formats":[{"format":"'$format'","encoder":"x264 (software)","ms":1,"worst":0,"error":"all of it is green"}],"error":"all of it is green"}'
	exit 1;;
esac
exec ` + real + ` "$@"
`
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	restart := func(ctx context.Context, config string) error {
		if err := w.stack.Noded.Stop(ctx); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			return err
		}
		return w.stack.Noded.Start(ctx)
	}
	t.Cleanup(func() {
		if err := restart(context.Background(), string(before)); err != nil {
			t.Errorf("back as it was: %v", err)
		}
	})
	changed := strings.Replace(string(before), real, script, 1)
	if changed == string(before) {
		t.Fatalf("the configuration does not name %s:\n%s", real, before)
	}
	if err := restart(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if err := w.stack.AwaitNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	const why = "all of it is green"
	status := w.encodersAre(t, map[string]string{"h264": why, "h264-444": why})
	if text := strings.Join(status.GetDegraded(), "\n"); !strings.Contains(text, "not offered, as they failed their proof: h264: "+why) || !strings.Contains(text, "apt-get install --reinstall easel-node") {
		t.Errorf("the node is degraded by %q", status.GetDegraded())
	}
	if line := "easel_encoder_proven{card=\"\",format=\"h264\",kind=\"x264\"} 0\n"; !strings.Contains(w.metrics(t), line) {
		t.Errorf("the node's metrics have no %s", line)
	}
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1280, Height: 720})
	if err := p.Until(60*time.Second, "window.easel.stats().codec === 'VP9'"); err != nil {
		t.Errorf("the browser gets another codec: %v", err)
	}
	if d := w.inspect(t, s.ID).GetDegraded(); !strings.Contains(strings.Join(d, "\n"), "codec: no h264: it failed this node's proof: "+why) {
		t.Errorf("the session is degraded by %q", d)
	}
}
