package relay

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/pion/stun/v3"

	"easel/pkg/mmsg"
)

// What a client sends is ChannelData (RFC 8656, 12.4), which is nearly all of it and read here, or STUN,
// which pion reads. The first two bits tell.
const (
	channelHeader = 4 // bytes: number, length
	channelFirst  = 0x4000
	channelLast   = 0x7fff // RFC 5766's range; RFC 8656 uses the lower part of it
	stunHeader    = 20
	stunMagic     = 0x2112a442
)

// channelData takes a ChannelData message apart. Over UDP it may be padded.
func channelData(p []byte) (number uint16, data []byte, ok bool) {
	if len(p) < channelHeader {
		return 0, nil, false
	}
	number = binary.BigEndian.Uint16(p)
	length := int(binary.BigEndian.Uint16(p[2:]))
	if number < channelFirst || number > channelLast || length > len(p)-channelHeader {
		return 0, nil, false
	}
	return number, p[channelHeader : channelHeader+length], true
}

// putChannelHeader makes a ChannelData message of p, whose first bytes are free for the header.
func putChannelHeader(p []byte, number uint16) {
	binary.BigEndian.PutUint16(p, number)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)-channelHeader))
}

// isSTUN tells whether p is framed as one STUN message.
func isSTUN(p []byte) bool {
	if len(p) < stunHeader || p[0]&0xc0 != 0 || binary.BigEndian.Uint32(p[4:]) != stunMagic {
		return false
	}
	length := int(binary.BigEndian.Uint16(p[2:]))
	return length%4 == 0 && length == len(p)-stunHeader
}

// errNoFrame is a stream that speaks something else, or a message larger than any that we take.
var errNoFrame = errors.New("what came is neither STUN nor ChannelData, or too long")

// frameLength is how many bytes the first message of a stream takes, padding included; 0 when more must
// come before that can be told.
func frameLength(p []byte) (int, error) {
	if len(p) < channelHeader {
		return 0, nil
	}
	number, length := binary.BigEndian.Uint16(p), int(binary.BigEndian.Uint16(p[2:]))
	switch {
	case number >= channelFirst && number <= channelLast:
		length = channelHeader + (length+3)&^3
	case p[0]&0xc0 == 0:
		length += stunHeader
	default:
		return 0, errNoFrame
	}
	if length > mmsg.MaxPacket {
		return 0, errNoFrame
	}
	return length, nil
}

// boundPeer is the peer that a ChannelBind request names; ok is false for any other message. pion asks of
// a peer's address alone whether it is admitted, and here the port matters too.
func boundPeer(message []byte) (peer netip.AddrPort, ok bool) {
	m := &stun.Message{Raw: message}
	if m.Decode() != nil || m.Type.Method != stun.MethodChannelBind {
		return netip.AddrPort{}, false
	}
	var a stun.XORMappedAddress
	if a.GetFromAs(m, stun.AttrXORPeerAddress) != nil {
		return netip.AddrPort{}, true // pion refuses it too
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)), true
}
