import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compareWalks, walkKernel, walkOurs } from "./oracle/compare.js";
import {
  cloneImage,
  liveImages,
  liveRecipes,
  needsRecovery,
  recover,
  reflinkFolder,
} from "./support/images-live.js";
import { cleanUp } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";
import { replayFaults } from "./support/replay-faults.js";

/** Copies of each guest's image. */
const copies = 4;
/** How long one guest may take, all in all, ms. */
const limit = 600_000;
/** As many differences as a reader can take in. */
const shown = 25;

let folder = "";

beforeAll(async () => {
  folder = await reflinkFolder();
});

afterAll(cleanUp);

describe.concurrent("an image copied while its guest writes shows what the kernel recovers from it", () => {
  test.each(liveRecipes.map((recipe, i) => ({ i, recipe, name: recipe.name })))(
    "$name",
    async ({ i, recipe }) => {
      const place = join(folder, `${i}`);
      const images = await liveImages(recipe, place, copies);
      const guests = Object.fromEntries(images.map((image, n) => [`copy${n}`, image]));
      const served = await serve(join(place, "cloud"), guests);
      let recoveredCopies = 0;
      try {
        for (const [guest, image] of Object.entries(guests)) {
          expect(await needsRecovery(image)).toBe(true);
          await cloneImage(image, `${image}-recovered`);
          const recovered = await recover(`${image}-recovered`, join(place, guest));
          if (recovered === undefined) {
            if (recipe.fastCommits) continue;
            throw new Error(`the kernel cannot recover ${guest}`);
          }
          recoveredCopies++;
          const faults = replayFaults(image);
          try {
            const expected = await walkKernel(recovered.folder);
            const ours = await walkOurs(served.volume(guest), served.guest(guest));
            const { differences, compared, excepted } = compareWalks(expected, ours, {
              statfs: false,
              // The kernel calls unwritten blocks data once they have been read into its page cache. What its replay of
              // fast commits changes, the guest itself saw otherwise: that is compared in journal-fast-commit.test.ts.
              untold: ["segments", "segmentCount"],
              recovery: {
                started: recovered.started,
                fastCommits: recipe.fastCommits === true,
                ...(recipe.fastCommits ? { faults } : {}),
              },
            });
            expect(differences.slice(0, shown), `${guest}\n${served.log()}`).toEqual([]);
            expect(compared).toBeGreaterThan(20);
            expect(faults.inodes.size).toBeLessThan(compared / 20);
            // Many of those that fast commits touched have the time of the replay.
            expect(excepted.length).toBeLessThan(compared / (recipe.fastCommits ? 2 : 4));
          } finally {
            recovered.remove();
          }
        }
        expect(recoveredCopies).toBeGreaterThan(0);
      } finally {
        expect(await served.stop()).toBe(0);
      }
    },
    limit,
  );
});
