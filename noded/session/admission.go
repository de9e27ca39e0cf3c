package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"easel/noded/gpu/allocate"
)

// uidsPerSession is the size of a session's uid range.
const uidsPerSession = 65536

// Admission is what a node lends to sessions.
type Admission struct {
	Max       int
	Limits    Limits // of each session
	Pin       bool   // sessions to the processors near their card
	UIDBase   uint32 // the first session's; each has 65536 from its own
	PortFirst uint16 // UDP
	PortLast  uint16
	DiskFloor int64 // bytes that must stay free
}

// closed says why the node takes no session at all, however much room it has, a warm one's claim included; nil when it is open.
func (m *Manager) closed() *Refusal {
	return m.duty.refusal()
}

// room says whether the node can take one more session beside those that hold something; nil when it can.
func (m *Manager) room(holding []Record) *Refusal {
	if r := m.closed(); r != nil {
		return r
	}
	holding = slices.DeleteFunc(slices.Clone(holding), func(r Record) bool { return r.lingers() })
	if len(holding) >= m.settings().admission.Max {
		return &Refusal{"full", fmt.Sprintf("this node has its %d sessions already: end one, or raise sessions.max", m.settings().admission.Max)}
	}
	if r := m.memoryFor(holding); r != nil {
		return r
	}
	if free, err := m.host.DiskFree(); err != nil {
		return &Refusal{"disk", fmt.Sprintf("this node cannot tell its free disk space: %v", err)}
	} else if free < m.settings().admission.DiskFloor {
		return &Refusal{"disk", fmt.Sprintf("this node has %d MiB of disk left and keeps %d: free some in its state directory", free>>20, m.settings().admission.DiskFloor>>20)}
	}
	return nil
}

// roomFor says whether the node can take a session like r beside those that hold something; nil when it can.
func (m *Manager) roomFor(holding []Record, r Record, encoder string) *Refusal {
	if refusal := m.closed(); refusal != nil {
		return refusal
	}
	if _, refusal := m.chooseSlice(holding, r, encoder); refusal != nil {
		return refusal
	}
	return m.room(holding)
}

// makeRoom is roomFor, with warm sessions giving way: an artist who waits weighs more than one who may come, and nothing gives way to a warm
// one. It names those that must end for it, none of which ends in vain. They count no more from now on: for the moment that their end takes
// the node holds one session more than it lends, and the new one waits for a slice that one of them still has.
func (m *Manager) makeRoom(holding []Record, r Record, encoder string) (leaving []Record, refusal *Refusal) {
	for {
		refusal = m.roomFor(holding, r, encoder)
		if refusal == nil || r.pooled() {
			return leaving, refusal
		}
		var i int
		switch refusal.Reason {
		case "full", "memory":
			i = leastUseful(holding, func(Record) bool { return true })
		case allocate.LacksSlice, allocate.LacksEncoder:
			i = leastUseful(holding, func(l Record) bool {
				_, still := m.chooseSlice(without(holding, []Record{l}), r, encoder)
				return l.GPU.ID != "" && still == nil
			})
		default:
			return nil, refusal
		}
		if i < 0 {
			return nil, refusal
		}
		leaving = append(leaving, holding[i])
		holding = slices.Delete(slices.Clone(holding), i, i+1)
	}
}

// leastUseful is the warm session that gives way first, of those whose end helps: one that is not up yet, then the oldest; -1 when there is
// none.
func leastUseful(all []Record, helps func(Record) bool) int {
	best := -1
	for i, r := range all {
		if !r.pooled() || r.State.Ended() || !helps(r) {
			continue
		}
		if best < 0 || r.State != Ready && all[best].State == Ready {
			best = i
		}
	}
	return best
}

// memoryFor counts what living sessions may still take up to their limits, not only what they take now.
func (m *Manager) memoryFor(holding []Record) *Refusal {
	available, err := m.host.MemAvailable()
	if err != nil {
		return &Refusal{"memory", fmt.Sprintf("this node cannot tell its free memory: %v", err)}
	}
	need := m.settings().admission.Limits.Memory
	for _, r := range holding {
		used := int64(0)
		if u, err := m.containers.Usage(m.places.of(r.ID).Cgroup); err == nil {
			used = u.Memory
		}
		need += max(0, r.Limits.Memory-used)
	}
	if need > available {
		return &Refusal{"memory", fmt.Sprintf("this node has %d MiB of memory left, and %d could be needed with one more session: end one, or lower sessions.memory", available>>20, need>>20)}
	}
	return nil
}

// imageFor resolves the image that a request names.
func (m *Manager) imageFor(ctx context.Context, ref string) (name, digest string, err error) {
	if ref == "" {
		ref = m.settings().Image
	}
	if !imagePattern.MatchString(ref) {
		return "", "", fmt.Errorf("image %q: %w: want a reference such as %s", words(ref, 100), ErrInvalid, m.settings().Image)
	}
	digest, ok, err := m.lookForImage(ctx, ref)
	if err != nil {
		m.log.Warn("no session is made: containerd does not answer", "error", err)
		return "", "", &Refusal{"containerd", "this node's containerd does not answer: " + words(err.Error(), maxWords) + "; sessions that run go on; look at journalctl -u easel-containerd"}
	}
	if !ok {
		return "", "", &Refusal{"image", fmt.Sprintf("this node has no image %s: make it with \"noded image build\" or import it", ref)}
	}
	return ref, digest, nil
}

// containerdPatience bounds a question to containerd: one that hangs must hang nobody else.
const containerdPatience = 3 * time.Second

// lookForImage asks containerd for an image, for a while.
func (m *Manager) lookForImage(ctx context.Context, ref string) (digest string, ok bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, containerdPatience, fmt.Errorf("no answer within %s", containerdPatience))
	defer cancel()
	if digest, ok, err = m.containers.Image(ctx, ref); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return digest, ok, err
}

// freeUIDs is the lowest uid range that no session holds.
func (a Admission) freeUIDs(holding []Record) (uint32, bool) {
	for base := uint64(a.UIDBase); base+uidsPerSession <= 1<<32-1; base += uidsPerSession {
		if !slices.ContainsFunc(holding, func(r Record) bool { return overlaps(uint64(r.UIDBase), base) }) {
			return uint32(base), true
		}
	}
	return 0, false
}

func overlaps(a, b uint64) bool { return a < b+uidsPerSession && b < a+uidsPerSession }

// freePort is a UDP port that no session holds and nobody else listens on. Ports are taken in turn, so a
// viewer of an ended session does not meet the next one.
func (m *Manager) freePort(holding []Record, last uint16) (uint16, bool) {
	a := m.settings().admission
	count := int(a.PortLast) - int(a.PortFirst) + 1
	start := 0
	if last >= a.PortFirst && last <= a.PortLast {
		start = int(last-a.PortFirst) + 1
	}
	for i := range count {
		port := a.PortFirst + uint16((start+i)%count)
		if !slices.ContainsFunc(holding, func(r Record) bool { return r.UDPPort == port }) && m.host.PortFree(port) {
			return port, true
		}
	}
	return 0, false
}
