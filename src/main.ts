#!/usr/bin/env node
/** The command line. A command is loaded when it is asked for: one that runs for long is not to hold the others in memory. */
import "./cli/node-version.js";
import { hostname } from "node:os";
import { Command, CommanderError, Option } from "commander";
import type { AttachOptions } from "./cli/attach.js";
import { count } from "./cli/count.js";
import type { CrawlOptions } from "./cli/crawl.js";
import type { DfOptions } from "./cli/df.js";
import type { DoctorOptions } from "./cli/doctor.js";
import type { EventsOptions } from "./cli/events.js";
import type { AutofsOptions, NfsOptions, SambaOptions } from "./cli/export.js";
import type { DaemonOptions } from "./cli/guests.js";
import { describeProgram, example } from "./cli/help.js";
import { GROUPS, PROGRAM } from "./cli/help-texts.js";
import type { InspectOptions } from "./cli/inspect.js";
import type { InstallOptions, PlaceOptions } from "./cli/install.js";
import { complain, write } from "./cli/output.js";
import { ownVersion } from "./cli/own-version.js";
import type { ReplayOptions } from "./cli/replay.js";
import { dataSize, size } from "./cli/size.js";
import type { StatusOptions } from "./cli/status.js";
import type { TapOptions } from "./cli/tap.js";
import type { TopOptions } from "./cli/top.js";
import type { TraceOptions } from "./cli/trace.js";
import type { UpOptions } from "./cli/up.js";
import { LOG_FORMS } from "./daemon/log/writer.js";
import { METRICS_ADDRESS } from "./daemon/metrics-address.js";

const program = new Command("slashcloud")
  .description("The file systems inside this host's virtual machines, as one read-only tree")
  .version(ownVersion(), "-V, --version", "the program's version")
  .configureOutput({ writeOut: write })
  .showHelpAfterError("(slashcloud --help tells how it is used)")
  .exitOverride();

/** An option that may be given more than once. */
const several = (text: string, before: string[] | undefined): string[] => [...(before ?? []), text];

/** The limits of the queue that guests' writes wait in. */
const queued = (command: Command): Command =>
  command
    .option("--flush-timeout <ms>", "how long a write waits for others until it is worked on", count(0), 20)
    .option("--size-limit <size>", "bytes of writes that wait: 64M, 1G", size, 262_144_000)
    .option("--outstanding-writes <count>", "writes that wait", count(2), 16_384)
    .addOption(
      new Option("--under-pressure <policy>", "what gives way then: writes are lost, or the guest waits")
        .choices(["data-drop", "block"])
        .default("data-drop"),
    );

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
        new Option("--driver <driver>", "kernel: FUSE directly, as root; libfuse: by fusermount, as any user")
          .choices(["auto", "kernel", "libfuse"])
          .default("auto"),
      )
      .option(
        "--policy <file>",
        "who may see what of the guests, and as whose: YAML or JSON; read again at SIGUSR2",
      )
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
      .option("--redis-stream <events>", "events of each guest that are kept there, about", count(1), 100_000)
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
    const { up } = await import("./cli/up.js");
    const isGiven = (name: string) => ["cli", "env"].includes(command.getOptionValueSource(name) ?? "");
    process.exitCode = await up(images, options, isGiven);
  }),
  "slashcloud up --mount /cloud web=/srv/web.img db=/srv/db-root.img,/srv/db-data.img",
);

const mountOptions = (command: Command): Command =>
  command
    .option("--mount <dir>", "where the tree is mounted", "/cloud")
    .option("--state <dir>", "the daemon's state directory, if it was named");

example(
  mountOptions(
    program
      .command("add")
      .description("Show another guest in a tree that is served, until it is removed")
      .argument("<name=image>", "[NAME=]IMAGE; NAME=IMAGE,IMAGE for a guest with several disks"),
  ).action(async (image: string, options: DaemonOptions) => {
    const { add } = await import("./cli/guests.js");
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
    const { remove } = await import("./cli/guests.js");
    process.exitCode = await remove(name, options);
  }),
  "slashcloud remove web",
);

