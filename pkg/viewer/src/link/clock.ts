// What time it is at the node, by pings: the one that came back soonest tells best.

/** A ping counts for this long (ms): clocks drift. */
const GOOD_FOR = 60_000;
/** Pings that are remembered. */
const KEPT = 32;

interface Ping {
	at: number;
	rtt: number;
	/** The node's time less ours, if both ways took the same time. */
	ahead: number;
}

export class NodeClock {
	private pings: Ping[] = [];

	/** A ping was sent and answered at these moments of ours, and the node's time was `node` meanwhile. */
	answered(sent: number, back: number, node: number): void {
		const rtt = back - sent;
		if (!(rtt >= 0) || !Number.isFinite(node)) return;
		this.pings = this.pings.filter((p) => back - p.at < GOOD_FOR).slice(1 - KEPT);
		this.pings.push({ at: back, rtt, ahead: node - (sent + back) / 2 });
	}

	/** Our time of a moment of the node's; null before anything is known. */
	local(node: number): number | null {
		const best = this.best();
		return best === null ? null : node - best.ahead;
	}

	/** How wrong local() may be at most (ms). */
	get doubt(): number {
		return (this.best()?.rtt ?? Number.POSITIVE_INFINITY) / 2;
	}

	private best(): Ping | null {
		return this.pings.reduce<Ping | null>((a, b) => (a === null || b.rtt <= a.rtt ? b : a), null);
	}
}
