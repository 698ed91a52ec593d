import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compareWalks, walkDebugfs, walkKernel, walkOurs } from "./oracle/compare.js";
import { makeImage } from "./support/images.js";
import { cleanUp, mount, workFolder } from "./support/images-mount.js";
import { recipes } from "./support/images-recipes.js";
import { serve } from "./support/images-serve.js";

const folder = workFolder("oracle");

afterAll(cleanUp);

/** How long one file system may take, all in all, ms. */
const limit = 400_000;
/** As many differences as a reader can take in. */
const shown = 25;

describe.concurrent("a guest's tree is what the kernel shows of the same image", () => {
  test.each(recipes.map((recipe, i) => ({ i, recipe, name: recipe.name })))(
    "$name",
    async ({ i, recipe }) => {
      const place = join(folder, `${i}`);
      const made = await makeImage(recipe, place);
      try {
        const debugfs = recipe.oracle === "debugfs";
        const kernelMount = join(place, "kernel");
        const unmount = debugfs
          ? () => {}
          : await mount(made.oracleImage, kernelMount, `ro,${made.mountOptions}`);
        try {
          const expected = debugfs ? await walkDebugfs(made.image) : await walkKernel(kernelMount);
          const served = await serve(join(place, "cloud"), { guest: made.image });
          try {
            const ours = await walkOurs(served.volume("guest"), served.guest("guest"));
            const { differences, compared } = compareWalks(
              expected,
              ours,
              debugfs ? { untold: ["segments", "segmentCount", "leads", "odd"], statfs: false } : {},
            );
            expect(differences.slice(0, shown), served.log()).toEqual([]);
            expect(compared).toBeGreaterThan(recipe.size === "64K" ? 15 : 500);
          } finally {
            expect(await served.stop()).toBe(0);
          }
        } finally {
          unmount();
        }
      } finally {
        await made.remove();
      }
    },
    limit,
  );
});
