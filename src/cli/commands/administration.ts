/** Commands for administrators, and for shells and the manual. */
import { type Command, Option } from "commander";
import type { DoctorOptions } from "../doctor.js";
import type { DaemonOptions } from "../guests.js";
import { example } from "../help.js";
import type { InstallOptions, PlaceOptions } from "../install.js";
import { mountOptions } from "./options.js";

/** Adds them to the program. */
export function addAdministration(program: Command): void {
  example(
    mountOptions(
      program.command("reload").description("Have a daemon read its configuration again, without a remount"),
    ).action(async (options: DaemonOptions) => {
      const { reload } = await import("../guests.js");
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
      const { renew } = await import("../guests.js");
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
        const { check } = await import("../check.js");
        process.exitCode = await check(file);
      }),
    "slashcloud check",
  );

  example(
    program
      .command("completion")
      .description("Print what has a shell complete slashcloud's commands, options, images and guests")
      .argument("<shell>", "bash, zsh or fish")
      .argument("[word...]", "for the shells' own use: after the shell's name `words`, what is typed so far")
      .action(async (shell: string, words: string[]) => {
        const { completion } = await import("../completion.js");
        process.exitCode = await completion(program, shell, words);
      }),
    "slashcloud completion bash > /usr/share/bash-completion/completions/slashcloud",
  );

  program
    .command("manual", { hidden: true })
    .description("Write the pages of the manual, made of what --help says")
    .requiredOption("--write <dir>", "where they go, a file each: slashcloud.1, slashcloud-up.1, ...")
    .action(async (options: { write: string }) => {
      const { manual } = await import("../manual.js");
      process.exitCode = manual(program, options.write);
    });

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
        const { doctor } = await import("../doctor.js");
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
        const { install } = await import("../install.js");
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
      const { uninstall } = await import("../install.js");
      process.exitCode = uninstall(options);
    }),
    "slashcloud uninstall --prefix /usr/local",
  );
}
