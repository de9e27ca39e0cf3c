package directory

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// ErrNoNode means that no node of that name has been seen of late.
var ErrNoNode = errors.New("there is no such node")

// SetDuty tells the node called name what to do for new sessions, and returns how many sessions it has.
func (d *Directory) SetDuty(ctx context.Context, name string, req *easelv1.DrainRequest) (sessions int, err error) {
	meta, known, lost := d.whereabouts(name)
	switch {
	case !known:
		return 0, fmt.Errorf("node %q: %w", name, ErrNoNode)
	case lost != "":
		return 0, fmt.Errorf("node %q: %w: %s", name, ErrUnreachable, lost)
	}
	answer, err := ask(ctx, d, meta, attempts, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.DrainResponse], error) {
		return c.Drain(ctx, connect.NewRequest(req))
	})
	if err != nil {
		return 0, fmt.Errorf("set the duty of node %s: %w", name, err)
	}
	return int(answer.GetSessions()), nil
}
