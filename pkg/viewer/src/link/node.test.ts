import { afterEach, describe, expect, it, vi } from "vitest";
import { nothing } from "../files/api";
import { alone } from "../share/api";
import { link, Node, NodeError, parseIce, parseStatus, sentence } from "./node";

const signal = new AbortController().signal;
const node = new Node("/s/s1");

function answer(status: number, body: unknown, headers: Record<string, string> = {}): void {
	vi.spyOn(globalThis, "fetch").mockResolvedValue(
		new Response(status === 204 ? null : typeof body === "string" ? body : JSON.stringify(body), { status, headers }),
	);
}
afterEach(() => vi.restoreAllMocks());

describe("Node", () => {
	it.each([
		[401, "denied"],
		[403, "denied"],
		[404, "gone"],
		[410, "gone"],
		[409, "unavailable"],
		[429, "unavailable"],
		[502, "unreachable"],
		[400, "refused"],
	])("tells a %i apart as %s, in the node's words", async (status, refusal) => {
		answer(status, { title: "T", detail: "What was done and what to try.", portal: "https://portal.example/x" });
		const e = await node.status(signal).catch((e: unknown) => e);
		expect(e).toBeInstanceOf(NodeError);
		expect(e).toMatchObject({
			refusal,
			message: "What was done and what to try.",
			portal: "https://portal.example/x",
		});
	});

	it("finds the portal of who is not signed in in the Link header", async () => {
		answer(401, { title: "Not signed in" }, { Link: '<https://portal.example/>; rel="portal"' });
		await expect(node.status(signal)).rejects.toMatchObject({ refusal: "denied", portal: "https://portal.example/" });
	});

	it("has words of its own when the answer is no problem document", async () => {
		answer(502, "<html>bad gateway</html>");
		await expect(node.status(signal)).rejects.toThrow("Could not ask for the session's state: the node answered 502.");
	});

	it("says that nothing answers", async () => {
		vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("Failed to fetch"));
		await expect(node.signIn("t", signal)).rejects.toMatchObject({ refusal: "unreachable" });
	});

	it("waits for another state by the long poll", async () => {
		answer(200, { state: "ready" });
		await node.status(signal, "starting");
		expect(fetch).toHaveBeenCalledWith("/s/s1/status?wait=starting", expect.anything());
	});

	it.each([
		["whep/p1", "/s/s1/whep/p1"],
		["/s/s1/whep/p1", "/s/s1/whep/p1"],
		["/s/other/whep/p1", null],
		["https://elsewhere.example/s/s1/whep/p1", null],
	])("takes Location %s as %s", async (location, peer) => {
		answer(201, "v=0", { Location: location });
		expect(await node.offer("v=0", signal)).toEqual({ sdp: "v=0", peer });
	});
});

describe("sentence", () => {
	it.each([
		["the operator stopped it", "The operator stopped it."],
		["Save your work!", "Save your work!"],
		["éasel ends…", "Éasel ends…"],
		[" ", ""],
	])("makes one of %j", (said, read) => {
		expect(sentence(said)).toBe(read);
	});
});

describe("parseStatus", () => {
	it("reads the contract's document", () => {
		const doc = {
			id: "s1",
			state: "failed",
			reason: "no room",
			gimp: { state: "running", restarts: 1 },
			portal: "https://p/",
			notice: { text: "Save", until: "2026-01-02T03:04:05Z", left_ms: 5 },
			relay: "one",
			files: { in: true, out: false, most: 5 },
			you: { id: "l.a", role: "view", name: "Bo" },
			owner: "ann",
			sharing: false,
		};
		expect(parseStatus(doc)).toEqual({
			state: "failed",
			relay: "one",
			reason: "No room.",
			gimp: { state: "running", restarts: 1 },
			portal: "https://p/",
			notice: { text: "Save", left: 5 },
			files: { in: true, out: false, most: 5 },
			visitor: { id: "l.a", role: "view", owner: "ann", sharing: false },
		});
	});
	it.each([null, 1, "x", [], { state: 5, reason: {}, gimp: "x", portal: "javascript:alert(1)" }])(
		"makes nothing of %j",
		(v) => {
			expect(parseStatus(v)).toEqual({
				state: "",
				reason: "",
				gimp: null,
				portal: null,
				notice: null,
				relay: "",
				files: nothing,
				visitor: alone,
			});
		},
	);
});

describe("link", () => {
	it.each([
		["https://portal.example/", "https://portal.example/"],
		["http://127.0.0.1:8080/", "http://127.0.0.1:8080/"],
		["javascript:alert(1)", null],
		["data:text/html,x", null],
		["//x", null],
		[7, null],
	])("%s → %s", (v, href) => {
		expect(link(v)).toBe(href);
	});
});

describe("parseIce", () => {
	const good = { urls: ["turn:n:3478?transport=udp", "turns:n:5349?transport=tcp"], username: "u", credential: "c" };

	it("reads the servers and the relay's start", () => {
		expect(parseIce({ iceServers: [good], relay: "one" })).toEqual({ servers: [good], relay: "one" });
	});

	it.each([
		[null],
		[[]],
		["x"],
		[{}],
		[{ iceServers: "x", relay: 1 }],
		[{ iceServers: [null, {}, { ...good, urls: ["http://n"] }, { ...good, credential: 1 }] }],
	])("has no server in %j", (v) => {
		expect(parseIce(v)).toEqual({ servers: [], relay: "" });
	});
});
