package cluster

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
)

// The first byte of a user message says which message follows.
const (
	msgRecord    byte = 1 // a CapacityRecord, to be passed on
	msgDirect    byte = 2 // a CapacityRecord, for the receiver alone
	msgHeartbeat byte = 3
	msgAnswer    byte = 4
)

const (
	maxRecord  = 1200 // bytes of one capacity record: with encryption and label it stays below 1400
	maxBeat    = 256  // bytes of a heartbeat or its answer
	maxState   = 8 << 20
	maxRecords = 10000
	// maxAhead bounds how far a sequence number, which starts from the sender's clock, may be ahead of
	// ours: it limits how long a forged record can stand in the way of the true ones.
	maxAhead = 24 * time.Hour
	mebibyte = 1 << 20
)

var errTooLarge = errors.New("the record does not fit one packet")

func encodeCapacity(c *Capacity) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	pb := &easelv1.CapacityRecord{
		Name: c.Name, Seq: c.Seq, Total: uint32(c.Total), Used: uint32(c.Used), Draining: c.Draining, Full: c.Full,
		Images: c.Images, Version: c.Version, AtMs: c.At.UnixMilli(),
	}
	if c.Load != (Load{}) {
		pb.Load = &easelv1.HostLoad{
			Cpus: uint32(c.Load.CPUs), CpuPercent: uint32(math.Round(100 * float64(c.Load.CPU))),
			MemoryTotalMib: uint32(c.Load.MemoryTotal / mebibyte), MemoryFreeMib: uint32(c.Load.MemoryFree / mebibyte),
		}
	}
	for _, r := range c.Classes {
		pb.Classes = append(pb.Classes, &easelv1.ClassRoom{Class: r.Class, Total: uint32(r.Total), Used: uint32(r.Used), Encoders: uint32(r.Encoders)})
	}
	for _, w := range c.Warm {
		pb.Warm = append(pb.Warm, &easelv1.WarmSessions{Image: w.Image, Class: w.Class, Kind: w.Kind, Count: uint32(w.Count)})
	}
	for _, s := range c.Slices {
		pb.Slices = append(pb.Slices, &easelv1.GpuSlices{Profile: s.Profile, Total: uint32(s.Total), Used: uint32(s.Used)})
	}
	for _, g := range c.GPUs {
		pb.Gpus = append(pb.Gpus, &easelv1.GpuModel{Model: g.Model, Count: uint32(g.Count), Unhealthy: uint32(g.Unhealthy), Encoder: g.Encoder})
	}
	buf, err := proto.Marshal(pb)
	if err != nil {
		return nil, err
	}
	if len(buf) > maxRecord {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", errTooLarge, len(buf), maxRecord)
	}
	return buf, nil
}

// decodeCapacity reads one record; it ignores fields that it does not know, so that a newer node may say more.
func decodeCapacity(buf []byte, now time.Time) (*Capacity, error) {
	if len(buf) > maxRecord {
		return nil, fmt.Errorf("decode capacity record: %d bytes, the limit is %d", len(buf), maxRecord)
	}
	var pb easelv1.CapacityRecord
	if err := proto.Unmarshal(buf, &pb); err != nil {
		return nil, fmt.Errorf("decode capacity record: %w", err)
	}
	c := fromProto(&pb)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("decode capacity record: %w", err)
	}
	if err := checkSeq(c.Seq, now); err != nil {
		return nil, fmt.Errorf("decode capacity record of %q: %w", c.Name, err)
	}
	return c, nil
}

func fromProto(pb *easelv1.CapacityRecord) *Capacity {
	load := pb.GetLoad()
	c := &Capacity{
		Name: pb.GetName(), Seq: pb.GetSeq(), Total: int(pb.GetTotal()), Used: int(pb.GetUsed()), Draining: pb.GetDraining(), Full: pb.GetFull(),
		Images: pb.GetImages(), Version: pb.GetVersion(), At: time.UnixMilli(pb.GetAtMs()),
		Load: Load{
			CPUs: int(load.GetCpus()), CPU: float32(load.GetCpuPercent()) / 100,
			MemoryTotal: uint64(load.GetMemoryTotalMib()) * mebibyte, MemoryFree: uint64(load.GetMemoryFreeMib()) * mebibyte,
		},
	}
	for _, r := range pb.GetClasses() {
		c.Classes = append(c.Classes, Room{Class: r.GetClass(), Total: int(r.GetTotal()), Used: int(r.GetUsed()), Encoders: int(r.GetEncoders())})
	}
	for _, w := range pb.GetWarm() {
		c.Warm = append(c.Warm, Warm{Image: w.GetImage(), Class: w.GetClass(), Kind: w.GetKind(), Count: int(w.GetCount())})
	}
	for _, s := range pb.GetSlices() {
		c.Slices = append(c.Slices, Slice{Profile: s.GetProfile(), Total: int(s.GetTotal()), Used: int(s.GetUsed())})
	}
	for _, g := range pb.GetGpus() {
		c.GPUs = append(c.GPUs, GPU{Model: g.GetModel(), Count: int(g.GetCount()), Unhealthy: int(g.GetUnhealthy()), Encoder: g.GetEncoder()})
	}
	return c
}

