package directory

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/cluster"
)

// SetPool tells a node how many warm sessions to keep. The node is asked once: who says it says it again.
func (d *Directory) SetPool(ctx context.Context, node cluster.Meta, req *easelv1.SetPoolRequest) error {
	_, err := ask(ctx, d, node, 1, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.SetPoolResponse], error) {
		return c.SetPool(ctx, connect.NewRequest(req))
	})
	if err != nil {
		return fmt.Errorf("tell %s how many warm sessions to keep: %w", node.Name, err)
	}
	return nil
}
