// Disks that are no raw ext4: qcow2 as slashcloud shows it, beside the kernel's mount of what qemu-nbd and nbdfuse make of it;
// and NTFS beside ntfs-3g. By commands as the first table has them.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { folder, image } from "./images.mjs";
import { nbdfuseLoop, ntfs3g, slashcloud } from "./mounts.mjs";

const COMMANDS = {
  many: {
    find: "find . | wc -l",
    "find -size": "find . -size +1M | wc -l",
    "grep -r": "(grep -r 'there is no such line' . || true) | wc -l",
  },
  large: { "dd bs=1M": "dd if=large of=/dev/null bs=1M status=none" },
};
/** The same with less in it. */
const QUICK = { many: "few", large: "big" };

/** The image as a qcow2 disk. */
function qcow2(name) {
  const path = join(folder, `${name}.qcow2`);
  if (!existsSync(path)) {
    const args = ["convert", "-f", "raw", "-O", "qcow2", image(name), `${path}.part`];
    execFileSync("qemu-img", args, { stdio: ["ignore", "ignore", "inherit"] });
    renameSync(`${path}.part`, path);
  }
  return path;
}

const FORMATS = {
  qcow2: { path: qcow2, other: nbdfuseLoop, what: "qemu-nbd, nbdfuse, the kernel's loop mount" },
  ntfs: { path: (name) => image(name, "ntfs"), other: ntfs3g, what: "ntfs-3g" },
};

/** Whether a folder that was mounted has what the image has. */
function isShown(path) {
  return readdirSync(path).length > 0;
}

/**
 * Lists of ms by format, command, way ("ours", "other") and { cold, warm }; a way that shows nothing is left out.
 * `time(command, folder)` returns ms; `before` makes it cold.
 */
export async function formats({ isQuick, repeats, time, before }) {
  const results = {};
  for (const [format, { path: pathOf, other }] of Object.entries(FORMATS)) {
    results[format] = {};
    for (const [kind, commands] of Object.entries(COMMANDS)) {
      const path = pathOf(isQuick ? QUICK[kind] : kind);
      for (const [label, command] of Object.entries(commands)) {
        results[format][label] = {};
        for (let repeat = 0; repeat < repeats; repeat++) {
          for (const [way, mount] of Object.entries({ other, ours: slashcloud })) {
            before();
            const mounted = await mount(path).catch((error) => {
              if (way === "other") throw error;
              return undefined;
            });
            if (mounted === undefined) continue;
            try {
              if (!isShown(mounted.path)) continue;
              results[format][label][way] ??= { cold: [], warm: [] };
              const of = results[format][label][way];
              of.cold.push(time(command, mounted.path));
              of.warm.push(time(command, mounted.path));
            } finally {
              await mounted.end();
            }
          }
        }
      }
    }
  }
  return results;
}

export function report(results) {
  const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
  const cell = (of) =>
    of === undefined
      ? "not shown"
      : [of.cold, of.warm].map((list) => (median(list) / 1000).toFixed(2)).join(" / ");
  const ratio = ({ ours, other }) =>
    ours === undefined
      ? ""
      : ["cold", "warm"].map((kind) => (median(ours[kind]) / median(other[kind])).toFixed(2)).join(" / ");
  return Object.entries(results)
    .map(([format, rows]) =>
      [
        `| ${format} | ${FORMATS[format].what}: cold / warm, s | slashcloud cold / warm, s | ratio cold / warm |`,
        "|---|---|---|---|",
        ...Object.entries(rows).map(
          ([label, row]) => `| ${label} | ${cell(row.other)} | ${cell(row.ours)} | ${ratio(row)} |`,
        ),
      ].join("\n"),
    )
    .join("\n\n");
}
