package input

// pen gathers what a hand does with pointers. It is for one goroutine.
type pen struct {
	driver *Driver
	buf    []byte
	n      int
	sent   bool // something since the driver was last waited for
}

// add queues one record; a full packet goes out at once.
func (p *pen) add(r record) {
	p.buf = r.append(p.buf)
	if p.n++; p.n == maxRecords {
		p.flush()
	}
}

// flush sends what is queued.
func (p *pen) flush() {
	if p.n > 0 {
		p.driver.send(p.buf)
		p.sent = true
	}
	p.buf, p.n = p.buf[:0], 0
}

// settle sends what is queued, and returns when the X server has it in its queue: what another client has it do then comes after.
func (p *pen) settle() {
	p.flush()
	if p.sent {
		p.driver.settle()
	}
	p.sent = false
}
