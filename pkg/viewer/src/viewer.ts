// The viewer: finds out how the session is, keeps a link to it, and joins picture, hand and tools. One loop (run) says
// what happens next; everything else only reports to it.

import { Sound } from "./audio";
import { Clipboard } from "./clipboard/clipboard";
import { byId } from "./elements";
import { Files } from "./files/files";
import { GimpNews } from "./gimp";
import { Controls } from "./input/controls";
import type { Hand } from "./input/sender";
import { SteadyHand } from "./input/steady";
import { askBeforeLeaving } from "./leaving";
import { Backoff, Nap, sleep } from "./link/backoff";
import { type Codec, decodable, whyNot } from "./link/codec";
import { Contact } from "./link/contact";
import { Dialer, type DialerHost } from "./link/dialer";
import { type Ending, type Link, LinkError, type LinkHost } from "./link/link";
import { type Node, NodeError, sentence } from "./link/node";
import { Peer } from "./link/peer";
import { Vnc } from "./link/vnc";
import { NoticeBar } from "./notice";
import type { Options, Size } from "./options";
import { Panel } from "./panel";
import { Portal } from "./portal";
import { Cursor } from "./screen/cursor";
import { density, type Point } from "./screen/geometry";
import { InterfaceSize } from "./screen/interface-size";
import { Screen } from "./screen/screen";
import { SecondScreen } from "./screen/second-screen";
import { Still } from "./screen/still";
import { Sharing } from "./share/sharing";
import { type Event, initial, isOver, type State, step } from "./state";
import { type Snapshot, Stats } from "./stats/stats";
import { Strip } from "./strip";

/** A link that lived this long (ms) was a good one. */
const STABLE = 10_000;
/** VNC tells nothing of GIMP: the node is asked this often (ms). */
const ASK_GIMP = 5000;
/** A long poll that comes back sooner (ms) without news is not asked again at once. */
const POLL_AGAIN = 1000;
/** A node that does not answer is asked again this soon (ms): one that was restarted should not wait for its viewers. */
const ASK_AGAIN = 1000;

export class Viewer {
	private state: State = initial;
	private link: Link | null = null;
	private links = 0;
	private pictured = false;
	/** When the link came up. */
	private since = 0;
	/** Since when the whole picture has been exact. */
	exactSince: number | null = null;
	/** Wakes whoever waits before another try. */
	private readonly nap = new Nap();
	private readonly stop = new AbortController();
	private readonly backoff = new Backoff();
	private readonly contact = new Contact(() => void this.nodeLost());
	private readonly portal: Portal;
	private readonly gimp = new GimpNews((text) => this.panel.say(text));

	private readonly root = byId("screen", HTMLDivElement);
	private readonly video = byId("video", HTMLVideoElement);
	private readonly vnc = byId("vnc", HTMLDivElement);
	private readonly field = byId("keys", HTMLTextAreaElement);
	private readonly cursor = new Cursor(this.root);
	private readonly still = new Still(this.root, this.video);
	private readonly stats: Stats;
	private readonly panel: Panel;
	private readonly notice: NoticeBar;
	private readonly strip: Strip;
	private readonly files: Files;
	private readonly controls: Controls;
	private readonly steady = new SteadyHand({ say: (text) => this.panel.say(text), letGo: () => this.letGo() });
	readonly screen: Screen;
	private readonly clipboard: Clipboard;
	private readonly sound = new Sound((available, on) => this.strip.sounds(available, on));
	private readonly dialer: Dialer;
	private readonly interface: InterfaceSize;
	private readonly second: SecondScreen;
	private readonly sharing: Sharing;