example(
  mountOptions(
    program.command("reload").description("Have a daemon read its configuration again, without a remount"),
  ).action(async (options: DaemonOptions) => {
    const { reload } = await import("./cli/guests.js");
    process.exitCode = await reload(options);
  }),
  "slashcloud reload",
);

example(
  mountOptions(
    program
      .command("renew")
      .description("Replace a daemon by the program as it is on disk now; the tree stays where it is"),
  ).action(async (options: DaemonOptions) => {
    const { renew } = await import("./cli/guests.js");
    process.exitCode = await renew(options);
  }),
  "slashcloud renew",
);

example(
  program
    .command("check")
    .description("Say what is wrong with a configuration, or what would be served")
    .argument("[file]", "the configuration", "/etc/slashcloud/slashcloud.yaml")
    .action(async (file: string) => {
      const { check } = await import("./cli/check.js");
      process.exitCode = await check(file);
    }),
  "slashcloud check",
);

example(
  program
    .command("status")
    .description("What the daemon of a mounted tree follows, and how that goes")
    .option("--mount <dir>", "where the tree is mounted", "/cloud")
    .option("--state <dir>", "the daemon's state directory, if it was named")
    .option("--json", "as JSON")
    .action(async (options: StatusOptions) => {
      const { status } = await import("./cli/status.js");
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
      const { top } = await import("./cli/top.js");
      process.exitCode = await top(options);
    }),
  "slashcloud top --sort written",
);

example(
  program
    .command("attach")
    .description("Show the disks of a running QEMU's guest, and follow all that it writes")
    .argument("[name]", "the guest's name in the tree (default: the socket's)")
    .requiredOption("--qmp <socket>", "QEMU's monitor: -qmp unix:SOCKET,server=on,wait=off")
    .option("--disk <node>", "one disk by its node, drive or device; may be given more than once", several)
    .option("--mount <dir>", "where the tree is mounted", "/cloud")
    .option("--state <dir>", "the daemon's state directory, if it was named")
    .action(async (name: string | undefined, options: AttachOptions) => {
      const { attach } = await import("./cli/attach.js");
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
      const { detach } = await import("./cli/attach.js");
      process.exitCode = await detach(name, options);
    }),
  "slashcloud detach web",
);

example(
  program
    .command("volumes")
    .description("Show what is on a disk: its partitions and file systems, and where the guest mounts them")
    .argument("<image>", "a raw disk image or a block device")
    .option("--json", "as JSON")
    .action(async (image: string, options: { json?: boolean }) => {
      const { volumes } = await import("./cli/volumes.js");
      process.exitCode = volumes(image, options);
    }),
  "slashcloud volumes /srv/web.img",
);

example(
  mountOptions(
    program
      .command("df")
      .description("Show how full guests' volumes are: of guests that are served, or of images")
      // -h is df's own.
      .helpOption("--help", "display help for command")
      .argument("[image...]", "[NAME=]IMAGE, or the name of a guest that is served (default: all of these)"),
  )
    .option("-h, --human-readable", "sizes such as 20M and 1.5G")
    .option("-i, --inodes", "inodes instead of bytes")
    .option("--json", "as JSON, in bytes")
    .action(async (images: string[], options: DfOptions) => {
      const { df } = await import("./cli/df.js");
      process.exitCode = await df(images, options);
    }),
  "slashcloud df -h /srv/web.img",
);

example(
  mountOptions(
    program
      .command("inspect")
      .description("Say what guests are: system, host name, kernels, packages, users and their log-ins")
      .argument("[image...]", "[NAME=]IMAGE, or the name of a guest that is served (default: all of these)"),
  )
    .option("--packages", "list the packages, too")
    .option("--json", "as JSON")
    .action(async (images: string[], options: InspectOptions) => {
      const { inspect } = await import("./cli/inspect.js");
      process.exitCode = await inspect(images, options);
    }),
  "slashcloud inspect /srv/web.img",
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
      const { ls } = await import("./cli/ls.js");
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
      const { cat } = await import("./cli/cat.js");
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
      const { stat } = await import("./cli/stat.js");
      process.exitCode = stat(location, options);
    }),
  "slashcloud stat /srv/web.img:/etc/shadow",
);

