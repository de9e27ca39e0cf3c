package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/gateway"
	"easel/noded/gpu"
	"easel/noded/gpu/lend"
	"easel/noded/gpu/partition"
	"easel/noded/pool"
	"easel/noded/proof"
	"easel/noded/relay"
	"easel/noded/session"
	"easel/pkg/reload"
	"easel/pkg/telemetry"
)

// reloads says for every field of noded.yaml whether "noded reload" brings a change into force. Limits of sessions are for
// new ones; what may cross their edge is for all. A certificate that is renewed in its files is taken up by itself.
var reloads = reload.Fields{
	"name": reload.Restart, "listen": reload.Restart, "public_url": reload.Restart, "portal_url": reload.Live,
	"tls.cert": reload.Restart, "tls.key": reload.Restart,
	"state_dir": reload.Restart, "run_dir": reload.Restart, "cgroup": reload.Restart,
	"containerd.address": reload.Restart, "containerd.namespace": reload.Restart,
	"image": reload.Live, "streamer": reload.Restart,
	"api.listen": reload.Restart, "api.url": reload.Restart,
	"cluster.bind": reload.Restart, "cluster.join": reload.Restart,
	"media.addresses": reload.Restart, "media.ports": reload.Restart,
	"relay.listen": reload.Restart, "relay.tls_listen": reload.Restart, "relay.public": reload.Restart, "relay.ports": reload.Restart,
	"relay.allocations": reload.Live, "relay.session_allocations": reload.Live, "relay.bandwidth": reload.Live, "relay.session_bandwidth": reload.Live,
	"sessions.max": reload.Live, "sessions.memory": reload.Live, "sessions.cpus": reload.Live, "sessions.pids": reload.Live,
	"sessions.disk_read": reload.Live, "sessions.disk_write": reload.Live, "sessions.pin": reload.Live,
	"sessions.home_size": reload.Restart, "sessions.grace": reload.Live, "sessions.start_timeout": reload.Live, "sessions.uid_base": reload.Restart,
	"sessions.guests": reload.Live, "sessions.clipboard": reload.Live, "sessions.audio": reload.Live, "sessions.files": reload.Live, "sessions.upload_size": reload.Live,
	"pool.ready": reload.Live, "pool.desktop": reload.Live, "pool.max_age": reload.Live, "pool.cpu": reload.Live,
	"gpu.library": reload.Restart, "gpu.layout": reload.Restart, "gpu.driver_root": reload.Restart,
	"place.region": reload.Restart, "place.zone": reload.Restart, "place.coordinates": reload.Restart,
	"log.level": reload.Live, "log.format": reload.Restart,
}

// reading is how the configuration is read anew, and when besides on the operator's command.
type reading struct {
	again   func() (Config, error)
	hangups <-chan os.Signal
}

// running is the parts of a daemon that runs.
type running struct {
	level    *slog.LevelVar
	manager  *session.Manager
	gate     *gateway.Gateway
	relay    *relay.Relay // nil when there is none
	pool     *pool.Pool
	cards    *gpu.Host
	layout   *partition.Keeper
	lender   *lend.Lender
	encoders *proof.Prover
	registry prometheus.Registerer
}

// apply brings into force what of a configuration can be. What may fail comes first.
func (r running) apply(cfg Config) error {
	if err := r.pool.Configure(cfg.warm(), cfg.Pool.MaxAge, cfg.Pool.CPU); err != nil {
		return err
	}
	if err := telemetry.SetLevel(r.level, cfg.Log.Level); err != nil {
		return err
	}
	r.gate.SetFiles(cfg.files()) // before pages are told to ask for it
	r.manager.Configure(cfg.settings())
	r.gate.SetPortal(cfg.PortalURL)
	r.gate.SetGuests(cfg.Sessions.Guests)
	if r.relay != nil {
		r.relay.Configure(cfg.quotas())
	}
	return nil
}

func (c *Config) settings() session.Settings {
	a := c.admission()
	return session.Settings{
		Max: a.Max, Limits: a.Limits, Pin: a.Pin, Image: c.Image, Grace: c.Sessions.Grace, StartTimeout: c.Sessions.StartTimeout, LogLevel: c.Log.Level,
		Policy: c.policy(),
	}
}

// askReload is "noded reload": the daemon reads its configuration anew, and says what that changed.
func askReload(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("reload", false)
	asJSON := c.Bool("json", false, "print JSON")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err // the daemon would read the same
	}
	report, err := reload.Ask(ctx, socketClient(cfg.adminSocket()))
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(stdout).Encode(report)
	}
	fmt.Fprintln(stdout, report)
	return nil
}
