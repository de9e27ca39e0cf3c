// Watches the node's relay. What goes through it is silent for good when the node was restarted, and WebRTC would notice only
// after many seconds.

import { sleep } from "./backoff";
import { type Node, NodeError } from "./node";

/** The node is asked again this soon (ms) when it does not answer, or has no news. */
const AGAIN = 200;

/** Resolves with true when the node answers with another relay than `relay`, with false when that cannot be learnt any more. */
export async function relayChanged(node: Node, relay: string, signal: AbortSignal): Promise<boolean> {
	let known = "connected";
	while (!signal.aborted) {
		const asked = performance.now();
		try {
			const status = await node.status(signal, known, relay);
			if (status.relay !== relay) return true;
			known = status.state;
		} catch (e) {
			if (signal.aborted) break;
			if (!(e instanceof NodeError)) throw e;
			if (e.refusal !== "unreachable" && e.refusal !== "unavailable") break;
		}
		await sleep(Math.max(0, AGAIN - (performance.now() - asked)), signal);
	}
	return false;
}
