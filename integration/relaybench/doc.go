// Package relaybench measures the node's relay beside coturn: the same client, the same packets, in the same run, each server
// a process of its own. Its benchmark is part of `make bench`.
package relaybench
