import type { Page } from "playwright-core";
import { beforeEach, describe, expect, it } from "vitest";
import type { FakePeer } from "./fake-peer";
import { anotherPeer, connected, control, hears, input, node, open, peer, reaches } from "./setup";
import { tools } from "./strip";

const people = {
	owner: { id: "owner", name: "ada", role: "owner", path: "direct" },
	vi: { id: "aa.1", name: "Vi", role: "view", path: "relay" },
	bo: { id: "bb.1", name: "Bo", role: "take-part", path: "direct" },
};

let guests: FakePeer;

beforeEach(async () => {
	guests = await anotherPeer();
	node.whep = (offer, who) => (who.role === "owner" ? peer : guests).answer(offer);
});

const company = (you: string, hand: string, ...who: (keyof typeof people)[]) => ({
	t: "people",
	you,
	hand,
	people: who.map((name) => people[name]),
});

/** Makes a link by the dialog, which it leaves open, and returns its address. */
async function makeLink(page: Page, wish: { role: string; name: string; expires?: string }): Promise<string> {
	if (!(await page.locator("#share-dialog").isVisible())) {
		await tools(page);
		await page.locator("#share").click();
	}
	await page.getByLabel("Who comes by the link may").selectOption(wish.role);
	await page.getByLabel("It is for").fill(wish.name);
	if (wish.expires) await page.getByLabel("It is good").selectOption(wish.expires);
	const made = page.locator("#share-url");
	const before = await made.inputValue();
	await page.getByRole("button", { name: "Make a link" }).click();
	await expect.poll(() => made.inputValue(), { timeout: 30_000 }).not.toBe(before);
	return made.inputValue();
}

/** Comes by a link, in a browser of somebody else's, as who is called so. */
async function comeIn(url: string, name: string): Promise<Page> {
	const page = await open(url);
	const dialog = page.getByRole("dialog", { name: "A session is shared with you" });
	await dialog.getByLabel("Your name").fill(name);
	await dialog.getByRole("button", { name: "Come in" }).click();
	return page;
}

/** Gives the guests' page its place among the people, which it has when its control channel is open. */
async function told(page: Page, m: unknown, words: string): Promise<void> {
	await hears(control("seen"), 30_000, guests);
	await guests.say(m);
	await page.locator("#guest").getByText(words).waitFor();
}

const link = (page: Page, name: string) => page.locator("#share-links li").filter({ hasText: name });

describe("the owner's links", () => {
	it("are made for looking on and for taking part, told once, listed, and revoked", async () => {
		const page = await connected();
		const view = await makeLink(page, { role: "view", name: "for Vi" });
		const part = await makeLink(page, { role: "take-part", name: "for Bo", expires: "3600" });
		expect(view).not.toBe(part);
		expect(node.shares.wished).toEqual([
			{ role: "view", name: "for Vi", expires: 0 },
			{ role: "take-part", name: "for Bo", expires: 3600 },
		]);
		await link(page, "for Vi").getByText("to look on · as long as the session").waitFor();
		await link(page, "for Bo").getByText("to take part · until").waitFor();
		await page.locator("#share-close").click();
		await tools(page);
		await page.locator("#share").click();
		expect(await page.locator("#share-url").inputValue()).toBe("");
		expect(await page.locator("#share-made").isVisible()).toBe(false);
		await link(page, "for Vi").getByRole("button", { name: "Revoke" }).click();
		await link(page, "for Vi").waitFor({ state: "detached" });
		expect(node.shares.links.map((l) => l.name)).toEqual(["for Bo"]);
	});

	it("are refused in the node's own words", async () => {
		const page = await connected();
		node.shares.refusal = { status: 409, detail: "a session has at most 16 links: revoke one first" };
		await tools(page);
		await page.locator("#share").click();
		await page.getByRole("button", { name: "Make a link" }).click();
		await page.locator("#share-said").getByText("a session has at most 16 links").waitFor();
		expect(await page.locator("#share-url").inputValue()).toBe("");
	});

	it("are not offered where the node shares nothing", async () => {
		node.shares.allowed = false;
		const page = await connected();
		await hears(control("seen"));
		expect(await page.locator("#share").isVisible()).toBe(false);
	});
});

