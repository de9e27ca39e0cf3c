// The artist's hand, beyond the life of one connection: what was done while one broke is brought by the next.

import { Backlog } from "./backlog";
import { Gate } from "./gate";
import type { Hand } from "./sender";

/** What became of what was done before a connection began. */
export type TakenUp =
	/** The node has it, or will. */
	| "all"
	/** The node lacks what was done too long ago: none of it is brought any more. */
	| "late"
	/** The node does not know what it has: what may have reached it is not said again. */
	| "unknown"
	/** This connection broke as well. */
	| "broken";

/** A way for the hand. */
export interface Way {
	/** Null where the way has a hand of its own, which knows of no other. */
	readonly hand: Hand | null;
	/** Brings the node what it has not taken yet. */
	takeUp?(): Promise<TakenUp>;
}

export interface SteadyHost {
	say(text: string): void;
	/** Nothing is down any more, whatever the artist's fingers do. */
	letGo(): void;
}

const LOST = "What you did while the connection was gone is lost.";
const DOUBT = "Your session's stream was started anew: what you did in the last moment before may be missing.";

export class SteadyHand {
	readonly backlog = new Backlog();
	readonly gate: Gate;
	/** Something was done while the last way may have been gone already. */
	private doubt = false;

	constructor(
		private readonly host: SteadyHost,
		private readonly now: () => number = () => performance.now(),
	) {
		this.gate = new Gate(null, () => host.letGo(), now);
	}

	/** The way is gone; nothing had come by it for `quiet` ms. What is done now waits for the next one. */
	left(quiet: number): void {
		this.doubt ||= this.backlog.since(this.now() - quiet);
		this.gate.lead(null);
	}

	/** There is a way again, or a better one. */
	lead(way: Way): void {
		if (way.hand === null || way.takeUp === undefined) {
			if (this.drop()) this.host.say(LOST);
			return;
		}
		this.gate.hold(way.takeUp().then((became) => this.became(became)));
		this.gate.lead(way.hand);
	}

	/** The artist goes on elsewhere: says whether something is lost by that. */
	drop(): boolean {
		const lost = [this.gate.clear(), this.gate.takeSpent(), this.doubt].includes(true);
		this.gate.lead(null);
		this.backlog.restart();
		this.doubt = false;
		return lost;
	}

	private became(became: TakenUp): void {
		if (became === "broken") {
			this.gate.lead(null);
			return;
		}
		const spent = this.gate.takeSpent();
		if (became === "late" || spent) {
			this.gate.clear();
			this.host.letGo();
			this.host.say(LOST);
		} else if (became === "unknown" && this.doubt) this.host.say(DOUBT);
		this.doubt = false;
	}
}
