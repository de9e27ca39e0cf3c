package partition

import (
	"strconv"
	"strings"
	"testing"

	"easel/noded/gpu"
)

func card() gpu.Card {
	return gpu.Card{UUID: "GPU-a", Model: "NVIDIA X", Memory: 80 << 30, NUMA: 1, CPUs: "8-15", MIG: gpu.MIG{Capable: true}, Engines: gpu.Engines{Encode: []string{"h264"}}}
}

func migCard() gpu.Card {
	c := card()
	c.MIG.Enabled, c.MIG.Pending = true, true
	c.Instances = []gpu.Instance{
		{UUID: "MIG-1", Profile: "3g.40gb", Start: 0, Size: 4, Memory: 40 << 30, Encoders: 1},
		{UUID: "MIG-2", Profile: "1g.10gb", Start: 4, Size: 1, Memory: 10 << 30},
	}
	return c
}

func TestSlices(t *testing.T) {
	shared, made := Division{Mode: Shared, Shares: 3, Memory: 16 << 30}, []Place{{"3g.40gb", 0, 4}}
	lost := card()
	lost.Faults = []gpu.Fault{{Code: "lost", Text: "it fell off the bus"}}
	pending := card()
	pending.MIG.Pending = true
	odd := migCard()
	odd.Instances[0].Profile = "1c.3g.40gb"
	for name, c := range map[string]struct {
		card  gpu.Card
		cards map[string]Division
		shut  map[string]string
		want  string
	}{
		"untold card is whole":       {card(), nil, nil, "GPU-a whole 80 enc"},
		"untold MIG card":            {migCard(), nil, nil, "MIG-1 3g.40gb 40 enc; MIG-2 1g.10gb 10"},
		"shares with a budget":       {card(), map[string]Division{"GPU-a": shared}, nil, "GPU-a#1 shared 16 enc; GPU-a#2 shared 16 enc; GPU-a#3 shared 16 enc"},
		"shares of equal parts":      {card(), map[string]Division{"GPU-a": {Mode: Shared, Shares: 2}}, nil, "GPU-a#1 shared 40 enc; GPU-a#2 shared 40 enc"},
		"a foreign instance":         {migCard(), map[string]Division{"GPU-a": {Mode: MIG, Made: made}}, nil, "MIG-1 3g.40gb 40 enc; MIG-2 1g.10gb 10 (something else than noded made it)"},
		"a profile that is no class": {odd, nil, nil, `MIG-1 1c.3g.40gb 40 enc (sessions cannot ask for its profile); MIG-2 1g.10gb 10`},
		"closed":                     {card(), nil, map[string]string{"GPU-a": "it is being divided"}, "GPU-a whole 80 enc (it is being divided)"},
		"closed but for what stays":  {migCard(), nil, map[string]string{"GPU-a": "it is being divided"}, "MIG-1 3g.40gb 40 enc; MIG-2 1g.10gb 10 (it is being divided)"},
		"faulty":                     {lost, map[string]Division{"GPU-a": {Mode: Shared, Shares: 1}}, nil, "GPU-a#1 shared 80 enc (it fell off the bus)"},
		"mode waits for a reset":     {pending, nil, nil, "GPU-a whole 80 enc (its MIG mode changes with the card's next reset)"},
		"MIG mode was turned off":    {card(), map[string]Division{"GPU-a": {Mode: MIG, Profiles: []string{"7g.80gb"}}}, nil, "GPU-a whole 80 enc (it is to be MIG 7g.80gb, but its MIG mode is off)"},
		"MIG mode was turned on":     {migCard(), map[string]Division{"GPU-a": {Mode: Whole}}, nil, "GPU-a whole 80 enc (it is to be whole, but its MIG mode is on)"},
	} {
		var got []string
		l := Layout{Cards: c.cards, Closed: c.shut}
		if strings.Contains(name, "stays") {
			l.Next = map[string]Division{"GPU-a": {Mode: MIG, Made: made}}
		}
		for _, s := range Slices(l, gpu.Inventory{Cards: []gpu.Card{c.card}}) {
			if s.Card != "GPU-a" || s.NUMA != 1 || s.CPUs != "8-15" || !s.OpenCL {
				t.Errorf("%s: %+v", name, s)
			}
			words := []string{s.ID, s.Class, strconv.Itoa(int(s.Memory >> 30))}
			if s.Encoder {
				words = append(words, "enc")
			}
			if s.Unfit != "" {
				why, _, _ := strings.Cut(s.Unfit, ":")
				why, _, _ = strings.Cut(why, " \"")
				words = append(words, "("+why+")")
			}
			got = append(got, strings.Join(words, " "))
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "; "), c.want)
		}
	}
}
