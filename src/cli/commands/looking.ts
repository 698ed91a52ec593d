/** Commands that tell of guests that are served, and of the daemon. */
import { type Command, Option } from "commander";
import { count } from "../count.js";
import type { DfOptions } from "../df.js";
import type { EventsOptions } from "../events.js";
import { example } from "../help.js";
import type { InspectOptions } from "../inspect.js";
import type { StatusOptions } from "../status.js";
import type { TopOptions } from "../top.js";
import { mountOptions } from "./options.js";

/** Adds them to the program. */
export function addLooking(program: Command): void {
  example(
    program
      .command("status")
      .description("What the daemon of a mounted tree follows, and how that goes")
      .option("--mount <dir>", "where the tree is mounted", "/cloud")
      .option("--state <dir>", "the daemon's state directory, if it was named")
      .option("--json", "as JSON")
      .action(async (options: StatusOptions) => {
        const { status } = await import("../status.js");
        process.exitCode = await status(options);
      }),
    "slashcloud status --mount /cloud",
  );

  example(
    program
      .command("top")
      .description("Which guests are busy, live; one look where the output is no terminal")
      .option("--mount <dir>", "where the tree is mounted", "/cloud")
      .option("--state <dir>", "the daemon's state directory, if it was named")
      .addOption(
        new Option("--sort <what>", "what comes first")
          .choices(["events", "written", "lag", "name"])
          .default("events"),
      )
      .option("--interval <s>", "seconds between looks", count(1), 1)
      .action(async (options: TopOptions) => {
        const { top } = await import("../top.js");
        process.exitCode = await top(options);
      }),
    "slashcloud top --sort written",
  );

  example(
    mountOptions(
      program
        .command("df")
        .description("Show how full guests' volumes are: of guests that are served, or of images")
        // -h is df's own.
        .helpOption("--help", "display help for command")
        .argument(
          "[image...]",
          "[NAME=]IMAGE, or the name of a guest that is served (default: all of these)",
        ),
    )
      .option("-h, --human-readable", "sizes such as 20M and 1.5G")
      .option("-i, --inodes", "inodes instead of bytes")
      .option("--json", "as JSON, in bytes")
      .action(async (images: string[], options: DfOptions) => {
        const { df } = await import("../df.js");
        process.exitCode = await df(images, options);
      }),
    "slashcloud df -h /srv/web.img",
  );

  example(
    mountOptions(
      program
        .command("inspect")
        .description("Say what guests are: system, host name, kernels, packages, users and their log-ins")
        .argument(
          "[image...]",
          "[NAME=]IMAGE, or the name of a guest that is served (default: all of these)",
        ),
    )
      .option("--packages", "list the packages, too")
      .option("--json", "as JSON")
      .action(async (images: string[], options: InspectOptions) => {
        const { inspect } = await import("../inspect.js");
        process.exitCode = await inspect(images, options);
      }),
    "slashcloud inspect /srv/web.img",
  );

  example(
    program
      .command("events")
      .description("Show what happened in the guests of a mounted tree, and what happens")
      .argument(
        "[pattern]",
        "HOST:VM:PATH, each with *, ? and [a-z]; a * in PATH is any number of directories, too; a colon in VM is \\:",
      )
      .option("--mount <dir>", "where the tree is mounted", "/cloud")
      .addOption(
        new Option("--state <dir>", "the daemon's state directory, if it was named").conflicts("mount"),
      )
      .option("-f, --follow", "events as they happen; with --since those before, too")
      .option("--since <time>", "from then on: 2026-01-31T12:00, or how long ago: 90s, 10m, 2h, 7d")
      .option("--json", "as JSON, an object a line")
      .action(async (pattern: string | undefined, options: EventsOptions) => {
        const { events } = await import("../events.js");
        process.exitCode = await events(pattern, options);
      }),
    "slashcloud events --follow '*:web:/var/log/*'",
  );
}