describe("who is there", () => {
	it("is shown to the owner, who gives the hand away and takes it back", async () => {
		const page = await connected();
		await hears(control("seen"));
		await peer.say(company("owner", "owner", "owner"));
		await peer.say(company("owner", "owner", "owner", "vi", "bo"));
		await page.getByText("Vi joined. Bo joined.").waitFor();
		await expect.poll(() => page.locator("#share-count").textContent()).toBe("3");
		await tools(page);
		await page.locator("#share").click();
		const person = (name: string) => page.locator("#people li").filter({ hasText: name });
		expect(await person("ada").textContent()).toContain("you · has the hand");
		expect(await person("Vi").textContent()).toContain("looks on · relayed");
		expect(await person("Vi").getByRole("button").count()).toBe(0); // who looks on gets no hand
		await person("Bo").getByRole("button", { name: "Give the hand" }).click();
		expect(await hears(control("hand"))).toMatchObject({ to: "bb.1" });
		await page.locator("#share-close").click();

		await page.mouse.move(300, 300);
		await page.mouse.down(); // something is held down when the hand goes
		await hears((all) => input(2)(all).at(-1));
		await peer.say(company("owner", "bb.1", "owner", "vi", "bo"));
		await page.locator("#guest").getByText("Bo has the hand.").waitFor();
		await hears((all) => input(6)(all).at(-1));
		await page.mouse.up();
		await peer.forget();
		await page.mouse.click(310, 310);
		await page.getByRole("button", { name: "Take the hand back" }).click();
		expect(await hears(control("hand"))).toMatchObject({ to: "owner" });
		expect(input(2)(await peer.heard())).toEqual([]); // the click did not count
		await peer.say(company("owner", "owner", "owner", "vi", "bo"));
		await page.locator("#guest").waitFor({ state: "hidden" });
		await page.mouse.click(320, 320);
		await hears((all) => input(2)(all).at(-1));
	});

	it("hears of who leaves", async () => {
		const page = await connected();
		await hears(control("seen"));
		await peer.say(company("owner", "owner", "owner", "bo"));
		await peer.say(company("owner", "owner", "owner"));
		await page.getByText("Bo left.").waitFor();
		await page.locator("#share-count").waitFor({ state: "hidden" });
	});
});

describe("a guest", () => {
	it("says a name, has the owner's picture and no tools of the owner's, and its secret leaves the address", async () => {
		const owner = await connected();
		const url = await makeLink(owner, { role: "view", name: "for Vi" });
		const page = await comeIn(url, "Vi");
		await reaches(page, "connected");
		expect(page.url()).not.toContain("share=");
		await told(page, company("aa.1", "owner", "owner", "vi"), "You are watching ada's session.");
		for (const id of ["end", "files", "share-owner", "guest-back"])
			expect(await page.locator(`#${id}`).isVisible(), id).toBe(false);
		await page.mouse.click(300, 300);
		await tools(page);
		await page.locator("#share").click(); // a guest sees who is there, without links
		await page.getByRole("heading", { name: "Who is here" }).waitFor();
		expect(await page.locator("#people button").count()).toBe(0);
		expect(input(2)(await guests.heard())).toEqual([]);
		await page.reload(); // the name is asked for once
		await reaches(page, "connected");
		expect(await page.locator("#name-dialog").isVisible()).toBe(false);
	});

	it("who takes part has the hand when it is given, and gives it back", async () => {
		const owner = await connected();
		const page = await comeIn(await makeLink(owner, { role: "take-part", name: "for Bo" }), "Bo");
		await reaches(page, "connected");
		await told(page, company("bb.1", "owner", "owner", "bo"), "You take part in ada's session. ada has the hand.");
		expect(await page.locator("#guest-back").isVisible()).toBe(false);
		await guests.say(company("bb.1", "bb.1", "owner", "bo"));
		await page.locator("#guest").getByText("You have the hand.").waitFor();
		await page.mouse.click(300, 300);
		await hears((all) => input(2)(all).at(-1), 30_000, guests);
		await page.getByRole("button", { name: "Give the hand back" }).click();
		expect(await hears(control("hand"), 30_000, guests)).toMatchObject({ to: "owner" });
	});

	it("is told when the link is revoked, at once and at every try", async () => {
		const owner = await connected();
		const url = await makeLink(owner, { role: "view", name: "for Vi" });
		const page = await comeIn(url, "Vi");
		await reaches(page, "connected");
		await hears(control("seen"), 30_000, guests);
		await link(owner, "for Vi").getByRole("button", { name: "Revoke" }).click();
		await link(owner, "for Vi").waitFor({ state: "detached" });
		await guests.say({ t: "bye", reason: "the session is no longer shared by this link" });
		await reaches(page, "signed-out");
		await page.getByRole("heading", { name: "Not shared any more" }).waitFor();
		await page.getByText("the link by which you came to this session is no longer good").waitFor();
		expect(await page.locator("#panel-link").isVisible()).toBe(false); // a guest has no portal
		await page.goto("about:blank");
		await page.goto(url);
		await reaches(page, "signed-out");
		await page.getByRole("heading", { name: "Not shared any more" }).waitFor();
	});

	it("who comes when the link has expired is told so", async () => {
		const owner = await connected();
		const url = await makeLink(owner, { role: "view", name: "for Vi", expires: "3600" });
		const [made] = node.shares.links;
		if (made) made.expires = new Date(0).toISOString();
		const page = await comeIn(url, "Vi");
		await reaches(page, "signed-out");
		await page.getByRole("heading", { name: "Not shared any more" }).waitFor();
		await page.getByText("this link to a session is not good, or no longer").waitFor();
		expect(page.url()).not.toContain("share=");
	});
});
