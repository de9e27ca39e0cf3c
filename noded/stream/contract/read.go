package contract

import (
	"encoding/json"
	"fmt"
	"io"
)

// read reads the one JSON document that r holds, of at most so many bytes, into v, and returns its bytes. Fields that this side does not know are passed over:
// streamers live on while noded becomes another version, be it newer or older. Values that it does not know are refused by who checks them, so what
// forbids something that was allowed must be a new value of a field that there is.
func read(r io.Reader, most int64, v any) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("longer than %d bytes", most)
	}
	return b, json.Unmarshal(b, v)
}