example(
  program
    .command("completion")
    .description("Print what has a shell complete slashcloud's commands, options, images and guests")
    .argument("<shell>", "bash, zsh or fish")
    .argument("[word...]", "for the shells' own use: after the shell's name `words`, what is typed so far")
    .action(async (shell: string, words: string[]) => {
      const { completion } = await import("./cli/completion.js");
      process.exitCode = await completion(program, shell, words);
    }),
  "slashcloud completion bash > /usr/share/bash-completion/completions/slashcloud",
);

program
  .command("manual", { hidden: true })
  .description("Write the pages of the manual, made of what --help says")
  .requiredOption("--write <dir>", "where they go, a file each: slashcloud.1, slashcloud-up.1, ...")
  .action(async (options: { write: string }) => {
    const { manual } = await import("./cli/manual.js");
    process.exitCode = manual(program, options.write);
  });

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
      const { crawl } = await import("./cli/crawl.js");
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
      const { map } = await import("./cli/map.js");
      process.exitCode = map(image, options);
    }),
  "slashcloud map /srv/web.img | grep ' /var/log/'",
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
      const { events } = await import("./cli/events.js");
      process.exitCode = await events(pattern, options);
    }),
  "slashcloud events --follow '*:web:/var/log/*'",
);

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
    const { tap } = await import("./cli/tap.js");
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
      const { trace } = await import("./cli/trace.js");
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
      const { replay } = await import("./cli/replay.js");
      process.exitCode = await replay(file, options);
    }),
  "cp base.img copy.img && slashcloud replay web.rec --onto copy.img --until 1200",
);

const exporting = program
  .command("export")
  .description("Configuration of the servers that show the tree to other machines");

/** A kind of export, with the options that all have. */
const exported = (name: string, description: string): Command =>
  exporting
    .command(name)
    .description(`${description}: printed, or put in place`)
    .option(
      "--config <file>",
      "what is exported, and how, is under exports: there (default: /etc/slashcloud/slashcloud.yaml, if it is there)",
    )
    .option("--mount <dir>", "where the tree is mounted (default: as configured, or /cloud)")
    .option("--host <name>", "this host's name in the tree (default: as configured, or the machine's)")
    .option("--install", "check it with the server's own program, and put it in place")
    .option("--prefix <dir>", "put it in place below this directory");

const AS_ROOT = "read all files as root, whoever asks; the reason is written beside it";

example(
  exported("samba", "Samba shares of the tree")
    .addOption(
      new Option(
        "--of <what>",
        "one share of all, one of this host, or one of each guest (default: tree)",
      ).choices(["tree", "host", "guests"]),
    )
    .option("--name <name>", "the share's name (default: the last part of the mount point, or the host's)")
    .option("--guest <name>", "a share of this guest; may be given more than once", several)
    .option(
      "--user <name>",
      "a user of Samba's, or @GROUP, who may read; may be given more than once",
      several,
    )
    .option("--guest-ok", "anyone may read, without a password, from --hosts-allow")
    .option(
      "--hosts-allow <who>",
      "addresses, networks or names of machines; may be given more than once",
      several,
    )
    .option("--no-links", "show no symbolic links, so that nothing appears twice")
    .option(
      "--exact-case",
      "look names up only as they are written; those that Windows cannot have cannot be opened",
    )
    .option("--no-global", "change nothing that holds for the server's other shares")
    .option("--as-root <reason>", AS_ROOT)
    .action(async (options: SambaOptions) => {
      const { exportSamba } = await import("./cli/export.js");
      process.exitCode = await exportSamba(options);
    }),
  "slashcloud export samba --user @admins --install",
);

