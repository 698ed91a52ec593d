/** The page of the configuration's file, slashcloud.yaml(5), made of the example that is put in its place. */
import { item, literalBlock, page, paragraph, section, slanted } from "./roff.js";

/** Lines of one kind: what explains, or what is written in the file. */
interface Part {
  readonly isLiteral: boolean;
  readonly lines: string[];
}

/** `example`: after `##` is what explains, after a lone `#` a setting. `source`: what the page belongs to. */
export function configurationPage(example: string, source: string): string {
  const [summary = "", ...parts] = partsOf(example).map(({ isLiteral, lines }) =>
    isLiteral ? literalBlock(lines.join("\n")) : paragraph(lines.join(" ")),
  );
  const [, what = ""] = /^\.PP\n(?:The )?(.*?)[:.]/s.exec(summary) ?? [];
  return page({ name: "slashcloud.yaml", section: 5, source, volume: "File Formats" }, [
    section("NAME", `slashcloud.yaml \\- ${what}`),
    section("DESCRIPTION", [summary, ...parts]),
    section("FILES", [
      item(slanted("/etc/slashcloud/slashcloud.yaml"), "The configuration."),
      item(
        slanted("/etc/slashcloud/guests.d/*.yaml"),
        "Guests, one or a list in each file, as under guests.",
      ),
    ]),
    section("SEE ALSO", "\\fBslashcloud\\fR(1),\n\\fBslashcloud\\-up\\fR(1)"),
  ]);
}

function partsOf(example: string): Part[] {
  const parts: Part[] = [];
  let last: Part | undefined;
  for (const line of example.split("\n")) {
    const [, mark = "", text = ""] = /^(#{0,2})(.*)$/.exec(line) ?? [];
    if (line.trim() === "" || text.trim() === "") {
      last = undefined;
      continue;
    }
    // What is indented further than a paragraph is shown as it stands.
    const isLiteral = mark !== "##" || /^ {4}/.test(text);
    if (last?.isLiteral !== isLiteral) {
      last = { isLiteral, lines: [] };
      parts.push(last);
    }
    last.lines.push(mark === "##" ? text.trim() : text);
  }
  return parts;
}
