// Watches the session's streamer by way of the node, which knows at once when it is gone: a stream only falls silent, and that takes
// seconds to be told from a bad network.

import { sleep } from "./backoff";
import { type Node, NodeError } from "./node";

/** The node is asked again this soon (ms) when it does not answer, or has no news. */
const AGAIN = 1000;

/** Resolves with true when the session has another streamer than now, with false when that cannot be learnt any more. */
export async function streamerChanged(node: Node, signal: AbortSignal): Promise<boolean> {
	let known: number | null = null;
	while (!signal.aborted) {
		const asked = performance.now();
		try {
			const now = await node.streamer(signal, known);
			if (known !== null && now !== known) return true;
			if (known === null) {
				known = now;
				continue;
			}
		} catch (e) {
			if (signal.aborted) break;
			if (!(e instanceof NodeError)) throw e;
			if (e.refusal !== "unreachable" && e.refusal !== "unavailable") break;
		}
		await sleep(Math.max(0, AGAIN - (performance.now() - asked)), signal);
	}
	return false;
}
