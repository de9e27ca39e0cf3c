package gpu_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"easel/noded/gpu/nvmltest"
)

func TestMetrics(t *testing.T) {
	host, mock := onMock(nvmltest.H100(), nvmltest.L40S())
	defer host.Close()
	mock.Cards[1].Processes(nvmltest.Process{PID: os.Getpid(), Memory: 1 << 30, GI: -1, CI: -1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- host.Run(ctx) }()
	mock.Cards[1].AwaitListener()
	mock.Cards[1].Event(nvml.EventTypeXidCriticalError, 13)
	mock.Cards[1].Event(nvml.EventTypeXidCriticalError, 13)
	mock.Cards[1].Event(nvml.EventTypeXidCriticalError, 79)
	until(t, host, "an XID error", faulty(1, "xid"))
	cancel()
	<-done
	mock.Cards[0].Lose()
	host.Refresh(t.Context())
	registry := prometheus.NewPedanticRegistry()
	host.Register(registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	lost, well := mock.Cards[0].UUID, mock.Cards[1].UUID
	for metric, want := range map[string]float64{
		"easel_gpu_fault card=" + lost + " code=lost":              1,
		"easel_gpu_xid_total card=" + well + " xid=13":             2,
		"easel_gpu_memory_used_bytes card=" + well:                 1 << 30,
		"easel_gpu_memory_bytes card=" + lost:                      80 << 30,
		"easel_gpu_temperature_celsius card=" + well:               40,
		"easel_gpu_cards model=NVIDIA L40S state=faulty":           1,
		"easel_gpu_cards model=NVIDIA H100 80GB HBM3 state=faulty": 1,
	} {
		if got, ok := find(families, metric); !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", metric, got, ok, want)
		}
	}
	// What was not asked is not told.
	for _, metric := range []string{"easel_gpu_memory_used_bytes card=" + lost, "easel_gpu_fault card=" + well + " code=lost", "easel_gpu_use_ratio card=" + lost} {
		if got, ok := find(families, metric); ok {
			t.Errorf("%s is %v", metric, got)
		}
	}
}

func find(families []*dto.MetricFamily, metric string) (float64, bool) {
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := []string{f.GetName()}
			for _, l := range m.GetLabel() {
				name = append(name, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(name[1:])
			if strings.Join(name, " ") == metric {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true
			}
		}
	}
	return 0, false
}
