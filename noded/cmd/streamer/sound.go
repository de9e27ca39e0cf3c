package main

import (
	"easel/noded/stream"
	"easel/pkg/codec/opus"
)

// opusSound encodes sound by libopus.
func opusSound() (stream.SoundEncoder, error) {
	e, err := opus.NewEncoder()
	if err != nil {
		return nil, err
	}
	return e, nil
}
