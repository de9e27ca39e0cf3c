package session

// pointsOfStep and pointsOfTransition derive the failpoints of the reconciler from its own tables: a step
// or a state that is added has its points, and the test that walks Failpoints meets them.
func pointsOfStep(name string) []string {
	return []string{
		"session/begun-" + name,    // recorded as begun, not made
		"session/made-" + name,     // made, not recorded as done
		"session/done-" + name,     // recorded as done
		"session/unmaking-" + name, // about to be taken away
		"session/unmade-" + name,   // gone, still recorded
		"session/cleared-" + name,  // gone from the record too
	}
}

func pointsOfTransition(name string) []string {
	return []string{"session/before-" + name, "session/after-" + name}
}

// release is the transition of a failed session that holds nothing any more; a stopped one is released by
// becoming stopped.
const release = "release"

// claim is the transition of a warm session to the user who gets it.
const claim = "claim"

// Failpoints lists every point of the reconciler where a test may interrupt it.
func Failpoints() []string {
	var names []string
	for _, s := range steps {
		names = append(names, pointsOfStep(s.name)...)
	}
	for _, s := range states {
		names = append(names, pointsOfTransition(string(s))...)
	}
	names = append(names, pointsOfTransition(claim)...)
	return append(names, pointsOfTransition(release)...)
}
