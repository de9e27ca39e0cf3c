// What becomes of GIMP, as the artist should hear of it: once each time.

import type { Gimp } from "./link/control";

export class GimpNews {
	private last: Gimp | null = null;

	constructor(private readonly say: (text: string) => void) {}

	heard(gimp: Gimp): void {
		const before = this.last;
		this.last = gimp;
		if (gimp.state === "failed" && before?.state !== "failed")
			this.say("GIMP does not start any more. End this session and open a new one; your files are kept.");
		else if (gimp.state === "restarting" && before?.state !== "restarting")
			this.say("GIMP closed. It is starting again…");
		else if (before && gimp.restarts > before.restarts)
			this.say("GIMP was restarted. What was not saved may be recoverable from its backups.");
	}
}