	constructor(
		private readonly node: Node,
		private readonly options: Options,
		id: string,
	) {
		this.portal = new Portal(id, this.stop.signal);
		this.stats = new Stats(
			() => this.now(),
			() => this.strip.draw(this.stats.snapshot(false)),
		);
		const wake = (): void => this.nap.wake();
		this.panel = new Panel(options.chrome, wake, wake);
		this.notice = new NoticeBar(options.chrome);
		node.answered = () => this.contact.heard();
		this.strip = new Strip(options.chrome, {
			quality: (value) => this.link?.quality(value),
			capture: (on) => {
				this.controls.keyboard.capture = on;
			},
			sound: () => this.sound.toggle(),
			clipboard: () => void this.clipboard.exchange(),
			overlay: (on) => this.stats.pin(on),
			end: () => void this.endSession(),
			leave: () => this.focus(),
		});
		this.clipboard = this.makeClipboard();
		this.files = new Files(
			node.base,
			{ chrome: options.chrome, offers: options.chrome && options.screen === 1 },
			{
				say: (text) => this.panel.say(text),
				leave: () => this.focus(),
			},
		);
		const { signal } = this.stop;
		this.interface = new InterfaceSize(options.screen === 1, () => this.screen.again(), signal);
		this.second = new SecondScreen(id, options.screen, { say: (text) => this.panel.say(text) }, signal);
		this.sharing = this.makeSharing();
		const parts = { root: this.root, video: this.video };
		this.screen = new Screen(
			parts,
			options,
			(size, scale) => this.link?.resize(size, scale),
			(layout) => this.cursor.scale(density(layout)),
			() => this.interface.chosen,
		);
		const hands = {
			hand: this.hand,
			screen: () => this.screen,
			draw: (at: Point | null) => this.cursor.draw(at),
			escape: () => this.strip.show(true),
			letGo: this.letGo,
			pastes: (shift: boolean) => this.clipboard.pastes(shift),
		};
		this.controls = new Controls(this.root, this.field, options, hands, signal);
		if (options.unscaled && options.size) document.documentElement.dataset.scrolls = "";
		this.watchPage();
		const impossible = whyNot(options.codec, decodable());
		this.dialer = this.makeDialer(impossible === "" ? options.codec : null);
		const problems = [...options.problems, impossible].filter((p) => p !== "");
		if (problems.length > 0) this.panel.say(problems.join(" "));
		this.become(initial);
	}

	/** The phase the viewer is in, as a word. */
	get phase(): string {
		return this.state.phase;
	}

	/** What the stats overlay shows, at this moment. */
	figures(): Snapshot {
		return this.stats.snapshot();
	}

	/** Signs in and keeps the picture going until the session is over. */
	async run(): Promise<void> {
		try {
			await this.signIn();
			while (!this.over()) await this.once();
		} catch (e) {
			if (this.stop.signal.aborted) return;
			console.error(e);
			this.happen({ type: "broken", why: `The page itself failed: ${String(e)}. Reload it to try again.` });
		} finally {
			this.close();
		}
	}

	// A used token is no harm where the cookie is still good: a reload brings it again.
	private async signIn(): Promise<void> {
		const { token, share } = this.options;
		if (token === null && share === null) return;
		this.panel.guest = token === null;
		try {
			if (token !== null) await this.node.signIn(token, this.stop.signal);
			else await this.node.signInAsGuest(share ?? "", await this.sharing.askName(), this.stop.signal);
		} catch (e) {
			if (!(e instanceof NodeError)) throw e;
			const known = await this.node.status(this.stop.signal).catch(() => null);
			if (known === null && (e.refusal === "denied" || e.refusal === "refused")) this.refused(e);
		}
	}

	/** One life of a link: wait for the session, open, stay, and see what came of it. */
	private async once(): Promise<void> {
		try {
			this.dialer.prepare();
			if (!(await this.ready())) return;
			this.happen({ type: "dialing" });
			let link: Link | null = await this.dialer.dial();
			while (link !== null) {
				this.adopt(link);
				const next = await this.dialer.stay(link);
				link = "kind" in next ? null : next;
				if ("kind" in next) await this.ended(next);
			}
		} catch (e) {
			if (this.stop.signal.aborted) return;
			if (e instanceof NodeError) this.refused(e);
			else if (e instanceof LinkError) this.happen({ type: "lost", why: e.message });
			else throw e;
			const away = e instanceof NodeError && e.refusal === "unreachable";
			if (!this.over()) await this.pause(this.backoff.next(away ? ASK_AGAIN : undefined));
		}
	}

	/** Waits until the session can show a picture; false when it never will. */
	private async ready(): Promise<boolean> {
		let known: string | undefined;
		while (!this.over()) {
			const asked = performance.now();
			const status = await this.node.status(this.stop.signal, known);
			this.portal.address = status.portal ?? this.portal.address;
			this.notice.show(status.notice);
			this.sharing.visit(status.visitor);
			this.panel.guest = this.sharing.guest;
			switch (status.state) {
				case "ready":
				case "connected":
				case "detached":
					this.files.allow(status.files);
					return true;
				case "stopping":
				case "stopped":
					this.happen({ type: "over", why: status.reason });
					return false;
				case "failed":
					this.happen({ type: "broken", why: status.reason || "It failed for a reason the node did not tell." });
					return false;
			}
			this.happen({ type: "waiting", state: status.state });
			if (known === status.state && performance.now() - asked < POLL_AGAIN) await this.pause(POLL_AGAIN);
			known = status.state === "" ? undefined : status.state;
		}
		return false;
	}

