package main

import (
	"reflect"
	"testing"

	"easel/noded/gpu"
	"easel/noded/gpu/allocate"
	"easel/noded/session"
	"easel/pkg/cluster"
)

func TestClusterIsToldOfCardsAndSlices(t *testing.T) {
	rec := cluster.Capacity{Classes: []cluster.Room{{Class: "none", Total: 8}}}
	tellSlices(&rec, session.Status{
		Rooms:  []allocate.Room{{Class: gpu.Shared, Total: 4, Used: 1, Encoders: 3}},
		Slices: []allocate.Room{{Class: gpu.Shared, Total: 4, Used: 2}},
		Cards: []gpu.Card{
			{Model: "NVIDIA L40S", Engines: gpu.Engines{Encode: []string{"h264"}}},
			{Model: "NVIDIA A100"},
			{Model: "NVIDIA L40S", Faults: []gpu.Fault{{Code: "lost"}}},
		},
	})
	want := cluster.Capacity{
		Classes: []cluster.Room{{Class: "none", Total: 8}, {Class: gpu.Shared, Total: 4, Used: 1, Encoders: 3}},
		Slices:  []cluster.Slice{{Profile: gpu.Shared, Total: 4, Used: 2}},
		GPUs:    []cluster.GPU{{Model: "NVIDIA L40S", Count: 2, Unhealthy: 1, Encoder: true}, {Model: "NVIDIA A100", Count: 1}},
	}
	if !reflect.DeepEqual(rec, want) {
		t.Errorf("told %+v, want %+v", rec, want)
	}
}
