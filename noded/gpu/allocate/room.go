package allocate

// Room is how many sessions of a class a node can give a slice.
type Room struct {
	Class    string
	Total    int // those that can be handed out, or are
	Used     int
	Encoders int // of the free ones, those that come with an encoder
}

// Rooms counts the slices by class, in the order in which the classes are met.
func (n Node) Rooms() []Room {
	o := look(n)
	rooms := make([]Room, 0, 4)
	given := map[string]int{} // encoders counted for slices of one class already, by card
	for _, class := range n.classes() {
		r := Room{Class: class}
		clear(given)
		for _, s := range n.Slices {
			if s.Class != class {
				continue
			}
			switch {
			case n.Held[s.ID]:
				r.Total, r.Used = r.Total+1, r.Used+1
			case s.Unfit == "":
				r.Total++
				if left := o.encoders(s.Card); s.Encoder && (left < 0 || given[s.Card] < left) {
					given[s.Card]++
					r.Encoders++
				}
			}
		}
		rooms = append(rooms, r)
	}
	return rooms
}
