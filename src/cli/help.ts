/** What is told of a command beside its options: `--help` shows it, and manual pages are made of it. */
import type { Command } from "commander";

/** A text, and what it stands for. */
export type Told = readonly [what: string, meaning: string];

export interface Help {
  /** What it prints, say: lines that stay as they are, with a heading. They come first. */
  readonly lines?: { readonly heading: string; readonly text: string };
  /** What it does at length: paragraphs. */
  readonly description?: readonly string[];
  /** Examples after the first, which the command itself brings along. */
  readonly examples?: readonly string[];
  /** Exit codes that are not those of all commands. */
  readonly exit?: readonly Told[];
  /** Files that the command reads or keeps. */
  readonly files?: readonly Told[];
  /** Other commands, and pages of the manual with their sections: `tail(1)`. */
  readonly seeAlso?: readonly string[];
}

/** Characters of a line of help. */
const WIDTH = 80;

const examples = new WeakMap<Command, string[]>();
const helps = new WeakMap<Command, Help>();

/** Gives a command an example; a line each, or several that belong together. */
export function example(command: Command, text: string): Command {
  examples.set(command, [...examplesOf(command), text]);
  return command;
}

/** A command's examples. */
export function examplesOf(command: Command): readonly string[] {
  return examples.get(command) ?? [];
}

/** What else is told of a command. */
export function helpOf(command: Command): Help {
  return helps.get(command) ?? {};
}

/** A group of commands, with what is told of each, and of those below them: `export samba`. */
export type Group = readonly [heading: string, commands: Readonly<Record<string, Help>>];

/**
 * Has a program and its commands tell what there is to tell, and its list of commands be in the order of the groups. What
 * is told of a command that is not there is left out; a command that is in no group comes last.
 */
export function describeProgram(program: Command, own: Help, groups: readonly Group[]): void {
  const told = new Map(groups.flatMap(([, commands]) => Object.entries(commands)));
  const order = [...told.keys()];
  const place = ({ name }: { name: string }): number => (told.has(name) ? order.indexOf(name) : order.length);
  describe(program, own);
  const commands = program.commands.map((command) => ({ command, name: command.name() }));
  for (const { command, name } of commands) {
    const group = groups.find(([, members]) => Object.hasOwn(members, name));
    if (group !== undefined) command.helpGroup(`${group[0]}:`);
    describe(command, told.get(name) ?? {});
    for (const below of command.commands) describe(below, told.get(`${name} ${below.name()}`) ?? {});
  }
  (program.commands as Command[]).splice(
    0,
    commands.length,
    ...commands.sort((a, b) => place(a) - place(b)).map(({ command }) => command),
  );
  program
    .commandsGroup(`${groups.at(-1)?.[0]}:`)
    .helpCommand("help [command]", "Say how a command is used, as its --help does");
}

function describe(command: Command, help: Help): void {
  helps.set(command, help);
  for (const text of help.examples ?? []) example(command, text);
  command.addHelpText("after", () => helpText(help, examplesOf(command)));
}

function helpText({ description = [], lines, files = [] }: Help, shown: readonly string[]): string {
  const parts = lines === undefined ? [] : [`${lines.heading}:\n${indented(lines.text)}`];
  parts.push(...description.map((paragraph) => wrapped(paragraph, WIDTH).join("\n")));
  if (files.length > 0) {
    const told = files.map(
      ([what, meaning]) => `  ${what}\n${indented(indented(wrapped(meaning, WIDTH - 4).join("\n")))}`,
    );
    parts.push(`Files:\n${told.join("\n")}`);
  }
  if (shown.length > 0)
    parts.push(`${shown.length > 1 ? "Examples" : "Example"}:\n${shown.map(indented).join("\n")}`);
  return parts.length === 0 ? "" : `\n${parts.join("\n\n")}\n`;
}

function indented(text: string): string {
  return text.replace(/^ *(?=.)/gm, "$&  ");
}

/** A paragraph's lines. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, line];
}
