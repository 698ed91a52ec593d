/** The page of the configuration's file, slashcloud.yaml(5), made of the example that is put in its place. */
import { item, literalBlock, page, paragraph, section, slanted } from "./roff.js";

/**
 * `example`: stanzas with empty lines between them, in which lines with `##` explain what comes after a lone `#`.
 * `source`: what the page belongs to.
 */
export function configurationPage(example: string, source: string): string {
  const [summary = "", ...parts] = example.split(/\n\s*\n/).flatMap(stanza);
  const [, what = ""] = /^\.PP\n(?:The )?(.*?)[:.]/s.exec(summary) ?? [];
  return page({ name: "slashcloud.yaml", section: 5, source, volume: "File Formats" }, [
    section("NAME", `slashcloud.yaml \\- ${what}`),
    section("DESCRIPTION", [
      summary,
      paragraph("What follows is the example that comes with slashcloud."),
      ...parts,
    ]),
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

/** What explains as paragraphs, and settings as they are written, with what explains one of several as comments. */
function stanza(text: string): string[] {
  const lines = text.split("\n").filter((line) => line !== "");
  const first = lines.findIndex((line) => !line.startsWith("##"));
  const explained = first < 0 ? lines : lines.slice(0, first);
  const settings = (first < 0 ? [] : lines.slice(first)).map((line) =>
    line.startsWith("##") ? line.replace(/^##( *)/, "$1# ") : line.replace(/^#/, ""),
  );
  const parts = explained
    .map((line) => line.replace(/^## ?/, ""))
    .join("\n")
    .split(/\n\n+/)
    // What is indented further than a paragraph is shown as it stands.
    .map((part) => (/^ {4}/.test(part) ? literalBlock(part.replace(/^ {4}/gm, "")) : paragraph(part)));
  return settings.length === 0 ? parts : [...parts, literalBlock(settings.join("\n"))];
}