	/** `link` is what shows from now on. */
	private adopt(link: Link): void {
		const before = this.link;
		this.link = link;
		this.links++;
		this.since = performance.now();
		this.contact.heard();
		before?.close();
		this.still.release();
		this.video.hidden = link.path === "vnc";
		this.pictured = true;
		document.documentElement.dataset.pictured = "";
		if (this.strip.chosen !== "auto" || link.path === "vnc") link.quality(this.strip.chosen);
		this.steady.lead(link);
		this.stats.attach(link);
		this.clipboard.attach(link.clipboard);
		this.sound.attach(this.options.screen === 1 ? link.sound : null);
		this.strip.open(link.path);
		this.second.way(link.path);
		this.panel.showFallback(link.path === "vnc" ? this.dialer.fallback : null, !this.options.vnc);
		this.happen({ type: "up" });
		if (link.path === "vnc") void this.askForGimp(link);
		this.focus();
	}

	private async ended(e: Ending): Promise<void> {
		this.link = null;
		// Who was cut off in the middle of a stroke goes on painting it.
		if (e.kind === "lost" || e.kind === "bye") this.steady.left(e.kind === "lost" ? e.quiet : 0);
		else {
			this.letGo();
			this.steady.drop();
		}
		this.stats.attach(null);
		this.clipboard.attach(null);
		this.sound.attach(null);
		this.strip.offline();
		this.panel.showFallback(null);
		this.cursor.reset();
		this.sharing.offline();
		if (e.kind === "replaced") {
			this.happen({ type: "replaced" });
			await this.takenBack();
		} else if (e.kind !== "closed") {
			if (e.kind === "lost") this.contact.silent(e.quiet);
			this.happen({ type: "lost", why: e.kind === "lost" ? e.why : sentence(e.reason) });
			// A link that always breaks at once must not be opened without pause.
			if (performance.now() - this.since > STABLE) this.backoff.reset();
			await this.pause(this.backoff.next());
		}
	}

	// Until the artist asks: windows that took turns by themselves would be worse.
	private async takenBack(): Promise<void> {
		await this.nap.woken(this.stop.signal);
		this.happen({ type: "take-back" });
	}

	private async askForGimp(link: Link): Promise<void> {
		while (this.link === link && !this.over()) {
			await sleep(ASK_GIMP, this.stop.signal);
			const status = await this.node.status(this.stop.signal).catch(() => null);
			if (status === null || this.link !== link) continue;
			this.notice.show(status.notice);
			if (status.gimp) this.gimp.heard(status.gimp);
			this.files.allow(status.files);
		}
	}

	private async askForFiles(): Promise<void> {
		const status = await this.node.status(this.stop.signal).catch(() => null);
		if (status !== null) this.files.allow(status.files);
	}

	private async endSession(): Promise<void> {
		try {
			await this.node.end(this.stop.signal);
			this.happen({ type: "over", why: "You ended it. Your files are in your home folder." });
			this.link?.close();
		} catch (e) {
			if (e instanceof NodeError) this.panel.say(e.message);
		}
	}

	private nodeLost(): Promise<void> {
		const why = "This session's machine does not answer. The portal knows what became of it…";
		const lost = (): boolean => this.state.phase === "reconnecting";
		return this.portal.find(lost, () => this.happen({ type: "lost", why }));
	}

	private refused(e: NodeError): void {
		this.portal.address = e.portal ?? this.portal.address;
		if (e.refusal === "unreachable") this.contact.silent();
		if (e.refusal === "denied") this.happen({ type: "denied", why: e.message });
		else if (e.refusal === "gone") this.happen({ type: "over", why: e.message });
		else if (e.refusal === "refused") this.happen({ type: "broken", why: e.message });
		else this.happen({ type: "lost", why: e.message });
	}

	private happen(e: Event): void {
		this.become(step(this.state, e));
	}

	private become(state: State): void {
		this.state = state;
		this.panel.show(state, this.pictured, this.portal.link(state.phase === "signed-out"));
	}

	private over(): boolean {
		return isOver(this.state.phase) || this.stop.signal.aborted;
	}

	private pause(ms: number): Promise<void> {
		return this.nap.sleep(ms, this.stop.signal);
	}

