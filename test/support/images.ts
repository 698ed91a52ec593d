/** Makes the file systems of the oracle tests, through mke2fs and the kernel. */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { letGo, loopDevice, mount, run } from "./images-mount.js";
import type { Recipe } from "./images-recipes.js";

const populate = join(import.meta.dirname, "../oracle/populate.py");

/** A file system that was made and filled. */
export interface MadeImage {
  /** What we are given. */
  readonly image: string;
  /** What the oracle is given: the same file, or a copy that this kernel can mount. */
  readonly oracleImage: string;
  /** Options of mount(8) that the kernel needs. */
  readonly mountOptions: string;
  /** Removes the images. */
  remove(): Promise<void>;
}

/** A copy of an image that is as sparse as the image. */
export async function copyImage(from: string, to: string): Promise<void> {
  await run("cp", ["--sparse=always", from, to]);
}

/** Makes and fills the file system of a recipe in a folder of its own. */
export async function makeImage(recipe: Recipe, folder: string): Promise<MadeImage> {
  await mkdir(folder, { recursive: true });
  const image = join(folder, "image");
  await run("truncate", ["-s", recipe.size, image]);
  const extra: string[] = [];
  let mountOptions = "loop";
  let freeJournal = () => {};
  if (recipe.journalDevice) {
    const journal = join(folder, "journal");
    await run("truncate", ["-s", "16M", journal]);
    const loop = await loopDevice(journal);
    freeJournal = loop.free;
    await run("mke2fs", ["-q", "-F", "-O", "journal_dev", "-b", "4096", loop.device]);
    extra.push("-J", `device=${loop.device}`);
    mountOptions += `,journal_path=${loop.device}`;
  }
  const source = join(folder, "source");
  if (recipe.filledBy === "mke2fs") {
    await mkdir(source);
    await run("python3", [populate, source, ...recipe.fill]);
    extra.push("-d", source);
  }
  await run("mke2fs", ["-q", "-F", ...recipe.mke2fs, ...extra, image]);
  await recipe.before?.(image);
  if (recipe.filledBy !== "mke2fs") {
    const filled = join(folder, "filled");
    const unmount = await mount(image, filled, mountOptions);
    try {
      await run("python3", [populate, filled, ...recipe.fill]);
      await run("mount", ["-o", "remount,ro", filled]);
    } finally {
      unmount();
    }
    await letGo(image);
  }
  await recipe.after?.(image);
  let oracleImage = image;
  if (recipe.forKernel) {
    oracleImage = join(folder, "for-kernel");
    await copyImage(image, oracleImage);
    await recipe.forKernel(oracleImage);
  }
  return {
    image,
    oracleImage,
    mountOptions,
    remove: async () => {
      freeJournal();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
