import { describe, expect, it } from "vitest";
import golden from "../testdata/clipboard.json";
import { decodeClip, encodeClip, type Message, PART } from "./wire";

const hex = (b: ArrayBuffer): string => Array.from(new Uint8Array(b), (v) => v.toString(16).padStart(2, "0")).join("");
const bytes = (h: string): ArrayBuffer => Uint8Array.from(h.match(/../g) ?? [], (v) => Number.parseInt(v, 16)).buffer;

const messages: Record<string, Message> = {
	"offer of all": { kind: "offer", formats: new Set(["text", "html", "png"]), dear: false, serial: 258 },
	"offer of a dear picture": { kind: "offer", formats: new Set(["png"]), dear: true, serial: 1 },
	"offer of nothing": { kind: "offer", formats: new Set(), dear: false, serial: 2 },
	"taken text": { kind: "taken", formats: new Set(["text"]), dear: false, serial: 3 },
	"fetch html": { kind: "fetch", format: "html", serial: 4, number: 0 },
	"data of a picture": { kind: "data", format: "png", serial: 5, number: 0, data: new Uint8Array([137, 80]) },
	"end, late": { kind: "end", format: "text", serial: 6, number: 0, outcome: "late" },
	"stop a picture": { kind: "stop", format: "png", serial: 7, number: 0 },
	"policy in": { kind: "policy", in: true, out: false, answers: false, numbers: false },
	"policy out, with answers": { kind: "policy", in: false, out: true, answers: true, numbers: false },
	"policy with numbers": { kind: "policy", in: true, out: true, answers: true, numbers: true },
	"got a part of a picture": { kind: "got", format: "png", serial: 8 },
	"fetch text, the 200th time": { kind: "fetch", format: "text", serial: 9, number: 200 },
	"end of the same": { kind: "end", format: "text", serial: 9, number: 200, outcome: "whole" },
	"an application asks": { kind: "asked", serial: 11 },
	"an application has a text": { kind: "has", format: "text", serial: 10 },
	"an application has pasted": { kind: "past", serial: 12 },
};

describe("the clipboard's messages", () => {
	it("are as the node has them", () => {
		expect(Object.keys(golden).sort()).toEqual(Object.keys(messages).sort());
		for (const [name, m] of Object.entries(messages))
			expect(hex(encodeClip(m)), name).toBe(golden[name as keyof typeof golden]);
	});

	it("are read as they were written", () => {
		for (const [name, h] of Object.entries(golden)) expect(decodeClip(bytes(h)), name).toEqual(messages[name]);
	});

	it("are none when they are odd", () => {
		for (const odd of ["", "01", "0c00000000000000", "0303000000000000", "0502090000000000", "0402000000000000"])
			expect(decodeClip(bytes(odd)), odd).toBeNull();
		expect(decodeClip("text")).toBeNull();
		expect(decodeClip(new ArrayBuffer(PART + 9))).toBeNull();
	});
});
