// KeyboardEvent.key → X keysym. The browser has already applied the artist's layout, so what its key says is
// what the remote application gets. Numbers are from X11/keysymdef.h; characters beyond Latin-1 use X's
// Unicode rule (0x01000000 + code point).

export const Keysym = {
	BackSpace: 0xff08,
	Tab: 0xff09,
	Return: 0xff0d,
	Escape: 0xff1b,
	Delete: 0xffff,
	ShiftL: 0xffe1,
	ShiftR: 0xffe2,
	ControlL: 0xffe3,
	ControlR: 0xffe4,
	AltL: 0xffe9,
	AltR: 0xffea,
	SuperL: 0xffeb,
	SuperR: 0xffec,
	Level3Shift: 0xfe03,
} as const;

/** KeyboardEvent.location */
const Location = { standard: 0, left: 1, right: 2, keypad: 3 } as const;

const named = new Map<string, number>(
	Object.entries({
		Backspace: Keysym.BackSpace,
		Tab: Keysym.Tab,
		Clear: 0xff0b,
		Enter: Keysym.Return,
		Pause: 0xff13,
		ScrollLock: 0xff14,
		Escape: Keysym.Escape,
		Esc: Keysym.Escape,
		Delete: Keysym.Delete,
		Del: Keysym.Delete,
		Home: 0xff50,
		ArrowLeft: 0xff51,
		Left: 0xff51,
		ArrowUp: 0xff52,
		Up: 0xff52,
		ArrowRight: 0xff53,
		Right: 0xff53,
		ArrowDown: 0xff54,
		Down: 0xff54,
		PageUp: 0xff55,
		PageDown: 0xff56,
		End: 0xff57,
		Select: 0xff60,
		PrintScreen: 0xff61,
		Execute: 0xff62,
		Insert: 0xff63,
		Undo: 0xff65,
		Redo: 0xff66,
		Again: 0xff66,
		ContextMenu: 0xff67,
		Find: 0xff68,
		Cancel: 0xff69,
		Help: 0xff6a,
		Attn: 0xff6b,
		KanjiMode: 0xff21,
		NonConvert: 0xff22,
		Convert: 0xff23,
		Romaji: 0xff24,
		Hiragana: 0xff25,
		Katakana: 0xff26,
		HiraganaKatakana: 0xff27,
		Zenkaku: 0xff28,
		Hankaku: 0xff29,
		ZenkakuHankaku: 0xff2a,
		HangulMode: 0xff31,
		HanjaMode: 0xff34,
		Hyper: 0xffed,
		Compose: 0xff20,
		AltGraph: Keysym.Level3Shift,
		Copy: 0x1008ff57,
		Cut: 0x1008ff58,
		Open: 0x1008ff6b,
		Paste: 0x1008ff6d,
		Save: 0x1008ff77,
		ZoomIn: 0x1008ff8b,
		ZoomOut: 0x1008ff8c,
	}),
);

/** Keys of which a keyboard has a left and a right one. */
const sided = new Map<string, readonly [left: number, right: number]>(
	Object.entries({
		Shift: [Keysym.ShiftL, Keysym.ShiftR],
		Control: [Keysym.ControlL, Keysym.ControlR],
		Alt: [Keysym.AltL, Keysym.AltR],
		Meta: [Keysym.SuperL, Keysym.SuperR],
		Super: [Keysym.SuperL, Keysym.SuperR],
		OS: [Keysym.SuperL, Keysym.SuperR],
	} as const),
);

const keypad = new Map<string, number>(
	Object.entries({
		Tab: 0xff89,
		Enter: 0xff8d,
		Home: 0xff95,
		ArrowLeft: 0xff96,
		ArrowUp: 0xff97,
		ArrowRight: 0xff98,
		ArrowDown: 0xff99,
		PageUp: 0xff9a,
		PageDown: 0xff9b,
		End: 0xff9c,
		Clear: 0xff9d,
		Insert: 0xff9e,
		Delete: 0xff9f,
		"*": 0xffaa,
		"+": 0xffab,
		",": 0xffac,
		"-": 0xffad,
		".": 0xffae,
		"/": 0xffaf,
		"=": 0xffbd,
	}),
);

const KEYPAD_0 = 0xffb0;
const F1 = 0xffbe;
const UNICODE = 0x01000000;

/** The keysym of one character; 0 for a control character or half a surrogate pair. */
export function keysymOfChar(char: string): number {
	const code = char.codePointAt(0);
	if (code === undefined || code < 0x20 || (code >= 0x7f && code < 0xa0)) return 0;
	if (code >= 0xd800 && code <= 0xdfff) return 0;
	return code <= 0xff ? code : UNICODE + code;
}

/** Whether KeyboardEvent.key is one character rather than a key's name. */
export function isChar(key: string): boolean {
	const [char, more] = key;
	return char !== undefined && more === undefined;
}

/** The keysym that `key` at `location` stands for; 0 when X has none (the browser may keep that key). */
export function keysymOf(key: string, location: number): number {
	if (location === Location.keypad) {
		if (/^[0-9]$/.test(key)) return KEYPAD_0 + Number(key);
		const pad = keypad.get(key);
		if (pad !== undefined) return pad;
	}
	if (isChar(key)) return keysymOfChar(key);
	const sides = sided.get(key);
	if (sides) return location === Location.right ? sides[1] : sides[0];
	const f = /^F([1-9]|[12][0-9]|3[0-5])$/.exec(key);
	if (f) return F1 + Number(f[1]) - 1;
	return named.get(key) ?? 0;
}
