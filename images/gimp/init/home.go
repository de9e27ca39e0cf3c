package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// pluginList is what GIMP learnt from its plug-ins; it fits one image only.
	pluginList = "pluginrc"
	// stampFile says in a profile which image's list it has.
	stampFile = "easel-pluginrc"
)

// furnish gives the artist's home a GIMP profile from the image's: all of it at the first start, the list of plug-ins when the image
// is another than last time. The artist's own settings stay.
func furnish(image, profile string) error {
	list, err := os.ReadFile(filepath.Join(image, pluginList))
	if err != nil {
		return fmt.Errorf("furnish home: %w", err)
	}
	sum := sha256.Sum256(list)
	stamp := hex.EncodeToString(sum[:])
	switch have, err := os.ReadFile(filepath.Join(profile, stampFile)); {
	case err == nil && string(have) == stamp:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("furnish home: %w", err)
	}
	if _, err := os.Stat(profile); errors.Is(err, fs.ErrNotExist) {
		err = copyTree(image, profile)
		if err != nil {
			return fmt.Errorf("furnish home: %w", err)
		}
	} else if err := replaceFile(filepath.Join(profile, pluginList), list); err != nil {
		return fmt.Errorf("furnish home with this image's list of plug-ins: %w", err)
	}
	if err := replaceFile(filepath.Join(profile, stampFile), []byte(stamp)); err != nil {
		return fmt.Errorf("furnish home: %w", err)
	}
	return nil
}

// copyTree copies the plain files and directories below from; to appears whole or not at all.
func copyTree(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(to), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	err = filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		target := filepath.Join(tmp, rel)
		switch {
		case rel == ".":
			return os.Chmod(tmp, 0o755)
		case d.IsDir():
			return os.Mkdir(target, 0o755)
		case d.Type().IsRegular():
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return os.WriteFile(target, text, 0o644)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.Rename(tmp, to)
}

// replaceFile puts text in the place of file, whole.
func replaceFile(file string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // does nothing after the rename
	_, err = tmp.Write(text)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
