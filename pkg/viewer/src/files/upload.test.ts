import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type At, FilesError, type Finished } from "./api";
import { PIECE, Upload, type UploadApi } from "./upload";

const ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-1";
const soon = new FilesError("The connection was lost.", "soon");
const elsewhere = new FilesError("The upload is at another byte.", "elsewhere");
const full = new FilesError("The home is full.", "never");

/** A node in memory that fails as the test says. */
class FakeNode implements UploadApi {
	bytes: number[] = [];
	asked: string[] = [];
	/** What happens at the next requests, in order; null: nothing. A number: so many bytes arrive, then the connection is lost. */
	fates: (FilesError | number | null)[] = [];
	cancelled = 0;
	finished: { name: string; open: boolean } | null = null;

	async begin(size: number): Promise<At> {
		this.asked.push(`begin ${size}`);
		this.fate();
		return { id: ID, offset: 0 };
	}

	async at(): Promise<At> {
		this.asked.push("at");
		this.fate();
		return { id: ID, offset: this.bytes.length };
	}

	async append(_id: string, offset: number, piece: Blob, sent: (n: number) => void, signal: AbortSignal): Promise<At> {
		this.asked.push(`append ${offset}+${piece.size}`);
		const fate = this.fates.shift() ?? null;
		if (fate instanceof FilesError) throw fate;
		if (offset !== this.bytes.length) throw elsewhere;
		const arrived = [...new Uint8Array(await piece.arrayBuffer())].slice(0, fate ?? piece.size);
		sent(piece.size);
		if (signal.aborted) throw soon;
		for (const b of arrived) this.bytes.push(b);
		if (fate !== null) throw soon;
		return { id: ID, offset: this.bytes.length };
	}

	async finish(_id: string, name: string, open: boolean): Promise<Finished> {
		this.asked.push("finish");
		this.fate();
		this.finished = { name, open };
		const file = { id: "YQ", name, folder: false, size: this.bytes.length, modified: 0 };
		return { file, opened: true, why: "" };
	}

	cancel(): void {
		this.cancelled++;
	}

	private fate(): void {
		const fate = this.fates.shift() ?? null;
		if (fate instanceof FilesError) throw fate;
	}
}

const file = (text: string, name = "cat.png"): File => new File([text], name);

describe("an upload", () => {
	let node: FakeNode;
	beforeEach(() => {
		vi.useFakeTimers();
		node = new FakeNode();
	});
	afterEach(() => vi.useRealTimers());

	async function run(f: File): Promise<Upload> {
		const u = new Upload(node, f, () => {});
		const done = u.run();
		await vi.runAllTimersAsync();
		await done;
		return u;
	}
	const text = (): string => String.fromCharCode(...node.bytes);

	it("goes in pieces, and opens", async () => {
		const u = await run(file("paint"));
		expect(u).toMatchObject({ state: "done", opened: true, sent: 5, name: "cat.png" });
		expect(text()).toBe("paint");
		expect(node.finished).toEqual({ name: "cat.png", open: true });
	});

	it("divides what is large", async () => {
		const big = new File([new Uint8Array(PIECE + 3)], "big.xcf");
		await run(big);
		expect(node.asked).toEqual([`begin ${PIECE + 3}`, `append 0+${PIECE}`, `append ${PIECE}+3`, "finish"]);
	});

	it("goes on where the node says that it is, after the connection was lost", async () => {
		node.fates = [null, 2, soon, null];
		const u = await run(file("paint"));
		expect(u.state).toBe("done");
		expect(text()).toBe("paint");
		expect(node.asked).toEqual(["begin 5", "append 0+5", "at", "at", "append 2+3", "finish"]);
	});

	it("asks again for an answer that was lost, and finishes once", async () => {
		node.fates = [null, null, soon, null];
		const u = await run(file("paint"));
		expect(u.state).toBe("done");
		expect(node.asked.filter((a) => a === "finish")).toHaveLength(2);
		expect(node.asked).not.toContain("at");
	});

	it("sends what is missing after all when the node says so at the end", async () => {
		node.fates = [null, null, elsewhere, null];
		expect((await run(file("paint"))).state).toBe("done");
		expect(node.asked).toEqual(["begin 5", "append 0+5", "finish", "at", "finish"]);
	});

	it("ends where the node will never take it, and leaves nothing", async () => {
		node.fates = [null, full];
		const u = await run(file("paint"));
		expect(u).toMatchObject({ state: "failed", why: "The home is full." });
		expect(node.cancelled).toBe(1);
	});

	it("ends when the file cannot be read any more, instead of trying for ever", async () => {
		node.fates = [null, soon];
		const f = file("paint");
		const slice = f.slice.bind(f);
		vi.spyOn(f, "slice").mockImplementation((from, to) => {
			const part = slice(from, to);
			if (part.size === 1) vi.spyOn(part, "arrayBuffer").mockRejectedValue(new DOMException("", "NotReadableError"));
			return part;
		});
		const u = await run(f);
		expect(u.state).toBe("failed");
		expect(u.why).toContain("cannot be read");
	});

	it("can be cancelled while it waits, and while it is interrupted", async () => {
		const waiting = new Upload(node, file("a"), () => {});
		waiting.cancel();
		await waiting.run();
		expect(waiting.state).toBe("cancelled");
		expect(node.asked).toEqual([]);

		node.fates = [null, soon, soon, soon, soon];
		const u = new Upload(node, file("paint"), () => u.state === "interrupted" && u.cancel());
		const done = u.run();
		await vi.runAllTimersAsync();
		await done;
		expect(u.state).toBe("cancelled");
		expect(node.cancelled).toBe(1);
	});

	it("has an empty file too, and a name that can be sent", async () => {
		const u = await run(file("", "a\ud800b.png"));
		expect(u.state).toBe("done");
		expect(node.finished?.name).toBe("a\ufffdb.png");
		expect(node.asked).toEqual(["begin 0", "finish"]);
	});
});
