package stream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/problem"

	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"
)

// A viewer may begin ICE anew so often.
const (
	restartEvery = 500 * time.Millisecond
	restartBurst = 4
)

var errRestarts = errors.New("begin ICE anew: too often")

// newRestarts limits how often a viewer may do so.
func newRestarts() *rate.Limiter { return rate.NewLimiter(rate.Every(restartEvery), restartBurst) }

// restart answers an offer by which a viewer whose network has changed seeks its way anew (RFC 8445, section 9): connection, stream and channels stay.
func (p *peer) restart(offer string) (string, error) {
	if !p.restarts.Allow() {
		return "", errRestarts
	}
	p.signalling.Lock()
	defer p.signalling.Unlock()
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", fmt.Errorf("read the offer: %w", err)
	}
	answer, err := p.answer()
	if err != nil {
		return "", err
	}
	p.log.Info("the viewer seeks its way anew")
	return answer, nil
}

// answer answers the offer that was set, with all addresses of ours.
func (p *peer) answer() (string, error) {
	answer, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("answer the offer: %w", err)
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(answer); err != nil {
		return "", fmt.Errorf("answer the offer: %w", err)
	}
	select {
	case <-gathered:
	case <-time.After(farewellTime * 3):
		return "", errors.New("answer the offer: no local address was found in time")
	case <-p.ctx.Done():
		return "", p.ctx.Err()
	}
	return p.pc.LocalDescription().SDP, nil
}

// peerOf finds the peer that a request names and its sender owns; it answers for itself when there is none.
func (w *Worker) peerOf(rw http.ResponseWriter, r *http.Request) *peer {
	who, err := contract.ReadViewer(r.Header.Get(contract.ViewerHeader))
	if err != nil {
		problem.Write(rw, http.StatusBadRequest, "", err.Error())
		return nil
	}
	for _, s := range w.screens {
		if p := s.viewers.find(r.PathValue("peer")); p != nil && p.who.ID == who.ID {
			return p
		}
	}
	problem.Write(rw, http.StatusNotFound, "", "there is no such peer; another may have replaced it")
	return nil
}

// postRestart takes a new offer of a peer that there is.
func (w *Worker) postRestart(rw http.ResponseWriter, r *http.Request) {
	offer, ok := readOffer(rw, r)
	if !ok {
		return
	}
	p := w.peerOf(rw, r)
	if p == nil {
		return
	}
	answer, err := p.restart(offer)
	switch {
	case errors.Is(err, errRestarts):
		problem.Write(rw, http.StatusTooManyRequests, "", err.Error()+"; try again in a second")
	case err != nil:
		problem.Write(rw, http.StatusBadRequest, "Offer refused", err.Error())
	default:
		rw.Header().Set("Content-Type", "application/sdp")
		_, _ = io.WriteString(rw, answer)
	}
}
