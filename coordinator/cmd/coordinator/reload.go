package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"easel/coordinator/placement"
	"easel/coordinator/webhook"
	"easel/pkg/reload"
	"easel/pkg/telemetry"
)

// reloads says for every field of coordinator.yaml whether "coordinator reload" brings a change into force. A certificate
// that is renewed in its files, and a new GeoIP database, are taken up by themselves.
var reloads = reload.Fields{
	"name": reload.Restart, "listen": reload.Restart, "public_url": reload.Restart, "tls.cert": reload.Restart, "tls.key": reload.Restart,
	"state_dir": reload.Restart, "run_dir": reload.Restart, "api.listen": reload.Restart, "api.url": reload.Restart,
	"cluster.bind": reload.Restart, "cluster.join": reload.Restart,
	"place.region": reload.Restart, "place.zone": reload.Restart, "place.coordinates": reload.Restart, "geoip": reload.Restart,
	"placement.strategy": reload.Live, "placement.encoder": reload.Live, "placement.policies": reload.Live,
	"placement.weights.distance": reload.Live, "placement.weights.home": reload.Live, "placement.weights.warm": reload.Live,
	"placement.weights.load": reload.Live, "placement.weights.room": reload.Live, "placement.weights.fit": reload.Live, "placement.weights.even": reload.Live,
	"webhooks": reload.Live, "log.level": reload.Live, "log.format": reload.Restart,
}

// reading is how the configuration is read anew, and when besides on the operator's command.
type reading struct {
	level   *slog.LevelVar
	again   func() (Config, error)
	hangups <-chan os.Signal
}

// running is the parts of a daemon that a reload changes.
type running struct {
	level  *slog.LevelVar
	router *placement.Router
	hooks  *webhook.Caller
}

// apply brings into force what of a configuration can be; load has checked it.
func (r running) apply(cfg Config) error {
	if err := telemetry.SetLevel(r.level, cfg.Log.Level); err != nil {
		return err
	}
	r.router.Configure(cfg.Placement)
	r.hooks.SetHooks(cfg.Webhooks)
	return nil
}

// askReload is "coordinator reload": the daemon reads its configuration anew, and says what that changed.
func askReload(ctx context.Context, args []string, p process) error {
	c := newCommand("reload", p)
	asJSON := c.set.Bool("json", false, "print JSON")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err // the daemon would read the same
	}
	report, err := reload.Ask(ctx, socketClient(cfg.adminSocket()))
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(p.stdout, report)
	}
	fmt.Fprintln(p.stdout, report)
	return nil
}
