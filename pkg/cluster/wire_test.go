package cluster

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
)

// now is what decoders are told that the time is.
var now = time.UnixMilli(1_800_000_000_000)

// busy is a record with everything in it, of a node with two GPUs.
func busy() Capacity {
	return Capacity{
		Name: "gpu-17.fra", Seq: uint64(now.UnixMilli()), Total: 24, Used: 17, Full: "", Version: "0.3.1", At: now,
		Images: []string{"registry.example.org/easel/gimp:3.0.4-2", "registry.example.org/easel/gimp:3.0.4-3"},
		Classes: []Room{
			{Class: "none", Total: 16, Used: 12},
			{Class: "1g.10gb", Total: 14, Used: 9},
			{Class: "3g.40gb", Total: 2, Used: 1},
			{Class: "shared", Total: 4, Used: 1, Encoders: 3},
		},
		Warm:   []Warm{{Class: "none", Kind: "ready", Count: 3}, {Class: "none", Kind: "desktop", Count: 2}, {Class: "1g.10gb", Kind: "ready", Count: 1}},
		Slices: []Slice{{Profile: "1g.10gb", Total: 14, Used: 9}, {Profile: "3g.40gb", Total: 2, Used: 1}},
		GPUs: []GPU{
			{Model: "NVIDIA H100 80GB HBM3", Count: 2, Unhealthy: 1},
			{Model: "NVIDIA RTX PRO 6000 Blackwell Server Edition", Count: 1, Encoder: true},
		},
		Load: Load{CPUs: 64, CPU: 0.37, MemoryTotal: 512 << 30, MemoryFree: 207 << 30},
	}
}

