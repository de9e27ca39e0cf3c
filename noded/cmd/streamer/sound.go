package main

import (
	"easel/noded/stream/sound"
	"easel/pkg/codec/opus"
)

// opusSound encodes sound by libopus.
func opusSound() (sound.Encoder, error) {
	e, err := opus.NewEncoder()
	if err != nil {
		return nil, err
	}
	return e, nil
}
