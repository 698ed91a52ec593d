/** `slashcloud manual`: the pages of the manual, made of what `--help` says. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { configurationPage } from "./configuration-page.js";
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

/** The pages, by the names of their files: one for each command that is not hidden, and the configuration's. */
export function manualPages(program: Command): Map<string, string> {
  const pages = new Map<string, string>();
  for (const command of withCommandsBelow(program)) pages.set(`${pageName(command)}.1`, commandPage(command));
  const example = packageFile("systemd/slashcloud.yaml");
  if (example !== undefined) pages.set("slashcloud.yaml.5", configurationPage(example, source()));
  return pages;
}

function withCommandsBelow(command: Command): Command[] {
  return [command, ...shownCommands(command).flatMap(withCommandsBelow)];
}

/** Commands with a page: help tells of others only. */
function shownCommands(command: Command): readonly Command[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((below) => below.name() !== "help");
}

/** A command's name with those of the commands above it. */
function words(command: Command): string[] {
  return [...(command.parent === null ? [] : words(command.parent)), command.name()];
}

function programOf(command: Command): Command {
  return command.parent === null ? command : programOf(command.parent);
}

function pageName(command: Command): string {
  return words(command).join("-");
}

function commandPage(command: Command): string {
  const name = pageName(command);
  const help = helpOf(command);
  const summary = command.description();
  const sections = [
    section("NAME", `${literal(name)} \\- ${literal(summary.charAt(0).toLowerCase() + summary.slice(1))}`),
    section("SYNOPSIS", command.commands.length > 0 ? groupUse(command) : commandUse(command)),
    section("DESCRIPTION", [
      paragraph(sentence(summary)),
      ...(help.lines ? [paragraph(`${help.lines.heading}:`), literalBlock(help.lines.text)] : []),
      ...(help.description ?? []).map(paragraph),
      ...argumentItems(command),
    ]),
    section("COMMANDS", commandItems(command)),
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
    section("SEE ALSO", seeAlso(command)),
  ];
  return page({ name, section: 1, source: source(), volume: "User Commands" }, sections);
}

function groupUse(command: Command): string {
  return `${bold(words(command).join(" "))} ${slanted("command")} [${slanted("option")} ...] [${slanted("argument")} ...]`;
}

function commandUse(command: Command): string {
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
  return `${bold(words(command).join(" "))}${options}${values.join("")}`;
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
      if (value === "") return bold(dashed);
      const text = slanted(value.slice(1, -1));
      return `${bold(dashed)} ${value.startsWith("[") ? `[${text}]` : text}`;
    });
    return item(flags.join(", "), sentence(helper.optionDescription(option)));
  });
}

/** The commands below a command, by groups where it has some. */
function commandItems(command: Command): string[] {
  const groups = new Map<string, string[]>();
  for (const below of shownCommands(command)) {
    const heading = below.helpGroup().replace(/:$/, "");
    const told = item(`${bold(pageName(below))}(1)`, sentence(below.description()));
    groups.set(heading, [...(groups.get(heading) ?? []), told]);
  }
  return [...groups].flatMap(([heading, items]) =>
    heading === "" ? items : [`.SS ${literal(heading)}`, ...items],
  );
}

function seeAlso(command: Command): string {
  const above =
    command.parent === null ? [] : words(command.parent).map((_, n, all) => all.slice(0, n + 1).join("-"));
  const own = above.map((name) => `${bold(name)}(1)`);
  const others = (helpOf(command).seeAlso ?? []).flatMap((name) => {
    const [, other, number] = /^(.*)\((\d)\)$/.exec(name) ?? [];
    if (other !== undefined) return `${bold(other)}(${number})`;
    const found = withCommandsBelow(programOf(command)).find(
      (page) => words(page).slice(1).join(" ") === name,
    );
    return found === undefined ? [] : `${bold(pageName(found))}(1)`;
  });
  return [...own, ...others].join(",\n");
}

function sentence(text: string): string {
  const full = `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
  return /[.:]$/.test(full) ? full : `${full}.`;
}

/** What pages belong to. */
function source(): string {
  const { version } = JSON.parse(packageFile("package.json") ?? "{}") as { version: string };
  return `slashcloud ${version}`;
}

/** A file of the package; undefined if it is not there. */
function packageFile(name: string): string | undefined {
  const file = join(import.meta.dirname, "../..", name);
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}