	private readonly hand = (): Hand | null => {
		const { phase } = this.state;
		const cutOff =
			this.pictured &&
			phase === "reconnecting" &&
			(this.link === null || this.link.hand !== null) &&
			!this.steady.gate.spent;
		const may = cutOff || (phase === "connected" && this.link?.hand);
		return may && this.sharing.mine ? this.steady.gate : null;
	};

	private readonly letGo = (): void => {
		this.controls.reset();
		this.steady.gate.release();
	};

	private focus(): void {
		if (this.state.phase !== "connected") return;
		if (this.link instanceof Vnc) this.link.focus();
		else this.controls.keyboard.focus();
	}

	private readonly host: LinkHost = {
		screen: (size, video) => this.screen.setRemote(size, video),
		cursor: (id, shape) => this.cursor.show(id, shape),
		gimp: (gimp) => this.gimp.heard(gimp),
		notice: (notice) => this.notice.show(notice),
		files: () => void this.askForFiles(),
		pictured: (time) => this.controls.pictured(time),
		sound: () => this.sound.update(),
		going: () => this.still.hold(),
		exact: (on) => {
			this.exactSince = on ? performance.now() : null;
			this.strip.exact(on);
		},
		held: (why) => this.happen(why === null ? { type: "up" } : { type: "lost", why }),
		company: (company) => this.sharing.heard(company),
		path: (path) => this.link !== null && this.strip.open(path),
		stats: (stats) => this.stats.heard(stats),
	};

	private makeDialer(codec: Codec | null): Dialer {
		const { screen } = this;
		const on = { video: this.video, root: this.root, vnc: this.vnc };
		const host: DialerHost = {
			link: this.host,
			// VNC's picture has its new size at once.
			overVnc: { ...this.host, screen: (size: Size) => screen.setRemote(size, size, true) },
			ask: () => screen.ask(),
			guest: () => this.sharing.guest,
			backlog: this.steady.backlog,
			between: () => this.steady.left(0),
			tried: (fallback) => this.panel.showFallback(fallback),
			pause: (ms) => this.pause(ms),
		};
		return new Dialer(this.node, this.options, codec, on, host, this.stop.signal);
	}

	private makeClipboard(): Clipboard {
		return new Clipboard({
			say: (text) => this.panel.say(text),
			hold: (until, behind) => this.link instanceof Peer && this.steady.gate.hold(until, behind),
			did: () => this.steady.backlog.rseq,
			rests: () => this.steady.gate.rests(),
			open: (is) => this.strip.exchanges(is),
			field: this.field,
			chrome: this.options.chrome,
		});
	}

	private makeSharing(): Sharing {
		const host = {
			say: (text: string) => this.panel.say(text),
			leave: () => this.focus(),
			give: (id: string) => this.link instanceof Peer && this.link.give(id),
			letGo: this.letGo,
		};
		return new Sharing(this.node, this.options.chrome, host, this.stop.signal);
	}

	private watchPage(): void {
		const options = { signal: this.stop.signal };
		const leaving = {
			painting: () => this.hand() !== null,
			letGo: this.letGo,
			say: (text: string) => this.panel.say(text),
		};
		askBeforeLeaving(leaving, options.signal);
		window.addEventListener("blur", this.letGo, options);
		window.addEventListener("focus", () => document.activeElement === document.body && this.focus(), options);
		window.addEventListener("online", () => this.retry(), options);
		document.addEventListener("visibilitychange", () => (document.hidden ? this.letGo() : this.retry()), options);
		window.addEventListener("pagehide", () => {
			this.letGo();
			this.link?.close();
		});
		// A page that the browser kept and shows again has lost its link.
		window.addEventListener("pageshow", (e) => e.persisted && window.location.reload(), options);
	}

	private retry(): void {
		if (this.state.phase === "reconnecting") this.nap.wake();
	}

	private now(): ReturnType<ConstructorParameters<typeof Stats>[0]> {
		const { link } = this;
		const { w: width, h: height } = this.screen.size;
		const frames = link?.path === "vnc" ? 0 : this.video.getVideoPlaybackQuality().totalVideoFrames;
		const reconnects = Math.max(0, this.links - 1);
		return { state: this.state.phase, link, fallback: this.dialer.fallback, width, height, frames, reconnects };
	}

	private close(): void {
		this.stop.abort();
		this.link?.close();
		this.link = null;
		this.stats.attach(null);
		this.controls.close();
		this.screen.close();
		this.strip.close();
		this.clipboard.close();
		this.sound.close();
		this.files.close();
		this.panel.showFallback(null);
		this.notice.close();
		this.contact.close();
	}
}
