package partition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"

	"easel/noded/gpu"
)

// vendor is the profiles and places of go-nvml's cards.
func vendor(t *testing.T) map[string][]Profile {
	t.Helper()
	all := map[string][]Profile{}
	for _, model := range []gpus.Config{
		gpus.A100_SXM4_40GB, gpus.A30_PCIE_24GB, gpus.H100_SXM5_80GB, gpus.H200_SXM5_141GB, gpus.B200_SXM5_180GB,
	} {
		for number := range nvml.GPU_INSTANCE_PROFILE_COUNT {
			info, ok := model.MIGProfiles.GpuInstanceProfiles[number]
			if !ok {
				continue
			}
			name, err := gpu.ProfileName(number, info, model.MemoryMB<<20)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(all[model.Name], func(p Profile) bool { return p.Name == name }) {
				name += "+rev" + strconv.Itoa(number) // go-nvml's data of H200 and B200 rounds up to the name of another
			}
			p := Profile{Name: name, Most: int(info.InstanceCount)}
			for _, at := range model.MIGProfiles.GpuInstancePlacements[number] {
				p.Places = append(p.Places, Place{name, int(at.Start), int(at.Size)})
			}
			all[model.Name] = append(all[model.Name], p)
		}
	}
	return all
}

// everything is all sets of places that a card can hold at once, found without cleverness: by wish, then by where they lie.
func everything(profiles []Profile) map[string]map[string]bool {
	var places []Place
	most := map[string]int{}
	for _, p := range profiles {
		places = append(places, p.Places...)
		most[p.Name] = p.Most
	}
	found := map[string]map[string]bool{}
	var add func(from int, chosen []Place)
	add = func(from int, chosen []Place) {
		wish, where := describe(chosen)
		if found[wish] == nil {
			found[wish] = map[string]bool{}
		}
		found[wish][where] = true
		for i := from; i < len(places); i++ {
			if number(chosen, places[i].Profile) < most[places[i].Profile] && !slices.ContainsFunc(chosen, places[i].overlaps) {
				add(i+1, append(slices.Clone(chosen), places[i]))
			}
		}
	}
	add(0, nil)
	return found
}

func describe(places []Place) (wish, where string) {
	places = slices.Clone(places)
	slices.SortFunc(places, func(a, b Place) int { return a.Start - b.Start })
	var names []string
	for _, p := range places {
		names = append(names, p.Profile)
	}
	slices.SortFunc(names, bySize)
	return strings.Join(names, " "), fmt.Sprint(places)
}

// Every layout that the vendor's tables allow is found, in each of its placements once, and none else.
func TestEveryLayoutThatFitsIsFoundInAllItsPlacements(t *testing.T) {
	for model, profiles := range vendor(t) {
		all, placements := everything(profiles), 0
		for wish, wheres := range all {
			got := map[string]bool{}
			for made := range arrangements(profiles, nil, strings.Fields(wish)) {
				_, where := describe(made)
				if got[where] || !wheres[where] {
					t.Fatalf("%s: %s at %s is there twice, or is none", model, wish, where)
				}
				got[where] = true
			}
			if len(got) != len(wheres) {
				t.Fatalf("%s: %s has %d placements, %d were found", model, wish, len(wheres), len(got))
			}
			placements += len(got)
		}
		if len(all) < 10 || all["9g.999gb"] != nil {
			t.Fatalf("%s: %d layouts", model, len(all))
		}
		t.Logf("%s: %d layouts, %d placements", model, len(all), placements)
	}
}

// What does not fit is refused: every layout with one instance more than the tables allow.
func TestLayoutsThatDoNotFitAreNone(t *testing.T) {
	for model, profiles := range vendor(t) {
		all, refused := everything(profiles), 0
		for wish := range all {
			for _, p := range profiles {
				more := append(strings.Fields(wish), p.Name)
				slices.SortFunc(more, bySize)
				if all[strings.Join(more, " ")] != nil {
					continue
				}
				refused++
				if w, ok := first(ways(profiles, nil, nil, more)); ok {
					t.Fatalf("%s: %v were laid at %v", model, more, w)
				}
			}
		}
		if refused < 10 {
			t.Fatalf("%s: only %d layouts do not fit", model, refused)
		}
	}
}

// What is dear stays if anything of the wanted can lie beside it; of the rest as much as can.
func TestWaysKeepWhatIsDear(t *testing.T) {
	profiles := vendor(t)[gpus.H100_SXM5_80GB.Name]
	place := func(profile string, start, size int) Place { return Place{profile, start, size} }
	there := []Place{place("1g.10gb", 0, 1), place("1g.10gb", 1, 1), place("1g.10gb", 4, 1)}
	for name, c := range map[string]struct {
		dear []Place
		want string
		keep []Place
	}{
		"all stay":                         {nil, "1g.10gb 1g.10gb 1g.10gb", there},
		"two of three":                     {there[2:], "1g.10gb 1g.10gb", []Place{there[0], there[2]}},
		"half of the card must be cleared": {there[2:], "3g.40gb 1g.10gb", there[2:]},
		"the dear one goes last":           {there[:1], "3g.40gb 1g.10gb 1g.10gb", there[:2]},
		"it must go":                       {there[:1], "7g.80gb", nil},
	} {
		w, ok := first(ways(profiles, there, c.dear, strings.Fields(c.want)))
		if !ok || !sameSet(w.Keep, c.keep) {
			t.Errorf("%s: keeps %v, want %v", name, w.Keep, c.keep)
		}
		if wish, _ := describe(w.all()); wish != c.want {
			t.Errorf("%s: gives %s", name, wish)
		}
	}
}
