package gateway

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func memory(t *testing.T) *Memory {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	m, err := NewMemory(db)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMemoryOutlivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	now := time.Now()
	var key string
	for life := range 2 {
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewMemory(db)
		if err != nil {
			t.Fatal(err)
		}
		k, err := m.CookieKey()
		if err != nil || life == 1 && string(k) != key {
			t.Fatalf("%v: the cookie key changed", err)
		}
		key = string(k)
		if err := m.Use("a", now.Add(time.Minute), now); (life == 1) != errors.Is(err, ErrUsed) {
			t.Fatalf("life %d: %v", life, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMemoryForgetsExpiredTokens(t *testing.T) {
	m := memory(t)
	now := time.Now()
	for i := range 20 {
		at := now.Add(time.Duration(i) * time.Minute)
		if err := m.Use(fmt.Sprint(i), at.Add(30*time.Second), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.db.View(func(tx *bbolt.Tx) error {
		if keys := tx.Bucket(bucketTokens).Stats().KeyN; keys > 2 {
			t.Errorf("%d tokens are remembered", keys)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestLimiterHasBoundedMemory(t *testing.T) {
	l := newLimiter(1, 2)
	now := time.Now()
	for i := range maxVisitors + 100 {
		l.allow(fmt.Sprintf("[2001:db8:%x:%x::1]:9", i>>8, i&0xff), now)
	}
	if len(l.who) > maxVisitors {
		t.Fatalf("%d visitors", len(l.who))
	}
	l.allow("192.0.2.1:1", now.Add(forgetAfter+time.Minute+time.Second))
	if len(l.who) > 1 {
		t.Fatalf("%d visitors are remembered", len(l.who))
	}
	for _, pair := range [][2]string{{"[2001:db8::1]:1", "[2001:db8::2]:1"}, {"192.0.2.9:1", "[::ffff:192.0.2.9]:2"}} {
		l := newLimiter(0, 1)
		if !l.allow(pair[0], now) || l.allow(pair[1], now) {
			t.Errorf("%v do not share an allowance", pair)
		}
	}
	if !newLimiter(1, 1).allow("pipe", now) {
		t.Error("an address of no kind is refused at once")
	}
}

func FuzzCookie(f *testing.F) {
	c := cookies{key: []byte(strings.Repeat("k", cookieKeySize))}
	good := c.make(living).Value
	f.Add(good)
	f.Add("v1..")
	f.Add("v1." + strings.Repeat("A", 16) + "." + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, value string) {
		if c.valid(living, value) {
			nonce := strings.Split(value, ".")[1]
			if c.valid(ended, value) || len(nonce) != 16 {
				t.Fatalf("%q opens too much", value)
			}
		}
	})
}

func FuzzAuthBody(f *testing.F) {
	f.Add(`{"token":"a.b"}`)
	f.Add(`{"token":null}`)
	f.Add(`{"share":"abc","name":"Żółć"}`)
	f.Add(`{"share":"abc","token":"b"}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		in, err := readSignIn(httptest.NewRecorder(), r)
		if err == nil && (in.Token == nil) == (in.Share == nil) {
			t.Fatalf("%q shows both or nothing", body)
		}
	})
}
