package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/identity"
)

// A host that was off for a weekend is a member still: its last key says that it is the same.
func TestNodeThatWasOffForLongRenewsByItsKey(t *testing.T) {
	h := newHost(t)
	h.clock.set(-60 * time.Hour)
	token := h.token(t, "node")
	token.Expires = time.Now().Add(time.Hour) // the coordinator's clock decides
	m, err := identity.Join(t.Context(), t.TempDir(), "node", "n1", token)
	if err != nil {
		t.Fatal(err)
	}
	h.clock.set(0)
	if !m.Expires().Before(time.Now()) {
		t.Fatalf("its certificate counts until %v", m.Expires())
	}
	follow(t, m)
	eventually(t, "its certificate counts again", func() bool { return m.Expires().After(time.Now().Add(23 * time.Hour)) })
	if err := h.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it hears of the trust", func() bool { return m.Trust().GetVersion() == h.self.Trust().GetVersion() })
}

// holder has a key and what the authority gave for it.
type holder struct {
	key  *ecdsa.PrivateKey
	cert []byte
}

func newHolder(t *testing.T, certify func(csr []byte) ([]byte, error)) holder {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certify(csr)
	if err != nil {
		t.Fatal(err)
	}
	return holder{key, cert}
}

func (h holder) proof(t *testing.T, csr []byte) *easelv1.RenewRequest {
	t.Helper()
	sum := sha256.Sum256(append([]byte("easel-renew-v1\x00"), csr...))
	signature, err := ecdsa.SignASN1(rand.Reader, h.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return &easelv1.RenewRequest{Csr: csr, Certificate: h.cert, Signature: signature}
}

func TestProofsOfOthersAreRefused(t *testing.T) {
	h, other := newHost(t), newHost(t)
	join := func(h *host, name string) holder {
		secret := h.secret(t, "node", "")
		return newHolder(t, func(csr []byte) ([]byte, error) { return h.Join(t.Context(), secret, "node", name, csr) })
	}
	renew := func(name string) holder {
		return newHolder(t, func(csr []byte) ([]byte, error) { return h.Renew(t.Context(), "node", name, csr) })
	}
	first := join(h, "n1")
	second := renew("n1")
	third := renew("n1") // whose answer may have been lost, so the second key counts still
	removed, foreign := join(h, "gone"), join(other, "n1")
	if err := h.Remove(t.Context(), "node", "gone"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the removal is applied", func() bool { return len(h.self.Trust().GetRemoved()) == 1 })
	csr := request(t)
	swapped := third.proof(t, csr)
	swapped.Csr = request(t)
	forged := holder{first.key, third.cert}.proof(t, csr)
	selfSigned := newHolder(t, func(csr []byte) ([]byte, error) {
		ca, err := identity.NewAuthority(time.Now())
		if err != nil {
			return nil, err
		}
		return ca.Issue(csr, "node", "n1", time.Now())
	}).proof(t, csr)
	client := easelv1connect.NewClusterServiceClient(&http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}, h.url)
	ask := func(req *easelv1.RenewRequest) error {
		_, err := client.Renew(context.WithoutCancel(t.Context()), connect.NewRequest(req))
		return err
	}
	for name, req := range map[string]*easelv1.RenewRequest{
		"nothing":                     {Csr: csr},
		"no signature":                {Csr: csr, Certificate: third.cert},
		"another key's":               forged,
		"another request":             swapped,
		"the key before the last two": first.proof(t, csr),
		"a removed member":            removed.proof(t, csr),
		"another cluster's":           foreign.proof(t, csr),
		"another authority's":         selfSigned,
	} {
		if err := ask(req); connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, holder := range []holder{second, third} { // the last two keys
		if err := ask(holder.proof(t, csr)); err != nil {
			t.Error(err)
		}
	}
}

// All coordinators were off for so long that none would let another in: each certifies itself, and then they can agree.
func TestCoordinatorCertifiesItselfWhenNothingElseHelps(t *testing.T) {
	a, clock := newAuthority(t, somewhere)
	clock.set(-60 * time.Hour)
	old, err := a.MakeMember(t.Context(), t.TempDir(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	clock.set(0)
	fresh, err := a.MakeMember(t.Context(), t.TempDir(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.store.Close(); err != nil { // as good as no quorum: no change succeeds
		t.Fatal(err)
	}
	renew := func(m *identity.Member) error {
		return m.Renew(t.Context(), func(ctx context.Context, csr []byte) ([]byte, error) { return a.renewOwn(ctx, m, csr) })
	}
	if err := renew(old); err != nil || !old.Expires().After(time.Now().Add(23*time.Hour)) {
		t.Errorf("expired: %v", err)
	}
	if err := renew(fresh); err == nil {
		t.Error("one whose certificate counts for long did not wait for the others")
	}
}
