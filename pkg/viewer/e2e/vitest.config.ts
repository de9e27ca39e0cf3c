import { defineConfig } from "vitest/config";

// One browser, one test after another: they look at what is on a screen.
export default defineConfig({
	test: {
		root: import.meta.dirname,
		include: ["*.test.ts"],
		environment: "node",
		fileParallelism: false,
		testTimeout: 30_000,
		hookTimeout: 60_000,
	},
});
