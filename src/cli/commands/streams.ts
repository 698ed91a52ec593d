/** Commands for what guests write. */
import { type Command, Option } from "commander";
import { count } from "../count.js";
import { example } from "../help.js";
import type { ReplayOptions } from "../replay.js";
import type { TapOptions } from "../tap.js";
import type { TraceOptions } from "../trace.js";
import { queued, several } from "./options.js";

/** Adds them to the program. */
export function addStreams(program: Command): void {
  example(
    queued(
      program
        .command("tap")
        .description("Serve guests' disks by NBD, pass on what they write to their images, and record it")
        .argument("<image...>", "[NAME=]IMAGE; NAME=IMAGE,IMAGE are NAME/sda and NAME/sdb")
        .requiredOption(
          "--listen <where>",
          "unix:PATH, HOST:PORT, or a port of this host alone; more than once for several places",
          several,
        )
        .option(
          "--record <file>",
          "record all writes to the disk in a new file, gzipped if its name ends in .gz",
        )
        .option("--read-only", "refuse to write"),
    ).action(async (images: string[], options: TapOptions) => {
      const { tap } = await import("../tap.js");
      process.exitCode = await tap(images, options);
    }),
    "slashcloud tap web=/srv/web.img --listen unix:/run/web.sock --record /srv/web.rec",
  );

  example(
    program
      .command("trace")
      .description("Serve a guest's disk by NBD, and print which files the guest reads and writes")
      .argument("<image>", "[NAME=]IMAGE; NAME=IMAGE,IMAGE are NAME/sda and NAME/sdb")
      .requiredOption(
        "--listen <where>",
        "unix:PATH, HOST:PORT, or a port of this host alone; more than once for several places",
        several,
      )
      .option("-o, --output <file>", "where the lines go, a new file (default: standard output)")
      .option("--json", "as JSON, an object a line")
      .option("--read-only", "refuse to write; without it, what the guest writes is written to the image")
      .action(async (image: string, options: TraceOptions) => {
        const { trace } = await import("../trace.js");
        process.exitCode = await trace(image, options);
      }),
    "slashcloud trace web=/srv/web.img --listen unix:/run/web.sock -o web.trace\nqemu-system-x86_64 ... -drive file=nbd+unix:///web?socket=/run/web.sock,format=raw",
  );

  example(
    program
      .command("replay")
      .description("Do what was recorded to a copy of the image that the recording began from")
      .argument("<file>", "a recording of slashcloud's, or a log of dm-log-writes or QEMU's blklogwrites")
      .requiredOption("--onto <image>", "the copy, which is changed")
      .option("--until <number>", "the last record that is applied", count(1))
      .addOption(
        new Option("--form <form>", "pipe: the records that Gamma-Ray's QEMU writes into a pipe")
          .choices(["auto", "pipe"])
          .default("auto"),
      )
      .action(async (file: string, options: ReplayOptions) => {
        const { replay } = await import("../replay.js");
        process.exitCode = await replay(file, options);
      }),
    "cp base.img copy.img && slashcloud replay web.rec --onto copy.img --until 1200",
  );
}
