/** Commands that serve guests, and change which are served. */

import { hostname } from "node:os";
import { type Command, Option } from "commander";
import { GUEST_CAPTURES } from "../../daemon/guest-capture.js";
import { LOG_FORMS } from "../../daemon/log/writer.js";
import { METRICS_ADDRESS } from "../../daemon/metrics-address.js";
import type { AttachOptions } from "../attach.js";
import { count } from "../count.js";
import type { DaemonOptions } from "../guests.js";
import { example } from "../help.js";
import { dataSize, size } from "../size.js";
import type { UpOptions } from "../up.js";
import { mountOptions, queued, several } from "./options.js";

/** Adds them to the program. */
export function addServing(program: Command): void {
  example(
    queued(
      program
        .command("up")
        .description(
          "Serve guests' disks as /<mount>/<host>/<guest>/..., in the foreground, until SIGINT or SIGTERM",
        )
        .argument("[image...]", "[NAME=]IMAGE; NAME=IMAGE,IMAGE for a guest with several disks")
        .option(
          "--config [file]",
          "what is served, and how, is in this file (default: /etc/slashcloud/slashcloud.yaml); read, too, if no image is named and it is there",
        )
        .option("--mount <dir>", "where the tree is mounted", "/cloud")
        .option("--host <name>", "this host's name in the tree", hostname())
        .addOption(
          new Option(
            "--driver <driver>",
            "kernel: FUSE directly, as root; libfuse: by fusermount, as any user",
          )
            .choices(["auto", "kernel", "libfuse"])
            .default("auto"),
        )
        .option(
          "--policy <file>",
          "who may see what of the guests, and as whose: YAML or JSON; read again at SIGUSR2",
        )
        .option("--ignore-case", "names on guests' NTFS volumes are found in whatever case, as in Windows")
        .option("--state <dir>", "where events are kept (default: /var/lib/slashcloud/<mount>)")
        .option(
          "--events-size <size>",
          "bytes of each log of events, of which two are kept: 512K, 4M, 1G",
          size,
        )
        .option("--list-events", "directories list their .events")
        .option("--no-events", "no events")
        .option(
          "--crawl <[name=]file>",
          "what slashcloud crawl has written of a guest's disk, to begin with where the journal still allows it; more than once for several disks",
          several,
        )
        .addOption(
          new Option(
            "--redis <url>",
            "where events are published: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// by TLS, redis+unix:///SOCKET, redis+sentinel://HOST:PORT,HOST:PORT/MASTER, redis+cluster://HOST:PORT,HOST:PORT; for TLS ?ca=FILE&cert=FILE&key=FILE",
          ).env("SLASHCLOUD_REDIS"),
        )
        .option(
          "--redis-data <size>",
          "bytes added to a file that its event brings along there, up to 64K",
          dataSize,
        )
        .option(
          "--redis-stream <events>",
          "events of each guest that are kept there, about",
          count(1),
          100_000,
        )
        .option(
          "--tap <where>",
          "offer the guests' disks by NBD, to know of each write: unix:PATH, HOST:PORT, or a port of this host alone; NAME.log takes the log of QEMU's blklogwrites; may be given more than once",
          several,
        )
        .option(
          "--pipe <name=path>",
          "where the guest's patched QEMU tells its writes: NAME[/DISK]=PATH, a named pipe, which is made if it is not there, or NAME[/DISK]=unix:PATH, a socket; once for each disk",
          several,
        )
        .addOption(
          new Option("--pipe-form <form>", "what is told there: by slashcloud's patch, or by Gamma-Ray's")
            .choices(["own", "gamma-ray"])
            .default("own"),
        )
        .option(
          "--unknown-life <s>",
          "how long a write is kept that nothing explains yet: the commit that does may come later",
          count(1),
          300,
        )
        .addOption(
          new Option(
            "--metrics [address]",
            "tell metrics to Prometheus at http://ADDRESS/metrics, on this host alone: HOST:PORT or a port",
          ).preset(METRICS_ADDRESS),
        )
        .addOption(
          new Option(
            "--log <form>",
            "what is logged, on standard error: text, json (an object a line), or journal, which is systemd's and chosen where it reads",
          )
            .choices(LOG_FORMS)
            .env("SLASHCLOUD_LOG"),
        ),
    ).action(async (images: string[], options: UpOptions, command: Command) => {
      const { up } = await import("../up.js");
      const isGiven = (name: string) => ["cli", "env"].includes(command.getOptionValueSource(name) ?? "");
      process.exitCode = await up(images, options, isGiven);
    }),
    "slashcloud up --mount /cloud web=/srv/web.img db=/srv/db-root.img,/srv/db-data.img",
  );

  example(
    mountOptions(
      program
        .command("add")
        .description("Show another guest in a tree that is served, until it is removed")
        .argument("<name=image>", "[NAME=]IMAGE; NAME=IMAGE,IMAGE for a guest with several disks"),
    ).action(async (image: string, options: DaemonOptions) => {
      const { add } = await import("../guests.js");
      process.exitCode = await add(image, options);
    }),
    "slashcloud add web=/srv/web.img",
  );

  example(
    mountOptions(
      program
        .command("remove")
        .description("Show a guest that was added no longer")
        .argument("<name>", "the guest's name in the tree"),
    ).action(async (name: string, options: DaemonOptions) => {
      const { remove } = await import("../guests.js");
      process.exitCode = await remove(name, options);
    }),
    "slashcloud remove web",
  );

  example(
    program
      .command("attach")
      .description("Show the disks of a running QEMU's guest, and follow what it writes")
      .argument("[name]", "the guest's name in the tree (default: the socket's)")
      .requiredOption("--qmp <socket>", "QEMU's monitor: -qmp unix:SOCKET,server=on,wait=off")
      .option("--disk <node>", "one disk by its node, drive or device; may be given more than once", several)
      .addOption(
        new Option(
          "--capture <how>",
          "mirror: QEMU tells each write, which costs the guest speed; watch: the disks are looked at",
        )
          .choices(GUEST_CAPTURES)
          .default("mirror"),
      )
      .option("--mount <dir>", "where the tree is mounted", "/cloud")
      .option("--state <dir>", "the daemon's state directory, if it was named")
      .action(async (name: string | undefined, options: AttachOptions) => {
        const { attach } = await import("../attach.js");
        process.exitCode = await attach(name, options);
      }),
    "slashcloud attach --qmp /run/web.qmp web",
  );

  example(
    program
      .command("detach")
      .description("Show an attached guest no longer, and leave its QEMU as it was")
      .argument("<name>", "the guest's name in the tree")
      .option("--mount <dir>", "where the tree is mounted", "/cloud")
      .option("--state <dir>", "the daemon's state directory, if it was named")
      .action(async (name: string, options: { mount: string; state?: string }) => {
        const { detach } = await import("../attach.js");
        process.exitCode = await detach(name, options);
      }),
    "slashcloud detach web",
  );
}
