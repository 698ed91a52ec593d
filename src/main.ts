#!/usr/bin/env node
/** The command line. A command is loaded when it is asked for: one that runs for long is not to hold the others in memory. */
import "./cli/node-version.js";
import { Command, CommanderError } from "commander";
import { addAdministration } from "./cli/commands/administration.js";
import { addExporting } from "./cli/commands/exporting.js";
import { addImages } from "./cli/commands/images.js";
import { addLooking } from "./cli/commands/looking.js";
import { addServing } from "./cli/commands/serving.js";
import { addStreams } from "./cli/commands/streams.js";
import { describeProgram } from "./cli/help.js";
import { GROUPS, PROGRAM } from "./cli/help-texts.js";
import { complain, write } from "./cli/output.js";
import { ownVersion } from "./cli/own-version.js";

const program = new Command("slashcloud")
  .description("The file systems inside this host's virtual machines, as one read-only tree")
  .version(ownVersion(), "-V, --version", "the program's version")
  .configureOutput({ writeOut: write })
  .showHelpAfterError("(slashcloud --help tells how it is used)")
  .exitOverride();

addServing(program);
addLooking(program);
addImages(program);
addStreams(program);
addExporting(program);
addAdministration(program);

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
