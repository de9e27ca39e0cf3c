package partition

import (
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

var (
	bucket   = []byte("gpu")
	keyState = []byte("state")
)

// schema is the version of the record that this code writes; newer ones are refused.
const schema = 1

// record is what must not be forgotten: the layout in force, and the work under way. It is one value, so that no kill
// can part them.
type record struct {
	Schema int                 `json:"schema"`
	Cards  map[string]Division `json:"cards"`
	Boot   string              `json:"boot,omitempty"` // of the host, in which the cards were last made so
	Work   *work               `json:"work,omitempty"`
}

// work is an application of a file. It is recorded before anything is touched and cleared when all is done or undone.
type work struct {
	File  string    `json:"file"`
	Began time.Time `json:"began"`
	Boot  string    `json:"boot"` // of the host, in which it was gone on with
	// Drained tells that no session holds what is taken away. Before, nothing has been touched.
	Drained bool   `json:"drained"`
	Tasks   []task `json:"tasks"`
}

// phase is how far a card's change is.
type phase string

const (
	waiting  phase = ""
	changing phase = "changing"
	undoing  phase = "undoing"
	resets   phase = "reset"  // goes on when the host has been restarted
	failed   phase = "failed" // neither done nor undone
	done     phase = "done"
)

// task is the change of one card.
type task struct {
	Card  string   `json:"card"`
	Index int      `json:"index"`
	To    Division `json:"to"`
	MIG   bool     `json:"mig"`            // its mode before
	Was   []Place  `json:"was,omitempty"`  // on it before
	Keep  []Place  `json:"keep,omitempty"` // of those, what stays
	Made  []Place  `json:"made,omitempty"` // what is about to be made, or has been
	Phase phase    `json:"phase,omitempty"`
	Step  string   `json:"step,omitempty"` // the one begun; what is before it is done
	Why   string   `json:"why,omitempty"`  // of undoing, resets and failed
	Boot  string   `json:"boot,omitempty"` // of resets
}

// open tells whether the task can go on now.
func (t task) open() bool { return t.Phase != failed && t.Phase != resets && t.Phase != done }

// closed is why nothing new of the card is handed out; "" when it may be.
func (t task) closed() string {
	switch t.Phase {
	case done:
		return ""
	case resets:
		return "its MIG mode changes when the host is restarted; then the rest is done"
	case failed:
		return "it could not be divided as asked (" + t.Why + "): \"noded gpu apply\" tries again"
	}
	return "it is being divided anew"
}

// layout is what others may know of the record.
func (r record) layout() Layout {
	l := Layout{Cards: r.Cards, Closed: map[string]string{}, Next: map[string]Division{}}
	if r.Work == nil {
		return l
	}
	for _, t := range r.Work.Tasks {
		if why := t.closed(); why != "" {
			l.Closed[t.Card] = why
		}
		if t.Phase == waiting || t.Phase == changing {
			next := t.To
			next.Made = t.Keep
			l.Next[t.Card] = next
		}
	}
	return l
}

// task is the work on a card.
func (r *record) task(card string) *task {
	for i := range r.Work.Tasks {
		if r.Work.Tasks[i].Card == card {
			return &r.Work.Tasks[i]
		}
	}
	return nil
}

// settle forgets the tasks that are done, and those that had not begun.
func (r *record) settle() {
	if r.Work == nil {
		return
	}
	var left []task
	for _, t := range r.Work.Tasks {
		if t.Phase != waiting && t.Phase != done {
			left = append(left, t)
		}
	}
	if r.Work.Tasks = left; len(left) == 0 {
		r.Work = nil
	}
}

func decode(data []byte) (record, error) {
	r := record{Schema: schema, Cards: map[string]Division{}}
	if data == nil {
		return r, nil
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read the record of GPU layouts: %w", err)
	}
	if r.Schema > schema {
		return r, fmt.Errorf("a newer noded wrote the record of GPU layouts (schema %d, this one knows %d): install that version again", r.Schema, schema)
	}
	if r.Cards == nil {
		r.Cards = map[string]Division{}
	}
	return r, nil
}

// update changes the record in one transaction. What others see changes within it: who writes after it (a session that
// is given a slice) has seen the change, and who wrote before it is seen by whoever reads after.
func (k *Keeper) update(change func(*record)) error {
	before := k.now.Load()
	err := k.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		r, err := decode(b.Get(keyState))
		if err != nil {
			return err
		}
		change(&r)
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		k.now.Store(&r)
		return b.Put(keyState, data)
	})
	if err != nil {
		k.now.Store(before)
		return fmt.Errorf("record the division of GPUs in %s: %w", k.db.Path(), err)
	}
	return nil
}

// load reads the record; a database without one, or without the bucket, is not written to.
func load(db *bbolt.DB) (record, error) {
	var r record
	err := db.View(func(tx *bbolt.Tx) error {
		var data []byte
		if b := tx.Bucket(bucket); b != nil {
			data = b.Get(keyState)
		}
		var err error
		r, err = decode(data)
		return err
	})
	return r, err
}
