import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/support/longest-first.js";

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    // Nothing is found by a time-out but what hangs for good; a machine may be slow.
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
});
