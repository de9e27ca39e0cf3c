// What the viewer is doing, as one small machine: which events lead where, and which phases nothing leaves.

export type Phase =
	| "connecting"
	| "starting"
	| "connected"
	| "reconnecting"
	| "replaced"
	| "ended"
	| "failed"
	| "signed-out";

export type Path = "direct" | "relay" | "vnc";

export interface State {
	phase: Phase;
	/** A sentence for the artist; empty where the phase says it all. */
	detail: string;
}

export type Event =
	/** The session is there, but not ready: its state by the node. */
	| { type: "waiting"; state: string }
	/** A picture's way is being opened. */
	| { type: "dialing" }
	/** The first picture is shown. */
	| { type: "up" }
	/** The way broke, or could not be opened. */
	| { type: "lost"; why: string }
	/** Another window took over. */
	| { type: "replaced" }
	/** The artist wants it back here. */
	| { type: "take-back" }
	| { type: "denied"; why: string }
	| { type: "over"; why: string }
	| { type: "broken"; why: string };

export const initial: State = { phase: "connecting", detail: "" };

const startingText: Readonly<Record<string, string>> = {
	reserved: "A place is reserved. Your session is next.",
	starting: "Starting GIMP…",
};

/** Whether the phase is one that only a new page leaves. */
export function isOver(phase: Phase): boolean {
	return phase === "ended" || phase === "failed" || phase === "signed-out";
}

export function step(s: State, e: Event): State {
	if (isOver(s.phase)) return s;
	switch (e.type) {
		case "waiting":
			return { phase: "starting", detail: startingText[e.state] ?? "Preparing your session…" };
		case "dialing":
			return s.phase === "reconnecting" ? s : { phase: "connecting", detail: "" };
		case "up":
			return { phase: "connected", detail: "" };
		case "lost":
			return s.phase === "replaced" ? s : { phase: "reconnecting", detail: e.why };
		case "replaced":
			return { phase: "replaced", detail: "" };
		case "take-back":
			return s.phase === "replaced" ? { phase: "connecting", detail: "" } : s;
		case "denied":
			return { phase: "signed-out", detail: e.why };
		case "over":
			return { phase: "ended", detail: e.why };
		case "broken":
			return { phase: "failed", detail: e.why };
	}
}
