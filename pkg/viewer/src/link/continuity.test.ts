import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Continuity } from "./continuity";
import { NodeError } from "./node";

class FakeConnection {
	connectionState = "connected";
	signalingState = "stable";
	localDescription: { sdp: string } | null = null;
	restarts = 0;
	remote: string[] = [];
	async createOffer(o: { iceRestart?: boolean }): Promise<{ type: string; sdp: string }> {
		if (o.iceRestart) this.restarts++;
		return { type: "offer", sdp: `offer ${this.restarts}` };
	}
	async setLocalDescription(d: { type: string; sdp: string }): Promise<void> {
		this.signalingState = d.type === "rollback" ? "stable" : "have-local-offer";
		this.localDescription = d;
	}
	async setRemoteDescription(d: { sdp: string }): Promise<void> {
		this.signalingState = "stable";
		this.remote.push(d.sdp);
	}
}

describe("a link whose network goes away", () => {
	let pc: FakeConnection;
	let offer: (sdp: string) => Promise<string>;
	let held: (string | null)[];
	let lost: string[];
	let over: AbortController;
	let links: Continuity;

	beforeEach(() => {
		vi.useFakeTimers();
		vi.stubGlobal("window", new EventTarget());
		pc = new FakeConnection();
		offer = async (sdp) => `answer to ${sdp}`;
		held = [];
		lost = [];
		over = new AbortController();
		const host = {
			offer: (sdp: string) => offer(sdp),
			held: (why: string | null) => void held.push(why),
			lost: (why: string) => void lost.push(why),
		};
		links = new Continuity(pc as unknown as RTCPeerConnection, host, over.signal);
		links.follow();
	});
	afterEach(() => {
		over.abort();
		vi.unstubAllGlobals();
		vi.useRealTimers();
	});
	const become = (state: string): void => {
		pc.connectionState = state;
		links.follow();
	};

	it("does nothing about a hiccup", async () => {
		become("disconnected");
		await vi.advanceTimersByTimeAsync(400);
		become("connected");
		await vi.advanceTimersByTimeAsync(20_000);
		expect([pc.restarts, held, lost]).toEqual([0, [], []]);
	});

	it("begins ICE anew, tells the artist, and goes on", async () => {
		become("disconnected");
		await vi.advanceTimersByTimeAsync(1600);
		expect(pc.remote).toEqual(["answer to offer 1"]);
		expect(links.mending).toBe(true);
		become("connected");
		await vi.advanceTimersByTimeAsync(20_000);
		expect(held).toEqual(["The network went away.", null]);
		expect([pc.restarts, lost, links.mending]).toEqual([1, [], false]);
	});

	it("asks again while the node cannot be reached, and takes each offer back", async () => {
		offer = async () => {
			throw new NodeError("unreachable", "nothing answers");
		};
		become("disconnected");
		await vi.advanceTimersByTimeAsync(3600);
		expect(pc.restarts).toBeGreaterThanOrEqual(3);
		expect(pc.signalingState).toBe("stable");
		expect(lost).toEqual([]);
		await vi.advanceTimersByTimeAsync(6000);
		expect(lost).toEqual(["The network went away."]);
	});

	it("is lost soon where the node has another peer by now, or an answer leads nowhere", async () => {
		offer = async () => {
			throw new NodeError("gone", "there is no such peer");
		};
		become("failed");
		await vi.advanceTimersByTimeAsync(600);
		expect(lost).toEqual(["The network went away."]);
		become("connected");
		offer = async () => "an answer";
		become("disconnected");
		await vi.advanceTimersByTimeAsync(5200);
		expect(lost.length).toBe(2);
	});

	it("does not wait for ICE when the machine tells of another network", async () => {
		window.dispatchEvent(new Event("online"));
		await vi.advanceTimersByTimeAsync(1);
		expect(pc.remote).toEqual(["answer to offer 1"]);
	});

	it("is quiet once the link is over", async () => {
		become("disconnected");
		over.abort();
		await vi.advanceTimersByTimeAsync(20_000);
		expect([pc.restarts, held, lost]).toEqual([0, [], []]);
	});
});
