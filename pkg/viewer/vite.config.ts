import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// The node serves the page at /s/ID and its assets below /assets, so asset addresses are absolute.
export default defineConfig({
	base: "/",
	build: {
		target: "es2022",
		outDir: "dist",
		assetsDir: "assets",
		// public/ brings .gitkeep back, which lets the Go embed find the folder before the first build.
		emptyOutDir: true,
		// Everything is a file: the page's policy allows no data: script or style.
		assetsInlineLimit: 0,
		modulePreload: { polyfill: false },
		reportCompressedSize: false,
	},
	test: {
		environment: "happy-dom",
		// A file a core: left to itself it keeps one free.
		poolOptions: { forks: { maxForks: availableParallelism() } },
		// A busy machine needs its time.
		testTimeout: 30_000,
		include: ["src/**/*.test.ts"],
		restoreMocks: true,
	},
});
