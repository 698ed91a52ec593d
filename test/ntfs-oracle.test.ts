import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compareWalks, show, type Walk, walkKernel, walkOurs } from "./oracle/compare.js";
import { mountNtfs } from "./support/compressed.js";
import { cleanUp, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";
import { makeNtfsImage, type NtfsRecipe } from "./support/ntfs-images.js";

const folder = workFolder("ntfs");

afterAll(cleanUp);

/** How long one volume may take, all in all, ms. */
const limit = 200_000;
/** As many differences as a reader can take in. */
const shown = 25;
/** What ntfs-3g tells when it is asked by name. */
const asked = ["attrib", "times", "acl", "reparse_data", "dos_name", "ea", "crtime"].map(
  (name) => `system.ntfs_${name}`,
);

const all = ["base", "names", "deep", "sparse", "streams", "links", "special", "times"];

const recipes: readonly NtfsRecipe[] = [
  { name: "as mkntfs makes it", size: "64M", mkntfs: [], fill: [...all, "compressed"], least: 900 },
  { name: "clusters of 512", size: "32M", mkntfs: ["-c", "512"], fill: [...all, "compressed"], least: 900 },
  {
    name: "clusters of 1K",
    size: "32M",
    mkntfs: ["-c", "1024"],
    fill: ["base", "streams", "compressed"],
    least: 30,
  },
  {
    name: "clusters of 2K",
    size: "32M",
    mkntfs: ["-c", "2048"],
    fill: ["base", "links", "compressed"],
    least: 330,
  },
  { name: "clusters of 8K", size: "64M", mkntfs: ["-c", "8192"], fill: all, least: 900 },
  {
    name: "clusters of 64K",
    size: "128M",
    mkntfs: ["-c", "65536"],
    fill: [...all, "many=1000"],
    least: 1900,
  },
  {
    name: "clusters of 256K",
    size: "256M",
    mkntfs: ["-c", "262144"],
    fill: ["base", "names", "links"],
    least: 360,
  },
  {
    name: "clusters of 2M",
    size: "1G",
    mkntfs: ["-c", "2097152"],
    fill: ["base", "sparse", "links"],
    least: 330,
  },
  { name: "sectors of 4K", size: "64M", mkntfs: ["-s", "4096"], fill: [...all, "compressed"], least: 900 },
  { name: "sectors of 1K", size: "64M", mkntfs: ["-s", "1024", "-c", "4096"], fill: all, least: 900 },
  {
    name: "sectors of 2K",
    size: "64M",
    mkntfs: ["-s", "2048", "-c", "2048"],
    fill: ["base", "links"],
    least: 330,
  },
  { name: "12,000 names", size: "64M", mkntfs: [], fill: ["many=12000"], least: 11_000 },
  {
    name: "12,000 names, clusters of 512",
    size: "64M",
    mkntfs: ["-c", "512"],
    fill: ["many=12000"],
    least: 11_000,
  },
  { name: "in pieces", size: "24M", mkntfs: [], fill: ["streams", "links", "fragmented"], least: 1500 },
  { name: "in small pieces", size: "12M", mkntfs: ["-c", "512"], fill: ["fragmented"], least: 500 },
  {
    name: "compressed as a whole",
    size: "64M",
    mkntfs: ["-C"],
    fill: ["base", "sparse", "streams"],
    least: 30,
  },
  { name: "an empty volume", size: "2M", mkntfs: ["-L", "Löcher"], fill: ["times"], least: 9 },
];

/** The attribute that ntfs-3g cannot tell of a volume's top: it takes the descriptor that mkntfs has written for bad. */
const EIO = 5;
const UNTOLD_OF_TOP = Buffer.from("system.ntfs_acl").toString("hex");

/** Files whose times are not those of the volume, by the attribute that has these as they are. */
function wrongTimes(walk: Walk): string[] {
  const name = Buffer.from("user.guest.system.ntfs_times").toString("hex");
  return [...walk.entries.values()].flatMap(({ path, xattrs, mtime, atime, ctime }) => {
    const value = xattrs?.[name];
    if (typeof value !== "string") return [];
    const bytes = Buffer.from(value, "hex");
    const times = [8, 16, 24].map((at) => `${(bytes.readBigUInt64LE(at) - 116444736000000000n) * 100n}`);
    return `${times}` === `${[mtime, atime, ctime]}`
      ? []
      : [`${show(path)}: ${[mtime, atime, ctime]} for ${times}`];
  });
}

function shortened(difference: string): string {
  return difference.length > 300 ? `${difference.slice(0, 300)}…` : difference;
}

describe("a volume of NTFS is what ntfs-3g shows of it", () => {
  test.each(recipes.map((recipe, i) => ({ i, recipe, name: recipe.name })))(
    "$name",
    async ({ i, recipe }) => {
      const place = join(folder, `${i}`);
      const image = await makeNtfsImage(recipe, place);
      const mounted = join(place, "ntfs-3g");
      const unmount = await mountNtfs(image, mounted, "ro,streams_interface=xattr");
      try {
        const expected = await walkKernel(mounted, asked);
        const served = await serve(join(place, "cloud"), { guest: image });
        try {
          const guestAsked = asked.map((name) => `user.guest.${name}`);
          const ours = await walkOurs(served.volume("guest"), served.guest("guest"), guestAsked);
          const top = { theirs: expected.entries.get("2e"), ours: ours.entries.get("2e") };
          if (top.theirs?.xattrs?.[UNTOLD_OF_TOP] === EIO) {
            delete top.theirs.xattrs[UNTOLD_OF_TOP];
            delete top.ours?.xattrs?.[Buffer.from("user.guest.").toString("hex") + UNTOLD_OF_TOP];
          }
          expect(wrongTimes(ours).map(shortened)).toEqual([]);
          // Before 1970 ntfs-3g tells nanoseconds below 0, which the kernel does not take.
          for (const [path, theirs] of expected.entries)
            for (const field of ["mtime", "atime", "ctime"] as const)
              if (theirs[field]?.startsWith("-")) theirs[field] = ours.entries.get(path)?.[field] as string;
          const { differences, compared } = compareWalks(expected, ours, {
            // ntfs-3g knows nothing of holes, and tells no size of its own for reads.
            untold: ["segments", "segmentCount", "blksize"],
          });
          expect(differences.slice(0, shown).map(shortened), served.log()).toEqual([]);
          expect(compared).toBeGreaterThan(recipe.least);
        } finally {
          expect(await served.stop()).toBe(0);
        }
      } finally {
        await unmount();
      }
    },
    limit,
  );
});
