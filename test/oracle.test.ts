import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compareWalks, walkDebugfs, walkKernel, walkOurs } from "./oracle/compare.js";
import { type MadeImage, makeImage } from "./support/images.js";
import { cleanUp, mount, workFolder } from "./support/images-mount.js";
import { type Recipe, recipes } from "./support/images-recipes.js";
import type { Served } from "./support/images-serve.js";
import { ServedTogether } from "./support/served-together.js";

const folder = workFolder("oracle");

afterAll(cleanUp);

/** How long one file system may take, all in all, ms. */
const limit = 900_000;
/** As many differences as a reader can take in. */
const shown = 25;

/** As many images as one server shows. */
const together = 8;
const batches = Array.from({ length: Math.ceil(recipes.length / together) }, (_, batch) => {
  const place = join(folder, `${batch}`);
  const makers = recipes
    .slice(batch * together, (batch + 1) * together)
    .map((recipe, i) => () => makeImage(recipe, join(place, `${i}`)));
  return new ServedTogether(place, makers);
});

async function compare(recipe: Recipe, made: MadeImage, served: Served, guest: string): Promise<void> {
  const debugfs = recipe.oracle === "debugfs";
  const kernelMount = `${made.image}-kernel`;
  const unmount = debugfs ? () => {} : await mount(made.oracleImage, kernelMount, `ro,${made.mountOptions}`);
  try {
    const expected = debugfs ? await walkDebugfs(made.image) : await walkKernel(kernelMount);
    const ours = await walkOurs(served.volume(guest), served.guest(guest));
    const { differences, compared } = compareWalks(
      expected,
      ours,
      debugfs ? { untold: ["segments", "segmentCount", "leads", "odd"], statfs: false } : {},
    );
    expect(differences.slice(0, shown), served.log()).toEqual([]);
    expect(compared).toBeGreaterThan(recipe.size === "64K" ? 15 : 500);
  } finally {
    unmount();
  }
}

describe.concurrent("a guest's tree is what the kernel shows of the same image", () => {
  test.each(recipes.map((recipe, i) => ({ i, recipe, name: recipe.name })))(
    "$name",
    ({ i, recipe }) =>
      batches[Math.floor(i / together)]!.use(i % together, (made, served, guest) =>
        compare(recipe, made, served, guest),
      ),
    limit,
  );
});