func checkSeq(seq uint64, now time.Time) error {
	if seq > uint64(now.Add(maxAhead).UnixMilli()) {
		return fmt.Errorf("number %d is more than %v ahead of our clock", seq, maxAhead)
	}
	return nil
}

// encodeState is a CapacityState of records as they came.
func encodeState(records []string) []byte {
	var buf []byte
	for _, wire := range records {
		buf = protowire.AppendTag(buf, 1, protowire.BytesType)
		buf = protowire.AppendString(buf, wire)
	}
	return buf
}

// recordName is the node's name in an encoded record that begins with it, as those of encodeCapacity do.
func recordName(wire []byte) []byte {
	field, kind, tag := protowire.ConsumeTag(wire)
	if tag < 0 || field != 1 || kind != protowire.BytesType {
		return nil
	}
	name, n := protowire.ConsumeBytes(wire[tag:])
	if n < 0 {
		return nil
	}
	return name
}

// decodeState leaves out records that are known, and drops single ones that are malformed, so that one bad node hides
// no other.
func decodeState(buf []byte, now time.Time, known func(wire []byte) bool) (records []received, bad int, err error) {
	if len(buf) > maxState {
		return nil, 0, fmt.Errorf("decode capacity state: %d bytes, the limit is %d", len(buf), maxState)
	}
	var pb easelv1.CapacityState
	if err := proto.Unmarshal(buf, &pb); err != nil {
		return nil, 0, fmt.Errorf("decode capacity state: %w", err)
	}
	if len(pb.GetRecords()) > maxRecords {
		return nil, 0, fmt.Errorf("decode capacity state: %d records, the limit is %d", len(pb.GetRecords()), maxRecords)
	}
	for _, wire := range pb.GetRecords() {
		if known(wire) {
			continue
		}
		rec, err := decodeCapacity(wire, now)
		if err != nil {
			bad++
			continue
		}
		records = append(records, newReceived(rec, wire, now))
	}
	return records, bad, nil
}

// beat is a heartbeat as it was received.
type beat struct {
	from       string // member name
	seq, trust uint64
	coordinate Coordinate
}

// answer is a coordinator's answer to a heartbeat.
type answer struct {
	from string // member name
	seq  uint64
}

func encodeBeat(role, name string, seq, trust uint64, place []byte) []byte {
	return message(msgHeartbeat, &easelv1.Heartbeat{Role: role, Name: name, Seq: seq, Trust: trust, Coordinate: place})
}

func encodeAnswer(role, name string, seq uint64) []byte {
	return message(msgAnswer, &easelv1.HeartbeatAnswer{Role: role, Name: name, Seq: seq})
}

func message(kind byte, m proto.Message) []byte {
	buf, err := proto.MarshalOptions{}.MarshalAppend([]byte{kind}, m)
	if err != nil { // only text that is not UTF-8 fails, and names are ASCII
		return nil
	}
	return buf
}

func decodeBeat(buf []byte, now time.Time) (beat, error) {
	if len(buf) > maxBeat {
		return beat{}, fmt.Errorf("decode heartbeat: %d bytes, the limit is %d", len(buf), maxBeat)
	}
	var pb easelv1.Heartbeat
	if err := proto.Unmarshal(buf, &pb); err != nil {
		return beat{}, fmt.Errorf("decode heartbeat: %w", err)
	}
	b := beat{from: memberName(pb.GetRole(), pb.GetName()), seq: pb.GetSeq(), trust: pb.GetTrust()}
	if !namePattern.MatchString(pb.GetName()) {
		return beat{}, fmt.Errorf("decode heartbeat: name %q is not a member's name", pb.GetName())
	}
	if err := checkSeq(b.seq, now); err != nil {
		return beat{}, fmt.Errorf("decode heartbeat of %q: %w", b.from, err)
	}
	if len(pb.GetCoordinate()) > 0 {
		var err error
		if b.coordinate, err = decodeCoordinate(pb.GetCoordinate()); err != nil {
			return beat{}, fmt.Errorf("decode heartbeat of %q: %w", b.from, err)
		}
	}
	return b, nil
}

func decodeAnswer(buf []byte, now time.Time) (answer, error) {
	if len(buf) > maxBeat {
		return answer{}, fmt.Errorf("decode answer to a heartbeat: %d bytes, the limit is %d", len(buf), maxBeat)
	}
	var pb easelv1.HeartbeatAnswer
	if err := proto.Unmarshal(buf, &pb); err != nil {
		return answer{}, fmt.Errorf("decode answer to a heartbeat: %w", err)
	}
	a := answer{from: memberName(pb.GetRole(), pb.GetName()), seq: pb.GetSeq()}
	if !namePattern.MatchString(pb.GetName()) {
		return answer{}, fmt.Errorf("decode answer to a heartbeat: name %q is not a member's name", pb.GetName())
	}
	if err := checkSeq(a.seq, now); err != nil {
		return answer{}, fmt.Errorf("decode answer to a heartbeat of %q: %w", a.from, err)
	}
	return a, nil
}
