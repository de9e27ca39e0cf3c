// The portal, where the artist signs in and has the list of sessions: the way to it, and what it knows of a node that is lost.

/** The portal answers within this time (ms), or the artist's own network is what is gone. */
const WITHIN = 3000;

export class Portal {
	/** Its address; null while the node has not told. */
	address: string | null = null;

	constructor(
		private readonly session: string,
		private readonly stop: AbortSignal,
	) {}

	/** Where to go from here: to the list of sessions, or, for who must sign in, back into this very session. */
	link(signedOut: boolean): string | null {
		if (this.address === null) return null;
		const own = `sessions/${this.session}/open`;
		// The node tells the way into the session while it has one, and else the portal's front door.
		const front = this.address.endsWith(`/${own}`) ? this.address.slice(0, -own.length) : this.address;
		return `${front.replace(/\/?$/, "/")}${signedOut ? own : ""}`;
	}

	/**
	 * Goes to the portal, which knows whether the session lives, and leads to it or to a new one elsewhere. It is asked first: where it does not
	 * answer either, the artist's own network is gone, and this page still knows the way back. `lost` tells whether the node still is; `going` is
	 * told before the page goes.
	 */
	async find(lost: () => boolean, going: () => void): Promise<void> {
		const { address } = this;
		if (!lost() || address === null || !navigator.onLine) return;
		const signal = AbortSignal.any([this.stop, AbortSignal.timeout(WITHIN)]);
		const ping = new URL("/ping", address);
		const there = await fetch(ping, { credentials: "omit", cache: "no-store", signal }).catch(() => null);
		if (there?.ok !== true || !lost() || this.stop.aborted) return;
		going();
		window.location.assign(new URL(`/sessions/${this.session}/open`, address));
	}
}