func TestRecordSurvivesTheWire(t *testing.T) {
	rec := busy()
	buf, err := encodeCapacity(&rec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeCapacity(buf, now)
	if err != nil || !reflect.DeepEqual(*got, rec) {
		t.Errorf("%+v became %+v, %v", rec, got, err)
	}
}

func TestDecodeCapacityRefuses(t *testing.T) {
	many := make([]string, maxKinds+1)
	for what, change := range map[string]func(*easelv1.CapacityRecord){
		"no name":                 func(r *easelv1.CapacityRecord) { r.Name = "" },
		"a path for a name":       func(r *easelv1.CapacityRecord) { r.Name = "../evil" },
		"no number":               func(r *easelv1.CapacityRecord) { r.Seq = 0 },
		"from tomorrow":           func(r *easelv1.CapacityRecord) { r.Seq = uint64(now.Add(25 * time.Hour).UnixMilli()) },
		"the last number of all":  func(r *easelv1.CapacityRecord) { r.Seq = math.MaxUint64 },
		"huge":                    func(r *easelv1.CapacityRecord) { r.Total = math.MaxUint32 },
		"huge use":                func(r *easelv1.CapacityRecord) { r.Used = maxSlots + 1 },
		"control characters":      func(r *easelv1.CapacityRecord) { r.Full = "\x1b[2J" },
		"a long reason":           func(r *easelv1.CapacityRecord) { r.Full = strings.Repeat("x", maxText+1) },
		"too many images":         func(r *easelv1.CapacityRecord) { r.Images = many },
		"image with a line break": func(r *easelv1.CapacityRecord) { r.Images = []string{"a\nb"} },
		"huge class": func(r *easelv1.CapacityRecord) {
			r.Classes = []*easelv1.ClassRoom{{Class: "none", Total: maxSlots + 1}}
		},
		"class's control chars": func(r *easelv1.CapacityRecord) { r.Classes = []*easelv1.ClassRoom{{Class: "\x00"}} },
		"more encoders than room": func(r *easelv1.CapacityRecord) {
			r.Classes = []*easelv1.ClassRoom{{Class: "shared", Total: 4, Used: 2, Encoders: 3}}
		},
		"encoders of a class that is over full": func(r *easelv1.CapacityRecord) {
			r.Classes = []*easelv1.ClassRoom{{Class: "shared", Total: 2, Used: 4, Encoders: 1}}
		},
		"huge encoders": func(r *easelv1.CapacityRecord) {
			r.Classes = []*easelv1.ClassRoom{{Class: "shared", Total: 4, Encoders: math.MaxUint32}}
		},
		"too many cards":      func(r *easelv1.CapacityRecord) { r.Gpus = []*easelv1.GpuModel{{Model: "H100", Count: maxSlots + 1}} },
		"more ill than cards": func(r *easelv1.CapacityRecord) { r.Gpus = []*easelv1.GpuModel{{Model: "H100", Count: 2, Unhealthy: 3}} },
		"a model of a novel": func(r *easelv1.CapacityRecord) {
			r.Gpus = []*easelv1.GpuModel{{Model: strings.Repeat("x", maxModel+1), Count: 1}}
		},
		"model's control chars": func(r *easelv1.CapacityRecord) { r.Gpus = []*easelv1.GpuModel{{Model: "\x1b[2J", Count: 1}} },
		"too many models":       func(r *easelv1.CapacityRecord) { r.Gpus = slices.Repeat([]*easelv1.GpuModel{{Model: "x"}}, maxKinds+1) },
		"huge warmth":           func(r *easelv1.CapacityRecord) { r.Warm = []*easelv1.WarmSessions{{Count: math.MaxUint32}} },
		"long kind":             func(r *easelv1.CapacityRecord) { r.Warm = []*easelv1.WarmSessions{{Kind: strings.Repeat("x", 64)}} },
		"huge slices": func(r *easelv1.CapacityRecord) {
			r.Slices = []*easelv1.GpuSlices{{Profile: "1g", Used: math.MaxUint32}}
		},
		"busier than can be":      func(r *easelv1.CapacityRecord) { r.Load.CpuPercent = 101 },
		"more free than there is": func(r *easelv1.CapacityRecord) { r.Load.MemoryFreeMib = r.Load.MemoryTotalMib + 1 },
		"memory of a planet": func(r *easelv1.CapacityRecord) {
			r.Load.MemoryTotalMib = math.MaxUint32
		},
		"too many CPUs":      func(r *easelv1.CapacityRecord) { r.Load.Cpus = math.MaxUint32 },
		"version of a novel": func(r *easelv1.CapacityRecord) { r.Version = strings.Repeat("v", maxVersion+1) },
		"more than a packet": func(r *easelv1.CapacityRecord) { r.Images = slices.Repeat([]string{strings.Repeat("x", 200)}, 7) },
	} {
		rec := busy()
		good, err := encodeCapacity(&rec)
		if err != nil {
			t.Fatal(err)
		}
		var pb easelv1.CapacityRecord
		if err := proto.Unmarshal(good, &pb); err != nil {
			t.Fatal(err)
		}
		change(&pb)
		buf, err := proto.Marshal(&pb)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeCapacity(buf, now); err == nil {
			t.Errorf("%s: accepted as %+v", what, got)
		}
	}
	for _, bad := range []string{"", "\xff", `{"n":"a","seq":1}`} {
		if got, err := decodeCapacity([]byte(bad), now); err == nil {
			t.Errorf("%q: accepted as %+v", bad, got)
		}
	}
}

func TestFieldOfANewerVersionHidesNoRecord(t *testing.T) {
	rec := busy()
	buf, err := encodeCapacity(&rec)
	if err != nil {
		t.Fatal(err)
	}
	buf = protowire.AppendTag(buf, 999, protowire.BytesType)
	buf = protowire.AppendString(buf, "something new")
	if got, err := decodeCapacity(buf, now); err != nil || got.Used != rec.Used {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFitKeepsWhatCountsMost(t *testing.T) {
	rec := busy()
	for range 100 {
		rec.Images = append(rec.Images, strings.Repeat("i", maxImage))
		rec.Warm = append(rec.Warm, Warm{Image: strings.Repeat("w", maxImage)})
		rec.GPUs = append(rec.GPUs, GPU{Model: strings.Repeat("m", maxModel), Count: 1})
	}
	got, left, err := fit(rec)
	if err != nil {
		t.Fatal(err)
	}
	if left == 0 || len(got.Images) != 0 || len(got.Warm) < 3 || len(got.Classes) != len(rec.Classes) || len(got.Slices) != len(rec.Slices) {
		t.Errorf("left out %d: %d images, %d warm, %d classes, %d slices are there", left, len(got.Images), len(got.Warm), len(got.Classes), len(got.Slices))
	}
}

// The most that a machine is likely to tell: all profiles of an H100 beside other models, a pool of each kind for every class.
func TestRecordOfTheLargestMachineFitsAPacket(t *testing.T) {
	rec := busy()
	rec.Classes, rec.Warm, rec.Slices, rec.GPUs = []Room{{Class: "none", Total: 256, Used: 128}}, nil, nil, nil
	for _, class := range []string{
		"shared", "whole", "1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb",
	} {
		rec.Classes = append(rec.Classes, Room{Class: class, Total: 224, Used: 1, Encoders: 223})
		rec.Slices = append(rec.Slices, Slice{Profile: class, Total: 224, Used: 1})
		rec.Warm = append(rec.Warm, Warm{Class: class, Kind: "ready", Count: 100}, Warm{Class: class, Kind: "desktop", Count: 100})
	}
	for i := range 4 {
		rec.GPUs = append(rec.GPUs, GPU{Model: "NVIDIA RTX PRO 6000 Blackwell Server Edition " + string(rune('a'+i)), Count: 16, Unhealthy: 16, Encoder: true})
	}
	rec.Images, rec.Full = nil, strings.Repeat("x", 80)
	buf, err := encodeCapacity(&rec)
	if err != nil {
		t.Fatalf("%d bytes, %v", len(buf), err)
	}
}

func nothing([]byte) bool { return false }

func TestStateKeepsGoodRecordsBesideBadOnes(t *testing.T) {
	good, err := encodeCapacity(record("a", 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	got, bad, err := decodeState(encodeState([]string{"\xff\xff", string(good), ""}), now, nothing)
	if err != nil || bad != 2 || len(got) != 1 || got[0].rec.Name != "a" {
		t.Errorf("got %+v, %d bad, %v", got, bad, err)
	}
	if got, bad, err := decodeState(nil, now, nothing); err != nil || bad != 0 || len(got) != 0 {
		t.Errorf("an empty state: %v, %d bad, %v", got, bad, err)
	}
	for what, buf := range map[string][]byte{
		"not protobuf":     []byte("\xff"),
		"too many records": encodeState(make([]string, maxRecords+1)),
		"too long":         make([]byte, maxState+1),
	} {
		if _, _, err := decodeState(buf, now, nothing); err == nil {
			t.Errorf("accepted: %s", what)
		}
	}
}

func TestDecodeMessageRefuses(t *testing.T) {
	tomorrow := uint64(now.Add(25 * time.Hour).UnixMilli())
	far := Coordinate{Height: -1, Error: 1}
	for what, msg := range map[string][]byte{
		"nothing":                     nil,
		"an unknown kind":             {200, 1, 2},
		"heartbeat without name":      encodeBeat(RoleNode, "", 1, 1, nil),
		"heartbeat from tomorrow":     encodeBeat(RoleNode, "a", tomorrow, 1, nil),
		"heartbeat from nowhere":      encodeBeat(RoleNode, "a", 1, 1, far.append(nil)),
		"heartbeat with half a place": encodeBeat(RoleNode, "a", 1, 1, make([]byte, 7)),
		"long heartbeat":              encodeBeat(RoleNode, "a", 1, 1, make([]byte, maxBeat)),
		"answer without name":         encodeAnswer(RoleCoordinator, "", 1),
		"answer from tomorrow":        encodeAnswer(RoleCoordinator, "a", tomorrow),
		"half an answer":              encodeAnswer(RoleCoordinator, "a", 1)[:9],
	} {
		if got, err := decodeMessage(msg, now); err == nil {
			t.Errorf("%s: accepted as %+v", what, got)
		}
	}
	place := Coordinate{Height: 0.001, Error: 1}
	want := beat{from: "node:a", seq: 7, trust: 3, coordinate: place}
	if got, err := decodeMessage(encodeBeat(RoleNode, "a", 7, 3, place.append(nil)), now); err != nil || got != want {
		t.Errorf("a heartbeat became %+v, %v", got, err)
	}
	if got, err := decodeMessage(encodeAnswer(RoleCoordinator, "c", 7), now); err != nil || got != (answer{from: "coordinator:c", seq: 7}) {
		t.Errorf("an answer became %+v, %v", got, err)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	rec := busy()
	wire, err := encodeCapacity(&rec)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte{msgRecord}, wire...))
	f.Add(append([]byte{msgDirect}, wire...))
	f.Add(encodeBeat(RoleNode, "a", 7, 3, Coordinate{Error: 1}.append(nil)))
	f.Add(encodeAnswer(RoleCoordinator, "c", 7))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := decodeMessage(in, now)
		if err != nil {
			return
		}
		a, ok := got.(arrived)
		if !ok {
			return
		}
		rec := a.records[0].rec
		out, err := encodeCapacity(rec)
		if err != nil {
			t.Fatalf("decoded %+v, which cannot be encoded: %v", rec, err)
		}
		if again, err := decodeCapacity(out, now); err != nil || again.Name != rec.Name || again.Seq != rec.Seq || !sameRoom(again, rec) || again.Load != rec.Load {
			t.Fatalf("%+v became %+v, %v", rec, again, err)
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	rec := busy()
	wire, err := encodeCapacity(&rec)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encodeState([]string{string(wire), string(wire[:20])}))
	f.Fuzz(func(t *testing.T, in []byte) {
		records, _, err := decodeState(in, now, nothing)
		for _, r := range records {
			if err != nil || r.rec.check() != nil || len(r.wire.Value()) > maxRecord {
				t.Fatalf("accepted %+v with error %v", r, err)
			}
		}
	})
}

// BenchmarkRecord measures the size of a full record and what it costs to read it.
func BenchmarkRecord(b *testing.B) {
	rec := busy()
	wire, err := encodeCapacity(&rec)
	if err != nil {
		b.Fatal(err)
	}
	small := Capacity{Name: "gpu-17", Seq: rec.Seq, Total: 8, Used: 3, Classes: []Room{{Class: "none", Total: 8, Used: 3}}, Load: rec.Load, At: now, Version: "0.3.1"}
	plain, err := encodeCapacity(&small)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := decodeCapacity(wire, now); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(wire)), "bytes")
	b.ReportMetric(float64(len(plain)), "plain-bytes")
	b.ReportMetric(float64(len(encodeBeat(RoleNode, rec.Name, rec.Seq, 12, nil))), "beat-bytes")
}
