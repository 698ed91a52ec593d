/** What the last word of a command line may become. */
import type { Argument, Command, Option } from "commander";
import { guestNames, inGuest } from "./live.js";

/** A word, and what it is. A text that begins with ":" is for the shell to carry out: see scripts.ts. */
export interface Candidate {
  readonly text: string;
  readonly meaning: string;
}

/** A command line up to where it is completed. */
interface Line {
  readonly command: Command;
  /** Options that were given, by their names in commander, with the last value of each. */
  readonly options: ReadonlyMap<string, string>;
  /** Arguments before the word. */
  readonly place: number;
  /** The option whose value the word is. */
  readonly option: Option | undefined;
  /** After `--` nothing is an option. */
  readonly onlyArguments: boolean;
}

/** `words`: all after the program's name; the last one is completed, and may be empty. */
export async function candidatesFor(program: Command, words: readonly string[]): Promise<Candidate[]> {
  const word = words.at(-1) ?? "";
  const line = readLine(program, words.slice(0, -1));
  const all = await possible(program, line, word);
  return all.filter(({ text }) => text.startsWith(":") || text.startsWith(word));
}

async function possible(program: Command, line: Line, word: string): Promise<Candidate[]> {
  const { command, option, onlyArguments, place } = line;
  if (option !== undefined && isValue(option, word)) return values(line, option, "", word);
  const [, name = "", start] = /^(--[^=]+)(=)/.exec(onlyArguments ? "" : word) ?? [];
  const given = start === undefined ? undefined : optionOf(command, name);
  if (given !== undefined) return values(line, given, `${name}=`, word.slice(name.length + 1));
  if (word.startsWith("-") && !onlyArguments) return optionCandidates(command);
  if (command.name() === "help") return place > 0 ? [] : commandCandidates(program, false);
  if (command.commands.length > 0) return place > 0 ? [] : commandCandidates(command, command === program);
  if (command.name() === "completion" && place === 0) return SHELLS;
  const last = command.registeredArguments.at(-1);
  const argument = command.registeredArguments[place] ?? (last?.variadic ? last : undefined);
  return argument === undefined ? [] : values(line, argument, "", word);
}

const SHELLS: Candidate[] = ["bash", "zsh", "fish"].map((text) => ({ text, meaning: `for ${text}` }));

function readLine(program: Command, words: readonly string[]): Line {
  let command = program;
  let place = 0;
  let option: Option | undefined;
  let onlyArguments = false;
  const options = new Map<string, string>();
  for (const word of words) {
    if (option !== undefined && isValue(option, word)) {
      options.set(option.attributeName(), word);
      option = undefined;
    } else if (word === "--" && !onlyArguments) {
      onlyArguments = true;
    } else if (word.startsWith("-") && word !== "-" && !onlyArguments) {
      const [name = "", ...value] = word.split("=");
      const found = optionOf(command, name);
      if (found !== undefined && value.length > 0) options.set(found.attributeName(), value.join("="));
      option = value.length === 0 && (found?.required || found?.optional) ? found : undefined;
    } else if (command.commands.length > 0) {
      const found = below(command, word);
      if (found === undefined) place++;
      else command = found;
    } else place++;
  }
  return { command, options, place, option, onlyArguments };
}

/** The command of that name below one: help, which commander adds by itself, too. */
function below(command: Command, name: string): Command | undefined {
  return command
    .createHelp()
    .visibleCommands(command)
    .find((candidate) => candidate.name() === name);
}

/** Whether a word after an option is its value: where it may have none, the next option is not. */
function isValue(option: Option, word: string): boolean {
  return option.required || !word.startsWith("-");
}

function optionOf(command: Command, name: string): Option | undefined {
  return command.options.find(({ long, short }) => long === name || short === name);
}

function commandCandidates(command: Command, withHelp: boolean): Candidate[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((candidate) => withHelp || candidate.name() !== "help")
    .map((candidate) => ({ text: candidate.name(), meaning: candidate.description() }));
}

function optionCandidates(command: Command): Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map(({ long, short, description }) => ({ text: long ?? short ?? "", meaning: description }));
}

/** What a value may be; `start` is what stands before it in the word. */
async function values(line: Line, of: Option | Argument, start: string, value: string): Promise<Candidate[]> {
  if (of.argChoices !== undefined) return of.argChoices.map((text) => ({ text: start + text, meaning: "" }));
  const isOption = "flags" in of;
  const term = isOption ? (/[<[](.*)[>\]]/.exec(of.flags)?.[1] ?? "") : of.name();
  switch (term) {
    case "dir":
      return [{ text: ":directories", meaning: start }];
    case "file":
    case "socket":
      return [{ text: ":files", meaning: start }];
    case "[name=]file":
    case "name=path":
      return [{ text: ":files", meaning: start + upTo(value, "=") }];
    case "where":
      return value.startsWith("unix:")
        ? [{ text: ":files", meaning: `${start}unix:` }]
        : [{ text: `${start}unix:`, meaning: "a socket" }];
    case "image":
    case "name=image":
      return [{ text: ":files", meaning: start + imageStart(value) }];
    case "image[:path]":
    case "image:path":
      return locations(start, value);
    case "pattern":
      // What a pattern takes for more than itself would have to be escaped, for the shell once more.
      return (await guestNames(line.options))
        .filter(({ host, guest }) => !/[*?[\\:]/.test(host + guest))
        .map(({ host, guest }) => ({ text: `${start}${host}:${guest}:/`, meaning: "a guest" }));
    case "name":
      // attach gives a guest its name: there is none to choose from.
      if (isOption ? of.long !== "--guest" : line.command.name() === "attach") return [];
      return (await guestNames(line.options)).map(({ guest }) => ({
        text: start + guest,
        meaning: "a guest",
      }));
    default:
      return [];
  }
}

/** A file, or what is in an image once there is a colon after its name. */
async function locations(start: string, value: string): Promise<Candidate[]> {
  const inside = await inGuest(value);
  if (inside === undefined) return [{ text: ":files", meaning: start }];
  return inside.map((text) => ({ text: start + text, meaning: "" }));
}

/** `NAME=` and the images before the last: what stands before the path in `NAME=IMAGE,IMAGE`. */
function imageStart(value: string): string {
  const name = upTo(value, "=");
  if (name === "" || name.includes("/")) return "";
  return value.slice(0, Math.max(value.lastIndexOf(",") + 1, name.length));
}

/** The text up to a character, with it; empty if it is not there. */
function upTo(text: string, character: string): string {
  return text.slice(0, text.indexOf(character) + 1);
}
