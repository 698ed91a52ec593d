/** Commands for other machines. */
import { type Command, Option } from "commander";
import { count } from "../count.js";
import type { AutofsOptions, NfsOptions, SambaOptions } from "../export.js";
import { example } from "../help.js";
import { several } from "./options.js";

/** Adds them to the program. */
export function addExporting(program: Command): void {
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
        const { exportSamba } = await import("../export.js");
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
        const { exportNfs } = await import("../export.js");
        process.exitCode = await exportNfs(options);
      }),
    "slashcloud export nfs --client 192.0.2.0/24 --install",
  );

  example(
    exported("autofs", "Maps of the automounter, for machines that mount the tree")
      .addOption(
        new Option("--protocol <protocol>", "by which they mount it (default: nfs4)").choices([
          "nfs4",
          "cifs",
        ]),
      )
      .option("--directory <dir>", "where hosts appear there (default: /cloud)")
      .option(
        "--server <host[=address]>",
        "a host that serves its tree; may be given more than once",
        several,
      )
      .option("--port <port>", "the servers' port, if it is another than usual", count(1))
      .option("--share <name>", "cifs: the share of the tree (default: the last part of the mount point)")
      .option(
        "--credentials <file>",
        "cifs: the file with the user's name and password (default: as a guest)",
      )
      .option(
        "--keep <s>",
        "for how long they may keep what they know of files (default: 0, each look asks)",
        count(0),
      )
      .action(async (options: AutofsOptions) => {
        const { exportAutofs } = await import("../export.js");
        process.exitCode = await exportAutofs(options);
      }),
    "slashcloud export autofs --server host1=192.0.2.10 --server host2=192.0.2.11",
  );
}
