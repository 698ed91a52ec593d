/** How vitest runs the tests: files that take long begin first, so that at the end no worker waits for another. */
import { basename } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** The files of more than twenty seconds or so, the longest first. One that is missing here begins later, no more. */
const LONG =
  "oracle live-images live fuzz ntfs-oracle service install fat-live inference nbd-guests reload log-guest".split(" ");

/** The rest is in vitest's own order. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONG.indexOf(basename(moduleId, ".test.ts"));
      return at < 0 ? LONG.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: { sequence: { sequencer: LongestFirst } },
});
