package cluster

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// The addresses to join are watched for ever: members forget the dead, so that only these addresses heal a cluster
// that fell in two. One at which no member answers is asked ever less often.
const (
	joinBackoffMin = 500 * time.Millisecond
	joinBackoffMax = 30 * time.Second
)

// keepJoined joins the configured members, again and again, and soon when a member has gone: it may come
// back and know nobody. One that answers may still be the one that is going, so answers end nothing.
func (c *Cluster) keepJoined(ctx context.Context) {
	j := joiner{c: c, resolved: map[string][]string{}, found: map[string]string{}}
	backoff := joinBackoffMin
	for {
		if j.join(ctx) {
			backoff = joinBackoffMin // nothing was asked: looking costs nothing
		}
		select {
		case <-ctx.Done():
			return
		case <-c.lost:
			backoff = joinBackoffMin
		case <-time.After(backoff):
			backoff = min(2*backoff, joinBackoffMax)
		}
	}
}

// joiner knows the IP addresses that the configured ones stood for when they were asked last, and the member that was
// found at each, so that not all members are looked through every time.
type joiner struct {
	c        *Cluster
	resolved map[string][]string
	found    map[string]string // member name by address
}

// join asks every configured address at which no member is heard, one after the other, so that the end of ctx waits
// for one connection at the most. It tells whether there was none.
func (j *joiner) join(ctx context.Context) (all bool) {
	all = true
	for _, addr := range j.c.cfg.Join {
		if slices.ContainsFunc(append(j.resolved[addr], addr), j.hearsAt) {
			continue
		}
		all = false
		if ctx.Err() != nil {
			return all
		}
		if _, err := j.c.list.Join([]string{addr}); err != nil {
			j.c.log.Info("cannot join the cluster yet, trying again", "address", addr, "error", err)
		}
		j.resolve(ctx, addr)
	}
	return all
}

func (j *joiner) resolve(ctx context.Context, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(host) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return // it will be asked again
	}
	j.resolved[addr] = j.resolved[addr][:0]
	for _, ip := range ips {
		j.resolved[addr] = append(j.resolved[addr], net.JoinHostPort(ip, port))
	}
}

// hearsAt tells whether there is a member at an address, this one or one that is not suspected.
func (j *joiner) hearsAt(addr string) bool {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return false
	}
	c := j.c
	c.mu.Lock()
	defer c.mu.Unlock()
	there := func(m *member) bool { return m.said.Value().addr == want && !c.suspectLocked(m) }
	if m, ok := c.members[j.found[addr]]; ok && there(m) {
		return true
	}
	for name, m := range c.members {
		if there(m) {
			j.found[addr] = name
			return true
		}
	}
	return false
}
