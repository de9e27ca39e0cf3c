package rtpsend

// AV1 over RTP (the Alliance's payload format, version 1.0): packets of OBUs, which go on from packet to packet.
const (
	av1Continues = 0x80 // the first OBU began in the packet before
	av1GoesOn    = 0x40 // the last OBU goes on in the next one
	av1NewCoded  = 0x08 // a sequence begins
	// av1Length is how many bytes the length of an OBU takes that is not the packet's last.
	av1Length = 2
)

func (p *packetizer) av1(f Frame, send packetSender) error {
	flags, at, count := byte(0), 1, 0
	if f.Key {
		flags = av1NewCoded
	}
	flush := func(last bool) error {
		// Every element but the last has its length before it, so the count must be told; more than three cannot be.
		p.buf[0] = flags | byte(count)<<4
		err := send(p.header(f.Timestamp, last), p.buf[:at])
		flags, at, count = 0, 1, 0
		return err
	}
	for i, obu := range f.Units {
		for len(obu) > 0 {
			last := i == len(f.Units)-1
			// A small one shares the packet with what comes after it.
			if room := len(p.buf) - at - av1Length; !last && len(obu) < room && count < 2 {
				p.buf[at], p.buf[at+1] = byte(len(obu)&0x7f)|0x80, byte(len(obu)>>7)
				at += av1Length + copy(p.buf[at+av1Length:], obu)
				count++
				break
			}
			n := copy(p.buf[at:], obu)
			obu = obu[n:]
			at, count = at+n, count+1
			more := len(obu) > 0
			if more {
				flags |= av1GoesOn
			}
			if err := flush(last && !more); err != nil {
				return err
			}
			if more {
				flags = av1Continues
			}
		}
	}
	return nil
}
