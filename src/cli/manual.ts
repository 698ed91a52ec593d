/** `slashcloud manual`: the pages of the manual, made of what `--help` says. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { examplesOf, helpOf, type Told } from "./help.js";
import { bold, item, literal, literalBlock, page, paragraph, section, slanted } from "./roff.js";

/** What all commands may end with. */
const EXIT: readonly Told[] = [
  ["0", "All went well."],
  ["1", "It failed: a line on standard error says what is wrong, where, and what to do."],
  ["2", "The command was used wrongly; nothing was done."],
];

/** Writes all pages to a directory, which is made if need be. Returns the exit code. Throws a system error. */
export function manual(program: Command, directory: string): number {
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of manualPages(program)) writeFileSync(join(directory, name), text);
  return 0;
}

/** The pages, by the names of their files: the program's, and one for each command that is not hidden. */
export function manualPages(program: Command): Map<string, string> {
  const pages = new Map<string, string>();
  for (const command of [program, ...shownCommands(program)])
    pages.set(`${pageName(program, command)}.1`, commandPage(program, command));
  return pages;
}

/** Commands with a page: help tells of others only. */
function shownCommands(program: Command): readonly Command[] {
  return program
    .createHelp()
    .visibleCommands(program)
    .filter((command) => command.name() !== "help");
}

function pageName(program: Command, command: Command): string {
  return command === program ? program.name() : `${program.name()}-${command.name()}`;
}

function commandPage(program: Command, command: Command): string {
  const name = pageName(program, command);
  const help = helpOf(command);
  const isProgram = command === program;
  const summary = command.description();
  const sections = [
    section("NAME", `${literal(name)} \\- ${literal(summary.charAt(0).toLowerCase() + summary.slice(1))}`),
    section("SYNOPSIS", isProgram ? programUse(program) : commandUse(program, command)),
    section("DESCRIPTION", [
      paragraph(sentence(summary)),
      ...(help.lines ? [paragraph(`${help.lines.heading}:`), literalBlock(help.lines.text)] : []),
      ...(help.description ?? []).map(paragraph),
      ...argumentItems(command),
    ]),
    ...(isProgram ? commandSections(program) : []),
    section("OPTIONS", optionItems(command)),
    section("EXAMPLES", examplesOf(command).map(literalBlock)),
    section(
      "EXIT STATUS",
      [...EXIT, ...(help.exit ?? [])].map(([code, meaning]) => item(bold(code), meaning)),
    ),
    section(
      "FILES",
      (help.files ?? []).map(([file, meaning]) => item(slanted(file), meaning)),
    ),
    section("SEE ALSO", seeAlso(program, command)),
  ];
  return page({ name, section: 1, source: `slashcloud ${version()}`, volume: "User Commands" }, sections);
}

function programUse(program: Command): string {
  return `${bold(program.name())} ${slanted("command")} [${slanted("option")} ...] [${slanted("argument")} ...]`;
}

function commandUse(program: Command, command: Command): string {
  const helper = command.createHelp();
  const required = command.options
    .filter(({ mandatory }) => mandatory)
    .map(({ long, flags }) => {
      const value = /<(.*)>/.exec(flags)?.[1] ?? "";
      return ` ${bold(long ?? "")} ${slanted(value)}`;
    });
  const optional = helper
    .visibleOptions(command)
    .some(({ mandatory, long }) => !mandatory && long !== "--help");
  const options = `${required.join("")}${optional ? ` [${slanted("option")} ...]` : ""}`;
  const values = command.registeredArguments.map((argument) => {
    const text = `${slanted(argument.name())}${argument.variadic ? " ..." : ""}`;
    return ` ${argument.required ? text : `[${text}]`}`;
  });
  return `${bold(`${program.name()} ${command.name()}`)}${options}${values.join("")}`;
}

function argumentItems(command: Command): string[] {
  const helper = command.createHelp();
  return helper
    .visibleArguments(command)
    .map((argument) => item(slanted(argument.name()), sentence(helper.argumentDescription(argument))));
}

function optionItems(command: Command): string[] {
  const helper = command.createHelp();
  return helper.visibleOptions(command).map((option) => {
    const flags = option.flags.split(/, */).map((flag) => {
      const [, dashed = flag, value = ""] = /^(-[^ ]+) ?(.*)$/.exec(flag) ?? [];
      return value === "" ? bold(dashed) : `${bold(dashed)} ${slanted(value.replace(/^[<[]|[>\]]$/g, ""))}`;
    });
    return item(flags.join(", "), sentence(helper.optionDescription(option)));
  });
}

/** The commands, by groups. */
function commandSections(program: Command): string[] {
  const groups = new Map<string, string[]>();
  for (const command of shownCommands(program)) {
    const heading = (command.helpGroup() || "Commands:").replace(/:$/, "");
    const told = item(`${bold(pageName(program, command))}(1)`, sentence(command.description()));
    groups.set(heading, [...(groups.get(heading) ?? []), told]);
  }
  return [
    section(
      "COMMANDS",
      [...groups].flatMap(([heading, items]) => [`.SS ${literal(heading)}`, ...items]),
    ),
  ];
}

function seeAlso(program: Command, command: Command): string {
  const own = command === program ? [] : [program.name()];
  const names = [...own, ...(helpOf(command).seeAlso ?? [])].map((name) => {
    const [, other, number] = /^(.*)\((\d)\)$/.exec(name) ?? [];
    if (other !== undefined) return `${bold(other)}(${number})`;
    return `${bold(name === program.name() ? name : `${program.name()}-${name}`)}(1)`;
  });
  return names.join(",\n");
}

function sentence(text: string): string {
  const full = `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
  return /[.:]$/.test(full) ? full : `${full}.`;
}

function version(): string {
  const file = join(import.meta.dirname, "../../package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
