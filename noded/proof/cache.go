package proof

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"easel/noded/stream/contract"
)

const (
	maxCache = 1 << 20   // bytes of the file
	maxFile  = 512 << 20 // bytes of a program or library
)

// cache keeps what was proven from one noded to the next, as long as the files that it was proven with, and the host, are the same.
type cache struct {
	path, streamer, host string
	log                  *slog.Logger
	kept                 map[string]kept
	sums                 map[string]string // of files, in this round
}

// kept is one proof, by "kind/card/format".
type kept struct {
	Key       string                `json:"key"` // of host and files
	Libraries []string              `json:"libraries"`
	Proof     contract.ProbedFormat `json:"proof"`
}

func (p *Prover) openCache() *cache {
	c := &cache{path: p.Cache, streamer: p.Streamer, host: p.Host, log: p.Log, kept: map[string]kept{}, sums: map[string]string{}}
	f, err := os.Open(p.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return c
	}
	if err == nil {
		defer f.Close()
		err = json.NewDecoder(io.LimitReader(f, maxCache)).Decode(&c.kept)
	}
	if err != nil {
		c.log.Warn("what was proven before cannot be read; the encoders are proven again", "file", p.Cache, "err", err)
		c.kept = map[string]kept{}
	}
	return c
}

func (s subject) name() string { return s.kind() + "/" + s.card + "/" + s.format }

// find is what was proven before of an encoder whose files are as they were, nil when they are not.
func (c *cache) find(s subject) *Proof {
	one, ok := c.kept[s.name()]
	if !ok || one.Proof.Format != s.format || one.Proof.Error != "" || one.Proof.Unseen != "" {
		return nil
	}
	if key, err := c.key(one.Libraries); err != nil || key != one.Key {
		return nil
	}
	return &Proof{Card: s.card, ProbedFormat: one.Proof, Cached: true}
}

// keep remembers a proof. That it cannot is no more than a slower start.
func (c *cache) keep(s subject, p Proof, libraries []string) {
	key, err := c.key(libraries)
	if err == nil {
		c.kept[s.name()] = kept{key, libraries, p.ProbedFormat}
		err = c.write()
	}
	if err != nil {
		c.log.Warn("what was proven cannot be remembered; the next start proves it again", "format", s.format, "err", err)
	}
}

func (c *cache) write() error {
	b, err := json.Marshal(c.kept)
	if err != nil {
		return err
	}
	half := c.path + ".new"
	if err := os.WriteFile(half, b, 0o600); err != nil {
		return err
	}
	return os.Rename(half, c.path)
}

// key stands for the content of the streamer and the libraries, and for the host.
func (c *cache) key(libraries []string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", c.host)
	for _, path := range append([]string{c.streamer}, slices.Sorted(slices.Values(libraries))...) {
		sum, err := c.sum(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %s\n", sum, path)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (c *cache) sum(path string) (string, error) {
	if sum, ok := c.sums[path]; ok {
		return sum, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return "", fmt.Errorf("%s is no file of at most %d bytes (%v)", path, maxFile, err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxFile)); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	c.sums[path] = sum
	return sum, nil
}

// HostIdentity stands for what a proof depends on beside files that it names: what the processor can do, as codecs choose their code by it, which driver
// the kernel has, and where the loader finds libraries.
func HostIdentity() string {
	h := sha256.New()
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan() && lines.Text() != ""; { // of the first processor
			name, value, _ := strings.Cut(lines.Text(), ":")
			if slices.Contains([]string{"model name", "flags", "CPU part", "Features"}, strings.TrimSpace(name)) {
				fmt.Fprintln(h, value)
			}
		}
	}
	for _, path := range []string{"/proc/driver/nvidia/version", "/etc/ld.so.cache"} {
		b, _ := os.ReadFile(path) // there may be none
		fmt.Fprintln(h, len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}
