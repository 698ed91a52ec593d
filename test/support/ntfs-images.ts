/** NTFS volumes: made by mkntfs, filled through ntfs-3g. */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { mountNtfs } from "./compressed.js";
import { run } from "./images-mount.js";

const populate = join(import.meta.dirname, "../oracle/populate_ntfs.py");

/** How a volume is made, and what it is filled with. */
export interface NtfsRecipe {
  readonly name: string;
  /** As truncate(1) has it. */
  readonly size: string;
  /** Options of mkntfs. */
  readonly mkntfs: readonly string[];
  /** Kinds that populate_ntfs.py knows. */
  readonly fill: readonly string[];
  /** What is done to the image then. */
  readonly after?: (image: string) => void;
  /** The least number of entries there are then. */
  readonly least: number;
}

/** Makes and fills a volume in a folder of its own; returns the image. */
export async function makeNtfsImage(
  recipe: Omit<NtfsRecipe, "name" | "least">,
  folder: string,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const image = join(folder, "image");
  await rm(image, { force: true });
  await run("truncate", ["-s", recipe.size, image]);
  await run("mkntfs", ["-q", "-F", ...recipe.mkntfs, image]);
  const mounted = join(folder, "filled");
  const unmount = await mountNtfs(image, mounted, "streams_interface=xattr,compression");
  try {
    await run("python3", [populate, mounted, ...recipe.fill]);
  } finally {
    await unmount();
  }
  recipe.after?.(image);
  return image;
}
