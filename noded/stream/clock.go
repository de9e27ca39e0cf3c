package stream

import (
	"encoding/binary"
	"time"
)

// clock tells the node's time to viewers: since 1970, and without the leaps that the system's own may make.
type clock struct{ epoch time.Time }

// ms is a moment in milliseconds since 1970.
func (c clock) ms(t time.Time) float64 {
	return float64(c.epoch.UnixMicro())/1000 + float64(t.Sub(c.epoch).Microseconds())/1000
}

// ntpEpoch is 1970 in NTP's seconds.
const ntpEpoch = 2_208_988_800

// absCapture writes a frame's capture time, which its RTP timestamp has to a millisecond, as the extension wants it (UQ32.32 of NTP's time).
func (c clock) absCapture(stamp uint32, now time.Time) (b [8]byte) {
	at := c.captured(stamp, now).UnixMicro()
	seconds, rest := at/1_000_000, at%1_000_000
	binary.BigEndian.PutUint64(b[:], uint64(seconds+ntpEpoch)<<32|uint64(rest)<<32/1_000_000)
	return b
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// captured is when the frame of an RTP timestamp was, which is within half a day of now.
func (c clock) captured(stamp uint32, now time.Time) time.Time {
	ticks := int64(now.Sub(c.epoch) * 90 / time.Millisecond)
	ticks -= int64(int32(uint32(ticks) - stamp))
	return c.epoch.Add(time.Duration(ticks*1000/90) * time.Microsecond)
}
