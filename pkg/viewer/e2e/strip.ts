// The strip of tools, as the tests use it.

import type { Page } from "playwright-core";

/** Shows the strip, which stays while it has the keyboard: a busy machine would find it gone again. */
export async function tools(page: Page): Promise<void> {
	await page.locator("#handle").focus();
	await page.keyboard.press("Enter");
}