example(
  exported("nfs", "The tree by NFS, from the kernel's server or NFS-Ganesha")
    .option("--ganesha", "all of NFS-Ganesha's configuration (NFS 4)")
    .option(
      "--client <who>",
      "addresses, networks or names of machines; may be given more than once",
      several,
    )
    .addOption(
      new Option("--squash <whose>", "whose requests are the anonymous user's (default: all)").choices([
        "all",
        "root",
        "none",
      ]),
    )
    .option("--as-root <reason>", AS_ROOT)
    .option("--fsid <number>", "the file system's number among the server's exports", count(1))
    .option("--address <address>", "where NFS-Ganesha listens (default: everywhere)")
    .option("--port <port>", "where NFS-Ganesha listens (default: 2049)", count(1))
    .action(async (options: NfsOptions) => {
      const { exportNfs } = await import("./cli/export.js");
      process.exitCode = await exportNfs(options);
    }),
  "slashcloud export nfs --client 192.0.2.0/24 --install",
);

example(
  exported("autofs", "Maps of the automounter, for machines that mount the tree")
    .addOption(
      new Option("--protocol <protocol>", "by which they mount it (default: nfs4)").choices(["nfs4", "cifs"]),
    )
    .option("--directory <dir>", "where hosts appear there (default: /cloud)")
    .option("--server <host[=address]>", "a host that serves its tree; may be given more than once", several)
    .option("--port <port>", "the servers' port, if it is another than usual", count(1))
    .option("--share <name>", "cifs: the share of the tree (default: the last part of the mount point)")
    .option("--credentials <file>", "cifs: the file with the user's name and password (default: as a guest)")
    .option(
      "--keep <s>",
      "for how long they may keep what they know of files (default: 0, each look asks)",
      count(0),
    )
    .action(async (options: AutofsOptions) => {
      const { exportAutofs } = await import("./cli/export.js");
      process.exitCode = await exportAutofs(options);
    }),
  "slashcloud export autofs --server host1=192.0.2.10 --server host2=192.0.2.11",
);

example(
  program
    .command("doctor")
    .description("Check this host for what keeps the tree from working well, and say what to do")
    .argument("[image...]", "images that are to be looked at, too; those of a daemon that runs are")
    .option("--config <file>", "the configuration, if it is elsewhere")
    .option("--mount <dir>", "where the tree is mounted, or is to be; default: as configured, or /cloud")
    .option("--state <dir>", "the daemon's state directory, if it was named")
    .addOption(new Option("--redis <url>", "a Redis that is to answer, as for up").env("SLASHCLOUD_REDIS"))
    .option("--json", "as JSON")
    .action(async (images: string[], options: DoctorOptions) => {
      const { doctor } = await import("./cli/doctor.js");
      process.exitCode = await doctor(images, options);
    }),
  "slashcloud doctor /var/lib/libvirt/images/web.img",
);

/** Where an installation is. */
const installed = (command: Command): Command =>
  command
    .option("--prefix <dir>", "where programs go", "/usr/local")
    .option("--root <dir>", "another system than this one, by the folder that it is in", "/");

example(
  installed(
    program
      .command("install")
      .description("Put the program, its services and an example of its configuration in their places"),
  )
    .option("--no-enable", "the service does not start with the host")
    .action(async (options: InstallOptions) => {
      const { install } = await import("./cli/install.js");
      process.exitCode = install(options);
    }),
  "slashcloud install --prefix /usr/local",
);

example(
  installed(
    program
      .command("uninstall")
      .description("Take away what install put in place; configuration that was changed stays"),
  ).action(async (options: PlaceOptions) => {
    const { uninstall } = await import("./cli/install.js");
    process.exitCode = uninstall(options);
  }),
  "slashcloud uninstall --prefix /usr/local",
);

try {
  // Here all commands are there.
  describeProgram(program, PROGRAM, GROUPS);
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const { message, exitCode } = error as Error & { exitCode?: number };
    for (const line of message.split("\n")) complain(line);
    process.exitCode = exitCode ?? 1;
  }
}
