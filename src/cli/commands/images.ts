/** Commands that read an image. */
import type { Command } from "commander";
import type { CrawlOptions } from "../crawl.js";
import { example } from "../help.js";

/** Adds them to the program. */
export function addImages(program: Command): void {
  example(
    program
      .command("volumes")
      .description("Show what is on a disk: its partitions and file systems, and where the guest mounts them")
      .argument("<image>", "a raw disk image or a block device")
      .option("--json", "as JSON")
      .action(async (image: string, options: { json?: boolean }) => {
        const { volumes } = await import("../volumes.js");
        process.exitCode = volumes(image, options);
      }),
    "slashcloud volumes /srv/web.img",
  );

  example(
    program
      .command("ls")
      .description("List a directory of a guest, without a mount")
      .argument("<image[:path]>", "an image, and a path in the guest")
      .option("-l, --long", "modes, owners, sizes, times and links' targets")
      .option("-R, --recursive", "with all directories below")
      .option("--json", "as JSON")
      .action(async (location: string, options: { long?: boolean; recursive?: boolean; json?: boolean }) => {
        const { ls } = await import("../ls.js");
        process.exitCode = ls(location, options);
      }),
    "slashcloud ls -l /srv/web.img:/var/log",
  );

  example(
    program
      .command("cat")
      .description("Write files of a guest to standard output")
      .argument("<image:path...>", "an image and a path in the guest")
      .action(async (locations: string[]) => {
        const { cat } = await import("../cat.js");
        process.exitCode = cat(locations);
      }),
    "slashcloud cat /srv/web.img:/etc/os-release",
  );

  example(
    program
      .command("stat")
      .description("Show all that is known of one file of a guest")
      .argument("<image:path>", "an image and a path in the guest")
      .option("--json", "as JSON")
      .action(async (location: string, options: { json?: boolean }) => {
        const { stat } = await import("../stat.js");
        process.exitCode = stat(location, options);
      }),
    "slashcloud stat /srv/web.img:/etc/shadow",
  );

  example(
    program
      .command("crawl")
      .description("Read all inodes, names and extents of a disk: count them, or write them to a file")
      .argument("<image>", "a disk image, a block device or an NBD URL; its guest may be running")
      .option(
        "-o, --output <file>",
        "where they go, as BSON documents (docs/crawl.md), gzipped if the name ends in .gz; up --crawl begins with it",
      )
      .option("--json", "what is printed, as JSON")
      .action(async (image: string, options: CrawlOptions) => {
        const { crawl } = await import("../crawl.js");
        process.exitCode = await crawl(image, options);
      }),
    "slashcloud crawl /srv/web.img -o web.bson.gz",
  );

  example(
    program
      .command("map")
      .description("Show what lies where on a disk: a line for each range of bytes, in their order")
      .argument("<image>", "a disk image, a block device or an NBD URL")
      .option("--json", "as JSON, an object a line, with inodes and offsets in files")
      .action(async (image: string, options: { json?: boolean }) => {
        const { map } = await import("../map.js");
        process.exitCode = map(image, options);
      }),
    "slashcloud map /srv/web.img | grep ' /var/log/'",
  );
}
