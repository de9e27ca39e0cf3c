package gpu

import "slices"

// clone shares nothing with what it was made of.
func (i Inventory) clone() Inventory {
	cards := make([]Card, len(i.Cards))
	for k, c := range i.Cards {
		cards[k] = c.clone()
	}
	i.Cards = cards
	return i
}

func (c Card) clone() Card {
	c.Instances = slices.Clone(c.Instances)
	c.Engines.Encode, c.Engines.Decode = slices.Clone(c.Engines.Encode), slices.Clone(c.Engines.Decode)
	c.Faults = slices.Clone(c.Faults)
	return c
}
