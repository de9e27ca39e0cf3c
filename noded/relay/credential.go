package relay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"easel/noded/session"
)

const (
	// Realm is the realm of the relay's long-term credentials.
	Realm = "easel"
	// credentialLife is how long an allocation may be opened with a credential. One that is open may be kept
	// as long as its session lives.
	credentialLife = time.Hour
	secretSize     = 32
)

var (
	bucketRelay = []byte("relay")
	keySecret   = []byte("secret")
)

// Secret is the node's own, under which its relay's passwords are made. It is kept in db, so that a restart
// of the node leaves them good.
func Secret(db *bbolt.DB) ([]byte, error) {
	var secret []byte
	err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketRelay)
		if err != nil {
			return err
		}
		if secret = slices.Clone(b.Get(keySecret)); len(secret) == secretSize {
			return nil
		}
		secret = make([]byte, secretSize)
		_, _ = rand.Read(secret) // never fails, by its contract
		return b.Put(keySecret, secret)
	})
	if err != nil {
		return nil, fmt.Errorf("read the relay's secret from %s: %w", db.Path(), err)
	}
	return secret, nil
}

// username names the session and until when an allocation may be opened: "UNIX:SESSION".
func username(session string, until time.Time) string {
	return strconv.FormatInt(until.Unix(), 10) + ":" + session
}

// parseUsername is username's opposite.
func parseUsername(name string) (id string, until time.Time, ok bool) {
	seconds, id, found := strings.Cut(name, ":")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if !found || err != nil || n < 0 || strconv.FormatInt(n, 10) != seconds || !session.ValidID(id) {
		return "", time.Time{}, false
	}
	return id, time.Unix(n, 0), true
}

// password of a username.
func (r *Relay) password(name string) string {
	m := hmac.New(sha256.New, r.Secret)
	_, _ = m.Write([]byte("easel-relay-v1\x00" + name)) // a hash never fails
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
