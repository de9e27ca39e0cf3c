package session

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"easel/noded/proof"
	"easel/noded/stream/contract"
	easelv1 "easel/pkg/api/easel/v1"
)

var protoStates = map[State]easelv1.State{
	Reserved: easelv1.State_STATE_RESERVED, Starting: easelv1.State_STATE_STARTING, Ready: easelv1.State_STATE_READY,
	Connected: easelv1.State_STATE_CONNECTED, Detached: easelv1.State_STATE_DETACHED, Stopping: easelv1.State_STATE_STOPPING,
	Stopped: easelv1.State_STATE_STOPPED, Failed: easelv1.State_STATE_FAILED,
}

var protoDuties = map[Duty]easelv1.Duty{
	Serving: easelv1.Duty_DUTY_SERVING, Cordoned: easelv1.Duty_DUTY_CORDONED, Draining: easelv1.Duty_DUTY_DRAINING,
}

// OrderOf is what NodeService was asked to have the node do.
func OrderOf(req *easelv1.DrainRequest) Order {
	o := Order{Reason: req.GetReason()}
	for duty, wire := range protoDuties {
		if wire == req.GetDuty() {
			o.Duty = duty
		}
	}
	if req.GetDeadline() != nil {
		o.Deadline = req.GetDeadline().AsTime()
	}
	return o
}

// Proto is the session as NodeService tells it.
func (s *Session) Proto() *easelv1.Session {
	p := &easelv1.Session{
		Id: s.ID, User: s.User, Key: s.Key, State: protoStates[s.State], Reason: s.Reason, Created: stamp(s.Created),
		Image: s.Image, Class: s.Class, Gpu: s.GPU.ID, ContainerId: s.ID, XSocket: s.Paths.XSocket, XCookie: s.Paths.XCookie,
		Cgroup: s.Paths.Cgroup, Volume: s.Paths.Home, UdpPort: uint32(s.UDPPort), WindowMs: s.WindowMS,
		GimpRestarts: s.GIMPRestarts, StreamerRestarts: s.StreamerRestarts, Viewers: uint32(s.Health.Viewers), Path: s.Health.Path,
		Expires: stamp(s.Expires), Degraded: s.Health.Degraded, Opencl: s.Health.OpenCL.String(), Warm: s.Warmth != Cold, Warmth: s.Warmth.String(), Intent: s.Intent,
		Notice: s.Notice.Text, NoticeUntil: stamp(s.Notice.Until),
		Pids: &easelv1.Pids{Streamer: int32(s.Pids.Streamer), Init: int32(s.Pids.Init), X: int32(s.Pids.X), Gimp: int32(s.Pids.GIMP)},
	}
	if s.Health.Path == contract.PathDirect || s.Health.Path == contract.PathRelay {
		p.Encoder = s.Health.Encoder
	}
	for _, t := range s.Times {
		p.Times = append(p.Times, &easelv1.StateTime{State: protoStates[t.State], At: stamp(t.At)})
	}
	return p
}

// Proto is the status as NodeService tells it.
func (s *Status) Proto() *easelv1.StatusResponse {
	return &easelv1.StatusResponse{
		Encoders: protoEncoders(s.Encoders),
		Duty:     protoDuties[s.Order.Duty], DrainDeadline: stamp(s.Order.Deadline), Isolated: s.Isolated,
		Name: s.Name, Version: s.Version, Capacity: uint32(s.Capacity), Used: uint32(s.Used), Draining: s.Draining,
		FullReason: s.Full, Degraded: s.Degraded, Images: s.Images,
	}
}

func protoEncoders(all []proof.Proof) []*easelv1.EncoderProof {
	var out []*easelv1.EncoderProof
	for _, p := range all {
		out = append(out, &easelv1.EncoderProof{
			Format: p.Format, Encoder: p.Encoder, Card: p.Card, Proven: p.Proven(), Why: p.Why(), Decoder: p.Decoder,
			Decibels: p.PSNR, Levels: uint32(p.Worst), Milliseconds: p.MS,
		})
	}
	return out
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
